/** What several methods ask of a set. */
import type { SequenceSet } from "./method.ts";

/** Tokens that a row has in common with the one before it; 0 for the first. */
export function commonPrefix({ data, length }: SequenceSet, row: number): number {
  if (row === 0) return 0;
  const at = row * length;
  let d = 0;
  while (d < length && data[at + d] === data[at - length + d]) d++;
  return d;
}

/** Distinct prefixes of 1 … length tokens: the edges of each level. One pass. */
export function countEdges(set: SequenceSet): number[] {
  const counts = new Array<number>(set.length).fill(0);
  for (let row = 0; row < set.rows; row++) counts[commonPrefix(set, row)]++;
  for (let d = 1; d < set.length; d++) counts[d] += counts[d - 1];
  return counts;
}

/** Typed array of tokens of a vocabulary, as narrow as it can be. */
export function tokenArray(vocabSize: number, length: number): Uint16Array | Uint32Array {
  return vocabSize <= 65536 ? new Uint16Array(length) : new Uint32Array(length);
}

/** First row that does not come before a prefix padded with zeros. */
function lowerBound(set: SequenceSet, prefix: ArrayLike<number>): number {
  let low = 0;
  let high = set.rows;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (compare(set, middle, prefix) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Sign of the beginning of a row against a prefix. */
function compare({ data, length }: SequenceSet, row: number, prefix: ArrayLike<number>): number {
  for (let d = 0; d < prefix.length; d++) {
    const difference = data[row * length + d] - prefix[d];
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Whether a sequence of the set begins with a prefix. */
export function hasPrefix(set: SequenceSet, prefix: ArrayLike<number>): boolean {
  const row = lowerBound(set, prefix);
  return row < set.rows && compare(set, row, prefix) === 0;
}

/** Tokens that may follow a prefix, ascending. Reads all sequences that begin with it. */
export function allowedTokens(set: SequenceSet, prefix: ArrayLike<number>): number[] {
  const { data, rows, length } = set;
  const tokens: number[] = [];
  for (let row = lowerBound(set, prefix); row < rows && compare(set, row, prefix) === 0; row++) {
    const token = data[row * length + prefix.length];
    if (token !== tokens[tokens.length - 1]) tokens.push(token);
  }
  return tokens;
}

/** Live beams that no sequence of the set begins with: what an inexact method lets through. */
export function countOutside(
  set: SequenceSet,
  { sequences, counts }: { sequences: Uint32Array; counts: Uint32Array },
  beamSize: number,
): number {
  const steps = sequences.length / (counts.length * beamSize);
  let outside = 0;
  counts.forEach((count, b) => {
    for (let beam = b * beamSize; beam < b * beamSize + count; beam++) {
      outside += Number(!hasPrefix(set, sequences.subarray(beam * steps, (beam + 1) * steps)));
    }
  });
  return outside;
}
