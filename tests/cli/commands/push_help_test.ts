/** The examples in the help of `cli push`. */

import assert from "node:assert/strict";
import { PUSH_HELP } from "../../../src/cli/commands/push.ts";
import { buildIndex } from "../../../src/build/mod.ts";
import { cli, Folder } from "../../support/cli.ts";
import { helpExamples } from "../../support/examples.ts";
import { FakeS3 } from "../../support/fake_s3.ts";

Deno.test("The examples in the help of push run", async () => {
  await using folder = await Folder.create();
  await using store = new FakeS3();
  using index = await buildIndex([[7, 1], [7, 2], [3, 3]], { vocabSize: 9 });
  const bytes = index.toBytes() as Uint8Array<ArrayBuffer>;
  const variables = {
    AWS_ACCESS_KEY_ID: store.accessKeyId,
    AWS_SECRET_ACCESS_KEY: "secret",
    AWS_REGION: "eu-central-1",
    AWS_ENDPOINT_URL: store.endpoint,
  };
  const before = Object.keys(variables).map((name) => [name, Deno.env.get(name)] as const);
  for (const [name, value] of Object.entries(variables)) Deno.env.set(name, value);
  try {
    const places = {
      "catalogue.safetensors": await folder.write("catalogue.safetensors", bytes),
      "https://ID.r2.cloudflarestorage.com": store.endpoint,
      "/srv/www/indexes/": folder.at("indexes/"),
    };
    await Deno.mkdir(folder.at("indexes"));
    for (const args of helpExamples(PUSH_HELP, places)) {
      const { code, err } = await cli(args);
      assert.deepEqual([code, err], [0, ""], args.join(" "));
      const object = store.objects.get("/indexes/catalogue.safetensors")?.bytes;
      const isFolder = args.includes(folder.at("indexes/"));
      const pushed = isFolder
        ? await Deno.readFile(folder.at("indexes/catalogue.safetensors"))
        : object;
      assert.deepEqual(pushed, bytes, args.join(" "));
      store.objects.clear();
    }
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
});
