/** Searches of the methods that the benches compare, and how their results are held against each other. */
import assert from "node:assert/strict";
import type { Method, MethodShape, SequenceSet } from "../../bench/baselines/method.ts";
import { TOLERANCE } from "./compare.ts";
import { mix, type RuleName, RULES } from "./models.ts";

/** Logits [B·M, V] of one step. */
export function logitsOf(
  { vocabSize }: SequenceSet,
  { batchSize, beamSize }: MethodShape,
  step: number,
  rule: RuleName,
): Float32Array<ArrayBuffer> {
  const logits = new Float32Array(batchSize * beamSize * vocabSize);
  for (let i = 0; i < logits.length; i++) {
    const row = Math.floor(i / vocabSize);
    const context = { batchRow: 0, step, last: 0, history: mix(step * 4096 + row) };
    logits[i] = RULES[rule](context, i % vocabSize);
  }
  return logits;
}

export type Beams = ReturnType<ReturnType<Method["begin"]>["beams"]>;

/** Beams after every step. */
export function run(method: Method, shape: MethodShape, logits: Float32Array[]): Beams[] {
  using search = method.begin(shape);
  return logits.map((values) => {
    const out = search.logits();
    out.set(values.subarray(0, out.length));
    search.advance();
    return search.beams();
  });
}

/** The same beams in the same places. */
export function assertSame(found: Beams, expected: Beams, what: string): void {
  assert.deepEqual(found.counts, expected.counts, `${what}: counts`);
  assert.deepEqual(found.sequences, expected.sequences, `${what}: sequences`);
  found.scores.forEach((score, i) => {
    const wanted = expected.scores[i];
    const isClose = score === wanted ||
      Math.abs(score - wanted) <= TOLERANCE * Math.max(1, Math.abs(wanted));
    assert.ok(isClose, `${what}: score ${score} of beam ${i}, wanted ${wanted}`);
  });
}
