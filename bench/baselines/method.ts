/**
 * The contract of what is compared: ways to keep a beam search over fixed-length sequences inside a set.
 * Ours and every baseline take one; the same logits give the same search, up to what a method leaves out.
 */

/** A sorted set of distinct sequences, [rows, length] row-major, tokens below `vocabSize`. */
export interface SequenceSet {
  readonly data: Uint16Array | Uint32Array;
  readonly rows: number;
  readonly length: number;
  readonly vocabSize: number;
}

/** Rows of the model: B batch rows of M beams, V logits each. */
export interface MethodShape {
  readonly batchSize: number;
  readonly beamSize: number;
}

/** A set, ready to be searched. */
export interface Method extends Disposable {
  readonly name: string;
  /** False where sequences outside the set may come out, or sequences of it are missed. */
  readonly exact: boolean;
  /** Bytes that a search looks things up in, logits and scratch left out; computed where `isOnHeap`. */
  readonly byteLength: number;
  /** Made of objects of JavaScript, so that what it takes can only be measured. */
  readonly isOnHeap?: boolean;
  begin(shape: MethodShape): MethodSearch;
}

/** One search: for each step fill `logits`, then `advance`. */
export interface MethodSearch extends Disposable {
  /**
   * [rows, V] of the coming step, the method's own memory; rows = B at step 0, then B·M. Read afresh each step, and
   * written in full: rows without a live beam are not looked at.
   */
  logits(): Float32Array;
  /**
   * Log-softmax, mask, the best M of each batch row, their states: what stands between two calls of a model.
   * Ties: lower parent row, then lower token. With fewer than M candidates the rest are dead. NaN and -infinity are
   * no candidates; +infinity must not occur.
   */
  advance(): void;
  /**
   * Copies of the beams after one step or more: sequences [B, M, steps done], scores [B, M], live beams per batch
   * row [B]. Dead beams stand last, with score -infinity and tokens 0xFFFFFFFF.
   */
  beams(): { sequences: Uint32Array; scores: Float32Array; counts: Uint32Array };
}
