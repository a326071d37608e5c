/** Item ids on their way into an index: sorted by ordinal, without those that a sequence has already. */
import { LimitError } from "../errors.ts";
import { type IdSource, type ItemIds, readIds } from "./item_ids.ts";
import { type ItemsShape, MAX_ITEMS } from "../index/format/item_shape.ts";
import { NONE } from "../index/format/layout.ts";
import { writeItemOrder } from "./item_order.ts";
import type { Progress } from "./progress.ts";
import { type Sections, sectionView, writeSamples } from "../index/section_views.ts";

/** An index of no more items than this can find them by their ids, unless the builder is told otherwise. */
const MOST_BY_DEFAULT = 1e6;

/** Ids in the order in which they are to be stored. */
export interface PlannedItems {
  shape: ItemsShape;
  ids: IdSource;
  /** Input row of each item. */
  rows: Uint32Array;
  /** Which of them are shared; undefined if every sequence has one item. */
  shared: SharedItems | undefined;
}

/** The items of sequences that have several, numbered on their own: see src/index/entries.ts. */
export interface SharedItems {
  readonly count: number;
  /** For each input row, the number of its item among them; NONE if its sequence has one item only. */
  readonly numberOf: Uint32Array;
}

/** What is to be known of items beside their ids. */
interface ItemPlan {
  /** Whether filters are to know the items of sequences that have several: 4 bytes a row and 4 an item more. */
  needsShared: boolean;
  /** Whether ids are to lead back; undefined where that depends on how many there are. */
  lookup: boolean | undefined;
}

/**
 * Sorts ids by ordinal, those of one sequence by id. Memory: 4 bytes a row and 4 a sequence, and 8 a row for integers that are not in a
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
  { needsShared, lookup }: ItemPlan,
): Promise<PlannedItems> {
  const ids = await readIds(items, progress);
  const { rows, ends } = await sortByOrdinal(ordinals, size, progress);
  const isEachAlone = rows.length === size;
  // For each row, where its item is among the distinct ones. Only filters need it.
  const places = needsShared && !isEachAlone ? new Uint32Array(rows.length) : undefined;
  const distinct = isEachAlone ? rows : await withoutRepeats(rows, ends, ids, progress, places);
  if (distinct.length > MAX_ITEMS) {
    throw new LimitError(
      "too-many-items",
      `Cannot build: there are ${distinct.length} item ids, expected at most ${MAX_ITEMS}; split the set`,
      { expected: MAX_ITEMS, actual: distinct.length },
    );
  }
  const shared = places && distinct.length > size
    ? sharedOf(distinct, places, ordinals)
    : undefined;
  const shape = ids.shape(distinct);
  if (shared) shape.shared = shared.count;
  if (lookup !== false && await areAscending(distinct, ids, progress)) shape.lookup = "identity";
  else if (lookup ?? distinct.length <= MOST_BY_DEFAULT) shape.lookup = "permuted";
  return {
    shape,
    ids,
    rows: distinct,
    shared,
  };
}

/**
 * Numbers the items of sequences that have several.
 *
 * @param places for each input row, the place of its item among the distinct ones. Written over.
 */
function sharedOf(
  distinct: Uint32Array,
  places: Uint32Array,
  ordinals: Uint32Array,
): SharedItems {
  const numbers = new Uint32Array(distinct.length).fill(NONE);
  let count = 0;
  for (let place = 0; place < distinct.length; place++) {
    const ordinal = ordinals[distinct[place]];
    const isShared = place > 0 && ordinals[distinct[place - 1]] === ordinal ||
      place + 1 < distinct.length && ordinals[distinct[place + 1]] === ordinal;
    if (isShared) numbers[place] = count++;
  }
  for (let row = 0; row < places.length; row++) places[row] = numbers[places[row]];
  return { count, numberOf: places };
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

/**
 * Sorts the rows of each sequence by their ids and keeps of equal ones the first, in place.
 *
 * @param places takes, for each input row, the place of the id that is kept for it.
 */
async function withoutRepeats(
  rows: Uint32Array,
  ends: Uint32Array,
  ids: IdSource,
  progress: Progress,
  places?: Uint32Array,
): Promise<Uint32Array> {
  const compare = (a: number, b: number) => ids.compare(a, b) || a - b;
  let kept = 0;
  let at = 0;
  const keep = (end: number) => {
    const first = kept;
    if (end - at > 1) rows.subarray(at, end).sort(compare);
    for (; at < end; at++) {
      const row = rows[at];
      const isRepeated = kept > first && ids.compare(rows[kept - 1], row) === 0;
      if (!isRepeated) rows[kept++] = row;
      if (places) places[row] = kept - 1;
    }
  };
  await progress.over("compare items", ends.length, (from, to) => {
    for (let ordinal = from; ordinal < to; ordinal++) keep(ends[ordinal]);
  }, rows.length);
  return rows.subarray(0, kept);
}

/** Whether the ids of these rows ascend: then entries are in the order of their ids as they stand. */
async function areAscending(
  rows: Uint32Array,
  ids: IdSource,
  progress: Progress,
): Promise<boolean> {
  let isSo = true;
  await progress.over("look at the order of ids", rows.length, (from, to) => {
    for (let i = Math.max(1, from); isSo && i < to; i++) {
      isSo = ids.compare(rows[i - 1], rows[i]) <= 0;
    }
  });
  return isSo;
}

/** Writes items into their sections. */
export async function writeItems(
  { shape, ids, rows }: PlannedItems,
  ordinals: Uint32Array,
  size: number,
  sections: Sections,
  progress: Progress,
  wasm?: WebAssembly.Module,
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
  if (shape.lookup === "permuted") await writeItemOrder(shape, sections, progress, wasm);
}
