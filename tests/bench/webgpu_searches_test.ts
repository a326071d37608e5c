/** Whole searches as the benches time them on WebGPU: any adapter, the software one in CI. */
import assert from "node:assert/strict";
import { espalier, timeGpuSearches } from "../../bench/baselines/espalier.ts";
import { randomSet } from "../../bench/baselines/random_set.ts";
import { withDevice } from "../support/gpu.ts";
import { assertSame, logitsOf, run } from "../support/methods.ts";

await withDevice("whole searches on WebGPU", (device) => {
  Deno.test("whole searches on WebGPU find what WASM finds", async () => {
    const set = randomSet(3000, { length: 8, vocabSize: 300 });
    const shape = { batchSize: 2, beamSize: 7 };
    const logits = Array.from({ length: set.length }, (_, d) => logitsOf(set, shape, d, "smooth"));
    using ours = await espalier(set);
    const { milliseconds, sequences, scores } = await timeGpuSearches(
      set,
      device,
      shape,
      logits,
      2,
    );
    assert.equal(milliseconds.length, 2);
    const expected = run(ours, shape, logits).at(-1)!;
    assertSame({ sequences, scores, counts: expected.counts }, expected, "WebGPU");
  });
});
