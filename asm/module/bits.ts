// Rank and select on bit vectors with samples (layout: src/index/layout.ts). Whatever the samples say,
// no read leaves the vector: positions are clamped to `bits`.

/** Ones before `position`, which is at most the length of the vector. */
export function rank(words: usize, ranks: usize, position: u32): u32 {
  let count = load<u32>(ranks + ((position >> 9) << 2));
  let at = words + ((position >> 9) << 6);
  const last = words + ((position >> 5) << 2);
  while (at + 8 <= last) {
    count += <u32>popcnt<u64>(load<u64>(at));
    at += 8;
  }
  if (at < last) count += popcnt<u32>(load<u32>(at));
  return count + popcnt<u32>(load<u32>(last) & ((1 << (position & 31)) - 1));
}

export function bit(words: usize, position: u32): u32 {
  return (load<u32>(words + ((position >> 5) << 2)) >> (position & 31)) & 1;
}

/** Position of the one with number k inside a word that has more than k ones. */
function selectInWord(word: u32, k: u32): u32 {
  let at: u32 = 0;
  let ones = popcnt<u32>(word & 0xffff);
  if (k >= ones) {
    k -= ones;
    word >>= 16;
    at = 16;
  }
  ones = popcnt<u32>(word & 0xff);
  if (k >= ones) {
    k -= ones;
    word >>= 8;
    at += 8;
  }
  while (k > 0) {
    word &= word - 1;
    --k;
  }
  return at + ctz<u32>(word);
}

/** Position of the one with number k, or `bits` if there is none (damaged samples). */
export function selectOne(
  words: usize,
  ranks: usize,
  selects: usize,
  bits: u32,
  ones: u32,
  k: u32,
): u32 {
  if (k >= ones) return bits;
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
  if (low > lastBlock) return bits;
  k -= load<u32>(ranks + (low << 2));
  let word = low << 4;
  let end = word + 16;
  if (end > (bits >> 5) + 1) end = (bits >> 5) + 1;
  for (; word < end; ++word) {
    const value = load<u32>(words + (word << 2));
    const count = popcnt<u32>(value);
    if (k < count) {
      const position = (word << 5) + selectInWord(value, k);
      return position < bits ? position : bits;
    }
    k -= count;
  }
  return bits;
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
  let word = low << 4;
  let end = word + 16;
  if (end > (bits >> 5) + 1) end = (bits >> 5) + 1;
  for (; word < end; ++word) {
    const value = ~load<u32>(words + (word << 2));
    const count = popcnt<u32>(value);
    if (k < count) {
      const position = (word << 5) + selectInWord(value, k);
      return position < bits ? position : bits;
    }
    k -= count;
  }
  return bits;
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
