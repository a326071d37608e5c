/** Named filters on their way into an index: from values of input rows to sets of ordinals. */
import { BuildInputError, LimitError, typeError } from "../errors.ts";
import { forEachOne, popcount } from "../index/bits/bit_vector.ts";
import { EliasFanoWriter } from "../index/bits/elias_fano.ts";
import { aligned, NONE } from "../index/format/layout.ts";
import {
  filterSections,
  type FilterShape,
  isFilterName,
  listShape,
  MAX_FILTERS,
  MAX_NAME_LENGTH,
} from "../index/format/filter_shape.ts";
import type { SharedItems } from "./items.ts";
import type { Progress } from "./progress.ts";
import { type Sections, sectionView } from "../index/section_views.ts";

/** One value per input row: zero and false forbid, other numbers and true allow. */
export type FilterValues = ArrayLike<number | boolean>;

/** A set of ordinals, and how it is to be stored. */
export interface PlannedFilter {
  shape: FilterShape;
  /** Bit i of word i >> 5 is ordinal i. */
  bits: Uint32Array;
  /** The same for shared items, where there are some. */
  entries: Uint32Array | undefined;
}

/**
 * Filters by name, in the order of the object's own keys (numbers first, as JavaScript has it).
 *
 * @throws {TypeError} {BuildInputError} {LimitError} for what are no filters, bad names, too many.
 */
export function filterEntries(
  filters: Readonly<Record<string, FilterValues>> = {},
): [name: string, values: FilterValues][] {
  const isObject = typeof filters === "object" && filters !== null;
  const prototype = isObject ? Object.getPrototypeOf(filters) : undefined;
  // A Map has no entries of its own: the index would come without its filters.
  if (prototype !== null && prototype !== Object.prototype) {
    throw typeError(
      "Cannot build: filters is no plain object, expected { name: one value per input row }",
      { actual: Object.prototype.toString.call(filters) },
    );
  }
  const entries = Object.entries(filters);
  if (entries.length > MAX_FILTERS) {
    throw new LimitError(
      "too-many-filters",
      `Cannot build: there are ${entries.length} named filters, expected at most ${MAX_FILTERS}; make the others with index.filter`,
      { expected: MAX_FILTERS, actual: entries.length },
    );
  }
  for (const [name, values] of entries) {
    if (!isFilterName(name)) {
      throw new BuildInputError(
        "bad-filter-name",
        `Cannot build: a filter is named ${
          JSON.stringify(name.slice(0, MAX_NAME_LENGTH))
        }, expected 1 to ${MAX_NAME_LENGTH} characters, none of them a control character; rename it`,
        { expected: MAX_NAME_LENGTH, actual: name, filter: name },
      );
    }
    if (typeof values !== "object" || !Number.isInteger(values?.length)) {
      throw typeError(
        `Cannot build: the filter ${
          JSON.stringify(name)
        } is no array, expected one number or boolean per input row`,
        { actual: values, filter: name },
      );
    }
  }
  return entries;
}

/**
 * Makes the set of one filter. An item of a sequence is allowed if one of its rows is, and a sequence if one of its items
 * is.
 *
 * @throws {BuildInputError} naming filter and row, for a value that is neither number nor boolean.
 */
export async function planFilter(
  name: string,
  values: FilterValues,
  ordinals: Uint32Array,
  size: number,
  shared: SharedItems | undefined,
  progress: Progress,
): Promise<PlannedFilter> {
  const bits = new Uint32Array(Math.ceil(size / 32));
  const entries = shared && new Uint32Array(Math.ceil(shared.count / 32));
  await progress.over(`filter ${name}`, ordinals.length, (from, to) => {
    for (let row = from; row < to; row++) {
      if (!isAllowed(values[row], row, name)) continue;
      const ordinal = ordinals[row];
      bits[ordinal >>> 5] |= 1 << (ordinal & 31);
      const number = shared ? shared.numberOf[row] : NONE;
      if (number !== NONE) entries![number >>> 5] |= 1 << (number & 31);
    }
  });
  const ones = countOnes(bits);
  const shape: FilterShape = { name, ones, encoding: "bits" };
  const list: FilterShape = { name, ones, encoding: "sparse" };
  if (size - ones < ones) list.inverted = true;
  const smaller = bytesOf(list, size) < bytesOf(shape, size) ? list : shape;
  if (entries) smaller.entries = countOnes(entries);
  return { shape: smaller, bits, entries };
}

function isAllowed(value: unknown, row: number, filter: string): boolean {
  if (typeof value === "boolean") return value;
  if (typeof value === "number" && !Number.isNaN(value)) return value !== 0;
  throw new BuildInputError(
    "bad-filter-value",
    `Cannot build: the filter ${JSON.stringify(filter)} has ${
      String(value)
    } in row ${row}, expected a number or boolean; mend the row`,
    { filter, row, actual: typeof value === "bigint" ? String(value) : value },
  );
}

function countOnes(words: Uint32Array): number {
  return words.reduce((sum, word) => sum + popcount(word), 0);
}

/** Bytes of the sections of ordinals. */
function bytesOf(filter: FilterShape, size: number): number {
  return filterSections(filter, 0, size, 0).reduce((sum, [, words]) => sum + aligned(4 * words), 0);
}

/** Writes the filter with number i into its sections. */
export function writeFilter(
  { shape, bits, entries }: PlannedFilter,
  i: number,
  sections: Sections,
  size: number,
) {
  if (entries) sectionView(sections, `filter${i}.entries`).set(entries);
  if (shape.encoding === "bits") {
    sectionView(sections, `filter${i}.bits`).set(bits);
    return;
  }
  const list = new EliasFanoWriter(
    listShape(shape, size),
    sectionView(sections, `filter${i}.low`),
    sectionView(sections, `filter${i}.high`),
  );
  forEachOne(shape.inverted ? bits.map((word) => ~word) : bits, (ordinal) => {
    if (ordinal < size) list.push(ordinal);
  });
}
