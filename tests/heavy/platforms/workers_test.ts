/** Cloudflare Workers: the README's Worker in workerd, with the index in R2. */
import assert from "node:assert/strict";
import * as esbuild from "esbuild";
import { writeBundles } from "../../../tools/bundle/bundles.ts";
import { withServer } from "../storage/servers/programs.ts";
import { r2Missing, startR2 } from "../storage/servers/r2.ts";
import { sidFile } from "../../support/index_files.ts";
import { Folder, Stopwatch } from "./support/folder.ts";
import { modulesIn } from "./support/modules.ts";
import { installPackage } from "./support/package.ts";
import { snippet } from "./support/readme.ts";
import { ask, check } from "./support/requests.ts";
import { startServer } from "./support/serve.ts";

/** The Worker and the npm package in one file, as wrangler makes it. */
async function bundled(folder: Folder, worker: string): Promise<void> {
  await installPackage(folder);
  await folder.write("worker.ts", worker);
  await esbuild.build({
    entryPoints: ["worker.ts"],
    absWorkingDir: folder.path,
    outdir: "modules",
    bundle: true,
    format: "esm",
    target: "es2022",
    external: ["cloudflare:*"],
    conditions: ["workerd", "worker", "browser"],
    loader: { ".wasm": "copy" },
  });
}

/** The Worker beside the bundle for Workers; no bundler has seen it. */
async function plain(folder: Folder, worker: string): Promise<void> {
  await writeBundles(folder.url);
  await Deno.rename(`${folder.path}/workers`, `${folder.path}/modules`);
  const { code } = await esbuild.transform(worker, { loader: "ts", target: "es2022" });
  await folder.write(
    "modules/worker.js",
    code.replaceAll(/"@espalier\/espalier(\/edge)?"/g, '"./espalier.js"'),
  );
}

/** What every WASM file begins with. */
const WASM_IN_BASE64 = "AGFzbQEAAAA";

await withServer("Workers", r2Missing(), () => {
  for (
    const [name, prepare] of [
      ["the npm package, bundled as wrangler does", bundled],
      ["the bundle for Workers, as it is", plain],
    ] as const
  ) {
    Deno.test(`workerd runs the README's Worker with ${name}`, async () => {
      await using folder = await Folder.make();
      try {
        await prepare(folder, await snippet("Cloudflare Workers with R2", "ts"));
      } finally {
        await esbuild.stop();
      }
      const modules = await modulesIn(`${folder.path}/modules`);
      const inBase64 = modules.filter(({ contents }) => String(contents).includes(WASM_IN_BASE64));
      assert.deepEqual(inBase64, [], "the kernels are in there once");
      const watch = new Stopwatch();
      await using r2 = await startR2(modules);
      watch.stage("workerd");
      const file = await sidFile(100_000);
      await r2.bucket.put("catalogue.safetensors", file);
      watch.stage("upload");
      const answers = await ask(r2.url, watch);
      watch.print("workerd");
      await check(answers, file);
      await using server = await startServer(folder, file);
      assert.deepEqual(answers, await ask(server.url));
    });
  }
});
