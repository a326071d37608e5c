/**
 * The slow, obvious implementation that all others must agree with: a tree of Maps, beams in arrays,
 * every candidate of a step sorted, float64 throughout.
 */

import { ModelOutputError } from "../../src/errors.ts";
import type { BeamSearchOptions, Logits, Model, Normalize } from "../../src/decode/types.ts";

/** Stands for "no token", "no ordinal", and for the token of an ended beam in ties. */
export const NONE = 0xffffffff;

/** A prefix of stored sequences: an edge of the index. */
export interface OracleNode {
  /** Level of the edge: length of the prefix less one; -1 at the root. */
  readonly level: number;
  /** Number of the edge on its level, in sorted order. */
  readonly edge: number;
  /** The prefix less its last token; nothing at the root. */
  readonly parent: OracleNode | undefined;
  /** Last token of the prefix. */
  readonly token: number;
  /** By token, ascending. */
  readonly children: Map<number, OracleNode>;
  /** Number of the sequence that ends here, if one does. */
  ordinal: number | undefined;
}

/** The tokens that lead to a node. */
export function prefixOf(node: OracleNode): number[] {
  const tokens: number[] = [];
  for (let at = node; at.parent; at = at.parent) tokens.push(at.token);
  return tokens.reverse();
}

/** Allowed items: their ordinals, and every node at or above one. */
export interface OracleFilter {
  readonly ordinals: ReadonlySet<number>;
  readonly nodes: ReadonlySet<OracleNode>;
}

/** Lexicographic, a prefix before its extensions. */
export function compareRows(a: ArrayLike<number>, b: ArrayLike<number>): number {
  for (let i = 0; i < a.length && i < b.length; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/** A set of sequences of at least one token each. */
export class OracleSet {
  /** By ordinal: shorter before longer, then sorted. Equally long ones are hence simply sorted. */
  readonly sequences: number[][] = [];
  readonly root: OracleNode = {
    level: -1,
    edge: 0,
    parent: undefined,
    token: NONE,
    children: new Map(),
    ordinal: undefined,
  };
  /** Edges of every level, in order. */
  readonly levels: OracleNode[][] = [];
  readonly vocabSize: number;

  constructor(rows: Iterable<ArrayLike<number>>, vocabSize: number) {
    this.vocabSize = vocabSize;
    for (const row of [...rows].sort(compareRows)) {
      let node = this.root;
      for (let i = 0; i < row.length; i++) {
        let child = node.children.get(row[i]);
        if (!child) {
          const level = this.levels[i] ??= [];
          child = {
            level: i,
            edge: level.length,
            parent: node,
            token: row[i],
            children: new Map(),
            ordinal: undefined,
          };
          level.push(child);
          node.children.set(row[i], child);
        }
        node = child;
      }
      node.ordinal = NONE;
    }
    for (const node of this.levels.flat()) {
      if (node.ordinal === undefined) continue;
      node.ordinal = this.sequences.length;
      this.sequences.push(prefixOf(node));
    }
  }

  get size(): number {
    return this.sequences.length;
  }

  get maxLength(): number {
    return this.levels.length;
  }

  /** Whether all sequences are equally long. */
  get fixedLength(): boolean {
    return this.sequences.every((s) => s.length === this.maxLength);
  }

  /** The node of a prefix, if some sequence starts with it. */
  find(prefix: ArrayLike<number>): OracleNode | undefined {
    let node: OracleNode | undefined = this.root;
    for (let i = 0; i < prefix.length && node; i++) node = node.children.get(prefix[i]);
    return node;
  }

  has(sequence: ArrayLike<number>): boolean {
    return this.ordinalOf(sequence) !== undefined;
  }

  ordinalOf(sequence: ArrayLike<number>): number | undefined {
    return this.find(sequence)?.ordinal;
  }

  sequenceAt(ordinal: number): number[] {
    return this.sequences[ordinal];
  }

  allowedTokens(prefix: ArrayLike<number>): number[] {
    return [...this.find(prefix)?.children.keys() ?? []];
  }

  canEnd(prefix: ArrayLike<number>): boolean {
    return this.has(prefix);
  }

  /** The items for which `allowed` holds. */
  filter(allowed: (ordinal: number) => boolean): OracleFilter {
    const ordinals = new Set<number>();
    const nodes = new Set<OracleNode>();
    this.sequences.forEach((sequence, ordinal) => {
      if (!allowed(ordinal)) return;
      ordinals.add(ordinal);
      for (let node = this.find(sequence); node; node = node.parent) nodes.add(node);
    });
    return { ordinals, nodes };
  }
}

/** A beam that lives (`ended` false) or holds a finished sequence. A dead one is `undefined`. */
export interface OracleBeam {
  readonly node: OracleNode;
  readonly score: number;
  readonly ended: boolean;
}

/** A beam that a step could choose. */
export interface OracleCandidate extends OracleBeam {
  /** Position among the beams given to the step. */
  readonly parent: number;
  /** {@linkcode NONE} for a stop and for a beam that had ended before. */
  readonly token: number;
  /** What candidates are ranked by: score / length^lengthPenalty. */
  readonly key: number;
}

/** Options of a single step. */
export interface OracleStepOptions {
  normalize?: Normalize;
  endToken?: number;
  lengthPenalty?: number;
  tokensPerBeam?: number;
  filter?: OracleFilter;
}

/** Higher key first, then lower parent, then lower token. */
function rank(a: OracleCandidate, b: OracleCandidate): number {
  return b.key - a.key || a.parent - b.parent || a.token - b.token;
}

function logSumExp(values: readonly number[]): number {
  const max = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!Number.isFinite(max)) return max;
  return max + Math.log(values.reduce((sum, x) => sum + Math.exp(x - max), 0));
}

/**
 * All candidates of one batch row, best first, not only the best M. `rows[i]` holds the logits of
 * `beams[i]` and is read only where that beam lives.
 *
 * @throws {ModelOutputError} If such a row holds +infinity at an allowed token; `row` counts among `beams`.
 */
export function oracleStep(
  beams: readonly (OracleBeam | undefined)[],
  rows: readonly ArrayLike<number>[],
  options: OracleStepOptions = {},
): OracleCandidate[] {
  const { normalize = "vocab", endToken, lengthPenalty = 0, tokensPerBeam, filter } = options;
  const reachable = (node: OracleNode) => !filter || filter.nodes.has(node);
  const childrenOf = (node: OracleNode) =>
    [...node.children].filter(([, child]) => reachable(child));
  const isEnd = (node: OracleNode) =>
    node.ordinal !== undefined && (!filter || filter.ordinals.has(node.ordinal));
  const candidates: OracleCandidate[] = [];
  const push = (parent: number, token: number, node: OracleNode, score: number, ended: boolean) => {
    if (score === -Infinity) return;
    const key = score / (node.level + 1) ** lengthPenalty;
    candidates.push({ parent, token, node, score, ended, key });
  };

  beams.forEach((beam, parent) => {
    if (!beam) return;
    const { node, score, ended } = beam;
    if (ended) return push(parent, NONE, node, score, true);

    const logits = Array.from(rows[parent], (x) => Number.isNaN(x) ? -Infinity : x);
    const stops = isEnd(node);
    const children = childrenOf(node);
    const open = children.map(([token]) => token);
    if (stops && endToken !== undefined) open.push(endToken);
    // One token alone has probability 1, whatever its logit.
    const isOnly = normalize === "allowed" && open.length === 1;
    if (!isOnly && open.some((token) => logits[token] === Infinity)) {
      throw new ModelOutputError("infinite", "Logit is +infinity", { row: parent });
    }
    const lse = normalize === "none"
      ? 0
      : logSumExp(normalize === "vocab" ? logits : open.map((token) => logits[token]));
    // -infinity less -infinity is no number: such tokens are no candidates whatever the sum is.
    const logProb = (token: number) =>
      isOnly ? 0 : logits[token] === -Infinity ? -Infinity : logits[token] - lse;

    children
      .sort(([a], [b]) => logits[a] === logits[b] ? a - b : logits[b] - logits[a])
      .slice(0, tokensPerBeam)
      .forEach(([token, child]) => {
        const leaf = endToken === undefined && childrenOf(child).length === 0;
        push(parent, token, child, score + logProb(token), leaf);
      });
    if (stops) {
      const cost = endToken === undefined ? 0 : logProb(endToken);
      push(parent, NONE, node, score + cost, true);
    }
  });
  return candidates.sort(rank);
}

/** Options of a search: those of the real one, and which items each batch row may return. */
export interface OracleSearchOptions extends BeamSearchOptions {
  allowed?: (ordinal: number, batchRow: number) => boolean;
}

/** What the model was shown at one step. */
export interface OracleShown {
  tokens: Uint32Array;
  parents: Uint32Array;
  /** Which rows live. */
  live: boolean[];
}

/** Result of a search. */
export interface OracleResult {
  /** [B][live beams], best first. */
  beams: OracleCandidate[][];
  /**
   * [B] narrowest gap at any step between the last winner and the first loser, relative to max(1, key).
   * Where it is small, float32 may choose differently.
   */
  gaps: number[];
  /** What the model was shown, by step. */
  shown: OracleShown[];
}

/** Logits as numbers; half-precision bits are decoded. */
export function logitRows(logits: Logits, rows: number): number[][] {
  const values = logits instanceof Uint16Array ? new Float16Array(logits.slice().buffer) : logits;
  const width = values.length / rows;
  return Array.from({ length: rows }, (_, r) => [...values.subarray(r * width, (r + 1) * width)]);
}

/** Gap between winners and losers of one step, as {@linkcode OracleResult.gaps} counts it. */
function gapAt(candidates: readonly OracleCandidate[], beamSize: number): number {
  if (candidates.length <= beamSize) return Infinity;
  const [last, next] = [candidates[beamSize - 1].key, candidates[beamSize].key];
  return (last - next) / Math.max(1, Math.abs(last));
}

/** Beam search over `set`, as the design defines it. Trusts its arguments. */
export async function oracleSearch(
  set: OracleSet,
  model: Model,
  options: OracleSearchOptions,
): Promise<OracleResult> {
  const { batchSize = 1, beamSize, vocabSize = set.vocabSize, endToken, padToken = 0 } = options;
  const { allowed } = options;
  const batch = Array.from({ length: batchSize }, (_, b) => b);
  const filters = batch.map((b) => allowed && set.filter((ordinal) => allowed(ordinal, b)));
  const everyStep = set.fixedLength && endToken === undefined;
  const steps = set.maxLength + (endToken === undefined ? 0 : 1);
  const gaps = batch.map(() => Infinity);
  const shown: OracleShown[] = [];
  let beams: (OracleBeam | undefined)[][] = batch.map(() => [
    { node: set.root, score: 0, ended: false },
  ]);
  let chosen: OracleCandidate[][] = batch.map(() => []);

  for (let step = 0; step < steps; step++) {
    const width = step === 0 ? 1 : beamSize;
    const rows = batchSize * width;
    const tokens = new Uint32Array(step === 0 ? 0 : rows).fill(padToken);
    const parents = new Uint32Array(tokens.length);
    const live = beams.flat().map((beam) => beam !== undefined && !beam.ended);
    for (let row = 0; row < parents.length; row++) {
      const b = Math.floor(row / beamSize);
      const winner = chosen[b][row % beamSize];
      parents[row] = step === 1 ? b : b * beamSize + (winner?.parent ?? 0);
      if (live[row]) tokens[row] = winner.token;
    }
    shown.push({ tokens, parents, live });
    const rowBatch = Uint32Array.from({ length: rows }, (_, row) => Math.floor(row / width));
    const out = new Float32Array(rows * vocabSize);
    const logits = logitRows(
      await model({
        step,
        rows,
        batchSize,
        beamSize,
        vocabSize,
        tokens,
        parents,
        batch: rowBatch,
        out,
      }),
      rows,
    );
    chosen = batch.map((b) => {
      const own = logits.slice(b * width, (b + 1) * width);
      const candidates = oracleStep(beams[b], own, { ...options, filter: filters[b] });
      gaps[b] = Math.min(gaps[b], gapAt(candidates, beamSize));
      return candidates.slice(0, beamSize);
    });
    beams = batch.map((b) => Array.from({ length: beamSize }, (_, i) => chosen[b][i]));
    const someLive = beams.flat().some((beam) => beam !== undefined && !beam.ended);
    if (!someLive && !everyStep) break;
  }
  return { beams: chosen, gaps, shown };
}
