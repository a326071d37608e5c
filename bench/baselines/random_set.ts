/** Seeded sets of distinct sequences, made in sorted order: memory of the set and of one bucket. */
import { random } from "../lib/support.ts";
import type { SequenceSet } from "./method.ts";
import { tokenArray } from "./set.ts";

const MAX_SAFE = 2 ** 53;

/** Shape of a set. */
export interface SetShape {
  length: number;
  vocabSize: number;
  seed?: number;
}

/**
 * Uniform random sequences. Buckets by first token are filled one after another: with sorted distinct keys, one
 * for the tokens that follow. A key is a number below 2^53; what is longer gets its last tokens at random after
 * sorting, so that no two sequences share a beginning of more than 2^53 kinds (1e8 at random would hardly).
 * Time: 16 s for 1e8 sequences of 8 tokens; memory: theirs and one bucket's.
 *
 * @throws {RangeError} if there are not so many sequences.
 */
export function randomSet(rows: number, { length, vocabSize, seed = 1 }: SetShape): SequenceSet {
  if (rows > vocabSize ** length) {
    throw new RangeError(
      `Cannot draw ${rows} distinct sequences: there are ${vocabSize ** length}; ask for fewer`,
    );
  }
  const next = random(seed);
  const capacity = vocabSize ** (length - 1);
  const counts = new Float64Array(vocabSize);
  for (let row = 0; row < rows;) {
    const token = next() % vocabSize;
    if (counts[token] === capacity) continue;
    counts[token]++;
    row++;
  }
  // Tokens of a key: as many as an exact number holds.
  let keyLength = 0;
  while (keyLength < length - 1 && vocabSize ** (keyLength + 1) <= MAX_SAFE) keyLength++;
  const data = tokenArray(vocabSize, rows * length);
  let at = 0;
  for (let token = 0; token < vocabSize; token++) {
    if (counts[token] === 0) continue;
    for (let key of sample(counts[token], vocabSize ** keyLength, next)) {
      data[at] = token;
      for (let d = keyLength; d > 0; d--) {
        data[at + d] = key % vocabSize;
        key = Math.floor(key / vocabSize);
      }
      for (let d = keyLength + 1; d < length; d++) data[at + d] = next() % vocabSize;
      at += length;
    }
  }
  return { data, rows, length, vocabSize };
}

/**
 * Sequences whose states of the last level have exactly `branch` children each: rows / branch random prefixes,
 * rounded up, with random children.
 *
 * @throws {RangeError} if there are not so many tokens or prefixes.
 */
export function branchSet(
  rows: number,
  { length, vocabSize, branch, seed = 1 }: SetShape & { branch: number },
): SequenceSet {
  if (length < 2 || branch > vocabSize) {
    throw new RangeError(
      `Cannot give each state ${branch} children: expected length of 2 or more and at most ${vocabSize} children`,
    );
  }
  const prefixes = randomSet(Math.ceil(rows / branch), { length: length - 1, vocabSize, seed });
  const next = random(seed + 1);
  const data = tokenArray(vocabSize, prefixes.rows * branch * length);
  let at = 0;
  for (let row = 0; row < prefixes.rows; row++) {
    const prefix = prefixes.data.subarray(row * (length - 1), (row + 1) * (length - 1));
    for (const token of sample(branch, vocabSize, next)) {
      data.set(prefix, at);
      data[at + length - 1] = token;
      at += length;
    }
  }
  return { data, rows: prefixes.rows * branch, length, vocabSize };
}

/** `count` distinct numbers below `total` ≤ 2^53, ascending, every choice as likely. */
function sample(count: number, total: number, next: () => number): Float64Array {
  const uniform = () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / MAX_SAFE;
  const chosen = new Float64Array(count);
  let found = 0;
  if (count > total / 4) {
    for (let value = 0; found < count; value++) {
      if (uniform() * (total - value) < count - found) chosen[found++] = value;
    }
    return chosen;
  }
  while (found < count) {
    for (let i = found; i < count; i++) chosen[i] = Math.floor(uniform() * total);
    chosen.sort();
    let kept = 1;
    for (let i = 1; i < count; i++) if (chosen[i] !== chosen[i - 1]) chosen[kept++] = chosen[i];
    found = kept;
  }
  return chosen;
}
