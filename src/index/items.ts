/**
 * Item ids in the index: every sequence has one or more, all of them integers of 64 bits, or all strings. They are
 * sorted by ordinal, those of one sequence in the order of the input (layout: layout.ts).
 */
import { EspalierError } from "../errors.ts";
import { getBits, isSound, isZeroFrom, nextOne, selectOne } from "./bit_vector.ts";
import {
  eliasFanoAt,
  eliasFanoSections,
  type EliasFanoShape,
  eliasFanoShape,
  forEachValue,
  isSoundEliasFano,
} from "./elias_fano.ts";
import {
  bitVectorSections,
  isCount,
  MAX_DATA_BYTES,
  packedSections,
  type SectionSize,
} from "./layout.ts";
import { bitVectorView, sectionView } from "./sections.ts";
import type { IndexStorage } from "./storage.ts";

/** Most items of an index. */
export const MAX_ITEMS = 2 ** 30;

/** What the header says of item ids. */
export type ItemsShape = IntegerItems | StringItems;

/** Integers, those of JavaScript's `bigint`. */
export interface IntegerItems {
  type: "integer";
  /** Ids, of all sequences together. */
  count: number;
  /** Smallest id, decimal. */
  min: string;
  /** Largest id, decimal: less than 2^64 above the smallest. */
  max: string;
}

/** Strings. */
export interface StringItems {
  type: "string";
  /** Ids, of all sequences together. */
  count: number;
  /** Bytes of all of them as UTF-8. */
  byteLength: number;
}

/** Bits of a stored integer, relative to the smallest: 0 … 64. */
export function idBits({ min, max }: IntegerItems): number {
  const range = BigInt(max) - BigInt(min);
  return range === 0n ? 0 : range.toString(2).length;
}

/** List of the bytes at which the strings end. */
export function endsShape({ count, byteLength }: StringItems): EliasFanoShape {
  return eliasFanoShape(count, byteLength + 1);
}

/** Sections of the items of `size` sequences. */
export function itemsSections(items: ItemsShape, size: number): SectionSize[] {
  const starts = items.count > size ? bitVectorSections("items.starts", items.count, size) : [];
  if (items.type === "integer") {
    return [...starts, ...packedSections("items.ids", items.count, idBits(items))];
  }
  const text: SectionSize[] = items.byteLength > 0
    ? [["items.text", Math.ceil(items.byteLength / 4)]]
    : [];
  return [...starts, ...eliasFanoSections("items.ends", endsShape(items), true), ...text];
}

/** Whether a header may say this of the items of `size` sequences. */
export function isSoundItems(items: ItemsShape, size: number): boolean {
  if (typeof items !== "object" || items === null) return false;
  if (!isCount(items.count, size, MAX_ITEMS)) return false;
  if (items.type === "string") return isCount(items.byteLength, 0, MAX_DATA_BYTES);
  const { type, min, max } = items;
  const isDecimal = (text: unknown) => typeof text === "string" && /^-?\d{1,20}$/.test(text);
  return type === "integer" && isDecimal(min) && isDecimal(max) &&
    isIdRange(BigInt(min), BigInt(max));
}

/** Whether integers of this range can be stored. */
export function isIdRange(min: bigint, max: bigint): boolean {
  return min <= max && min >= -(2n ** 63n) && max < 2n ** 64n && max - min < 2n ** 64n;
}

/**
 * Ids of the sequence with an ordinal, in the order of the input: the first `most`.
 *
 * @throws {EspalierError} with code `"no-items"`, or `"not-loaded"`.
 */
export function itemsAt(
  storage: IndexStorage,
  ordinal: number,
  most = Infinity,
): bigint[] | string[] {
  const { items, size } = storage.shape;
  if (!items) {
    throw new EspalierError(
      "no-items",
      "Cannot look up item ids: the index has none; build it with items",
    );
  }
  storage.arrival.requireAll("item ids");
  let first = ordinal;
  let end = ordinal + 1;
  if (items.count > size) {
    const starts = bitVectorView(storage, "items.starts", items.count, size);
    first = selectOne(starts, ordinal);
    end = nextOne(starts, first + 1);
  }
  const count = Math.min(most, Math.max(0, end - first));
  if (items.type === "string") return stringsAt(storage, items, first, count);
  const ids = sectionView(storage, "items.ids");
  const bits = idBits(items);
  const min = BigInt(items.min);
  return Array.from({ length: count }, (_, i) => min + idAt(ids, first + i, bits));
}

/** Integer i, relative to the smallest. */
function idAt(ids: Uint32Array, i: number, bits: number): bigint {
  const low = getBits(ids, i * bits, Math.min(32, bits));
  if (bits <= 32) return BigInt(low);
  return BigInt(getBits(ids, i * bits + 32, bits - 32)) << 32n | BigInt(low);
}

/** Sections of strings. */
function openStrings(storage: IndexStorage, items: StringItems) {
  const shape = endsShape(items);
  const low = sectionView(storage, "items.ends.low");
  const high = bitVectorView(storage, "items.ends.high", shape.highBits, shape.count);
  const { buffer, byteOffset, length } = sectionView(storage, "items.text");
  const text = new Uint8Array(buffer, byteOffset, Math.min(items.byteLength, 4 * length));
  return { shape, low, high, text };
}

// Without the option a string's own first character may be taken for a byte order mark.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function stringsAt(
  storage: IndexStorage,
  items: StringItems,
  first: number,
  count: number,
): string[] {
  const { shape, low, high, text } = openStrings(storage, items);
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

/** What is wrong with the items and in which section, or undefined. Reads them once. */
export function findItemsFault(
  storage: IndexStorage,
): { section: string; what: string } | undefined {
  const { items, size } = storage.shape;
  if (!items) return undefined;
  if (items.count > size) {
    const starts = bitVectorView(storage, "items.starts", items.count, size);
    if (!isSound(starts) || (starts.words[0] & 1) === 0) {
      return {
        section: "items.starts",
        what: "its bits and samples do not give one start a sequence",
      };
    }
  }
  return items.type === "string"
    ? findStringFault(storage, items)
    : findIntegerFault(storage, items);
}

function findIntegerFault(storage: IndexStorage, items: IntegerItems) {
  const section = "items.ids";
  const ids = sectionView(storage, section);
  const bits = idBits(items);
  if (!isZeroFrom(ids, items.count * bits)) return { section, what: "unused bits are not zero" };
  if (bits === 0) return undefined;
  const range = BigInt(items.max) - BigInt(items.min);
  const [largestLow, largestHigh] = [Number(range & 0xffffffffn), Number(range >> 32n)];
  let hasSmallest = false;
  let hasLargest = false;
  for (let i = 0; i < items.count; i++) {
    const low = getBits(ids, i * bits, Math.min(32, bits));
    const high = bits > 32 ? getBits(ids, i * bits + 32, bits - 32) : 0;
    if (low === 0 && high === 0) hasSmallest = true;
    if (high < largestHigh || high === largestHigh && low < largestLow) continue;
    if (high !== largestHigh || low !== largestLow) return { section, what: "an id is too large" };
    hasLargest = true;
  }
  return hasSmallest && hasLargest
    ? undefined
    : { section, what: "smallest and largest id are not those of the header" };
}

function findStringFault(storage: IndexStorage, items: StringItems) {
  const { shape, low, high, text } = openStrings(storage, items);
  const list = { shape, low, high: high.words };
  if (!isSound(high) || !isSoundEliasFano(list, text.length + 1, false)) {
    return {
      section: "items.ends",
      what: "its numbers and samples do not ascend to the last byte",
    };
  }
  const section = "items.text";
  if (!isZeroFrom(sectionView(storage, section), 8 * text.length)) {
    return { section, what: "unused bits are not zero" };
  }
  let last = 0;
  let isWhole = true;
  forEachValue(list, (end) => {
    // An id ends in front of a continuation byte: within a character.
    if ((text[end] & 0xc0) === 0x80) isWhole = false;
    last = end;
  });
  return isWhole && last === text.length && isUtf8(text)
    ? undefined
    : { section, what: "it is not the UTF-8 of the ids" };
}

function isUtf8(text: Uint8Array): boolean {
  const PIECE = 2 ** 20;
  const strict = new TextDecoder("utf-8", { fatal: true });
  try {
    for (let at = 0; at < text.length; at += PIECE) {
      strict.decode(text.subarray(at, at + PIECE), { stream: true });
    }
    strict.decode();
    return true;
  } catch {
    return false;
  }
}
