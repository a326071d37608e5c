/** The HTTP handler with ONNX models. */

import assert from "node:assert/strict";
import { ConstraintIndex, createDecoder } from "../../mod.ts";
import { createOnnxModel } from "../../src/models/onnx/mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { post, problem, serve, success } from "../support/edge.ts";
import { someRows } from "../support/onnx/reference.ts";
import { writeToy } from "../support/onnx/toy.ts";

async function stored(): Promise<Uint8Array<ArrayBuffer>> {
  using index = await buildIndex(someRows(1), { vocabSize: 11 });
  return index.toBytes();
}
const bytes = await stored();

Deno.test("prompts of requests go to the model, and their searches may overlap", async () => {
  await using onnx = await createOnnxModel(writeToy({}).decoder);
  const { vocabSize } = onnx;
  await using handler = serve({
    index: bytes,
    search: { vocabSize },
    model: (prompts) => onnx.withPrompts(prompts),
  });
  using index = await ConstraintIndex.open(bytes);
  using decoder = await createDecoder(index, { backend: "wasm" });
  const asked = [[[3, 1, 4, 1, 5], [9], [2, 6, 5]], [[7]], [[1, 2], [3, 4]]];
  const answers = await Promise.all(
    asked.map(async (prompts) => await handler(post("/v1/decode", { prompts, beams: 4 }))),
  );
  for (const [i, prompts] of asked.entries()) {
    const { results } = await success(answers[i]);
    using prompted = onnx.withPrompts(prompts);
    const options = { batchSize: prompts.length, beamSize: 4, vocabSize };
    const { ordinals } = await decoder.beamSearch(prompted, options);
    assert.deepEqual(
      results.flat().map(({ ordinal }: { ordinal: number }) => ordinal),
      [...ordinals],
    );
  }
});

Deno.test("prompts that the model does not take are the client's", async () => {
  await using onnx = await createOnnxModel(writeToy({ mask: false }).decoder);
  await using handler = serve({
    index: bytes,
    search: { vocabSize: onnx.vocabSize },
    limits: { promptVocabulary: 20 },
    model: (prompts) => onnx.withPrompts(prompts),
  });
  const ask = (prompts: number[][]) => handler(post("/v1/decode", { prompts, beams: 1 }));
  assert.equal((await problem(await ask([[1], []]), 422, "wrong-prompt")).field, "/prompts/1");
  const wrong = await problem(await ask([[1], [13]]), 422, "wrong-prompt");
  assert.deepEqual([wrong.field, wrong.actual], ["/prompts/1", 13]);
  assert.equal((await problem(await ask([[1], [2, 3]]), 422, "wrong-prompt")).field, "/prompts");
  assert.equal((await problem(await ask([[20]]), 400, "invalid-request")).field, "/prompts/0/0");
});
