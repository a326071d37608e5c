/** A result as lists: what each batch row found, best first. */
import type { BeamSearchResult } from "./types.ts";

/** A sequence that a search has found. */
export interface FoundSequence {
  /** Its number in the index. */
  ordinal: number;
  /** Its score, as in the result. */
  score: number;
  /** Its tokens: a view of `result.sequences`, without the padding. */
  sequence: Uint32Array;
}

/**
 * The sequences of a result, best first, for every batch row: the places that are padding are left out. They are views;
 * nothing is copied.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { buildIndex } from "@espalier/espalier/build";
 * import { createDecoder, sequencesOf } from "@espalier/espalier";
 *
 * using index = await buildIndex([[1, 2], [3, 0]], { vocabSize: 4 });
 * using decoder = await createDecoder(index);
 * const result = await decoder.beamSearch(({ out }) => out.fill(0), { beamSize: 5 });
 * const [found] = sequencesOf(result);
 * assert.deepEqual(found.map(({ sequence }) => [...sequence]), [[1, 2], [3, 0]]);
 * ```
 */
export function sequencesOf(
  { batchSize, beamSize, maxLength, counts, ordinals, scores, lengths, sequences }:
    BeamSearchResult,
): FoundSequence[][] {
  return Array.from(
    { length: batchSize },
    (_, row) =>
      Array.from({ length: counts[row] }, (_, place) => {
        const at = row * beamSize + place;
        const start = at * maxLength;
        return {
          ordinal: ordinals[at],
          score: scores[at],
          sequence: sequences.subarray(start, start + lengths[at]),
        };
      }),
  );
}
