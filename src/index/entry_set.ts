/** Sets of entries, as bits: what filter expressions are evaluated on. */
import { popcount } from "./bits/bit_vector.ts";
import { Entries } from "./entries.ts";
import type { LoadedIndex } from "./index_memory.ts";

/** A bit for each ordinal: bit i of byte i >> 3. */
export type OrdinalBits = Uint8Array<ArrayBuffer>;
/** A bit for each shared entry. */
export type SharedBits = Uint32Array<ArrayBuffer>;

/**
 * A set of entries. Operations write over the set that they are called on. Memory: a bit per sequence and, where some
 * but not all entries of a sequence may be in it, one per shared entry.
 */
export class EntrySet {
  readonly #entries: Entries;
  readonly #size: number;
  readonly #ordinals: OrdinalBits;
  #shared: SharedBits | undefined;
  /** Whether the ordinals say what the shared entries say. */
  #isSettled = true;

  /**
   * @param ordinals sequences of which an entry is in the set; they belong to it from now on. Bits behind the last do not
   * count.
   * @param shared shared entries that are in the set, of just these sequences; undefined if all of theirs are.
   */
  constructor(loaded: LoadedIndex, ordinals: OrdinalBits, shared?: SharedBits) {
    this.#entries = Entries.of(loaded);
    this.#size = loaded.shape.size;
    this.#ordinals = ordinals;
    this.#shared = shared;
  }

  /** Sequences of which an entry is in the set; bits behind the last may be set. */
  get ordinals(): OrdinalBits {
    const { shared } = this;
    if (this.#isSettled || !shared) return this.#ordinals;
    this.#isSettled = true;
    this.#entries.forEachShared(({ ordinal, first, end, number }) => {
      let isIn = false;
      for (let i = 0; i < end - first; i++) isIn ||= hasEntry(shared, number + i);
      const bit = 1 << (ordinal & 7);
      if (isIn) this.#ordinals[ordinal >>> 3] |= bit;
      else this.#ordinals[ordinal >>> 3] &= ~bit;
    });
    return this.#ordinals;
  }

  /** Shared entries that are in the set; undefined if all those of its sequences are. */
  get shared(): SharedBits | undefined {
    return this.#shared;
  }

  /** Keeps the entries that are in the other one, too. */
  and(other: EntrySet): this {
    return this.#combine(other, (a, b) => a & b);
  }

  /** Adds those of the other one. */
  or(other: EntrySet): this {
    return this.#combine(other, (a, b) => a | b);
  }

  /** Takes out those of the other one. */
  andNot(other: EntrySet): this {
    return this.#combine(other, (a, b) => a & ~b);
  }

  /** Turns into the set of all other entries. */
  not(): this {
    invert(this.#ordinals);
    if (this.#shared) {
      invert(this.#shared);
      this.#isSettled = false;
    }
    return this;
  }

  /** Entries in the set. One pass over its bits. */
  get itemCount(): number {
    const { ordinals, shared } = this;
    let count = 0;
    for (let i = 0; i < ordinals.length; i++) count += popcount(ordinals[i]);
    for (let i = this.#size; i < 8 * ordinals.length; i++) count -= Number(hasOrdinal(ordinals, i));
    this.#entries.forEachShared(({ ordinal, first, end, number }) => {
      if (!hasOrdinal(ordinals, ordinal)) return;
      count--;
      for (let i = 0; i < end - first; i++) {
        count += Number(!shared || hasEntry(shared, number + i));
      }
    });
    return count;
  }

  #combine(other: EntrySet, operation: (a: number, b: number) => number): this {
    if (this.#shared || other.shared) {
      const mine = this.#shared ??= this.#expanded();
      const others = other.shared ?? other.#expanded();
      for (let i = 0; i < mine.length; i++) mine[i] = operation(mine[i], others[i]);
    }
    // Where shared entries decide, the bits of their sequences are set when they are asked for.
    const [mine, others] = [this.#ordinals, other.#ordinals];
    for (let i = 0; i < mine.length; i++) mine[i] = operation(mine[i], others[i]);
    this.#isSettled = this.#shared === undefined;
    return this;
  }

  /** All shared entries of the sequences in the set. */
  #expanded(): SharedBits {
    const { ordinals } = this;
    const shared = new Uint32Array(Math.ceil(this.#entries.sharedCount / 32));
    this.#entries.forEachShared(({ ordinal, first, end, number }) => {
      if (!hasOrdinal(ordinals, ordinal)) return;
      for (let i = number; i < number + end - first; i++) shared[i >>> 5] |= 1 << (i & 31);
    });
    return shared;
  }
}

function invert(bits: Uint8Array | Uint32Array): void {
  for (let i = 0; i < bits.length; i++) bits[i] = ~bits[i];
}

/** Whether the bit of an ordinal is set. */
export function hasOrdinal(bits: Uint8Array, ordinal: number): boolean {
  return (bits[ordinal >>> 3] >> (ordinal & 7) & 1) === 1;
}

/** Whether the bit of a shared entry is set. */
export function hasEntry(bits: Uint32Array, number: number): boolean {
  return (bits[number >>> 5] >>> (number & 31) & 1) === 1;
}
