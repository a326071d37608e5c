/** Forced runs: what is left of a search in which every live beam has one way to go on. */
import { NONE } from "../../index/format/layout.ts";
import { BEAM_BITS } from "../constants.ts";
import type { Beams, Logits, Runs, SearchShape } from "../kernel.ts";

/** A live beam, and the one way that it can go. */
export interface ForcedBeam {
  /** Its place. */
  readonly beam: number;
  readonly batch: number;
  /** What it is fed first, and the row before that it continues. */
  readonly token: number;
  readonly parent: number;
  /** Tokens to come, without the end token. */
  readonly rest: readonly number[];
  /** Edge that it ends on. */
  readonly edge: number;
}

/** What a token scores: the logit less the largest, and the logarithm of the sum. */
export interface TokenScore {
  readonly delta: number;
  readonly log: number;
}

/** What the runs of a search ask of it. */
export interface RunSearch {
  readonly shape: SearchShape;
  /** Tokens of the live beams. */
  readonly step: number;
  /** Factor from score to rank, by length. */
  readonly norms: Float32Array;
  /** Scores `targets` of one row behind its logits [width, W], which are row `row` of `logits` [rows, width, W]. */
  scores(logits: Logits, rows: number, width: number, row: number, targets: number[]): TokenScore[];
  /** The beams themselves. */
  view(): Beams;
}

/** The runs of one search. */
export class ForcedRuns implements Runs {
  readonly rows: number;
  readonly width: number;
  readonly tokens: Uint32Array<ArrayBuffer>;
  readonly lengths: Uint32Array<ArrayBuffer>;
  readonly parents: Uint32Array<ArrayBuffer>;
  readonly batch: Uint32Array<ArrayBuffer>;
  #beams: readonly ForcedBeam[];
  #search: RunSearch;
  /** [rows] by position; none where a row was not scored. */
  #scores: TokenScore[][];

  constructor(beams: readonly ForcedBeam[], search: RunSearch) {
    const { padToken } = search.shape;
    this.#beams = beams;
    this.#search = search;
    this.#scores = beams.map(() => []);
    this.rows = beams.length;
    this.lengths = Uint32Array.from(beams, (beam) => this.#targets(beam).length);
    this.width = this.lengths.reduce((a, b) => Math.max(a, b));
    this.tokens = new Uint32Array(this.rows * this.width).fill(padToken);
    beams.forEach(({ token, rest }, row) => {
      const fed = [token, ...rest].slice(0, this.lengths[row]);
      this.tokens.set(fed, row * this.width);
    });
    this.parents = Uint32Array.from(beams, ({ parent }) => parent);
    this.batch = Uint32Array.from(beams, ({ batch }) => batch);
  }

  /** Tokens whose logits count. */
  #targets({ rest }: ForcedBeam): number[] {
    const { endToken } = this.#search.shape;
    return endToken === undefined ? [...rest] : [...rest, endToken];
  }

  score(first: number, count: number, logits: Logits): void {
    for (let row = 0; row < count; row++) {
      const targets = this.#targets(this.#beams[first + row]);
      this.#scores[first + row] = this.#search.scores(logits, count, this.width, row, targets);
    }
  }

  finish(): void {
    const { norms, step, shape: { batchSize, beamSize } } = this.#search;
    const view = this.#search.view();
    const { scores, states, edges, lengths, status } = view;
    const runOf = new Map(this.#beams.map(({ beam }, row) => [beam, row]));
    const perBatch = step === 0 ? 1 : beamSize;
    const winners = Array.from({ length: batchSize }, (_, batch) => {
      let beams = Array.from({ length: perBatch }, (_, i) => {
        const at = batch * perBatch + i;
        const row = runOf.get(at);
        const { edge, rest } = row === undefined
          ? { edge: edges[at], rest: { length: lengths[at] - step } }
          : this.#beams[row];
        const length = step + rest.length;
        return { row, edge, length, score: scores[at], isDead: status[at] === 0 };
      });
      // As a step would: candidates in the order of their parents, which decides ties, and the best first.
      for (let i = 0; i < this.width; i++) {
        for (const beam of beams) {
          if (beam.row === undefined || i >= this.lengths[beam.row]) continue;
          const { delta, log } = this.#scores[beam.row][i] ?? { delta: 0, log: 0 };
          beam.score = Math.fround(delta + Math.fround(beam.score - log));
        }
        const rank = ({ score, length }: typeof beams[number]) =>
          Math.fround(score * norms[Math.min(length, step + i + 1)]);
        beams = beams.filter(({ score, isDead }) => !isDead && score > -Infinity);
        beams.sort((a, b) => rank(b) - rank(a));
      }
      return beams;
    });
    scores.fill(-Infinity);
    edges.fill(NONE);
    lengths.fill(0);
    status.fill(0);
    states.fill(NONE);
    winners.forEach((beams, batch) =>
      beams.forEach(({ edge, length, score }, place) => {
        const at = batch * beamSize + place;
        scores[at] = score;
        edges[at] = edge;
        lengths[at] = length;
        status[at] = BEAM_BITS.ENDED;
      })
    );
  }
}
