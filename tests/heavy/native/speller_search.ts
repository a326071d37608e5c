/** A search with the demo's model, among the names of a few places. */
import { createDecoder } from "../../../mod.ts";
import { END_TOKEN, promptOf, textOf, tokensOf } from "../../../demo/speller.ts";
import vocabulary from "../../../demo/speller/vocab.json" with { type: "json" };
import { buildIndex } from "../../../src/build/mod.ts";
import { createOnnxModel, type OnnxOptions } from "../../../src/models/onnx/mod.ts";

const NAMES = ["amsterdam", "amsterdorf", "amersfoort", "rotterdam", "edam", "potsdam"];

/** What "amsterdm" is taken for, best first. */
export async function spellerSearch(
  options: OnnxOptions,
): Promise<{ name: string; score: number }[]> {
  const file = (name: string) => new URL(`../../../demo/speller/${name}.onnx`, import.meta.url);
  await using onnx = await createOnnxModel(file("decoder"), {
    encoder: file("encoder"),
    startToken: vocabulary.start,
    padToken: vocabulary.pad,
    ...options,
  });
  const { vocabSize } = onnx;
  using index = await buildIndex(NAMES.map(tokensOf), { vocabSize });
  using decoder = await createDecoder(index, { backend: "wasm" });
  using model = onnx.withPrompts([promptOf("amsterdm")]);
  const search = { batchSize: 1, beamSize: 4, vocabSize, endToken: END_TOKEN };
  const { ordinals, scores } = await decoder.beamSearch(model, search);
  return Array.from(ordinals, (ordinal, i) => ({
    name: textOf(index.sequenceAt(ordinal)),
    score: scores[i],
  }));
}
