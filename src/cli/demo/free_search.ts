/** Beam search without constraint, in plain TypeScript: what a model spells when nobody holds it. */

import type { Logits, Model } from "../../decode/types.ts";

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
  /** M, how many hypotheses are kept. */
  readonly beamSize: number;
  /** W, logits per row. */
  readonly vocabSize: number;
  /** The token that ends a sequence. */
  readonly endToken: number;
  /** A token that is not to be taken, such as one by which a model gives up. */
  readonly never: number;
  /** Longest sequence, in tokens. */
  readonly maxLength: number;
  /** How many of the best are wanted, at most M: the search stops when those have ended. */
  readonly best: number;
}

interface Beam extends FreeResult {
  /** Row of the model's last answer; -1 where there is none. */
  readonly row: number;
}

/** The best sequences under the model alone, best first. The end competes as any other token does. */
export async function freeSearch(model: Model, options: FreeOptions): Promise<FreeResult[]> {
  const { beamSize, vocabSize, endToken, maxLength, best } = options;
  const out = new Float32Array(beamSize * vocabSize);
  let beams: Beam[] = [{ tokens: [], score: 0, ended: false, row: 0 }];
  for (let step = 0; step <= maxLength; step++) {
    // Scores only fall, so what has ended ahead of all others stays ahead.
    if (step > 0 && beams.slice(0, best).every((beam) => beam.ended)) break;
    const rows = step === 0 ? 1 : beamSize;
    const tokens = new Uint32Array(step === 0 ? 0 : rows);
    const parents = new Uint32Array(step === 0 ? 0 : rows);
    if (step > 0) {
      beams.forEach((beam, row) => {
        if (beam.ended) return;
        tokens[row] = beam.tokens[beam.tokens.length - 1];
        parents[row] = beam.row;
      });
    }
    const input = { step, rows, batchSize: 1, beamSize, vocabSize, tokens, parents, out };
    const logits = await model(input);
    const candidates: Candidate[] = [];
    beams.forEach((parent, row) => {
      if (parent.ended) candidates.push({ parent, row: -1, token: endToken, score: parent.score });
      else propose(parent, row, logits, options, candidates);
    });
    candidates.sort((a, b) => b.score - a.score || a.row - b.row || a.token - b.token);
    beams = candidates.slice(0, beamSize).map(({ parent, row, token, score }) => {
      if (row < 0) return parent;
      const ended = token === endToken;
      return { tokens: ended ? parent.tokens : [...parent.tokens, token], score, ended, row };
    });
  }
  return beams.slice(0, best).map(({ tokens, score, ended }) => ({ tokens, score, ended }));
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
  { beamSize, vocabSize, never }: FreeOptions,
  candidates: Candidate[],
): void {
  const values = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
  let max = -Infinity;
  for (const value of values) if (value > max) max = value;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - max);
  const total = max + Math.log(sum);
  const order = Array.from(values.keys()).filter((token) => token !== never);
  order.sort((a, b) => values[b] - values[a]);
  for (const token of order.slice(0, beamSize)) {
    candidates.push({ parent, row, token, score: parent.score + values[token] - total });
  }
}
