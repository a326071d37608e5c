/** What a search takes and gives: models, options, results. */
import type { ItemFilter } from "../index/item_filter.ts";
import type { Logits, Normalize } from "../kernels/kernel.ts";
import type { GpuLogits, GpuRunLogits } from "../kernels/webgpu/gpu_search.ts";

export type { GpuLogits, GpuRunLogits, Logits, Normalize };

/** Where a search ran. */
export type Backend = "webgpu" | "wasm";

/**
 * One call of the model. Step 0 shows one row per batch row (the prompt is the model's own business); from step 1 on there
 * are `beamSize` rows per batch row, or the live ones alone where the model has `liveRows`.
 */
export interface ModelInput {
  /** 0, 1, 2, … */
  readonly step: number;
  /** B at step 0, then B·M; with `liveRows` the number of beams that the model can still extend or end, at least 1. */
  readonly rows: number;
  /** B */
  readonly batchSize: number;
  /** M */
  readonly beamSize: number;
  /** W: how many logits each row must have. */
  readonly vocabSize: number;
  /** [rows] token that each row was extended with last; empty at step 0. Yours to keep. */
  readonly tokens: Uint32Array;
  /** [rows] row of the call before that each row continues; empty at step 0. Yours to keep. */
  readonly parents: Uint32Array;
  /** [rows] batch row of each row, ascending. Yours to keep. */
  readonly batch: Uint32Array;
  /**
   * [rows, W] memory of the search, to fill with logits and return without a copy. Holds leftovers at first.
   * Read it afresh after an `await`, and after making filters of the index: growing memory detaches earlier views,
   * and what is written to those is lost (which is noticed).
   */
  readonly out: Float32Array;
}

/**
 * One call for all that is left: every row has one way to go on, and the logits along it are wanted at once. Row r is fed
 * its last token and then the tokens that follow by force; the logits behind each of the first `lengths[r]` are read.
 */
export interface RunInput {
  /** Step of the first logits, at least 1. */
  readonly step: number;
  /** Rows of this call: some or all of the live ones. */
  readonly rows: number;
  /** Tokens of the longest run, at least 2. */
  readonly width: number;
  /** [rows, width] tokens to feed, filled up with `padToken` on the right. Yours to keep. */
  readonly tokens: Uint32Array;
  /** [rows] tokens of each run, at least 1. Yours to keep. */
  readonly lengths: Uint32Array;
  /** [rows] row of the last {@linkcode ModelInput} that each row continues. Yours to keep. */
  readonly parents: Uint32Array;
  /** [rows] batch row of each row, ascending. Yours to keep. */
  readonly batch: Uint32Array;
  /** B */
  readonly batchSize: number;
  /** W: how many logits each position must have. */
  readonly vocabSize: number;
  /** The signal of the search. */
  readonly signal?: AbortSignal;
}

/**
 * A model on the CPU side: returns logits for the rows that it is shown. Called again from step 0 at any time. A plain
 * function is one.
 */
export interface Model {
  (input: ModelInput): Logits | Promise<Logits>;
  /**
   * Whether it takes live rows alone. If not, it is shown all B·M rows, dead and ended ones with `padToken`. Results are
   * the same to the last bit where rows do not depend on each other.
   */
  readonly liveRows?: boolean;
  /**
   * Scores the rest of all rows in one call, where each has one way to go on: returns [rows, width, W]; positions behind
   * `lengths` are not read. It may be called several times in a row, for a part of the rows each, from the same last
   * step; no step follows it but step 0. Without it the search goes step by step.
   */
  scoreRuns?(input: RunInput): Logits | Promise<Logits>;
}

/** One call of a model on the GPU: as {@linkcode ModelInput}, with the rows' ids in buffers. */
export interface GpuModelInput {
  /** 0, 1, 2, … */
  readonly step: number;
  /** B at step 0, then B·`beamSize`. */
  readonly rows: number;
  /** B */
  readonly batchSize: number;
  /** M; with `liveRows` the width of this step's beams, which is less where the set has fewer prefixes. */
  readonly beamSize: number;
  /** [rows] u32: token that each row was extended with last; meaningless at step 0. */
  readonly tokens: GPUBuffer;
  /** [rows] u32: row of the previous step that each row continues; meaningless at step 0. */
  readonly parents: GPUBuffer;
}

/** One call for all that is left of a search on the GPU, as {@linkcode RunInput}: all rows, each with `width` tokens. */
export interface GpuRunInput extends GpuModelInput {
  /** Tokens to feed to each row, at least 2. */
  readonly width: number;
  /** [rows, width] u32: the last token of each row, then those that follow; `padToken` where a sequence has ended. */
  readonly tokens: GPUBuffer;
}

/**
 * A model whose logits are made and stay on the GPU. A search with it waits for the GPU once, at its end.
 *
 * `step` encodes and submits work on `device` and returns where the logits will be. It is called again from step
 * 0 at any time.
 */
export interface GpuModel {
  /** The decoder's device: pass it to `createDecoder` as `device`. */
  readonly device: GPUDevice;
  /** Whether a step may have fewer than M beams for each batch row, where the set has fewer prefixes. */
  readonly liveRows?: boolean;
  /** Makes the logits of one step. */
  step(input: GpuModelInput): Promise<GpuLogits> | GpuLogits;
  /** Makes the logits of all steps that are left, where the set leaves no choice from here on. */
  scoreRuns?(input: GpuRunInput): Promise<GpuRunLogits> | GpuRunLogits;
  /** The same model on the CPU: takes over when the device is lost, out of memory, or not there. */
  readonly cpu?: Model;
}

/** Options of a beam search. */
export interface BeamSearchOptions {
  /** B, rows searched at once. Default 1. */
  batchSize?: number;
  /** M, 1 … 1024. */
  beamSize: number;
  /**
   * K, results for each batch row, 1 … M. Default M. They are the first K of the M, and the search stops as soon as these
   * cannot change any more: where sequences differ in length, or with `endToken`, that saves most of the model's work.
   * With `normalize: "none"` it does not stop early.
   */
  results?: number;
  /**
   * What becomes of a sequence whose items were all found by better ones: it keeps its place among the results
   * (`"keep"`, the default), or takes none (`"best"`).
   */
  duplicates?: "keep" | "best";
  /** W, logits per row, at least `index.vocabSize` (the default). */
  vocabSize?: number;
  /** Consider only the best so many tokens of each beam. Default: all, which is exact. */
  tokensPerBeam?: number;
  /**
   * `"vocab"` (default): log-softmax over all W logits. `"allowed"`: over the tokens that may follow.
   * `"none"`: logits are log-probabilities already.
   */
  normalize?: Normalize;
  /** Token whose log-probability it costs to end a sequence. It occurs in no stored sequence. */
  endToken?: number;
  /**
   * Beams rank by score / length^lengthPenalty, the end token not counted. Default 0. Scores in the result are the
   * sums themselves. At most 8 either way, less where sequences may have more than 214 tokens (6.199 for 1024): so ranks
   * of all scores but those nearer to 0 than 2^-64 keep the precision of float32.
   */
  lengthPenalty?: number;
  /** Token that rows without a live beam show to the model. Default 0. */
  padToken?: number;
  /**
   * Allowed sequences: one filter for all batch rows, or one for each, undefined for none. The result is that of an
   * index of the allowed sequences alone, ordinals aside. Costs next to nothing; on a GPU a filter is copied there once.
   */
  filter?: ItemFilter | readonly (ItemFilter | undefined)[];
  /**
   * Ordinals per batch row, at most 10 000 each, that are taken from its filter, or from the whole set; undefined for
   * none. Costs about a microsecond per ordinal at the start, and next to nothing in the steps; no filter is copied. What
   * many searches share is cheaper as a filter.
   */
  exclude?: readonly (ArrayLike<number> | undefined)[];
  /**
   * Item ids per batch row, at most 10 000 each, none of which may come out; undefined for none. An item of a shared
   * sequence is taken out alone: the sequence is still found where it has others. Ids that the index does not have
   * exclude nothing. Needs an index whose ids lead back (`itemLookup`). Costs what `exclude` costs, and a few
   * microseconds per id.
   */
  excludeItems?: readonly (readonly (bigint | string)[] | undefined)[];
  /** Stops the search between steps; the search rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** The best K sequences of every batch row, best first. K is `results`. */
export interface BeamSearchResult {
  /** B */
  batchSize: number;
  /** M */
  beamSize: number;
  /** K */
  results: number;
  /** Longest sequence of the index. */
  maxLength: number;
  /** [B, K, maxLength], padded with 0xFFFFFFFF. */
  sequences: Uint32Array;
  /** [B, K] tokens in each sequence; 0 where there is none. */
  lengths: Uint32Array;
  /** [B, K] sums of natural log-probabilities; -Infinity where there is none. */
  scores: Float32Array;
  /** [B, K] sequence numbers of the index; 0xFFFFFFFF where there is none. */
  ordinals: Uint32Array;
  /** [B] how many of the K are there. They come first. */
  counts: Uint32Array;
  /**
   * [N, 2] which items of each sequence passed the filter of its batch row, for {@linkcode itemsOf}: runs of item
   * numbers, the first and the one behind the last; or an ordinal and 0xFFFFFFFF, for all items of that sequence.
   */
  items: Uint32Array;
  /** [B·K + 1] the first run of each place; the last number is N. */
  itemStarts: Uint32Array;
  /** Where the search ran. */
  backend: Backend;
}
