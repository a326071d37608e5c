/**
 * Named filters in the index: sets of ordinals, each stored as the smaller of a bit per ordinal and the list of those
 * ordinals that are in, or out, of it (layout: layout.ts).
 */
import { EspalierError } from "../errors.ts";
import { isZeroFrom, popcount } from "./bit_vector.ts";
import {
  type EliasFano,
  eliasFanoSections,
  type EliasFanoShape,
  eliasFanoShape,
  forEachValue,
  isSoundEliasFano,
} from "./elias_fano.ts";
import { isCount, type SectionSize } from "./layout.ts";
import { sectionView } from "./sections.ts";
import type { IndexStorage } from "./storage.ts";

/** Most named filters of an index. */
export const MAX_FILTERS = 1024;
/** Longest name of a filter. */
export const MAX_NAME_LENGTH = 200;

/** What the header says of a named filter. */
export interface FilterShape {
  name: string;
  /** Sequences that it allows. */
  ones: number;
  /** Whether bits are stored, or a list. */
  encoding: "bits" | "sparse";
  /** Whether the list holds what is not allowed. */
  inverted?: true;
}

/** Whether a filter may have this name. */
export function isFilterName(name: unknown): boolean {
  return typeof name === "string" && name.length > 0 && name.length <= MAX_NAME_LENGTH &&
    name.isWellFormed() && !/\p{Cc}/u.test(name);
}

/** List of a sparse filter over `size` ordinals. */
export function listShape({ ones, inverted }: FilterShape, size: number): EliasFanoShape {
  return eliasFanoShape(inverted ? size - ones : ones, size);
}

/** Sections of the filter with number i over `size` ordinals. */
export function filterSections(filter: FilterShape, i: number, size: number): SectionSize[] {
  return filter.encoding === "bits"
    ? [[`filter${i}.bits`, Math.ceil(size / 32)]]
    : eliasFanoSections(`filter${i}`, listShape(filter, size), false);
}

/** Whether a header may say this of filters over `size` ordinals. */
export function areSoundFilters(filters: FilterShape[], size: number): boolean {
  if (!Array.isArray(filters) || !isCount(filters.length, 1, MAX_FILTERS)) return false;
  const isSound = (filter: FilterShape) =>
    typeof filter === "object" && filter !== null && isFilterName(filter.name) &&
    isCount(filter.ones, 0, size) &&
    (filter.encoding === "sparse"
      ? filter.inverted === undefined || filter.inverted === true
      : filter.encoding === "bits" && filter.inverted === undefined);
  return filters.every(isSound) &&
    new Set(filters.map(({ name }) => name)).size === filters.length;
}

/**
 * Bits of a named filter in a new array: bit i of byte i >> 3 is that of ordinal i, and bits behind the last are 0.
 * ceil(size / 8) bytes; time in proportion to them and to what a list holds.
 *
 * @throws {EspalierError} with code `"unknown-filter"`, or `"not-loaded"`.
 */
export function namedFilterBits(storage: IndexStorage, name: string): Uint8Array<ArrayBuffer> {
  const { filters = [], size } = storage.shape;
  const number = filters.findIndex((filter) => filter.name === name);
  if (number < 0) {
    const names = filters.map((filter) => filter.name);
    const known = names.map((name) => JSON.stringify(name)).join(", ") || "none";
    throw new EspalierError(
      "unknown-filter",
      `Cannot find the filter ${
        JSON.stringify(name)
      }: the index has ${known}; build it with filters`,
      { expected: names, actual: name },
    );
  }
  storage.arrival.requireAll("named filters");
  const filter = filters[number];
  const byteLength = Math.ceil(size / 8);
  let bits: Uint8Array<ArrayBuffer>;
  if (filter.encoding === "bits") {
    const { buffer, byteOffset } = sectionView(storage, `filter${number}.bits`);
    bits = new Uint8Array(buffer, byteOffset, byteLength).slice();
  } else {
    bits = new Uint8Array(byteLength).fill(filter.inverted ? 0xff : 0);
    forEachValue(openList(storage, number), (ordinal) => {
      if (ordinal < size) bits[ordinal >>> 3] ^= 1 << (ordinal & 7);
    });
  }
  if (size % 8 > 0) bits[byteLength - 1] &= (1 << (size % 8)) - 1;
  return bits;
}

function openList(storage: IndexStorage, number: number): EliasFano {
  const { filters, size } = storage.shape;
  return {
    shape: listShape(filters![number], size),
    low: sectionView(storage, `filter${number}.low`),
    high: sectionView(storage, `filter${number}.high`),
  };
}

/** What is wrong with the filters and in which section, or undefined. Reads them once. */
export function findFilterFault(
  storage: IndexStorage,
): { section: string; what: string } | undefined {
  const { filters = [], size } = storage.shape;
  for (const [i, { encoding, ones }] of filters.entries()) {
    const section = `filter${i}`;
    if (encoding === "sparse") {
      if (isSoundEliasFano(openList(storage, i), size, true)) continue;
      return { section, what: "ordinals do not ascend, or are not as many as the header says" };
    }
    const bits = sectionView(storage, `${section}.bits`);
    if (!isZeroFrom(bits, size)) return { section, what: "unused bits are not zero" };
    if (bits.reduce((sum, word) => sum + popcount(word), 0) !== ones) {
      return { section, what: "it allows another number of sequences than the header says" };
    }
  }
  return undefined;
}
