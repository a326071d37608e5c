/**
 * Rows as bit strings that sort as the rows do. Token t is code t + 1, and code 0 ends a row. Codes fill the words from
 * the top bit of the first word down. So a prefix comes before the rows that continue it.
 */

/** Bits of a code. */
export function codeBits(vocabSize: number): number {
  return 32 - Math.clz32(vocabSize);
}

/**
 * Writes the codes of the row data[start, end) into words, from place `at`. The bits after the last code are zero up to
 * the end of its word.
 *
 * @param bits of a code.
 * @returns the place after the last word written.
 */
export function packRow(
  data: ArrayLike<number>,
  start: number,
  end: number,
  bits: number,
  words: Uint32Array,
  at: number,
): number {
  let pending = 0;
  let filled = 0;
  for (let t = start; t < end; t++) {
    const code = data[t] + 1;
    filled += bits;
    if (filled >= 32) {
      filled -= 32;
      words[at++] = pending | (code >>> filled);
      pending = filled > 0 ? code << (32 - filled) : 0;
    } else {
      pending |= code << (32 - filled);
    }
  }
  if (filled > 0) words[at++] = pending;
  return at;
}

/** The code of `bits` bits from bit `at` on, counted from the top bit of the first word. */
export function codeAt(words: Uint32Array, at: number, bits: number): number {
  const word = at >>> 5;
  const end = (at & 31) + bits;
  const code = end <= 32
    ? words[word] >>> (32 - end)
    : (words[word] << (end - 32)) | (words[word + 1] >>> (64 - end));
  return code & (2 ** bits - 1);
}
