/** Node: the npm package runs the demo's model in both runtimes, and says what is missing. */
import assert from "node:assert/strict";
import { Folder } from "../platforms/support/folder.ts";
import { installPackage } from "../platforms/support/package.ts";
import vocabulary from "../../../demo/speller/vocab.json" with { type: "json" };
import { spellerSearch } from "./speller_search.ts";
import { tokensOf } from "../../../demo/speller.ts";

/** Prints the ordinals that each of some options finds, or the code of its error. */
const SCRIPT = `
import { readFile } from "node:fs/promises";
import { createDecoder } from "@espalier/espalier";
import { buildIndex } from "@espalier/espalier/build";
import { createOnnxModel } from "@espalier/espalier/onnx";

const { rows, prompt, startToken, padToken, endToken, files } = JSON.parse(process.argv[2]);
const results = [];
for (const options of [{}, { runtime: "node" }, { runtime: "node", threads: 2 }, { threads: 2 }]) {
  try {
    const onnx = await createOnnxModel(await readFile(files + "decoder.onnx"), {
      encoder: await readFile(files + "encoder.onnx"),
      startToken,
      padToken,
      ...options,
    });
    const { vocabSize } = onnx;
    const index = await buildIndex(rows, { vocabSize });
    const decoder = await createDecoder(index, { backend: "wasm" });
    const model = onnx.withPrompts([prompt]);
    const search = { batchSize: 1, beamSize: 4, vocabSize, endToken };
    const { ordinals } = await decoder.beamSearch(model, search);
    results.push(Array.from(ordinals, (ordinal) => [...index.sequenceAt(ordinal)]));
  } catch ({ name, code, message }) {
    results.push([name, code, message]);
  }
}
console.log(JSON.stringify(results));
process.exit();
`;

Deno.test("Node runs a model in onnxruntime-node, and without it says what to install", async () => {
  await using folder = await Folder.make();
  await installPackage(folder, "--ignore-scripts", "onnxruntime-web@1.30.0");
  const script = await folder.write("script.js", SCRIPT);
  const found = await spellerSearch({});
  const given = JSON.stringify({
    rows: found.map(({ name }) => tokensOf(name)),
    prompt: [...tokensOf("amsterdm"), vocabulary.end],
    startToken: vocabulary.start,
    padToken: vocabulary.pad,
    endToken: vocabulary.end,
    files: new URL("../../../demo/speller/", import.meta.url).pathname,
  });
  const run = async () => JSON.parse(await folder.run("node", script, given));
  const expected = found.map(({ name }) => tokensOf(name));

  const [web, missing, , withThreads] = await run();
  assert.deepEqual([web, withThreads], [expected, expected]);
  assert.deepEqual(missing.slice(0, 2), ["BackendError", "needs-onnxruntime-node"]);
  assert.match(missing[2], /Node the package onnxruntime-node;/);

  const manifest = `${folder.path}/node_modules/@espalier/espalier/package.json`;
  const { peerDependencies } = JSON.parse(await Deno.readTextFile(manifest));
  const version = peerDependencies["onnxruntime-node"];
  const quiet = ["--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"];
  await folder.run("npm", "install", ...quiet, `onnxruntime-node@${version}`);
  assert.deepEqual(await run(), [expected, expected, expected, expected]);
});
