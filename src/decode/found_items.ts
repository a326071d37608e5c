/** From sequences to items: what a result means to whoever stocks the shelves. */
import type { ConstraintIndex } from "../index/constraint_index.ts";
import { sequencesOf } from "./found_sequences.ts";
import type { BeamSearchResult } from "./types.ts";

/** An item that a search has found. */
export interface FoundItem {
  /** Its id, as the builder was given it: `bigint` where `index.items.type` is `"integer"`. */
  item: bigint | string;
  /** Ordinal of its sequence, which other items may share. */
  ordinal: number;
  /** Score of that sequence. */
  score: number;
}

/**
 * Item ids of a result, best first, for every batch row: those of one sequence stand together, in the order in which the
 * builder was given them. About a microsecond per sequence.
 *
 * @param index the index that was searched.
 * @param most stop after so many items of a batch row. Default: all.
 * @throws {EspalierError} with code `"no-items"` if the index has none.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { buildIndex } from "@espalier/espalier/build";
 * import { createDecoder, itemsOf } from "@espalier/espalier";
 *
 * const items = ["red shoe", "blue shoe", "hat"];
 * using index = await buildIndex([[1, 2], [1, 2], [3, 0]], { vocabSize: 4, items });
 * using decoder = await createDecoder(index);
 * const result = await decoder.beamSearch(({ out }) => out.fill(0), { beamSize: 2 });
 * const [found] = itemsOf(index, result);
 * assert.deepEqual(found.map(({ item }) => item), items);
 * ```
 */
export function itemsOf(
  index: ConstraintIndex,
  result: BeamSearchResult,
  most = Infinity,
): FoundItem[][] {
  return sequencesOf(result).map((sequences) => {
    const found: FoundItem[] = [];
    for (const { ordinal, score } of sequences) {
      if (found.length >= most) break;
      for (const item of index.itemsAt(ordinal, most - found.length)) {
        found.push({ item, ordinal, score });
      }
    }
    return found;
  });
}
