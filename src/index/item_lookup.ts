/**
 * Item ids in the index: every sequence has one or more, all of them integers of 64 bits, or all strings. They are
 * sorted by ordinal, those of one sequence by id (layout: layout.ts); in files of an earlier version in the order of the input.
 */
import { EspalierError } from "../errors.ts";
import { getBits } from "./bits/bit_vector.ts";
import { eliasFanoAt } from "./bits/elias_fano.ts";

import { bitVectorView, sectionView } from "./section_views.ts";
import type { LoadedIndex } from "./index_memory.ts";
import { Entries } from "./entries.ts";
import { hasEntry, type SharedBits } from "./entry_set.ts";
import { endsShape, idBits, type ItemsShape, type StringItems } from "./format/item_shape.ts";

/**
 * Ids of the sequence with an ordinal, in the order of its entries: the first `most`.
 *
 * @param shared of an allowed sequence: shared entries that are allowed; undefined for all.
 * @throws {EspalierError} with code `"no-items"`, or `"not-loaded"`.
 */
export function itemsAt(
  loaded: LoadedIndex,
  ordinal: number,
  most = Infinity,
  shared?: SharedBits,
): (bigint | string)[] {
  requireItems(loaded);
  const { first, end, number } = Entries.of(loaded).of(ordinal);
  if (!shared || number === undefined) return idsOf(loaded, first, Math.min(end, first + most));
  const ids: (bigint | string)[] = [];
  for (const [from, to] of allowedRanges(first, end, number, shared)) {
    if (ids.length >= most) break;
    for (const id of idsOf(loaded, from, Math.min(to, from + most - ids.length))) ids.push(id);
  }
  return ids;
}

/** The runs of allowed entries among first … end - 1, of which the first is the shared entry with a number. */
export function* allowedRanges(
  first: number,
  end: number,
  number: number,
  shared: SharedBits,
): Generator<[from: number, to: number]> {
  for (let from = first; from < end; from++) {
    if (!hasEntry(shared, number + from - first)) continue;
    let to = from + 1;
    while (to < end && hasEntry(shared, number + to - first)) to++;
    yield [from, to];
    from = to;
  }
}

/**
 * Ids of the entries from `first` up to, not including, `end`.
 *
 * @throws {EspalierError} with code `"no-items"`, or `"not-loaded"`.
 */
export function idsOf(loaded: LoadedIndex, first: number, end: number): bigint[] | string[] {
  const items = requireItems(loaded);
  const count = Math.max(0, Math.min(end, items.count) - first);
  if (items.type === "string") return stringsAt(loaded, items, first, count);
  const ids = sectionView(loaded, "items.ids");
  const bits = idBits(items);
  const min = BigInt(items.min);
  return Array.from({ length: count }, (_, i) => min + idAt(ids, first + i, bits));
}

/** @throws {EspalierError} with code `"no-items"`, or `"not-loaded"`. */
export function requireItems(loaded: LoadedIndex): ItemsShape {
  const { items } = loaded.shape;
  if (!items) {
    throw new EspalierError(
      "no-items",
      "Cannot look up item ids: the index has none; build it with items",
    );
  }
  loaded.loading.requireAll("item ids");
  return items;
}

/** Integer i, relative to the smallest. */
function idAt(ids: Uint32Array, i: number, bits: number): bigint {
  const low = getBits(ids, i * bits, Math.min(32, bits));
  if (bits <= 32) return BigInt(low);
  return BigInt(getBits(ids, i * bits + 32, bits - 32)) << 32n | BigInt(low);
}

/** Sections of strings. */
export function openStrings(loaded: LoadedIndex, items: StringItems) {
  const shape = endsShape(items);
  const low = sectionView(loaded, "items.ends.low");
  const high = bitVectorView(loaded, "items.ends.high", shape.highBits, shape.count);
  const { buffer, byteOffset, length } = sectionView(loaded, "items.text");
  const text = new Uint8Array(buffer, byteOffset, Math.min(items.byteLength, 4 * length));
  return { shape, low, high, text };
}

// Without the option a string's own first character may be taken for a byte order mark.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function stringsAt(
  loaded: LoadedIndex,
  items: StringItems,
  first: number,
  count: number,
): string[] {
  const { shape, low, high, text } = openStrings(loaded, items);
  const endOf = (i: number) =>
    i < 0 ? 0 : Math.max(0, Math.min(text.length, eliasFanoAt({ shape, low }, high, i)));
  let start = endOf(first - 1);
  return Array.from({ length: count }, (_, i) => {
    const end = endOf(first + i);
    const id = decoder.decode(text.subarray(start, end));
    start = end;
    return id;
  });
}
