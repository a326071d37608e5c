/**
 * Packed values and bit vectors in u32 words, for what is read in TypeScript (asm/kernels/bits.ts is for the
 * kernels). No read leaves the array whatever it holds: what would lie behind its end is 0.
 */

import { BLOCK_BITS } from "./sections.ts";

const BLOCK_WORDS = BLOCK_BITS / 32;

/** The `width` bits (0 … 32) from bit `at` on. */
export function getBits(words: Uint32Array, at: number, width: number): number {
  if (width === 0) return 0;
  const word = Math.floor(at / 32);
  const shift = at % 32;
  let value = words[word] >>> shift;
  if (shift + width > 32) value |= words[word + 1] << (32 - shift);
  return (value << (32 - width)) >>> (32 - width);
}

/** Puts a value of `width` bits (0 … 32) at bit `at`, where zeros stand. */
export function putBits(words: Uint32Array, at: number, width: number, value: number): void {
  if (width === 0) return;
  const word = Math.floor(at / 32);
  const shift = at % 32;
  words[word] |= value << shift;
  if (shift + width > 32) words[word + 1] |= value >>> (32 - shift);
}

/** Ones in a word. */
export function popcount(word: number): number {
  word -= (word >>> 1) & 0x55555555;
  word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
  word = (word + (word >>> 4)) & 0x0f0f0f0f;
  return Math.imul(word, 0x01010101) >>> 24;
}

/** Position of the lowest one of a word that has some. */
export function lowestOne(word: number): number {
  return 31 - Math.clz32(word & -word);
}

/** Visits the positions of the ones, ascending. */
export function forEachOne(words: Uint32Array, visit: (position: number, i: number) => void): void {
  let ones = 0;
  for (let i = 0; i < words.length; i++) {
    for (let word = words[i]; word !== 0; word &= word - 1) visit(32 * i + lowestOne(word), ones++);
  }
}

/** Whether all bits from bit `at` on are 0. */
export function isZeroFrom(words: Uint32Array, at: number): boolean {
  const word = Math.floor(at / 32);
  return words[word] >>> (at % 32) === 0 && words.subarray(word + 1).every((word) => word === 0);
}

/** A bit vector with its samples; each array may go on behind its end. */
export interface BitVector {
  words: Uint32Array;
  /** Ones before each block. */
  ranks: Uint32Array;
  /** Block of every 512th one. */
  selects: Uint32Array;
  bits: number;
  ones: number;
}

/** Position of the one with number k, or `bits` if there is none. O(log(bits)), nearly always O(1). */
export function selectOne({ words, ranks, selects, bits, ones }: BitVector, k: number): number {
  if (k >= ones) return bits;
  const lastBlock = Math.floor(bits / BLOCK_BITS);
  const sample = Math.floor(k / BLOCK_BITS);
  let low = Math.min(selects[sample], lastBlock);
  let high = sample < Math.floor(ones / BLOCK_BITS)
    ? Math.min(selects[sample + 1], lastBlock)
    : lastBlock;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (ranks[middle] <= k) low = middle;
    else high = middle - 1;
  }
  let rest = Math.max(0, k - ranks[low]);
  const end = Math.min((low + 1) * BLOCK_WORDS, words.length);
  for (let i = low * BLOCK_WORDS; i < end; i++) {
    let word = words[i];
    const count = popcount(word);
    if (rest < count) {
      for (; rest > 0; rest--) word &= word - 1;
      return Math.min(bits, 32 * i + lowestOne(word));
    }
    rest -= count;
  }
  return bits;
}

/** Position of the first one at or behind `at`, or `bits` if there is none. */
export function nextOne({ words, bits }: BitVector, at: number): number {
  for (let i = Math.floor(at / 32), skip = at % 32; 32 * i < bits; i++, skip = 0) {
    const word = words[i] >>> skip;
    if (word !== 0) return Math.min(bits, 32 * i + skip + lowestOne(word));
  }
  return bits;
}

/** Whether count and samples are those of the bits, and all that follows is 0. */
export function isSound({ words, ranks, selects, bits, ones }: BitVector): boolean {
  const lastBlock = Math.floor(bits / BLOCK_BITS);
  let found = 0;
  let sample = 0;
  for (let i = 0; 32 * i <= bits; i++) {
    const block = Math.floor(i / BLOCK_WORDS);
    if (i % BLOCK_WORDS === 0 && ranks[block] !== found) return false;
    found += popcount(words[i]);
    for (; sample * BLOCK_BITS < found; sample++) if (selects[sample] !== block) return false;
  }
  if (sample * BLOCK_BITS === found && selects[sample++] !== lastBlock) return false;
  return found === ones && isZeroFrom(words, bits) && isZeroFrom(ranks, 32 * (lastBlock + 1)) &&
    isZeroFrom(selects, 32 * sample);
}

/** Ones among the bits from `from` up to, not including, `to`. */
export function countOnes(words: Uint32Array, from: number, to: number): number {
  if (from >= to) return 0;
  const first = Math.floor(from / 32);
  const last = Math.floor((to - 1) / 32);
  const head = 0xffffffff << (from % 32);
  const tail = 0xffffffff >>> (31 - (to - 1) % 32);
  if (first === last) return popcount(words[first] & head & tail);
  let ones = popcount(words[first] & head) + popcount(words[last] & tail);
  for (let i = first + 1; i < last; i++) ones += popcount(words[i]);
  return ones;
}

/** Ones before a position, at most `bits`; no more than `ones`, whatever the samples say. O(1). */
export function onesBefore({ words, ranks, ones }: BitVector, position: number): number {
  const block = Math.floor(position / BLOCK_BITS);
  return Math.min(ones, ranks[block] + countOnes(words, block * BLOCK_BITS, position));
}
