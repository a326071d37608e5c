/** Item filters: subsets of an index's sequences, and their algebra. */
import { EspalierError, rangeError, typeError } from "../errors.ts";
import { FilterBits } from "./filter_bits.ts";
import { evaluate, type FilterExpression, isExpression } from "./filter_expression.ts";
import type { LoadedIndex } from "./index_memory.ts";
import { namedFilterSet } from "./named_filters.ts";

/**
 * Which sequences a filter allows: ordinals, or bit i of byte i >> 3 for ordinal i, or an expression over the named
 * filters of the index.
 */
export type AllowedItems = Iterable<number> | { bits: Uint8Array } | FilterExpression;

let construct: (bits: FilterBits) => ItemFilter;
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
  #bits: FilterBits | undefined;

  static {
    construct = (bits) => new ItemFilter(bits);
    access = (filter) => filter.#open();
  }

  private constructor(bits: FilterBits) {
    this.#bits = bits;
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
  if (isObject && "bits" in allowed) {
    return construct(FilterBits.of(loaded, checkBits(allowed.bits, size)));
  }
  if (!isObject || typeof allowed[Symbol.iterator] !== "function") {
    throw typeError(
      "Cannot make a filter: expected ordinals, in an array or any iterable, or { bits: Uint8Array }",
      { expected: "Iterable<number> | { bits: Uint8Array }", actual: typeof allowed },
    );
  }
  const bits = new Uint8Array(Math.ceil(size / 8));
  for (const ordinal of allowed) {
    checkOrdinal(ordinal, size);
    bits[ordinal >>> 3] |= 1 << (ordinal & 7);
  }
  return construct(FilterBits.of(loaded, bits));
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
