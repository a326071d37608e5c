/** Item filters: subsets of an index's sequences, and their algebra. */
import { checkOptionNames, EspalierError, rangeError, typeError } from "../errors.ts";
import { Entries } from "./entries.ts";
import { FilterBits } from "./filter_bits.ts";
import { evaluate, type FilterExpression, isExpression } from "./filter_expression.ts";
import type { LoadedIndex } from "./index_memory.ts";
import { ItemFinder } from "./item_finder.ts";
import { namedFilterSet } from "./named_filters.ts";

/**
 * What a filter allows: ordinals, or bit i of byte i >> 3 for ordinal i: all items of these sequences; or item ids; or an
 * expression over the named filters of the index.
 */
export type AllowedItems =
  | Iterable<number>
  | { bits: Uint8Array }
  | { items: Iterable<bigint | string> }
  | FilterExpression;

let construct: (bits: FilterBits, unknownItems?: number) => ItemFilter;
let access: (filter: ItemFilter) => FilterBits;

/**
 * A subset of the sequences of one index, compiled for searches, in the memory of the index. Takes one bit per edge, on
 * levels that are bitmaps one per place, and less where levels share theirs; never much more than the index. Does not
 * change. Give it back with `using` or `filter[Symbol.dispose]()`; searches that run on it end undisturbed.
 *
 * Made by `index.filter` and `index.namedFilter`. Combining costs as much as making, a compilation (a few milliseconds for
 * 10 million sequences); `or` costs one pass over the bits. Where a filter allows some items of a sequence and not others,
 * every combination costs a compilation, and 100 ns for each item that shares its sequence.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { buildIndex } from "@espalier/espalier/build";
 *
 * using index = await buildIndex([[1, 2], [1, 3], [2, 0]], { vocabSize: 4 });
 * using fresh = index.filter([0, 1]);
 * using sold = index.filter([1]);
 * using shown = fresh.andNot(sold);
 * assert(shown.size === 1 && shown.has(0));
 * assert(index.allowedTokens([1], shown).join() === "2");
 * ```
 */
export class ItemFilter implements Disposable {
  /** Sequences of which an item is allowed. */
  readonly size: number;
  /** Where it was made of item ids: how many of them the index does not have. Else 0. */
  readonly unknownItems: number;
  #bits: FilterBits | undefined;

  static {
    construct = (bits, unknownItems = 0) => new ItemFilter(bits, unknownItems);
    access = (filter) => filter.#open();
  }

  private constructor(bits: FilterBits, unknownItems = 0) {
    this.#bits = bits;
    this.unknownItems = unknownItems;
    this.size = bits.count();
  }

  /**
   * Allowed items, each as often as it has an allowed sequence; in an index without items, allowed sequences. One pass
   * over the bits, and 50 ns for each item that shares its sequence.
   *
   * @throws {EspalierError} with code `"not-loaded"` where items share sequences, before `ready`.
   */
  get itemCount(): number {
    return this.#open().countItems();
  }

  /** What both allow. @throws {TypeError} if the other is a filter of another index. */
  and(other: ItemFilter): ItemFilter {
    return this.#combined("and", other);
  }

  /** What one or the other allows. @throws {TypeError} if the other is a filter of another index. */
  or(other: ItemFilter): ItemFilter {
    return this.#combined("or", other);
  }

  /** What this one allows and the other does not. @throws {TypeError} if that is a filter of another index. */
  andNot(other: ItemFilter): ItemFilter {
    return this.#combined("andNot", other);
  }

  /** What this one does not allow. */
  not(): ItemFilter {
    return new ItemFilter(this.#open().inverse());
  }

  /**
   * Whether a sequence is allowed.
   *
   * @throws {RangeError} if the ordinal is not an integer in [0, size of the index).
   */
  has(ordinal: number): boolean {
    const bits = this.#open();
    checkOrdinal(ordinal, bits.loaded.shape.size);
    return bits.has(ordinal);
  }

  /**
   * Whether an item is allowed, in one of its sequences at least; not, if the index has no such item. A few microseconds.
   *
   * @throws {TypeError} for an id of another type than those of the index.
   * @throws {EspalierError} with code `"no-items"` or `"no-item-lookup"` if the index was built without; `"not-loaded"`
   * before `ready`.
   */
  hasItem(item: bigint | string): boolean {
    const bits = this.#open();
    return ItemFinder.of(bits.loaded).placesOf(item).some((place) => bits.allows(place));
  }

  /** Gives the memory back. Later use throws an `EspalierError` with code `"disposed"`. */
  [Symbol.dispose](): void {
    this.#bits?.release();
    this.#bits = undefined;
  }

  #combined(operation: "and" | "or" | "andNot", other: ItemFilter): ItemFilter {
    const bits = this.#open();
    return new ItemFilter(bits.combined(operation, filterBitsOf(other, bits.loaded)));
  }

  #open(): FilterBits {
    if (!this.#bits) {
      throw new EspalierError(
        "disposed",
        "Cannot use the filter: it has been disposed; make it again",
      );
    }
    return this.#bits;
  }
}

/**
 * Compiles a filter.
 *
 * @throws {RangeError} for ordinals out of range, and bits that are not one per sequence. @throws {TypeError} for
 * anything else.
 */
export function makeFilter(loaded: LoadedIndex, allowed: AllowedItems): ItemFilter {
  const { size } = loaded.shape;
  if (isExpression(allowed)) {
    const { ordinals, shared } = evaluate(allowed, (name) => namedFilterSet(loaded, name));
    return construct(FilterBits.of(loaded, ordinals, shared));
  }
  const isObject = typeof allowed === "object" && allowed !== null;
  if (isObject && "items" in allowed) {
    checkOptionNames("index.filter", allowed, ["items"]);
    return filterOfItems(loaded, allowed.items);
  }
  if (isObject && "bits" in allowed) {
    checkOptionNames("index.filter", allowed, ["bits"]);
    return construct(FilterBits.of(loaded, checkBits(allowed.bits, size)));
  }
  if (!isObject || typeof allowed[Symbol.iterator] !== "function") {
    throw typeError(
      "Cannot make a filter: expected ordinals, in an array or any iterable, { bits: Uint8Array } or { items: ids }",
      { expected: "Iterable<number> | { bits: Uint8Array } | { items }", actual: typeof allowed },
    );
  }
  const bits = new Uint8Array(Math.ceil(size / 8));
  for (const ordinal of allowed) {
    checkOrdinal(ordinal, size);
    bits[ordinal >>> 3] |= 1 << (ordinal & 7);
  }
  return construct(FilterBits.of(loaded, bits));
}

/** Allows the items with these ids, each in all of its sequences. */
function filterOfItems(loaded: LoadedIndex, items: Iterable<bigint | string>): ItemFilter {
  // A string is an iterable of its characters.
  if (typeof items !== "object" || typeof items?.[Symbol.iterator] !== "function") {
    throw typeError(
      "Cannot make a filter: expected item ids in an array, or any iterable of them",
      {
        expected: "Iterable<bigint | string>",
        actual: typeof items,
      },
    );
  }
  const finder = ItemFinder.of(loaded);
  const bits = new Uint8Array(Math.ceil(loaded.shape.size / 8));
  const { sharedCount } = Entries.of(loaded);
  const entries = sharedCount > 0 ? new Uint32Array(Math.ceil(sharedCount / 32)) : undefined;
  let unknown = 0;
  for (const id of items) {
    const places = finder.placesOf(id);
    unknown += Number(places.length === 0);
    for (const { ordinal, shared } of places) {
      bits[ordinal >>> 3] |= 1 << (ordinal & 7);
      if (shared) entries![shared.number >>> 5] |= 1 << (shared.number & 31);
    }
  }
  return construct(FilterBits.of(loaded, bits, entries), unknown);
}

/** A filter of compiled bits, which are its own from now on. */
export function filterOf(bits: FilterBits): ItemFilter {
  return construct(bits);
}

/**
 * The bits behind a filter. For kernels.
 *
 * @throws {TypeError} if it is no filter of this index. @throws {EspalierError} with code `"disposed"`.
 */
export function filterBitsOf(filter: ItemFilter, loaded: LoadedIndex): FilterBits {
  if (!(filter instanceof ItemFilter)) {
    throw typeError(
      "Cannot filter: expected an ItemFilter, made by index.filter or index.namedFilter",
      {
        expected: "ItemFilter",
        actual: Object.prototype.toString.call(filter),
      },
    );
  }
  const bits = access(filter);
  if (bits.loaded !== loaded) {
    throw typeError(
      "Cannot filter: the filter belongs to another index; its ordinals mean other sequences there, make it again from this index",
      { expected: loaded.header.digest, actual: bits.loaded.header.digest },
    );
  }
  return bits;
}

/** @throws {RangeError} if it is none. */
export function checkOrdinal(ordinal: number, size: number): void {
  if (Number.isInteger(ordinal) && ordinal >= 0 && ordinal < size) return;
  if (typeof ordinal === "bigint") {
    throw typeError(
      `Cannot filter by ${ordinal}n as an ordinal, which is a number; ids of items go into { items }, and into excludeItems`,
      { expected: "number", actual: "bigint" },
    );
  }
  throw rangeError(
    `Cannot filter: ${
      String(ordinal)
    } is no ordinal of the index, expected an integer in [0, ${size})`,
    { expected: size, actual: ordinal },
  );
}

function checkBits(bits: Uint8Array, size: number): Uint8Array {
  const bytes = Math.ceil(size / 8);
  if (!(bits instanceof Uint8Array)) {
    throw typeError("Cannot make a filter: its bits are no Uint8Array", {
      expected: "Uint8Array",
      actual: Object.prototype.toString.call(bits),
    });
  }
  if (bits.length !== bytes) {
    throw rangeError(
      `Cannot make a filter from ${bits.length} bytes: ${size} sequences need ${bytes}, one bit each`,
      { expected: bytes, actual: bits.length },
    );
  }
  return bits;
}
