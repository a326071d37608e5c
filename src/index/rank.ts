/** Ones in parts of bit vectors. */
import { type BitVector, popcount } from "./bit_vector.ts";
import { BLOCK_BITS } from "./layout.ts";

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

/** Ones before a position, at most `bits`. O(1). */
export function onesBefore({ words, ranks }: BitVector, position: number): number {
  const block = Math.floor(position / BLOCK_BITS);
  return ranks[block] + countOnes(words, block * BLOCK_BITS, position);
}
