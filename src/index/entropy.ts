/**
 * How many bytes per item a random set takes: the measure that an index is held against.
 *
 * A set of n out of U possible sequences is one of C(U, n) sets. No encoding takes fewer than log2 C(U, n) bits
 * for all of them; a regular set may take fewer. U may be 2^20480, so it is never computed; its logarithm is.
 */

/** Below so many factors the product is summed term by term; from there on Stirling is exact enough. */
const STIRLING_FROM = 64;

/**
 * log2 of the number of ways to choose `count` out of `base ** power`. O(64 + power). Relative error about
 * 1e-14, for tiny and for huge powers, and where nearly everything is chosen.
 *
 * @param base integer, at least 1.
 * @param power integer, at least 0.
 * @param count integer in [0, base ** power], below 2^53.
 * @throws {RangeError} if there are not so many to choose from.
 */
export function log2Choose(base: number, power: number, count: number): number {
  let all = 1;
  for (let i = 0; i < power && all < Infinity; i++) all *= base;
  if (!(count >= 0 && count <= all)) {
    throw new RangeError(`Cannot choose ${count} out of ${base}^${power}: expected at most ${all}`);
  }
  const isExact = all <= 2 ** 53;
  const logAll = isExact ? Math.log(all) : power * Math.log(base);
  // C(U, n) = C(U, U - n). Where U is not exact it is far above 2n, and n is the smaller one.
  const n = isExact ? Math.min(count, all - count) : count;
  if (n < STIRLING_FROM) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += logAll - Math.log(i + 1) + Math.log1p(-i / all);
    return sum / Math.LN2;
  }
  // ln U! - ln n! - ln (U-n)! by Stirling, with U ln U and (U-n) ln (U-n) combined before they are large.
  const share = n / all;
  const rest = n * (1 - share) * (share > 0 ? -Math.log1p(-share) / share : 1);
  const sum = n * (logAll - Math.log(n)) + rest - Math.log(2 * Math.PI * n * (1 - share)) / 2 +
    stirlingTail(all) - stirlingTail(n) - stirlingTail(all - n);
  return sum / Math.LN2;
}

/** ln x! - (x ln x - x + ln(2πx) / 2), for x ≥ 64. */
function stirlingTail(x: number): number {
  return (1 / 12 - (1 / 360 - 1 / 1260 / x / x) / x / x) / x;
}

/**
 * Bits that tell which sequences are in a set, once it is known how many there are of each length: the sum of
 * log2 C(vocabSize^length, count) over the lengths.
 *
 * @param counts sequences of 1 token, of 2 tokens, …
 * @throws {RangeError} if there are more than there can be.
 */
export function entropyBits(vocabSize: number, counts: readonly number[]): number {
  return counts.reduce((sum, count, i) => sum + log2Choose(vocabSize, i + 1, count), 0);
}
