/** The sequences of an index one after the other, for what reads many. */
import { type ConstraintIndex, loadedIndexOf } from "./constraint_index.ts";
import { edgesOfEnds, edgesToStates, readEdges } from "./edge_reader.ts";

/** Tokens that are read at once. */
const BATCH_TOKENS = 2 ** 16;

/**
 * Stands on one sequence at a time. Going on to the next costs 5 to 40 ns a token, since they are read in batches,
 * level by level; going elsewhere costs a batch. Memory: 512 KiB at most.
 *
 * @throws {EspalierError} with code `"not-loaded"` before all levels are there.
 */
export class SequenceCursor {
  /** Of the sequence at hand. */
  ordinal = -1;
  /** Tokens of the sequence at hand. */
  length = 0;
  /** Holds these from `start` on, until the cursor moves. */
  tokens: Uint32Array = new Uint32Array(0);
  start = 0;
  readonly #index: ConstraintIndex;
  #edges: Uint32Array = new Uint32Array(0);
  /** Ordinals of the batch: from #first up to, not including, #end. */
  #first = 0;
  #end = 0;

  constructor(index: ConstraintIndex) {
    this.#index = index;
  }

  /** Goes on to the next sequence, at first to that with ordinal 0; false if there is none. */
  next(): boolean {
    return this.seek(this.ordinal + 1);
  }

  /** Goes to the sequence with an ordinal from 0 on; false if there is none. */
  seek(ordinal: number): boolean {
    this.ordinal = ordinal;
    if (ordinal < this.#first || ordinal >= this.#end) {
      if (ordinal >= this.#index.size) return false;
      this.#read(ordinal);
    }
    this.start = (ordinal - this.#first) * this.length;
    return true;
  }

  /** The sequence at hand, copied. */
  sequence(): Uint32Array {
    return this.tokens.slice(this.start, this.start + this.length);
  }

  #read(ordinal: number): void {
    const loaded = loadedIndexOf(this.#index);
    const { shape: { levels }, loading } = loaded;
    loading.require(levels.length);
    let last = 0;
    let number = ordinal;
    while (number >= levels[last].ends) number -= levels[last++].ends;
    const length = last + 1;
    const count = Math.min(levels[last].ends - number, Math.ceil(BATCH_TOKENS / length));
    if (this.tokens.length < count * length) this.tokens = new Uint32Array(count * length);
    if (this.#edges.length < count) this.#edges = new Uint32Array(count);
    const edges = this.#edges.subarray(0, count);
    for (let i = 0; i < count; i++) edges[i] = number + i;
    edgesOfEnds(loaded, last, edges);
    for (let d = last; d >= 0; d--) {
      readEdges(loaded, d, edges, this.tokens, d, length);
      if (d > 0) edgesToStates(loaded, d - 1, edges);
    }
    this.length = length;
    this.#first = ordinal;
    this.#end = ordinal + count;
  }
}
