/** Node: the npm package, packed and installed, runs what the README shows as Deno does. */
import assert from "node:assert/strict";
import { sidFile } from "../storage/support/indexes.ts";
import { Folder, Stopwatch } from "./support/folder.ts";
import { installPackage } from "./support/package.ts";
import { snippet } from "./support/readme.ts";

Deno.test("Node runs the README's snippet with the npm package", async (t) => {
  await using folder = await Folder.make();
  await installPackage(folder);
  await folder.write("catalogue.safetensors", await sidFile(100_000));
  const script = await folder.write("script.js", await snippet("Node", "js"));

  await t.step("it searches as Deno does", async () => {
    const map = await folder.write(
      "import_map.json",
      JSON.stringify({
        imports: { "@espalier/espalier": new URL("../../mod.ts", import.meta.url).href },
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
