/** Node: the npm package, packed and installed, runs what the README shows as Deno does. */
import assert from "node:assert/strict";
import { sidFile } from "../../support/index_files.ts";
import { Folder, Stopwatch } from "./support/folder.ts";
import { installPackage } from "./support/package.ts";
import { snippet } from "./support/readme.ts";
import { ask, check } from "./support/requests.ts";

Deno.test("Node runs the README's snippet with the npm package", async (t) => {
  await using folder = await Folder.make();
  await installPackage(folder, "@hono/node-server@2.1.9", "hono@4.13.1");
  const file = await sidFile(100_000);
  await folder.write("catalogue.safetensors", file);
  const script = await folder.write("script.js", await snippet("Node", "js"));

  await t.step("it searches as Deno does", async () => {
    const map = await folder.write(
      "import_map.json",
      JSON.stringify({
        imports: { "@espalier/espalier": new URL("../../../mod.ts", import.meta.url).href },
      }),
    );
    const inDeno = ["run", "--no-config", `--import-map=${map}`, "--allow-read", script];
    const expected = await folder.run(Deno.execPath(), ...inDeno);
    const watch = new Stopwatch();
    await folder.run("node", "--eval", "0");
    watch.stage("a process that does nothing");
    await folder.run("node", "--input-type=module", "--eval", 'import "@espalier/espalier"');
    watch.stage("one that imports");
    const output = await folder.run("node", script);
    watch.stage("one that opens and searches");
    watch.print(`Node ${(await folder.run("node", "--version")).trim()}`);
    assert.deepEqual(numbers(output), numbers(expected));
  });

  await t.step("its server answers", async () => {
    await folder.write("server.js", await snippet("Node", "js", 1));
    await using store = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      () => new Response(file),
    );
    const port = freePort();
    const watch = new Stopwatch();
    const server = new Deno.Command("node", {
      args: ["server.js"],
      cwd: folder.path,
      env: { INDEX_URL: `http://127.0.0.1:${store.addr.port}/`, PORT: String(port) },
    }).spawn();
    try {
      const url = new URL(`http://127.0.0.1:${port}`);
      const isUp = () => fetch(new URL("/healthz", url)).then((r) => r.text(), () => "");
      const ended = server.status.then(() => Promise.reject(new Error("The server has ended")));
      while (!await Promise.race([isUp(), ended])) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      ended.catch(() => {});
      watch.stage("until it listens");
      await check(await ask(url, watch), file);
      watch.print("a server in Node");
    } finally {
      server.kill();
      await server.status;
    }
  });

  await t.step("a filtered search finds what Deno finds", async () => {
    const code = await folder.write("filtered.js", FILTERED);
    const map = `${folder.path}/import_map.json`;
    const inDeno = ["run", "--no-config", `--import-map=${map}`, "--allow-read", code];
    const found = JSON.parse(await folder.run("node", code));
    assert.deepEqual(found, JSON.parse(await folder.run(Deno.execPath(), ...inDeno)));
    assert.equal(found.length, 10);
    assert(found.every((ordinal: number) => ordinal % 3 === 0));
  });

  await t.step("every entry point can be imported", async () => {
    const { exports } = JSON.parse(
      await Deno.readTextFile(`${folder.path}/node_modules/@espalier/espalier/package.json`),
    );
    const names = Object.keys(exports).map((name) => `@espalier/espalier${name.slice(1)}`);
    const code = names.map((name) => `await import("${name}");`).join("");
    await folder.run("node", "--input-type=module", "--eval", code);
  });

  await t.step("its types are found and fit", async () => {
    await folder.write("types.ts", TYPES);
    await folder.run(Deno.execPath(), "check", "types.ts");
  });
});

/** Runtimes print arrays in their own ways. */
const numbers = (text: string) => text.match(/-?\d+(\.\d+)?/g)?.map(Number);

/** A port that is free now. */
function freePort(): number {
  using listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  return listener.addr.port;
}

const FILTERED = `
import { readFile } from "node:fs/promises";
import { ConstraintIndex, createDecoder } from "@espalier/espalier";

const index = await ConstraintIndex.open(await readFile("catalogue.safetensors"));
const decoder = await createDecoder(index, { backend: "wasm" });
const filter = index.filter(Array.from({ length: index.size }, (_, i) => i).filter((i) => i % 3 === 0));
const model = ({ out }) => {
  for (let i = 0; i < out.length; i++) out[i] = Math.sin(i);
  return out;
};
const { ordinals } = await decoder.beamSearch(model, { beamSize: 10, filter });
console.log(JSON.stringify([...ordinals]));
`;

const TYPES = `
import { ConstraintIndex, createDecoder, EspalierError, type Model } from "@espalier/espalier";
import { buildIndex } from "@espalier/espalier/build";
import { createHandler } from "@espalier/espalier/edge";
import { createOnnxModel } from "@espalier/espalier/onnx";
import { s3Source } from "@espalier/espalier/s3";
import { ConstraintLogitsProcessor } from "@espalier/espalier/transformers";

export const index: ConstraintIndex = await buildIndex([[1, 2]], { vocabSize: 4 });
export const model: Model = ({ out }) => out.fill(0);
export const decoder = await createDecoder(index, { backend: "wasm" });
export const { ordinals }: { ordinals: Uint32Array } = await decoder.beamSearch(model, { beamSize: 1 });
export const processor = new ConstraintLogitsProcessor(index, { promptLength: 1, endToken: 0 });
export const error: Error = new EspalierError("code", "message");
export const handle: (request: Request) => Promise<Response> = createHandler({ index: index.toBytes() });
void [createOnnxModel, s3Source];
// @ts-expect-error: types are there
await createDecoder(index, { backend: "abacus" });
`;
