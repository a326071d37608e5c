/**
 * The kernel contract: one step of the constrained beam search, and what surrounds it. `wasm/` and `webgpu/` implement it;
 * tests/suites/conformance.ts is what every implementation must pass.
 *
 * A step takes logits [R, W] for R rows (B at step 0, B·M after) and the beams that stand in those rows, and
 * leaves the best M candidates of every batch row as beams. Ties: lower parent row, then lower token.
 */
import type { FilterBits } from "../index/filter_bits.ts";

/** How logits become log-probabilities. */
export type Normalize = "vocab" | "allowed" | "none";

/**
 * Logits of one step, shape [rows, W], row-major, in natural-log units. A `Uint16Array` holds the bits of
 * half-precision numbers. NaN and -infinity mean impossible. Not kept.
 */
export type Logits = Float32Array | Uint16Array | Float16Array;

/** What stays the same through a search. All values have been checked. */
export interface SearchShape {
  /** B */
  batchSize: number;
  /** M, 1 … 1024 */
  beamSize: number;
  /** W, at least the vocabulary of the index. */
  logitWidth: number;
  normalize: Normalize;
  /** Cut per row, or undefined for all. */
  tokensPerBeam?: number;
  endToken?: number;
  lengthPenalty: number;
  padToken: number;
  /** Per batch row, what is allowed; undefined allows everything. */
  filters?: readonly (FilterBits | undefined)[];
}

/**
 * Beams [B·M], best first within their batch row, dead ones last. At step 0 there is one row per batch row, in
 * the first B places.
 */
export interface Beams {
  /** Sums of log-probabilities; -Infinity where dead. */
  scores: Float32Array;
  /** Row of the next level, 0xFFFFFFFF if there is none. */
  states: Uint32Array;
  /** Edge of the level of the last token, 0xFFFFFFFF if there is none. */
  edges: Uint32Array;
  /** Tokens so far. */
  lengths: Uint32Array;
  /** `BEAM_BITS`; 0 = dead. */
  status: Uint32Array;
}

/** One search: its beams, its workspace. Dispose of it to give the workspace back. */
export interface KernelSearch extends Disposable {
  /** Step that `advance` computes next: 0 … */
  readonly step: number;
  /** Rows of that step: B at step 0, then B·M. */
  readonly rows: number;
  /** Whether a beam is left that the model can extend or end. */
  readonly isLive: boolean;
  /** [rows] last token of each row, `padToken` where the row is not live; empty at step 0. A copy. */
  tokens(): Uint32Array<ArrayBuffer>;
  /** [rows] row of the step before that each row continues; empty at step 0. A copy. */
  parents(): Uint32Array<ArrayBuffer>;
  /**
   * [rows, W] memory for logits that `advance` reads without a copy. Valid until memory grows; rows that are
   * not written after that are noticed.
   */
  out(): Float32Array<ArrayBuffer>;
  /**
   * Runs one step. Rows without a live beam are not looked at.
   *
   * @throws {ModelOutputError} if a live row has a logit of +infinity, there are not rows·W logits, or a
   * live row of `out` was not written.
   */
  advance(logits: Logits): void | Promise<void>;
  /** The beams as they stand. Copies. */
  beams(): Beams;
  /** Puts beams in place for a step, as if the steps before had led there. */
  load(step: number, beams: Beams): void;
}

/** An implementation over one index. */
export interface Kernel extends Disposable {
  readonly backend: "wasm" | "webgpu";
  /** Starts a search at step 0 with the root in every batch row. May grow memory. */
  begin(shape: SearchShape): KernelSearch;
}
