/** One search of a method over seeded logits: its time, its live rows, what it finds. */
import type { Method, MethodShape } from "../baselines/method.ts";
import { WasmHeap } from "../../src/wasm/heap.ts";
import { random } from "../lib/support.ts";
import type { Point } from "./plan.ts";
import type { Spread } from "./results.ts";

export type Beams = { sequences: Uint32Array; counts: Uint32Array };

/** Logits of a step begin so far behind those of the step before, in one array for all. */
const STEP_SHIFT = 4099;

/** Logits [B·M, V] of each step, in [-4, 4). */
export function logitsOf(
  { batchSize, beamSize, vocabSize, length }: Point,
): Float32Array<ArrayBuffer>[] {
  const each = batchSize * beamSize * vocabSize;
  const all = new Float32Array(each + length * STEP_SHIFT);
  const next = random(7);
  for (let i = 0; i < all.length; i++) all[i] = (next() >>> 8) * 2 ** -21 - 4;
  return Array.from(
    { length },
    (_, step) => all.subarray(step * STEP_SHIFT, step * STEP_SHIFT + each),
  );
}

/** Milliseconds of all steps of one search, the writing of logits left out. */
export function search(method: Method, shape: MethodShape, logits: readonly Float32Array[]) {
  using running = method.begin(shape);
  let milliseconds = 0;
  for (const values of logits) {
    const out = running.logits();
    out.set(values.subarray(0, out.length));
    const start = performance.now();
    running.advance();
    milliseconds += performance.now() - start;
  }
  return { milliseconds, beams: running.beams() };
}

/** Live rows of each step: B, then as many as beams of the step before. */
export function liveRows(
  method: Method,
  shape: MethodShape,
  logits: readonly Float32Array[],
): number[] {
  using running = method.begin(shape);
  const live = [shape.batchSize];
  for (const values of logits) {
    const out = running.logits();
    out.set(values.subarray(0, out.length));
    running.advance();
    live.push(sum(running.beams().counts));
  }
  return live.slice(0, -1);
}

/** Milliseconds of the log-sum-exps of one search, for the rows that are live. */
export async function logSumExps(
  { vocabSize }: Point,
  live: readonly number[],
  logits: Float32Array[],
) {
  const rows = Math.max(...live);
  const heap = await WasmHeap.create(rows * vocabSize * 4 + 4096);
  const address = heap.allocate(rows * vocabSize * 4);
  heap.f32(address, rows * vocabSize).set(logits[0].subarray(0, rows * vocabSize));
  return () => {
    const start = performance.now();
    for (const count of live) {
      for (let row = 0; row < count; row++) {
        heap.exports.logSumExp(address + row * vocabSize * 4, vocabSize);
      }
    }
    return performance.now() - start;
  };
}

/** Of times divided by `scale`. */
export function spread(values: number[], scale: number): Spread {
  const sorted = values.map((value) => value / scale).sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))];
  return { median: at(0.5), p10: at(0.1), p90: at(0.9) };
}

/** Share of our beams that others have not. */
export function missedShare(
  ours: Beams,
  others: Beams,
  { batchSize, beamSize, length }: Point,
): number {
  const namesOf = ({ sequences, counts }: Beams, b: number) =>
    Array.from({ length: counts[b] }, (_, m) => {
      const at = (b * beamSize + m) * length;
      return sequences.subarray(at, at + length).join();
    });
  let [all, missed] = [0, 0];
  for (let b = 0; b < batchSize; b++) {
    const found = new Set(namesOf(others, b));
    const wanted = namesOf(ours, b);
    all += wanted.length;
    missed += wanted.filter((name) => !found.has(name)).length;
  }
  return missed / Math.max(all, 1);
}

/** Sum of counts. */
export const sum = (counts: Uint32Array) => counts.reduce((a, b) => a + b, 0);
