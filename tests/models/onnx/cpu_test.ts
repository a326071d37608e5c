/** ONNX models on the CPU: every form against every row alone, without caches. */
import assert from "node:assert/strict";
import { createOnnxModel } from "../../../src/models/onnx/mod.ts";
import { loadOrt } from "../../../src/models/onnx/session.ts";
import { FORMS, isMasked, resolutionOf } from "../../support/onnx/forms.ts";
import { assertSearch, problemOf, somePrompts, START } from "../../support/onnx/reference.ts";
import { writeToy } from "../../support/onnx/toy.ts";

const ort = await loadOrt("wasm");

for (const [name, form] of Object.entries(FORMS)) {
  Deno.test(`ONNX on the CPU: ${name}`, async () => {
    const files = writeToy(form);
    await using model = await createOnnxModel(files.decoder, {
      encoder: files.encoder,
      decoderWithPast: form.twoGraphs ? writeToy({ ...form, withPast: true }).decoder : undefined,
      startToken: START,
    });
    assert.equal(model.vocabSize, 13);
    assert.equal(model.provider, "wasm");
    for (const isUneven of isMasked(form) ? [false, true] : [false]) {
      for (const isMixed of [false, true]) {
        const prompts = somePrompts(isUneven);
        const problem = await problemOf(ort, files, prompts, resolutionOf(form), { isMixed });
        using prompted = model.withPrompts(prompts);
        await assertSearch(problem, prompted, resolutionOf(form), { times: 2 });
      }
    }
    if (!isMasked(form)) {
      assert.throws(() => model.withPrompts(somePrompts(true)), { name: "RangeError" });
    }
  });
}
