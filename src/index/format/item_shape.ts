/** Item ids as the header describes them, and the sections that follow from it. */
import { bitVectorSections, packedSections, type SectionSize } from "../bits/sections.ts";
import { eliasFanoSections, type EliasFanoShape, eliasFanoShape } from "../bits/elias_fano.ts";
import { isCount, MAX_DATA_BYTES } from "./layout.ts";

/** Most items of an index. */
export const MAX_ITEMS = 2 ** 30;

/** What the header says of item ids. */
export type ItemsShape = IntegerItems | StringItems;

/** What it says of both types. */
interface AnyItems {
  /** Ids, of all sequences together: entries. */
  count: number;
  /** Those of sequences that have several; said where filters need it. */
  shared?: number;
  /**
   * How ids lead back to their entries: `"identity"` where ids ascend with the entries, `"permuted"` where a section has
   * the entries in the order of their ids. Absent where they do not lead back.
   */
  lookup?: "identity" | "permuted";
}

/** Integers, those of JavaScript's `bigint`. */
export interface IntegerItems extends AnyItems {
  type: "integer";
  /** Smallest id, decimal. */
  min: string;
  /** Largest id, decimal: less than 2^64 above the smallest. */
  max: string;
}

/** Strings. */
export interface StringItems extends AnyItems {
  type: "string";
  /** Bytes of all of them as UTF-8. */
  byteLength: number;
}

/** Shared entries, those of sequences that have several items, by the header; 0 where it does not say. */
export function sharedCount(items: ItemsShape | undefined): number {
  return items?.shared ?? 0;
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

/** Bits of an entry in the order of ids. */
export function orderBits({ count }: ItemsShape): number {
  return 32 - Math.clz32(count - 1);
}

/** Sections of the items of `size` sequences. */
export function itemsSections(items: ItemsShape, size: number): SectionSize[] {
  return [
    ...idSections(items, size),
    ...items.lookup === "permuted"
      ? packedSections("items.order", items.count, orderBits(items))
      : [],
  ];
}

function idSections(items: ItemsShape, size: number): SectionSize[] {
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
  // Each sequence that has several has one that is not surplus.
  const surplus = items.count - size;
  const isShared = surplus > 0 && isCount(items.shared!, surplus + 1, 2 * surplus);
  if (items.shared !== undefined && !isShared) return false;
  if (![undefined, "identity", "permuted"].includes(items.lookup)) return false;
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

/** Fields of the record by which kernels look ids up, one u32 each, in this order. Addresses are 0 where there is no section. */
export const ITEM_FIELDS = [
  /** Entries in the order of their ids; 0 = as they stand. */
  "ITEM_ORDER",
  "ITEM_ORDER_BITS",
  "ITEM_COUNT",
  /** Packed integers, or text. */
  "ITEM_VALUES",
  /** Of an integer, or of the low part of the end of a string. */
  "ITEM_VALUE_BITS",
  "ITEM_TEXT_BYTES",
  "ITEM_ENDS_LOW",
  /** 0 for integers. */
  "ITEM_ENDS_HIGH",
  "ITEM_ENDS_RANK",
  "ITEM_ENDS_SELECT",
  "ITEM_ENDS_BITS",
  /** The wanted id: UTF-8, or an integer of 64 bits relative to the smallest. */
  "ITEM_KEY",
  "ITEM_KEY_LENGTH",
] as const;
