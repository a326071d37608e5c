/** What each batch row of a search may come to: its filter, without what is excluded. */
import { rangeError, typeError } from "../errors.ts";
import { type ConstraintIndex, loadedIndexOf } from "../index/constraint_index.ts";
import { checkOrdinal, filterBitsOf, filterOf, type ItemFilter } from "../index/item_filter.ts";
import { FilterBits, sharedWithout } from "../index/filter_bits.ts";
import type { EntryPlace } from "../index/entries.ts";
import type { SharedBits } from "../index/entry_set.ts";
import type { LoadedIndex } from "../index/index_memory.ts";
import { ItemFinder } from "../index/item_finder.ts";
import { Exclusions } from "../kernels/exclusions.ts";
import type { BeamSearchOptions } from "./types.ts";

/** Most ordinals, and most item ids, that a batch row may exclude. */
export const MAX_EXCLUDED = 10_000;

/** Filters of one search. Disposing of it gives back what the search has made or retained. */
export interface BatchFilters extends Disposable {
  /** One per batch row; undefined if no row has one. */
  readonly filters: readonly (FilterBits | undefined)[] | undefined;
  /** What is taken from these. */
  readonly exclusions: readonly (Exclusions | undefined)[] | undefined;
  /** Shared entries that each row allows, of its allowed sequences; undefined for all. */
  readonly shared: readonly (SharedBits | undefined)[];
}

const NO_ORDINALS = new Uint32Array();

/** What may be said of rows. */
export type RowRules = Pick<BeamSearchOptions, "filter" | "exclude" | "excludeItems">;

/** Whether a search needs filters, and so all levels of the index. */
export function isFiltered({ filter, exclude, excludeItems }: RowRules): boolean {
  return filter !== undefined || exclude !== undefined || excludeItems !== undefined;
}

/** Filters and exclusions, checked. */
function checkedRules(index: ConstraintIndex, options: RowRules, rows: number) {
  const loaded = loadedIndexOf(index);
  const filters = perRow("filter", filterList(options.filter, rows), rows);
  const excluded = perRow("exclude", options.exclude ?? [], rows, true);
  const excludedItems = perRow("excludeItems", options.excludeItems ?? [], rows, true);
  return filters.map((filter, row) => {
    const ordinals = excluded[row];
    const ids = excludedItems[row];
    return {
      // Anything but undefined counts, null included: what is meant as a filter must not be passed over.
      filter: filter === undefined ? undefined : filterBitsOf(filter, loaded),
      ordinals: ordinals === undefined ? undefined : excludedOrdinals(ordinals, index.size),
      entries: ids === undefined ? undefined : excludedPlaces(ids, loaded),
    };
  });
}

/**
 * Checks filters and exclusions, and finds what the exclusions take from the filters.
 *
 * @throws {RangeError} for ordinals out of range, and lists that are not one entry per batch row. @throws {TypeError} for
 * filters of another index, and what is no filter. @throws {LimitError} if there is no memory.
 */
export function batchFilters(
  index: ConstraintIndex,
  options: RowRules,
  batchSize: number,
): BatchFilters {
  const none = { filters: undefined, exclusions: undefined, shared: [] };
  if (!isFiltered(options)) return { ...none, [Symbol.dispose]() {} };
  const loaded = loadedIndexOf(index);
  const rows = checkedRules(index, options, batchSize);
  const made: { release(): void }[] = [];
  const keep = <T extends { release(): void }>(one: T) => {
    made.push(one);
    return one;
  };
  const release = () => made.splice(0).forEach((one) => one.release());
  try {
    const filters = rows.map(({ filter }) => filter && keep(filter.retain()));
    const shared: (SharedBits | undefined)[] = [];
    const exclusions = rows.map(({ filter, ordinals = [], entries = [] }, row) => {
      const rest = sharedWithout(loaded, filter?.shared, entries);
      shared[row] = rest.shared;
      const gone = Uint32Array.from(new Set([...ordinals, ...rest.emptied])).sort();
      return gone.length > 0 ? keep(new Exclusions(loaded, filter, gone)) : undefined;
    });
    return {
      filters: filters.some(Boolean) ? filters : undefined,
      exclusions: exclusions.some(Boolean) ? exclusions : undefined,
      shared,
      [Symbol.dispose]: release,
    };
  } catch (error) {
    release();
    throw error;
  }
}

/**
 * As {@linkcode batchFilters}, but as filters to look things up with.
 *
 * @returns one per row, undefined where nothing is said of it. Dispose of the list, which gives back what was made for it.
 */
export function rowFilters(
  index: ConstraintIndex,
  options: RowRules,
  rows: number,
): readonly (ItemFilter | undefined)[] & Disposable {
  if (!options.exclude && !options.excludeItems) {
    const filters = perRow("filter", filterList(options.filter, rows), rows);
    return Object.assign([...filters], { [Symbol.dispose]() {} });
  }
  const filters: (ItemFilter | undefined)[] = [];
  const dispose = () => filters.forEach((filter) => filter?.[Symbol.dispose]());
  let all: FilterBits | undefined;
  try {
    for (
      const { filter, ordinals = NO_ORDINALS, entries = [] } of checkedRules(index, options, rows)
    ) {
      const isCut = ordinals.length + entries.length > 0;
      const base = filter ?? (isCut ? all ??= FilterBits.all(loadedIndexOf(index)) : undefined);
      filters.push(base && filterOf(isCut ? base.without(ordinals, entries) : base.retain()));
    }
  } catch (error) {
    dispose();
    throw error;
  } finally {
    all?.release();
  }
  return Object.assign(filters, { [Symbol.dispose]: dispose });
}

function filterList(
  filter: BeamSearchOptions["filter"],
  batchSize: number,
): readonly (ItemFilter | undefined)[] {
  return Array.isArray(filter) ? filter : new Array(batchSize).fill(filter);
}

/** A list with an entry for each batch row; with `mayBeEmpty`, nothing at all will do. */
function perRow<T>(
  name: string,
  list: readonly T[],
  batchSize: number,
  mayBeEmpty = false,
): readonly (T | undefined)[] {
  if (!Array.isArray(list)) {
    throw typeError(
      `Cannot filter: "${name}" is no array of one entry per row`,
      { expected: batchSize, actual: typeof list },
    );
  }
  if (list.length === 0 && mayBeEmpty) return new Array(batchSize).fill(undefined);
  if (list.length !== batchSize) {
    throw rangeError(
      `Cannot filter: "${name}" has ${list.length} entries, expected ${batchSize}: one for each row, undefined for none`,
      { expected: batchSize, actual: list.length },
    );
  }
  return Array.from(list); // holes become undefined
}

function excludedOrdinals(list: ArrayLike<number>, size: number): Uint32Array {
  const length = list?.length;
  if (typeof list !== "object" || !Number.isInteger(length)) {
    throw typeError(
      'Cannot filter: expected arrays of ordinals in "exclude", one per row',
      { expected: "ArrayLike<number>", actual: typeof list },
    );
  }
  if (length > MAX_EXCLUDED) {
    throw rangeError(
      `Cannot exclude ${length} sequences: expected at most ${MAX_EXCLUDED} per row; make a filter of them with index.filter`,
      { expected: MAX_EXCLUDED, actual: length },
    );
  }
  const ordinals = new Uint32Array(length);
  for (let i = 0; i < length; i++) {
    checkOrdinal(list[i], size);
    ordinals[i] = list[i];
  }
  return ordinals;
}

/** Entries of excluded items. Ids that the index does not have exclude nothing. */
function excludedPlaces(ids: readonly (bigint | string)[], loaded: LoadedIndex): EntryPlace[] {
  if (!Array.isArray(ids)) {
    throw typeError(
      'Cannot filter: expected arrays of item ids in "excludeItems", one per row',
      { expected: "(bigint | string)[]", actual: typeof ids },
    );
  }
  if (ids.length > MAX_EXCLUDED) {
    throw rangeError(
      `Cannot exclude ${ids.length} items: expected at most ${MAX_EXCLUDED} per row; make a filter of them with index.filter({ items }).not()`,
      { expected: MAX_EXCLUDED, actual: ids.length },
    );
  }
  const finder = ItemFinder.of(loaded);
  return Array.from(ids).flatMap((id) => finder.placesOf(id));
}
