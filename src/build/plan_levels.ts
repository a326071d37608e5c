/** First pass over the sorted rows: counts per level, and from them the smallest layout. */
import { LimitError } from "../errors.ts";
import type { IndexShape } from "../index/format/header.ts";
import { levelByteLength, type LevelShape, MAX_LENGTH, rowWords } from "../index/format/layout.ts";
import type { Progress } from "./progress.ts";
import type { RowCursor } from "./row_cursor.ts";

/** Counts the distinct prefixes of sorted rows, level by level. */
class Counts {
  edges = new Float64Array(MAX_LENGTH);
  /** One more: the level behind the last has no states. */
  states = new Float64Array(MAX_LENGTH + 1);
  ends = new Float64Array(MAX_LENGTH);
  branch = new Float64Array(MAX_LENGTH);
  maxBranch = new Float64Array(MAX_LENGTH);
  tokenMin = new Uint32Array(MAX_LENGTH).fill(0xffffffff);
  tokenMax = new Uint32Array(MAX_LENGTH);
  depth = 0;
  #lastLength = 0;

  add(rows: RowCursor): void {
    const { tokens, length, shared } = rows;
    const last = this.#lastLength;
    if (shared === length && length === last) return;
    // Where the row before is a prefix of this one, its end goes on now.
    const goesOn = shared === last;
    for (let d = shared; d < length; d++) {
      const token = tokens[d];
      this.edges[d]++;
      if (d > shared || goesOn) {
        this.states[d]++;
        this.branch[d] = 0;
      }
      if (++this.branch[d] > this.maxBranch[d]) this.maxBranch[d] = this.branch[d];
      if (token < this.tokenMin[d]) this.tokenMin[d] = token;
      if (token > this.tokenMax[d]) this.tokenMax[d] = token;
    }
    this.ends[length - 1]++;
    this.#lastLength = length;
    if (length > this.depth) this.depth = length;
  }
}

/** Tells the ordinal of each input row, once all rows have been counted. */
class RowOrdinals {
  /** Numbers among the ends of their level until {@linkcode finish}, then ordinals; by input row. */
  readonly numbers: Uint32Array;
  /** Length of each row; not there as long as all are equally long. */
  #lengths: Uint16Array | undefined;
  #firstLength = 0;

  constructor(numbers: Uint32Array) {
    this.numbers = numbers;
  }

  add({ row, length }: RowCursor, number: number): void {
    this.numbers[row] = number;
    this.#firstLength ||= length;
    if (length !== this.#firstLength) {
      this.#lengths ??= new Uint16Array(this.numbers.length).fill(this.#firstLength);
    }
    if (this.#lengths) this.#lengths[row] = length;
  }

  /** @param ends sequences that end on each level. */
  async finish(ends: readonly number[], progress: Progress): Promise<void> {
    const { numbers } = this;
    const lengths = this.#lengths;
    if (!lengths) return;
    const before = [0, 0];
    for (const count of ends) before.push(before.at(-1)! + count);
    await progress.over("number", numbers.length, (from, to) => {
      for (let row = from; row < to; row++) numbers[row] += before[lengths[row]];
    });
  }
}

/**
 * Reads all rows once and chooses how each level is stored.
 *
 * @param ordinals receives the ordinal of each input row, by row number. Costs 2 bytes a row where lengths differ.
 * @throws {LimitError} if there are 2^32 - 1 sequences or more.
 */
export async function planIndex(
  rows: RowCursor,
  vocabSize: number,
  progress: Progress,
  ordinals?: Uint32Array,
): Promise<IndexShape> {
  const counts = new Counts();
  const numbering = ordinals && new RowOrdinals(ordinals);
  rows.rewind();
  await progress.over("plan", rows.count, (from, to) => {
    for (let i = from; i < to && rows.next(); i++) {
      counts.add(rows);
      numbering?.add(rows, counts.ends[rows.length - 1] - 1);
    }
  });
  const levels: LevelShape[] = [];
  let size = 0;
  for (let d = 0; d < counts.depth; d++) {
    const inner = d + 1 < counts.depth ? counts.states[d + 1] : 0;
    const leaves = counts.edges[d] - inner;
    size += counts.ends[d];
    levels.push(smallestLevel({
      edges: counts.edges[d],
      states: counts.states[d],
      maxBranch: counts.maxBranch[d],
      tokenMin: counts.tokenMin[d],
      tokenCount: counts.tokenMax[d] - counts.tokenMin[d] + 1,
      inner: inner > 0 && leaves > 0,
      end: counts.ends[d] > leaves,
      ends: counts.ends[d],
    }, inner));
  }
  // Edges of a level are not more than sequences, so this bounds them as well.
  if (size >= 2 ** 32 - 1) {
    throw new LimitError(
      "too-many-sequences",
      `Cannot build an index of ${size} sequences: fewer than 2^32 - 1 fit; split the set`,
      { expected: 2 ** 32 - 2, actual: size },
    );
  }
  await numbering?.finish(levels.map((level) => level.ends), progress);
  return { size, vocabSize, levels };
}

/** The encoding that takes the fewest bytes; the simpler one where two take the same. */
function smallestLevel(
  level: Omit<LevelShape, "encoding" | "starts">,
  innerEdges: number,
): LevelShape {
  const candidates: LevelShape[] = level.edges === level.states
    ? [{ ...level, encoding: "packed", starts: "one" }]
    : [
      { ...level, encoding: "packed", starts: "list" },
      { ...level, encoding: "packed", starts: "bits" },
    ];
  // Positions in a bitmap are 32-bit numbers.
  if (level.states * rowWords(level) * 32 < 2 ** 32) {
    candidates.push({ ...level, encoding: "bitmap", starts: "bits" });
  }
  let best = candidates[0];
  for (const candidate of candidates) {
    if (levelByteLength(candidate, innerEdges) < levelByteLength(best, innerEdges)) {
      best = candidate;
    }
  }
  return best;
}
