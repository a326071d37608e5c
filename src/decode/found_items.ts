/** From sequences to items: what a result means to whoever stocks the shelves. */
import { checkOptionNames, rangeError, typeError } from "../errors.ts";
import { type ConstraintIndex, loadedIndexOf } from "../index/constraint_index.ts";
import { NONE } from "../index/format/layout.ts";
import { idsOf } from "../index/item_lookup.ts";
import { type FoundSequence, sequencesOf } from "./found_sequences.ts";
import type { BeamSearchResult } from "./types.ts";

/** An item that a search has found. */
export interface FoundItem {
  /** Its id, as the builder was given it: `bigint` where `index.items.type` is `"integer"`. */
  item: bigint | string;
  /** Ordinal of its sequence, which other items may share: of the best, where several led to it. */
  ordinal: number;
  /** Score of that sequence, or of all the sequences that led to it, as one. */
  score: number;
}

/**
 * What becomes of an item that a batch row has found through several of its sequences: it takes one place, that of
 * the sequence that ranks first, with its score (`"best"`), or that of the logarithm of the sum of their probabilities
 * (`"sum"`), or keeps a place for each (`"keep"`).
 */
export type Duplicates = "best" | "sum" | "keep";

/** Options of {@linkcode itemsOf}. */
export interface ItemsOptions {
  /** Stop after so many items of a batch row. Default: all. */
  most?: number;
  /** What becomes of items that several sequences lead to. Default `"best"`. */
  duplicates?: Duplicates;
}

const ITEMS_OPTIONS = ["most", "duplicates"] as const satisfies readonly (keyof ItemsOptions)[];

/**
 * Item ids of a result, best first, for every batch row: those of one sequence stand together, in the order of
 * their ids. About a microsecond per sequence. Only the items that passed the filter of their batch row are
 * listed: the result holds them, so that the filter may be disposed of, and the result copied.
 *
 * @param index the index that was searched.
 * @param options how many, and what becomes of items that were found several times; or just how many.
 * @throws {EspalierError} with code `"no-items"` if the index has none.
 * @throws {TypeError} if fields of the result are missing, or for options that there are not. @throws {RangeError} for a
 * number of items below 0.
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
 * assert.deepEqual(found.map(({ item }) => item), ["blue shoe", "red shoe", "hat"]);
 * ```
 */
export function itemsOf(
  index: ConstraintIndex,
  result: BeamSearchResult,
  options: number | ItemsOptions = {},
): FoundItem[][] {
  const given: ItemsOptions = typeof options === "number" ? { most: options } : options;
  checkOptionNames("itemsOf", given, ITEMS_OPTIONS);
  const { most = Infinity, duplicates } = given;
  if (!(most >= 0)) {
    throw rangeError(`Cannot list ${most} items: expected a number from 0 on`, { actual: most });
  }
  // Only of the best scores the first are known before the last are seen.
  const left = duplicates === "sum" ? Infinity : most;
  return sequencesOf(result).map((found) =>
    foundItems(index, found, duplicates, left)
      .flatMap(({ ordinal, score, items }) => items.map((item) => ({ item, ordinal, score })))
      .slice(0, most)
  );
}

/** A found sequence with items that it stands for. */
export interface SequenceWithItems extends Omit<FoundSequence, "items"> {
  readonly items: (bigint | string)[];
}

/**
 * Items of the sequences of a batch row, best first.
 *
 * @param most items after which to stop.
 * @throws {EspalierError} with code `"no-items"`. @throws {TypeError} for an unknown way with duplicates.
 */
export function foundItems(
  index: ConstraintIndex,
  found: readonly FoundSequence[],
  duplicates: Duplicates = "best",
  most = Infinity,
): SequenceWithItems[] {
  if (!["best", "sum", "keep"].includes(duplicates)) {
    throw typeError(
      `Cannot list items: duplicates is ${String(duplicates)}, expected "best", "sum" or "keep"`,
      { expected: "best, sum or keep", actual: duplicates },
    );
  }
  /** By item, its place among the results, and its scores. */
  const seen = new Map<bigint | string, { place: number; scores: number[] }>();
  const results: SequenceWithItems[] = [];
  let count = 0;
  for (const { items: runs, ...sequence } of found) {
    if (count >= most) break;
    // Of those that are read, at most so many were found before.
    const repeated = duplicates === "keep" ? 0 : seen.size;
    const items = passedItems(index, runs, most - count + repeated).filter((item) => {
      if (duplicates === "keep") return true;
      const before = seen.get(item);
      before?.scores.push(sequence.score);
      if (!before) seen.set(item, { place: results.length, scores: [sequence.score] });
      return !before;
    });
    count += items.length;
    if (items.length > 0) results.push({ ...sequence, items });
  }
  if (duplicates !== "sum") return results;
  // Items of one sequence that have the same score stay together.
  const summed: SequenceWithItems[] = [];
  for (const [item, { place, scores }] of seen) {
    const score = logSumExp(scores);
    const last = summed.at(-1);
    if (last?.ordinal === results[place].ordinal && last.score === score) last.items.push(item);
    else summed.push({ ...results[place], score, items: [item] });
  }
  return summed.sort((a, b) => b.score - a.score);
}

/** Logarithm of a sum of probabilities. */
function logSumExp(scores: readonly number[]): number {
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const sum = scores.reduce((sum, score) => sum + Math.exp(score - largest), 0);
  return Number.isFinite(largest) ? largest + Math.log(sum) : largest;
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
