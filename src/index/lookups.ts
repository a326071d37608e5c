/** Follows prefixes through an index, one at a time, each on from where it parts from the one before it. */
import type { FilterBits } from "./filter_bits.ts";
import { LEVEL_RECORD_BYTES, NONE } from "./format/layout.ts";
import { type LoadedIndex, RESULT_BYTES, scratchByteLength } from "./index_memory.ts";

/** Tokens of all remembered prefixes together: 512 KiB with their edges. */
const MOST_REMEMBERED = 2 ** 16;
/** Word of the scratch where the tokens of a prefix are. */
const PREFIX = RESULT_BYTES / 4;

/** A prefix that was followed, and the edge of each of its tokens: NONE from the first one on that is not in the set. */
interface Path {
  readonly tokens: Uint32Array;
  readonly edges: Uint32Array;
  length: number;
}

/** Where a prefix leads. */
export interface Place {
  /** Edge of its last token, in its level; NONE for the empty prefix. */
  readonly edge: number;
  /** State of the next level, NONE if nothing follows. */
  readonly state: number;
  /** Of the sequence that ends there, NONE if none does. */
  readonly ordinal: number;
}

/**
 * Lookups in one index. {@linkcode nextTokens} remembers the last prefix of each row, and walks only the tokens that a
 * prefix does not share with it: one, where prefixes grow by a token.
 */
export class Lookups {
  /** Word of the scratch from which on there is room for tokens. */
  readonly firstToken: number;
  /** Most tokens that may follow a prefix. */
  readonly maxBranch: number;
  readonly #loaded: LoadedIndex;
  readonly #maxLength: number;
  readonly #vocabSize: number;
  #words: Uint32Array = new Uint32Array();
  readonly #paths: Path[] = [];
  readonly #mostPaths: number;
  /** Word of the scratch where the tokens of the last {@linkcode nextTokens} start. */
  first = 0;
  /** The path that it followed; undefined if its prefix is no sequence of tokens. */
  #path: Path | undefined;
  // Whose tokens these are: length and last edge of the prefix, address of the filter. Then their number.
  #length = -1;
  #edge = NONE;
  #filter = 0;
  #count = 0;

  constructor(loaded: LoadedIndex) {
    this.#loaded = loaded;
    this.#maxLength = loaded.shape.levels.length;
    this.#vocabSize = loaded.shape.vocabSize;
    this.#mostPaths = Math.floor(MOST_REMEMBERED / this.#maxLength);
    this.maxBranch = Math.max(...loaded.shape.levels.map((level) => level.maxBranch));
    this.firstToken = PREFIX + this.#maxLength;
  }

  /** The scratch, valid until the memory grows. */
  get words(): Uint32Array {
    if (this.#words.length === 0) {
      const { heap, scratch, shape } = this.#loaded;
      this.#words = heap.u32(scratch, scratchByteLength(shape) / 4);
    }
    return this.#words;
  }

  /** Whether the set holds a prefix. If so, words 0 to 2 of the scratch are the fields of its {@linkcode Place}. */
  walk(prefix: ArrayLike<number | bigint>): boolean {
    const length = prefix?.length;
    if (!this.#isLength(length)) return false;
    const { words } = this;
    for (let i = 0; i < length; i++) {
      const token = numberOf(prefix[i]);
      if (!this.#isToken(token)) return false;
      words[PREFIX + i] = token;
    }
    const { heap: { exports }, table, scratch, loading } = this.#loaded;
    loading.require(length);
    return exports.walk(table, this.#maxLength, scratch + RESULT_BYTES, length, scratch) !== 0;
  }

  /** Forgets which tokens are in the scratch: others may have written there, or filters may have changed. */
  begin(): void {
    this.#length = -1;
  }

  /**
   * Writes the tokens that may follow a prefix to the scratch, ascending, unless they are there since the call before;
   * they start at word `first`. Returns their number: 0 if the prefix is not in the set.
   *
   * @param row whose last prefix this one is compared with.
   * @param at word of the scratch to write to, from {@linkcode firstToken} on; `maxBranch` words must be left.
   * @param filter counts only sequences that it allows.
   */
  nextTokens(
    row: number,
    prefix: ArrayLike<number | bigint>,
    at: number,
    filter?: FilterBits,
  ): number {
    this.#path = undefined;
    const length = prefix?.length;
    if (!this.#isLength(length)) return 0;
    // A remainder takes longer than the rest of these lines.
    const slot = row < this.#mostPaths ? row : row % this.#mostPaths;
    const path = this.#paths[slot] ??= {
      tokens: new Uint32Array(this.#maxLength),
      edges: new Uint32Array(this.#maxLength),
      length: 0,
    };
    const { tokens, edges } = path;
    const shared = Math.min(path.length, length);
    let from = 0;
    while (from < shared && numberOf(prefix[from]) === tokens[from]) from++;
    path.length = from;
    const { words } = this;
    for (let i = from; i < length; i++) {
      const token = numberOf(prefix[i]);
      if (!this.#isToken(token)) return 0;
      words[PREFIX + i] = tokens[i] = token;
    }
    const { heap: { exports }, table, scratch, loading } = this.#loaded;
    loading.require(length);
    this.#path = path;
    path.length = length;
    const bits = filter && length < this.#maxLength ? filter.address + filter.edges[length] : 0;
    const edge = from === 0 ? NONE : edges[from - 1];
    const isListed = from === length && this.#length === length && this.#edge === edge &&
      this.#filter === bits;
    if (isListed) return this.#count;
    this.#length = -1;
    const count = exports.nextTokens(
      table,
      Math.min(loading.levels, this.#maxLength),
      from,
      edge,
      scratch + 4 * (PREFIX + from),
      length - from,
      bits,
      scratch + 4 * at,
    );
    for (let i = from; i < length; i++) edges[i] = words[PREFIX + i];
    // If the prefix may go on, and where is not known yet.
    if (count < 0) loading.require(length + 1);
    this.first = at;
    this.#length = length;
    this.#edge = length === 0 ? NONE : edges[length - 1];
    this.#filter = bits;
    return this.#count = Math.max(0, count);
  }

  /** Ordinal of the prefix of the last {@linkcode nextTokens}, if it is a whole sequence; else NONE. */
  ordinal(): number {
    const path = this.#path;
    if (!path || path.length === 0) return NONE;
    const edge = path.edges[path.length - 1];
    if (edge === NONE) return NONE;
    const { heap: { exports }, table } = this.#loaded;
    return exports.ordinalOfEdge(table + (path.length - 1) * LEVEL_RECORD_BYTES, edge) >>> 0;
  }

  #isLength(length: number): boolean {
    return Number.isInteger(length) && length >= 0 && length <= this.#maxLength;
  }

  #isToken(token: number): boolean {
    return token >>> 0 === token && token < this.#vocabSize;
  }
}

/** NaN for what is neither number nor bigint. */
function numberOf(token: unknown): number {
  return typeof token === "number" ? token : typeof token === "bigint" ? Number(token) : NaN;
}
