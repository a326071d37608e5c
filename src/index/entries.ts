/**
 * Entries: the pairs of a sequence and an item. They stand in the order of the ordinals, those of one sequence in the
 * order of its ids. In an index without items every sequence is one entry.
 *
 * Entries of a sequence that has several are *shared*. They are numbered on their own, in order, so that a filter needs
 * no bit for the others: those pass where their sequence does.
 */
import { type BitVector, lowestOne, nextOne, popcount, selectOne } from "./bits/bit_vector.ts";
import type { LoadedIndex } from "./index_memory.ts";
import { bitVectorView } from "./section_views.ts";

/** Entries of a block, whose shared ones are counted together. */
const BLOCK_WORDS = 16;

/** A sequence of several entries. */
export interface SharedSequence {
  readonly ordinal: number;
  /** Its entries: from `first` up to, not including, `end`. */
  readonly first: number;
  readonly end: number;
  /** Number of its first entry among the shared ones. */
  readonly number: number;
}

/** Where an entry stands. */
export interface EntryPlace {
  readonly ordinal: number;
  /** Where its sequence has others: its number among the shared entries, and those of its sequence, from … to - 1. */
  readonly shared?: { readonly number: number; readonly from: number; readonly to: number };
}

const known = new WeakMap<LoadedIndex, Entries>();

/** The entries of one index. */
export class Entries {
  /** All of them. */
  readonly count: number;
  /** Those of sequences that have several. */
  readonly sharedCount: number;
  #loaded: LoadedIndex;
  /** Shared entries before each block. */
  #sharedBefore: Uint32Array;

  private constructor(loaded: LoadedIndex) {
    const { items, size } = loaded.shape;
    this.#loaded = loaded;
    this.count = items?.count ?? size;
    if (this.count === size) {
      this.sharedCount = 0;
      this.#sharedBefore = new Uint32Array();
      return;
    }
    const starts = this.#starts();
    const words = Math.ceil(this.count / 32);
    this.#sharedBefore = new Uint32Array(Math.ceil(words / BLOCK_WORDS));
    let shared = 0;
    for (let word = 0; word < words; word++) {
      if (word % BLOCK_WORDS === 0) this.#sharedBefore[word / BLOCK_WORDS] = shared;
      shared += popcount(this.#sharedIn(starts, word));
    }
    this.sharedCount = shared;
  }

  /**
   * Those of an index. The first call reads where the items of each sequence start: 1 ms for 10 million entries.
   *
   * @throws {EspalierError} with code `"not-loaded"` where sequences have several, before items are there.
   */
  static of(loaded: LoadedIndex): Entries {
    const { items, size } = loaded.shape;
    if (items && items.count > size) loaded.loading.requireAll("items");
    return Entries.whileLoading(loaded);
  }

  /** As {@linkcode Entries.of}, for verification, which looks before anyone else may. */
  static whileLoading(loaded: LoadedIndex): Entries {
    let entries = known.get(loaded);
    if (!entries) known.set(loaded, entries = new Entries(loaded));
    return entries;
  }

  /** Entries of a sequence, and the number of the first among the shared ones; undefined if there is only one. */
  of(ordinal: number): { first: number; end: number; number: number | undefined } {
    if (this.sharedCount === 0) return { first: ordinal, end: ordinal + 1, number: undefined };
    const starts = this.#starts();
    const first = selectOne(starts, ordinal);
    const end = Math.max(first, nextOne(starts, first + 1));
    return { first, end, number: end - first > 1 ? this.#numberOf(starts, first) : undefined };
  }

  /** Visits all sequences of several entries, in order. One pass over where the items of each sequence start. */
  forEachShared(visit: (sequence: SharedSequence) => void): void {
    if (this.sharedCount === 0) return;
    const starts = this.#starts();
    const { words } = starts;
    let onesBefore = 0;
    let number = 0;
    /** Entries before this have been visited. */
    let done = 0;
    for (let word = 0; 32 * word < this.count; word++) {
      // Entries that are not the first of their sequence.
      let rest = ~words[word] & bitsFrom(done - 32 * word) & ~bitsFrom(this.count - 32 * word);
      while (rest !== 0) {
        const bit = lowestOne(rest);
        const second = 32 * word + bit;
        const first = Math.max(0, second - 1);
        const end = nextOne(starts, second);
        const ordinal = Math.max(0, onesBefore + popcount(words[word] & ~bitsFrom(bit)) - 1);
        visit({ ordinal, first, end, number });
        number += end - first;
        done = end;
        rest &= bitsFrom(done - 32 * word);
      }
      onesBefore += popcount(words[word]);
    }
  }

  #starts(): BitVector {
    return bitVectorView(this.#loaded, "items.starts", this.count, this.#loaded.shape.size);
  }

  /** The shared ones among the entries of a word: all but those that start and are followed by a start. */
  #sharedIn({ words }: BitVector, word: number): number {
    const isLast = 32 * (word + 1) >= this.count;
    const next = isLast ? 1 : words[word + 1] & 1;
    let after = words[word] >>> 1 | next << 31;
    const left = this.count - 32 * word;
    if (left < 32) after |= 1 << (left - 1);
    return ~(words[word] & after) & ~bitsFrom(left);
  }

  #numberOf(starts: BitVector, entry: number): number {
    const last = entry >>> 5;
    let number = this.#sharedBefore[Math.floor(last / BLOCK_WORDS)];
    for (let word = last - last % BLOCK_WORDS; word < last; word++) {
      number += popcount(this.#sharedIn(starts, word));
    }
    return number + popcount(this.#sharedIn(starts, last) & ~bitsFrom(entry & 31));
  }
}

/** A word in which the bits from number `from` on are set; all of them below 0, none from 32 on. */
function bitsFrom(from: number): number {
  return from <= 0 ? -1 : from >= 32 ? 0 : -1 << from;
}
