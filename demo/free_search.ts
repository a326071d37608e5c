/** Beam search without constraint, in plain TypeScript: what a model spells when nobody holds it. */

import type { Logits, Model } from "../src/decode/types.ts";

/** One finished or unfinished hypothesis. */
export interface FreeResult {
  /** Without the end token. */
  readonly tokens: readonly number[];
  /** Sum of natural log-probabilities, the end token's included. */
  readonly score: number;
  /** False where the search ran out of steps first. */
  readonly ended: boolean;
}

/** Options of {@linkcode freeSearch}. */
export interface FreeOptions {
  /** B, rows that are searched beside each other. */
  readonly batchSize: number;
  /** M, how many hypotheses are kept for each. */
  readonly beamSize: number;
  /** W, logits per row. */
  readonly vocabSize: number;
  /** The token that ends a sequence. */
  readonly endToken: number;
  /** Longest sequence, in tokens. */
  readonly maxLength: number;
  /** How many of the best are wanted, at most M: the search stops when those have ended. */
  readonly best: number;
}

interface Beam extends FreeResult {
  /** Row of the model's last answer from which it comes. */
  readonly row: number;
}

/**
 * For each batch row the best sequences under the model alone, best first. The end competes as any other
 * token does.
 */
export async function freeSearch(model: Model, options: FreeOptions): Promise<FreeResult[][]> {
  const { batchSize, beamSize, vocabSize, endToken, maxLength, best } = options;
  const out = new Float32Array(batchSize * beamSize * vocabSize);
  let batch = Array.from({ length: batchSize }, (_, row): Beam[] => [
    { tokens: [], score: 0, ended: false, row },
  ]);
  for (let step = 0; step <= maxLength; step++) {
    // Scores only fall, so what has ended ahead of all others stays ahead.
    const isDone = (beams: Beam[]) => beams.slice(0, best).every((beam) => beam.ended);
    if (step > 0 && batch.every(isDone)) break;
    const perBatch = step === 0 ? 1 : beamSize;
    const rows = batchSize * perBatch;
    const tokens = new Uint32Array(step === 0 ? 0 : rows);
    const parents = new Uint32Array(step === 0 ? 0 : rows);
    // Rows without a live beam are shown as copies of the first.
    for (let row = 0; row < tokens.length; row++) {
      const beams = batch[Math.floor(row / beamSize)];
      const { ended, tokens: spelt, row: parent } = beams[row % beamSize] ?? beams[0];
      tokens[row] = ended ? 0 : spelt[spelt.length - 1];
      parents[row] = parent;
    }
    const logits = await model({
      step,
      rows,
      batchSize,
      beamSize,
      vocabSize,
      tokens,
      parents,
      batch: Uint32Array.from({ length: rows }, (_, row) => Math.floor(row / perBatch)),
      out: out.subarray(0, rows * vocabSize),
    });
    batch = batch.map((beams, b) => {
      const candidates: Candidate[] = [];
      beams.forEach((parent, beam) => {
        const row = b * perBatch + beam;
        if (parent.ended) candidates.push({ parent, row, token: endToken, score: parent.score });
        else propose(parent, row, logits, options, candidates);
      });
      candidates.sort((a, b) => b.score - a.score || a.row - b.row || a.token - b.token);
      return candidates.slice(0, beamSize).map(({ parent, row, token, score }) => {
        if (parent.ended) return { ...parent, row };
        const ended = token === endToken;
        return { tokens: ended ? parent.tokens : [...parent.tokens, token], score, ended, row };
      });
    });
  }
  return batch.map((beams) =>
    beams.slice(0, best).map(({ tokens, score, ended }) => ({ tokens, score, ended }))
  );
}

interface Candidate {
  readonly parent: Beam;
  readonly row: number;
  readonly token: number;
  readonly score: number;
}

/** Adds the best tokens of one row, beamSize of them: no more can be among the best of all rows. */
function propose(
  parent: Beam,
  row: number,
  logits: Logits,
  { beamSize, vocabSize }: FreeOptions,
  candidates: Candidate[],
): void {
  const values = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
  let max = -Infinity;
  for (const value of values) if (value > max) max = value;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - max);
  const total = max + Math.log(sum);
  const order = Array.from(values.keys()).sort((a, b) => values[b] - values[a]);
  for (const token of order.slice(0, beamSize)) {
    candidates.push({ parent, row, token, score: parent.score + values[token] - total });
  }
}
