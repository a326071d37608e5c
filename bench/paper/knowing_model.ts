/** A model that has learnt something of the set, as a trained one has: for the experiment `sharp`. */
import type { Method, SequenceSet } from "../baselines/method.ts";
import { allowedTokens } from "../baselines/set.ts";
import { random } from "../lib/support.ts";
import type { Point } from "./plan.ts";

/** Rows of logits begin at so many places of one array. */
const PLACES = 2 ** 20;

/** Place of the logits of a prefix. */
function placeOf(batchRow: number, prefix: Uint32Array): number {
  let hash = Math.imul(batchRow + 1, 0x9e3779b1);
  for (const token of prefix) {
    hash = Math.imul(hash ^ token, 0x85ebca6b);
    hash ^= hash >>> 15;
  }
  return (Math.imul(hash, 0xc2b2ae35) >>> 0) % PLACES;
}

/**
 * Logits [B·M, V] of each step of one search: random in [-4, 4) by batch row and prefix, and `boost` more for the
 * tokens by which a sequence of the set goes on. The method itself is run once, step by step, so that every row has
 * the logits of the beam that the method has there. Methods whose beams differ meet the same model: a prefix has the
 * same logits wherever it stands, and what a method misses is not the doing of another order. Prefixes outside the
 * set have no tokens to boost.
 */
export function knownLogits(
  method: Method,
  set: SequenceSet,
  { batchSize, beamSize, vocabSize, length, boost = 0 }: Point,
): Float32Array<ArrayBuffer>[] {
  const next = random(7);
  const pool = Float32Array.from(
    { length: PLACES + vocabSize },
    () => (next() >>> 8) * 2 ** -21 - 4,
  );
  using running = method.begin({ batchSize, beamSize });
  const first = allowedTokens(set, []);
  return Array.from({ length }, (_, step) => {
    const sequences = step === 0 ? new Uint32Array() : running.beams().sequences;
    const perBatch = step === 0 ? 1 : beamSize;
    const logits = new Float32Array(batchSize * beamSize * vocabSize);
    for (let row = 0; row < batchSize * beamSize; row++) {
      const prefix = sequences.subarray(row * step, (row + 1) * step);
      const place = placeOf(Math.floor(row / perBatch), prefix);
      const at = row * vocabSize;
      logits.set(pool.subarray(place, place + vocabSize), at);
      const allowed = step === 0 ? first : allowedTokens(set, prefix);
      for (const token of allowed) logits[at + token] += boost;
    }
    const out = running.logits();
    out.set(logits.subarray(0, out.length));
    running.advance();
    return logits;
  });
}
