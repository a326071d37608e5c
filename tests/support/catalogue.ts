/** A catalogue and toy models that fit it, as files, for the commands that search. */
import assert from "node:assert/strict";
import { buildIndex } from "../../src/build/mod.ts";
import type { ToyForm } from "./onnx/forms.ts";
import { someRows } from "./onnx/reference.ts";
import { writeToy } from "./onnx/toy.ts";
import { cli, Folder } from "./cli.ts";

/** Files of a test. */
export interface Catalogue extends AsyncDisposable {
  readonly folder: Folder;
  readonly index: string;
  readonly model: string;
}

/** An index of 60 rows of 4 tokens below 11, as bytes. Its item ids are 100, 101, … */
export async function catalogueBytes(seed = 1): Promise<Uint8Array<ArrayBuffer>> {
  const rows = someRows(seed);
  using index = await buildIndex(rows, {
    vocabSize: 11,
    items: rows.map((_, i) => 100 + i),
    filters: {
      "in stock": rows.map((_, i) => Number(i % 2 === 0)),
      fresh: rows.map((_, i) => Number(i % 3 === 0)),
    },
  });
  return index.toBytes();
}

/** The catalogue, and a toy of 13 tokens, as files. */
export async function catalogue(form: ToyForm = {}): Promise<Catalogue> {
  const folder = await Folder.create();
  const { decoder, encoder } = writeToy(form);
  if (encoder) await folder.write("encoder.onnx", encoder);
  return {
    folder,
    index: await folder.write("catalogue.safetensors", await catalogueBytes()),
    model: await folder.write("decoder.onnx", decoder),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** What is in the index of names. */
export const NAMES = ["react", "react-dom", "redux", "preact", "vue", "svelte", "\u00e9t\u00e9"];

/** An index of names, a token per byte, and a toy that knows as many. */
export async function writeNames(folder: Folder): Promise<{ index: string; model: string }> {
  const [index, model] = [folder.at("names.safetensors"), folder.at("gpt.onnx")];
  await Deno.writeFile(model, writeToy({ vocabSize: 256 }).decoder);
  const built = await cli(["build", "-", "-o", index, "--tokenizer", "bytes"], {
    stdin: NAMES.join("\n"),
  });
  assert.equal(built.err, "");
  return { index, model };
}
