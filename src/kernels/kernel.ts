/**
 * The kernel contract: one step of the constrained beam search, and what surrounds it. `wasm/` and `webgpu/` implement it;
 * tests/suites/conformance.ts is what every implementation must pass.
 *
 * A step takes logits [R, W] for R rows (B at step 0, B·M after) and the beams that stand in those rows, and
 * leaves the best M candidates of every batch row as beams. Ties: lower parent row, then lower token.
 */
import type { FilterBits } from "../index/filter_bits.ts";
import type { Exclusions } from "./exclusions.ts";

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
  /** Per batch row, what is taken from that; undefined takes nothing. */
  exclusions?: readonly (Exclusions | undefined)[];
  /** K, default M: a batch row is settled, and loses its live beams, when its first K results cannot change any more. */
  results?: number;
  /**
   * How many places hold the K results of a batch row, whose first ones, given here, have ended; undefined if these do
   * not. Without it every place is a result.
   */
  placesOf?: (batch: number, edges: Uint32Array, lengths: Uint32Array) => number | undefined;
  /** Whether the model is shown live rows alone. */
  liveRows?: boolean;
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

/**
 * What is left of a search in which every live beam has one way to go on: the row of each, and the tokens that it is fed
 * to score the rest.
 */
export interface Runs {
  /** Live beams. */
  readonly rows: number;
  /** Most logits that a row needs. */
  readonly width: number;
  /** [rows, width], `padToken` behind each row's own. */
  readonly tokens: Uint32Array<ArrayBuffer>;
  /** [rows] logits that each row needs, as many as the tokens that it is fed. */
  readonly lengths: Uint32Array<ArrayBuffer>;
  /** [rows] as the search's own. */
  readonly parents: Uint32Array<ArrayBuffer>;
  /** [rows] */
  readonly batch: Uint32Array<ArrayBuffer>;
  /**
   * Takes logits [count, width, W] of the rows from `first` on.
   *
   * @throws {ModelOutputError} if they are not that many, or one that counts is +infinity.
   */
  score(first: number, count: number, logits: Logits): void;
  /** Ends the search with what was scored; a row that was not scored keeps its score. Beams end and rank as step by step. */
  finish(): void;
}

/** One search: its beams, its workspace. Dispose of it to give the workspace back. */
export interface KernelSearch extends Disposable {
  /** Step that `advance` computes next: 0 … */
  readonly step: number;
  /** Rows of that step: B at step 0, then B·M, or as many as live. */
  readonly rows: number;
  /** Whether a beam is left that the model can extend or end. */
  readonly isLive: boolean;
  /** [rows] last token of each row, `padToken` where the row is not live; empty at step 0. A copy. */
  tokens(): Uint32Array<ArrayBuffer>;
  /** [rows] row of the step before that each row continues; empty at step 0. A copy. */
  parents(): Uint32Array<ArrayBuffer>;
  /** [rows] batch row of each row. A copy. */
  batch(): Uint32Array<ArrayBuffer>;
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
  /** What is left, if every live beam has one way to go on. All levels must be there. */
  runs?(): Runs | undefined;
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
