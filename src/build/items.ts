/** Item ids on their way into an index: sorted by ordinal, without those that a sequence has already. */
import { LimitError } from "../errors.ts";
import { type IdSource, type ItemIds, readIds } from "./item_ids.ts";
import { type ItemsShape, MAX_ITEMS } from "../index/format/item_shape.ts";
import type { Progress } from "./progress.ts";
import { type Sections, sectionView, writeSamples } from "../index/section_views.ts";

/** Groups with more rows than this are looked through with a `Set`. */
const FEW = 16;

/** Ids in the order in which they are to be stored. */
export interface PlannedItems {
  shape: ItemsShape;
  ids: IdSource;
  /** Input row of each item. */
  rows: Uint32Array;
}

/**
 * Sorts ids by ordinal. Memory: 4 bytes a row and 4 a sequence, and 8 a row for integers that are not in a
 * `BigInt64Array` or `BigUint64Array`.
 *
 * @throws {BuildInputError} naming the row of an id that is none, or of another type than the first.
 * @throws {LimitError} if there are more than 2^30.
 */
export async function planItems(
  items: ItemIds,
  ordinals: Uint32Array,
  size: number,
  progress: Progress,
): Promise<PlannedItems> {
  const ids = await readIds(items, progress);
  const { rows, ends } = await sortByOrdinal(ordinals, size, progress);
  const distinct = rows.length === size ? rows : await withoutRepeats(rows, ends, ids, progress);
  if (distinct.length > MAX_ITEMS) {
    throw new LimitError(
      "too-many-items",
      `Cannot build: there are ${distinct.length} item ids, expected at most ${MAX_ITEMS}; split the set`,
      { expected: MAX_ITEMS, actual: distinct.length },
    );
  }
  return { shape: ids.shape(distinct), ids, rows: distinct };
}

/** Rows by ordinal, those of one sequence in their order, and where each sequence's rows end: a counting sort. */
async function sortByOrdinal(ordinals: Uint32Array, size: number, progress: Progress) {
  const ends = new Uint32Array(size);
  await progress.over("count items", ordinals.length, (from, to) => {
    for (let row = from; row < to; row++) ends[ordinals[row]]++;
  });
  let before = 0;
  for (let ordinal = 0; ordinal < size; ordinal++) {
    const count = ends[ordinal];
    ends[ordinal] = before;
    before += count;
  }
  const rows = new Uint32Array(ordinals.length);
  await progress.over("deal items", ordinals.length, (from, to) => {
    for (let row = from; row < to; row++) rows[ends[ordinals[row]]++] = row;
  });
  return { rows, ends };
}

/** Keeps of equal ids of one sequence the first, in place. */
async function withoutRepeats(
  rows: Uint32Array,
  ends: Uint32Array,
  ids: IdSource,
  progress: Progress,
): Promise<Uint32Array> {
  let kept = 0;
  let at = 0;
  const keep = (end: number) => {
    const first = kept;
    const seen = end - at > FEW ? new Set<bigint | string>() : undefined;
    for (; at < end; at++) {
      const row = rows[at];
      let other = first;
      if (seen) {
        if (seen.has(ids.key(row))) continue;
        seen.add(ids.key(row));
      } else {
        while (other < kept && !ids.isSame(rows[other], row)) other++;
        if (other < kept) continue;
      }
      rows[kept++] = row;
    }
  };
  await progress.over("compare items", ends.length, (from, to) => {
    for (let ordinal = from; ordinal < to; ordinal++) keep(ends[ordinal]);
  }, rows.length);
  return rows.subarray(0, kept);
}

/** Writes items into their sections. */
export async function writeItems(
  { shape, ids, rows }: PlannedItems,
  ordinals: Uint32Array,
  size: number,
  sections: Sections,
  progress: Progress,
): Promise<void> {
  const writer = ids.writer(shape, sections);
  const starts = sectionView(sections, "items.starts");
  await progress.over("write items", rows.length, (from, to) => {
    for (let i = from; i < to; i++) {
      const isFirst = i === 0 || ordinals[rows[i]] !== ordinals[rows[i - 1]];
      if (isFirst && starts.length > 0) starts[i >>> 5] |= 1 << (i & 31);
      writer.push(rows[i]);
    }
  }, ordinals.length);
  writer.finish();
  if (rows.length > size) writeSamples(sections, "items.starts", rows.length);
}
