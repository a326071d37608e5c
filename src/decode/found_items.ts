/** From sequences to items: what a result means to whoever stocks the shelves. */
import { type ConstraintIndex, loadedIndexOf } from "../index/constraint_index.ts";
import { NONE } from "../index/format/layout.ts";
import { idsOf } from "../index/item_lookup.ts";
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
 * Item ids of a result, best first, for every batch row: those of one sequence stand together, in the order of
 * their ids. About a microsecond per sequence. Only the items that passed the filter of their batch row are
 * listed: the result holds them, so that the filter may be disposed of, and the result copied.
 *
 * @param index the index that was searched.
 * @param most stop after so many items of a batch row. Default: all.
 * @throws {EspalierError} with code `"no-items"` if the index has none.
 * @throws {TypeError} if fields of the result are missing.
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
    for (const { ordinal, score, items } of sequences) {
      if (found.length >= most) break;
      for (const item of passedItems(index, items, most - found.length)) {
        found.push({ item, ordinal, score });
      }
    }
    return found;
  });
}

/**
 * Ids of the items of a found sequence that have passed.
 *
 * @param runs as in {@linkcode BeamSearchResult.items}.
 * @throws {EspalierError} with code `"no-items"` if the index has none.
 */
export function passedItems(
  index: ConstraintIndex,
  runs: Uint32Array,
  most = Infinity,
): (bigint | string)[] {
  const ids: (bigint | string)[] = [];
  for (let i = 0; i < runs.length && ids.length < most; i += 2) {
    const [first, end] = [runs[i], runs[i + 1]];
    const left = most - ids.length;
    const found = end === NONE
      ? index.itemsAt(first, left)
      : idsOf(loadedIndexOf(index), first, Math.min(end, first + left));
    // One by one: a call takes only so many arguments.
    for (const id of found) ids.push(id);
  }
  return ids;
}
