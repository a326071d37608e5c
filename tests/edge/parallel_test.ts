/** The HTTP handler in several threads of `deno serve`. */
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { catalogue } from "../support/catalogue.ts";

Deno.test("deno serve --parallel answers from each of its threads, and the same", async () => {
  await using files = await catalogue();
  const script = new URL("parallel_server.ts", import.meta.url).pathname;
  const folder = pathToFileURL(`${files.folder.path}/`).href;
  const permissions = ["--allow-read", "--allow-net"];
  const child = new Deno.Command(Deno.execPath(), {
    args: ["serve", "--parallel", ...permissions, "--host=127.0.0.1", "--port=0", script, folder],
    env: { DENO_JOBS: "2", NO_COLOR: "1" },
    stdout: "null",
    stderr: "piped",
  }).spawn();
  try {
    const url = await addressOf(child.stderr);
    const threads = new Set<string>();
    const answers = new Set<string>();
    while (threads.size < 2) {
      // The system chooses a thread for each connection.
      using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
      const response = await fetch(`${url}/v1/decode`, {
        client,
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"prompts":[[3,1,4]],"beams":4}',
      });
      assert.equal(response.status, 200);
      threads.add(response.headers.get("x-thread")!);
      answers.add(await response.text());
    }
    assert.equal(answers.size, 1);
    assert.equal(JSON.parse([...answers][0]).results[0].length, 4);
  } finally {
    child.kill();
    await child.status;
  }
});

/** Where it says that it listens. Reads on, so that it can write on. */
async function addressOf(stream: ReadableStream<Uint8Array>): Promise<string> {
  const [said, rest] = stream.tee();
  rest.pipeTo(new WritableStream()).catch(() => {});
  let text = "";
  for await (const piece of said.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(text) ?? [];
    if (url) return url;
  }
  throw new Error(`It ended before it listened: ${text}`);
}
