// Rank and select on bit vectors with samples (layout: src/index/format/layout.ts). Whatever the samples say,
// no read leaves the vector's last block of 64 bytes: positions are clamped to `bits`.

/** Nothing: no edge, no state, no ordinal. */
export const NONE: u32 = 0xffffffff;

/** Ones of word i, of 64 bits, of a block, if it stands before `word`. */
// @ts-ignore: decorator
@inline
function onesBefore(word: u32, block: usize, i: u32): u32 {
  return <u32>popcnt<u64>(load<u64>(block + (i << 3))) & -<u32>(i < word);
}

/** Ones before `position`, which is at most the length of the vector. No branches: they would be guessed wrong. */
export function rank(words: usize, ranks: usize, position: u32): u32 {
  const block = words + ((position >> 9) << 6);
  const word = (position >> 6) & 7;
  const last = load<u64>(block + (word << 3)) & ((<u64>1 << (position & 63)) - 1);
  return load<u32>(ranks + ((position >> 9) << 2)) + <u32>popcnt<u64>(last) +
    onesBefore(word, block, 0) + onesBefore(word, block, 1) + onesBefore(word, block, 2) +
    onesBefore(word, block, 3) + onesBefore(word, block, 4) + onesBefore(word, block, 5) +
    onesBefore(word, block, 6);
}

// @ts-ignore: decorator
@inline
export function bit(words: usize, position: u32): u32 {
  return (load<u32>(words + ((position >> 5) << 2)) >> (position & 31)) & 1;
}

/** Position of the one with number k inside a word that has more than k ones. */
function selectInWord(word: u64, k: u32): u32 {
  let at: u32 = 0;
  for (let half: u32 = 32; half > 0; half >>= 1) {
    const ones = <u32>popcnt<u64>(word & ((<u64>1 << half) - 1));
    const above: u32 = -<u32>(ones <= k);
    k -= ones & above;
    word >>= half & above;
    at += half & above;
  }
  return at;
}

/**
 * Position of the one with number k inside a block of 512 bits that has more than k ones; of the zero, where `flip` is
 * all ones.
 */
function selectInBlock(block: usize, k: u32, flip: u64): u32 {
  let word: u32 = 0;
  let before: u32 = 0;
  let ones: u32 = 0;
  for (let i: u32 = 0; i < 7; ++i) {
    ones += <u32>popcnt<u64>(load<u64>(block + (i << 3)) ^ flip);
    word += <u32>(ones <= k);
    before = select<u32>(ones, before, ones <= k);
  }
  return (word << 6) + selectInWord(load<u64>(block + (word << 3)) ^ flip, k - before);
}

/** The block of 512 bits in which the one with number k stands; in the vector whatever the samples say. */
export function blockOfOne(ranks: usize, selects: usize, bits: u32, ones: u32, k: u32): u32 {
  const lastBlock = bits >> 9;
  const sample = k >> 9;
  let low = load<u32>(selects + (sample << 2));
  let high = sample < ones >> 9 ? load<u32>(selects + ((sample + 1) << 2)) : lastBlock;
  if (high > lastBlock) high = lastBlock;
  while (low < high) {
    const middle = low + ((high - low + 1) >> 1);
    if (load<u32>(ranks + (middle << 2)) <= k) low = middle;
    else high = middle - 1;
  }
  return min(low, lastBlock);
}

/** Position of the one with number k, which stands in `block`. */
export function selectFrom(words: usize, ranks: usize, bits: u32, block: u32, k: u32): u32 {
  k -= load<u32>(ranks + (block << 2));
  return min((block << 9) + selectInBlock(words + (block << 6), k, 0), bits);
}

/** Position of the one with number k, or `bits` if there is none; some position if the samples are damaged. */
export function selectOne(
  words: usize,
  ranks: usize,
  selects: usize,
  bits: u32,
  ones: u32,
  k: u32,
): u32 {
  if (k >= ones) return bits;
  return selectFrom(words, ranks, bits, blockOfOne(ranks, selects, bits, ones, k), k);
}

/** Position of the zero with number k among the first `bits`, or `bits`. */
export function selectZero(words: usize, ranks: usize, bits: u32, k: u32): u32 {
  let low: u32 = 0;
  let high = bits >> 9;
  while (low < high) {
    const middle = low + ((high - low + 1) >> 1);
    if ((middle << 9) - load<u32>(ranks + (middle << 2)) <= k) low = middle;
    else high = middle - 1;
  }
  k -= (low << 9) - load<u32>(ranks + (low << 2));
  return min((low << 9) + selectInBlock(words + (low << 6), k, ~0), bits);
}

/** First one at or after `position`, or `bits`. */
export function nextOne(words: usize, bits: u32, position: u32): u32 {
  if (position >= bits) return bits;
  let word = position >> 5;
  const last = bits >> 5;
  let value = load<u32>(words + (word << 2)) & (0xffffffff << (position & 31));
  while (value == 0) {
    if (++word > last) return bits;
    value = load<u32>(words + (word << 2));
  }
  const found = (word << 5) + ctz<u32>(value);
  return found < bits ? found : bits;
}

/** Writes the rank and select samples of a finished vector; returns its ones. */
export function sampleBits(words: usize, bits: u32, ranks: usize, selects: usize): u32 {
  let ones: u32 = 0;
  let nextSelect: u32 = 0;
  const count = (bits >> 5) + 1;
  for (let word: u32 = 0; word < count; ++word) {
    if ((word & 15) == 0) store<u32>(ranks + ((word >> 4) << 2), ones);
    ones += popcnt<u32>(load<u32>(words + (word << 2)));
    while (nextSelect < ones) {
      store<u32>(selects + ((nextSelect >> 9) << 2), word >> 4);
      nextSelect += 512;
    }
  }
  // `ones` may be a multiple of 512: its sample, never needed by select, points at the last block.
  if (nextSelect == ones) store<u32>(selects + ((ones >> 9) << 2), bits >> 9);
  return ones;
}
