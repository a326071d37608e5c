/** Positions in a bit vector that are looked up in ascending order. */
import { type BitVector, lowestOne, popcount } from "./bit_vector.ts";
import { BLOCK_BITS } from "./sections.ts";

const BLOCK_WORDS = BLOCK_BITS / 32;

/** Finds ones, or zeros, by their number: a few words on where the next one is near, a search where it is far. */
export class BitCursor {
  #words: Uint32Array;
  #ranks: Uint32Array;
  #bits: number;
  /** What makes ones of the bits that are looked for. */
  #flip: number;
  /** Word at hand, those of its bits that are left, and the number of the lowest of these. */
  #at = 0;
  #rest: number;
  #number = 0;

  constructor({ words, ranks, bits }: BitVector, wanted: 0 | 1) {
    this.#words = words;
    this.#ranks = ranks;
    this.#bits = bits;
    this.#flip = wanted - 1;
    this.#rest = words[0] ^ this.#flip;
  }

  /** Position of the bit with number k, or `bits` if there is none; k is no less than the one before. */
  seek(k: number): number {
    if (k - this.#number > BLOCK_BITS) this.#jump(k);
    for (let count = popcount(this.#rest); this.#number + count <= k;) {
      if (32 * (this.#at + 1) > this.#bits) return this.#bits;
      this.#number += count;
      this.#rest = this.#words[++this.#at] ^ this.#flip;
      count = popcount(this.#rest);
    }
    for (; this.#number < k; this.#number++) this.#rest &= this.#rest - 1;
    return Math.min(this.#bits, 32 * this.#at + lowestOne(this.#rest));
  }

  #jump(k: number): void {
    let low = 0;
    let high = Math.floor(this.#bits / BLOCK_BITS);
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#before(middle) <= k) low = middle;
      else high = middle - 1;
    }
    this.#at = low * BLOCK_WORDS;
    this.#number = this.#before(low);
    this.#rest = this.#words[this.#at] ^ this.#flip;
  }

  #before(block: number): number {
    const ones = this.#ranks[block];
    return this.#flip === 0 ? ones : block * BLOCK_BITS - ones;
  }
}
