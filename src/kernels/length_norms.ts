/** What length penalties make of scores. */

/**
 * Factors by which scores of 0 … `count` - 1 tokens become ranks: length^-penalty, all times one power of two that
 * leaves none above 1. The order is the same, and no rank overflows, whatever the score.
 */
export function lengthNorms(count: number, penalty: number): Float32Array<ArrayBuffer> {
  const scale = 2 ** Math.min(0, Math.floor(penalty * Math.log2(count - 1)));
  return Float32Array.from({ length: count }, (_, i) => scale * Math.max(1, i) ** -penalty);
}
