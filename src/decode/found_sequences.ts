/** A result as lists: what each batch row found, best first. */
import { typeError } from "../errors.ts";
import type { BeamSearchResult } from "./types.ts";

/** A sequence that a search has found. */
export interface FoundSequence {
  /** Its number in the index. */
  ordinal: number;
  /** Its score, as in the result. */
  score: number;
  /** Its tokens: a view of `result.sequences`, without the padding. */
  sequence: Uint32Array;
  /** Which of its items have passed: a view of `result.items`. */
  items: Uint32Array;
}

/**
 * The sequences of a result, best first, for every batch row: the places that are padding are left out. They are views;
 * nothing is copied.
 *
 * @throws {TypeError} if fields of the result are missing.
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
  result: BeamSearchResult,
): FoundSequence[][] {
  const { batchSize, results, maxLength, counts, ordinals, scores, lengths, sequences } = result;
  const { items, itemStarts } = result;
  if (!(items instanceof Uint32Array && itemStarts instanceof Uint32Array)) {
    throw typeError(
      "Cannot list the result: expected the fields items and itemStarts, found none; pass the result of a search, or a copy of it with all its fields",
      { expected: "Uint32Array", actual: typeof items },
    );
  }
  return Array.from(
    { length: batchSize },
    (_, row) =>
      Array.from({ length: counts[row] }, (_, place) => {
        const at = row * results + place;
        const start = at * maxLength;
        return {
          ordinal: ordinals[at],
          score: scores[at],
          sequence: sequences.subarray(start, start + lengths[at]),
          items: items.subarray(2 * itemStarts[at], 2 * itemStarts[at + 1]),
        };
      }),
  );
}
