/**
 * Named filters in the index: sets of ordinals, each stored as the smaller of a bit per ordinal and the list of those
 * ordinals that are in, or out, of it; and a bit for each shared entry, where items share sequences (format/layout.ts).
 */
import { EspalierError } from "../errors.ts";

import { type EliasFano, forEachValue } from "./bits/elias_fano.ts";

import { Entries } from "./entries.ts";
import { EntrySet } from "./entry_set.ts";
import type { IndexShape } from "./format/header.ts";
import { sectionView } from "./section_views.ts";
import type { LoadedIndex } from "./index_memory.ts";
import { listShape } from "./format/filter_shape.ts";

/**
 * The entries that a named filter allows, in a new set. A filter that was stored without its entries, as version 1 of the
 * format does, allows all entries of its sequences.
 *
 * @throws {EspalierError} with code `"unknown-filter"`, or `"not-loaded"`.
 */
export function namedFilterSet(loaded: LoadedIndex, name: string): EntrySet {
  const number = numberOf(loaded, name);
  const ordinals = filterBitsAt(loaded, number);
  if (loaded.shape.filters![number].entries === undefined) return new EntrySet(loaded, ordinals);
  const words = Math.ceil(Entries.of(loaded).sharedCount / 32);
  const shared = sectionView(loaded, `filter${number}.entries`).slice(0, words);
  return new EntrySet(loaded, ordinals, shared);
}

/** Whether each named filter says which of several items of a sequence it allows. */
export function filtersByItem({ filters = [], items, size }: IndexShape): Map<string, boolean> {
  const isShared = items !== undefined && items.count > size;
  return new Map(filters.map(({ name, entries }) => [name, !isShared || entries !== undefined]));
}

/**
 * Bits of a named filter in a new array: bit i of byte i >> 3 is that of ordinal i, and bits behind the last are 0.
 * ceil(size / 8) bytes; time in proportion to them and to what a list holds.
 *
 * @throws {EspalierError} with code `"unknown-filter"`, or `"not-loaded"`.
 */
export function namedFilterBits(loaded: LoadedIndex, name: string): Uint8Array<ArrayBuffer> {
  return filterBitsAt(loaded, numberOf(loaded, name));
}

/** @throws {EspalierError} with code `"unknown-filter"`, or `"not-loaded"`. */
function numberOf(loaded: LoadedIndex, name: string): number {
  const { filters = [] } = loaded.shape;
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
  loaded.loading.requireAll("named filters");
  return number;
}

/** The bits of the filter with a number. Does not ask whether it is loaded, so that verification can read it before. */
export function filterBitsAt(loaded: LoadedIndex, number: number): Uint8Array<ArrayBuffer> {
  const { filters, size } = loaded.shape;
  const filter = filters![number];
  const byteLength = Math.ceil(size / 8);
  let bits: Uint8Array<ArrayBuffer>;
  if (filter.encoding === "bits") {
    const { buffer, byteOffset } = sectionView(loaded, `filter${number}.bits`);
    bits = new Uint8Array(buffer, byteOffset, byteLength).slice();
  } else {
    bits = new Uint8Array(byteLength).fill(filter.inverted ? 0xff : 0);
    forEachValue(openList(loaded, number), (ordinal) => {
      if (ordinal < size) bits[ordinal >>> 3] ^= 1 << (ordinal & 7);
    });
  }
  if (size % 8 > 0) bits[byteLength - 1] &= (1 << (size % 8)) - 1;
  return bits;
}

export function openList(loaded: LoadedIndex, number: number): EliasFano {
  const { filters, size } = loaded.shape;
  return {
    shape: listShape(filters![number], size),
    low: sectionView(loaded, `filter${number}.low`),
    high: sectionView(loaded, `filter${number}.high`),
  };
}
