/** First pass over the sorted rows: counts per level, and from them the smallest layout. */
import { LimitError } from "../errors.ts";
import type { IndexShape } from "./header.ts";
import { levelByteLength, type LevelShape, MAX_LENGTH, rowWords } from "./layout.ts";
import type { Pace } from "./pace.ts";
import type { RowCursor } from "./rows.ts";

/** Rows between two looks at the clock. */
export const ROWS_PER_TICK = 2 ** 16;

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

/**
 * Reads all rows once and chooses how each level is stored.
 *
 * @throws {LimitError} if there are 2^32 - 1 sequences or more.
 */
export async function planIndex(
  rows: RowCursor,
  vocabSize: number,
  pace: Pace,
): Promise<IndexShape> {
  const counts = new Counts();
  rows.rewind();
  for (let row = 0; row < rows.count;) {
    const stop = Math.min(rows.count, row + ROWS_PER_TICK);
    for (; row < stop && rows.next(); row++) counts.add(rows);
    await pace.tick("plan", row, rows.count);
  }
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
