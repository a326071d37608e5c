/**
 * Building an index, offline: from a matrix, or from any iterable of sequences.
 *
 * @module
 */
import { BuildInputError, checkOptionNames, rangeError, typeError } from "../errors.ts";
import { digestChunks, encodeHeader } from "../storage/safetensors.ts";
import { ConstraintIndex, indexFrom } from "../index/constraint_index.ts";
import { filterEntries, type FilterValues, planFilter, writeFilter } from "./filters.ts";
import { planItems, writeItems } from "./items.ts";
import {
  encodeShape,
  type IndexShape,
  isSoundTokenizer,
  planData,
} from "../index/format/header.ts";
import { checkItems, type ItemIds } from "./item_ids.ts";
import { MAX_VOCAB } from "../index/format/layout.ts";
import { Progress } from "./progress.ts";
import { planIndex } from "./plan_levels.ts";
import { readRows, type Sequences } from "./read_rows.ts";
import type { RowBatch, SequenceMatrix } from "./row_cursor.ts";
import { reserve } from "../index/index_memory.ts";
import { writeIndex } from "./write_levels.ts";

export type { FilterValues, ItemIds, RowBatch, SequenceMatrix, Sequences };
export { BuildInputError, ConstraintIndex };
export type { OpenOptions } from "../index/constraint_index.ts";
export type { LevelInfo } from "../index/level_info.ts";
export type { IndexSource } from "../storage/source.ts";

/** How to build. */
export interface BuildOptions {
  /** Tokens are integers in [0, vocabSize); 2 … 2^20. */
  vocabSize: number;
  /** The rows are in ascending order, prefixes first. Saves the sort and its memory; checked. */
  sorted?: boolean;
  /** Called once with the ordinal of each input row, duplicates included. Costs 4 to 8 bytes a row. */
  reportOrdinals?: (ordinals: Uint32Array) => void;
  /**
   * Filters to keep in the index by name: for each, one value per input row, where 0 and false forbid. An item of a
   * sequence is allowed if one of its rows is, and a sequence if one of its items is. Names have 1 … 200 characters, no control characters; at most 1024 filters.
   * Costs 4 bytes a row and a bit per sequence and filter while building, at most that bit in the index; where items
   * share sequences, 8 bytes a row more, and a bit for each such item and filter in the index.
   */
  filters?: Readonly<Record<string, FilterValues>>;
  /**
   * Item ids to keep in the index, one per input row: integers of 64 bits (numbers must be safe integers), or strings.
   * Several rows may share a sequence, which then has several items, in the order of their ids; equal ids of one
   * sequence are kept once. Costs 12 to 24 bytes a row while building; in the index as many bits as the range of the
   * integers takes, or the UTF-8 and some bits, for each.
   */
  items?: ItemIds;
  /**
   * Whether ids lead back to sequences (`index.ordinalsOfItem`, `excludeItems`, filters of items). Default: up to 1 million
   * items, and where it costs nothing, as ids ascend with the sequences. Else it costs ceil(log2(items)) bits an item, and
   * 16 to 24 bytes an item while building.
   */
  itemLookup?: boolean;
  /**
   * What made the sequences of texts, to be kept in the index for whoever turns them back: a name of 1 to 200
   * characters and, for a file, its SHA-256, hex.
   */
  tokenizer?: { name: string; digest?: string };
  /**
   * The compiled kernels (`src/wasm/kernels.gen.wasm`), on platforms that refuse to compile from bytes. Those do without
   * fused multiply-add, unless they load Espalier's bundle for them.
   */
  wasm?: WebAssembly.Module;
  /** Stops the build; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Called from time to time: rows done of all; no total while a stream is read. */
  onProgress?: (done: number, total?: number) => void;
}

/**
 * Builds the index of a set of token sequences, 1 … 1024 tokens each. Duplicates are merged; a sequence may
 * be the prefix of another.
 *
 * Cost: 10 million rows of 8 tokens take a few seconds on one core. Memory beside the input and the index:
 * for an unsorted matrix about one packed key per row (12 bytes for 8 tokens of 11 bits); for iterables
 * about 30 bytes per unsorted row; for sorted ones about the size of the index.
 *
 * @param sequences a matrix, or rows in any order (in ascending order with `sorted`). Not kept; a matrix must
 * not change until the promise settles, it is read more than once.
 * @throws {BuildInputError} naming row and position, if a row is no sequence of tokens, or there is none; naming
 * filter and row, if a value or an id is none, or there is not one per row.
 * @throws {RangeError} if `vocabSize` is out of range.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { buildIndex } from "@espalier/espalier/build";
 *
 * const data = Uint16Array.of(7, 1, 7, 2, 3, 3);
 * using index = await buildIndex({ data, rows: 3, length: 2 }, { vocabSize: 8 });
 * assert(index.size === 3);
 * assert(index.sequenceAt(0).join() === "3,3");
 * ```
 *
 * @example With the ids of the items, and those of them that may be shown
 * ```ts
 * import assert from "node:assert/strict";
 * import { buildIndex } from "@espalier/espalier/build";
 *
 * using index = await buildIndex([[7, 1], [7, 2], [7, 1]], {
 *   vocabSize: 8,
 *   items: ["lamp", "chair", "lantern"],
 *   filters: { "in stock": [true, false, false] },
 * });
 * assert.deepEqual(index.itemsAt(0), ["lamp", "lantern"]);
 * assert.deepEqual(index.filterNames, ["in stock"]);
 * ```
 */
export async function buildIndex(
  sequences: Sequences,
  options: BuildOptions,
): Promise<ConstraintIndex> {
  if (typeof options !== "object" || options === null) {
    throw typeError("Cannot build without options: expected at least { vocabSize }", {
      actual: options,
    });
  }
  checkOptionNames("buildIndex", options, BUILD_OPTIONS);
  const { vocabSize, reportOrdinals, items, itemLookup, tokenizer, wasm, signal } = options;
  if (!Number.isInteger(vocabSize) || vocabSize < 2 || vocabSize > MAX_VOCAB) {
    throw rangeError(
      `Cannot build: vocabSize is ${vocabSize}, expected an integer in [2, ${MAX_VOCAB}]`,
      { expected: MAX_VOCAB, actual: vocabSize },
    );
  }
  if (tokenizer !== undefined && !isSoundTokenizer(tokenizer)) {
    throw typeError(
      "Cannot build: expected a tokenizer { name, digest } with a name of 1 to 200 characters and a SHA-256 in hex, or no digest",
      { actual: tokenizer },
    );
  }
  const filters = filterEntries(options.filters);
  checkItems(items);
  if (itemLookup !== undefined && typeof itemLookup !== "boolean") {
    throw typeError("Cannot build: expected itemLookup as true or false", { actual: itemLookup });
  }
  if (itemLookup && !items) throw typeError("Cannot build: itemLookup needs items, found none");
  signal?.throwIfAborted();
  const progress = new Progress(options);
  const keepRows = reportOrdinals !== undefined || items !== undefined || filters.length > 0;
  progress.passes = 2 + Number(keepRows) + filters.length + (items ? 8 : 0);
  const rows = await readRows(sequences, {
    ...options,
    keepRows,
    progress,
    counted: (rows) => checkCounts(rows, filters, items),
  });
  if (rows.count === 0) {
    throw new BuildInputError(
      "empty-set",
      "Cannot build an index of no sequences: pass at least one row",
      { expected: 1, actual: 0 },
    );
  }
  const ordinals = new Uint32Array(keepRows ? rows.count : 0);
  const shape: IndexShape = await planIndex(
    rows,
    vocabSize,
    progress,
    keepRows ? ordinals : undefined,
  );
  const { size } = shape;
  const hasFilters = filters.length > 0;
  const plannedItems = items && await planItems(items, ordinals, size, progress, {
    needsShared: hasFilters,
    lookup: itemLookup,
  });
  const plannedFilters = [];
  for (const [name, values] of filters) {
    const shared = plannedItems?.shared;
    plannedFilters.push(await planFilter(name, values, ordinals, size, shared, progress));
  }
  if (hasFilters) shape.filters = plannedFilters.map((filter) => filter.shape);
  if (plannedItems) shape.items = plannedItems.shape;
  if (tokenizer) {
    const { name, digest } = tokenizer;
    shape.tokenizer = digest === undefined ? { name } : { name, digest };
  }

  const memory = await reserve(shape, wasm);
  await writeIndex(rows, memory, progress);
  const { heap, data, dataByteLength } = memory;
  const { sections } = planData(shape);
  const placed = { heap, data, header: { tensors: sections } };
  plannedFilters.forEach((filter, i) => writeFilter(filter, i, placed, size));
  if (plannedItems) await writeItems(plannedItems, ordinals, size, placed, progress, wasm);
  const digests = await digestChunks(
    (offset, length) => heap.u8(data + offset, length),
    dataByteLength,
  );
  const header = await encodeHeader(sections, encodeShape(shape), digests);
  const index = indexFrom({ ...memory, header });
  reportOrdinals?.(ordinals);
  return index;
}

const BUILD_OPTIONS = [
  "vocabSize",
  "sorted",
  "reportOrdinals",
  "filters",
  "items",
  "itemLookup",
  "tokenizer",
  "wasm",
  "signal",
  "onProgress",
] as const satisfies readonly (keyof BuildOptions)[];

/** Makes sure that filters and items have one value per row. */
function checkCounts(
  rows: number,
  filters: readonly [name: string, values: FilterValues][],
  items: ItemIds | undefined,
): void {
  for (const [filter, { length }] of filters) {
    if (length === rows) continue;
    throw new BuildInputError(
      "filter-length",
      `Cannot build: the filter ${
        JSON.stringify(filter)
      } has ${length} values, expected one for each of ${rows} rows; add or remove some`,
      { filter, expected: rows, actual: length },
    );
  }
  if (items && items.length !== rows) {
    throw new BuildInputError(
      "items-length",
      `Cannot build: there are ${items.length} item ids, expected one for each of ${rows} rows; add or remove some`,
      { expected: rows, actual: items.length },
    );
  }
}
