/** What each level of an index holds and takes. */
import {
  type Encoding,
  innerEdges,
  levelByteLength,
  type LevelShape,
  type Starts,
  tokenBits,
} from "./format/layout.ts";

/** One level of an index: all allowed prefixes of one length. */
export interface LevelInfo {
  /** Distinct prefixes of this length. */
  readonly edges: number;
  /** Prefixes, one token shorter, that go on: rows of the level. */
  readonly states: number;
  /** Sequences that end on this level. */
  readonly ends: number;
  /** Whether tokens are packed in `tokenBits` bits each, or rows are bitmaps. */
  readonly encoding: Encoding;
  /** How row starts are stored. */
  readonly starts: Starts;
  /** Most tokens that may follow one prefix. */
  readonly maxBranch: number;
  /** Smallest token of the level. */
  readonly tokenMin: number;
  /** Bits of a packed token, relative to `tokenMin`. */
  readonly tokenBits: number;
  /** Bytes of the level in the file. */
  readonly byteLength: number;
}

/** What a header says of its levels. */
export function levelInfos(levels: readonly LevelShape[]): LevelInfo[] {
  return levels.map((level, d) => ({
    edges: level.edges,
    states: level.states,
    ends: level.ends,
    encoding: level.encoding,
    starts: level.starts,
    maxBranch: level.maxBranch,
    tokenMin: level.tokenMin,
    tokenBits: tokenBits(level),
    byteLength: levelByteLength(level, innerEdges(levels, d)),
  }));
}
