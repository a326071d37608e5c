/**
 * Seeded models whose logits come from a hash, and the generator of random numbers that all tests
 * share. Same seed, same numbers, on every machine.
 */

import type { Logits, Model, ModelInput, RunInput } from "../../src/decode/types.ts";

/** Scrambles 32 bits; every input bit reaches every output bit. */
export function mix(h: number): number {
  h ^= h >>> 16;
  h = Math.imul(h, 0x7feb352d);
  h ^= h >>> 15;
  h = Math.imul(h, 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Seeded random numbers. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = mix(seed ^ 0x5bd1e995);
  }

  /** 0 … 2^32-1 */
  uint32(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    return mix(this.#state);
  }

  /** 0 … n-1 */
  below(n: number): number {
    return this.uint32() % n;
  }

  /** low … high, both included */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** One of the items. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }

  /** A shuffled copy. */
  shuffle<T>(items: readonly T[]): T[] {
    const copy = [...items];
    for (let i = copy.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [copy[i], copy[j]] = [copy[j], copy[i]];
    }
    return copy;
  }
}

/** What the logits of one row may depend on. */
export interface RowContext {
  batchRow: number;
  step: number;
  /** Token that the row was extended with last, 0 at step 0. */
  last: number;
  /** Hash of the batch row and of all tokens so far: wrong parents show in the logits. */
  history: number;
}

/** The logit of one token in one row. */
export type Rule = (row: RowContext, token: number) => number;

/** 24 hashed bits as a logit in [-4, 4), exact in float32. */
const logitOf = (h: number) => (h >>> 8) * 2 ** -21 - 4;

const hash = (row: RowContext, token: number) => mix(row.history + Math.imul(token, 0x85ebca77));

/** The model of the golden file: knows the last token, the step and the batch row. */
export const goldenRule: Rule = ({ batchRow, step, last }, token) =>
  logitOf(mix(
    Math.imul(last, 0x9e3779b1) + Math.imul(step, 0xc2b2ae3d) + Math.imul(batchRow, 0x27d4eb2f) +
      Math.imul(token, 0x85ebca77),
  ));

/** Kinds of logits. Those in {@linkcode EXACT_RULES} add up without rounding in float32. */
export const RULES = {
  smooth: (row, token) => logitOf(hash(row, token)),
  /** One logit in five is NaN, one in five -infinity. */
  holes: (row, token) => {
    const h = hash(row, token);
    return h % 5 === 0 ? NaN : h % 5 === 1 ? -Infinity : logitOf(h);
  },
  /** Most beams die: nine logits in ten are no candidates. */
  barren: (row, token) => {
    const h = hash(row, token);
    return h % 10 ? (h & 16 ? NaN : -Infinity) : logitOf(h);
  },
  /** exp() overflows unless the row's maximum is taken off first. */
  shifted: (row, token) => logitOf(hash(row, token)) + 100,
  /** exp() of nearly all logits underflows beside the row's maximum. */
  wide: (row, token) => (hash(row, token) >>> 8) * -(2 ** -14),
  /** One token takes nearly all probability: logarithms of sums are as near to 0 as can be. */
  peaked: (row, token) =>
    token === row.history % 7 ? 20 + (row.history % 64) / 16 : logitOf(hash(row, token)),
  /** Few values, so that ties are everywhere. */
  coarse: (row, token) => (hash(row, token) >>> 30) * 0.25 - 1,
  /** Ties and holes together. */
  coarseHoles: (row, token) => {
    const h = hash(row, token);
    return h % 7 === 0 ? NaN : h % 7 === 1 ? -Infinity : (h >>> 30) * 0.25 - 1;
  },
  /** Nothing but ties. */
  equal: () => -0.5,
} satisfies Record<string, Rule>;

/** Name of a kind of logits. */
export type RuleName = keyof typeof RULES;

/** Sums of these logits are exact in float32, at any order of addition. */
export const EXACT_RULES = ["coarse", "coarseHoles", "equal"] as const satisfies RuleName[];

/** These hardly ever tie. */
export const SMOOTH_RULES = [
  "smooth",
  "holes",
  "barren",
  "shifted",
  "wide",
] as const satisfies RuleName[];

/** Hash of a history that goes on with a token. */
const longer = (history: number, token: number) => mix(Math.imul(history, 31) + token + 1);

/** Largest magnitude of a logit: float32 cannot resolve less than a share of it. */
export function magnitude(rule: RuleName): number {
  return rule === "wide" ? 1024 : rule === "shifted" ? 104 : 4;
}

/** How a model hands over its logits. */
export const DELIVERIES = [
  "out",
  "own",
  "half",
  "bits",
  "async-out",
  "async-own",
  "async-bits",
] as const;

/** How a model hands over its logits. */
export type Delivery = typeof DELIVERIES[number];

/** Waits for some turns of the microtask queue and, now and then, of the event loop. */
async function pause(turns: number): Promise<void> {
  for (let i = 0; i < turns % 5; i++) await Promise.resolve();
  if (turns % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
}

/**
 * A model that follows `rule`. It keeps a hash of each row's history along `parents`, so it serves one
 * decode at a time, and starts anew at step 0.
 */
export function modelOf(rule: Rule, seed = 0, delivery: Delivery = "out"): Model {
  let histories = new Uint32Array(0);

  function contexts(input: ModelInput): RowContext[] {
    const { step, rows, batch, tokens, parents } = input;
    const next = new Uint32Array(rows);
    const found: RowContext[] = [];
    for (let row = 0; row < rows; row++) {
      const batchRow = batch[row];
      next[row] = step === 0
        ? mix(seed + Math.imul(batchRow + 1, 0x27d4eb2f))
        : longer(histories[parents[row]], tokens[row]);
      const last = step === 0 ? 0 : tokens[row];
      found.push({ batchRow, step, last, history: next[row] });
    }
    histories = next;
    return found;
  }

  function fill<T extends Float32Array | Float16Array>(
    rows: RowContext[],
    width: number,
    to: T,
  ): T {
    rows.forEach((row, r) => {
      for (let token = 0; token < width; token++) to[r * width + token] = rule(row, token);
    });
    return to;
  }

  function deliver(input: ModelInput, rows: RowContext[]): Logits {
    const width = input.vocabSize;
    const count = rows.length * width;
    if (delivery.endsWith("out")) return fill(rows, width, input.out);
    if (delivery.endsWith("own")) return fill(rows, width, new Float32Array(count));
    const half = fill(rows, width, new Float16Array(count));
    return delivery === "half" ? half : new Uint16Array(half.buffer);
  }

  if (!delivery.startsWith("async")) return (input) => deliver(input, contexts(input));
  return async (input) => {
    const rows = contexts(input);
    await pause(mix(seed + input.step));
    return deliver(input, rows);
  };
}

/** What a model of {@linkcode workingModelOf} was asked for. */
export interface Work {
  /** Calls, runs among them, and rows; a run counts for each of its positions. */
  calls: number;
  rows: number;
  runs: number;
}

/**
 * As {@linkcode modelOf}, with live rows, or with runs too: the same logits for the same histories.
 *
 * @param look sees the history, token by token, of every row that is computed.
 */
export function workingModelOf(
  rule: Rule,
  seed: number,
  kind: { liveRows: boolean; runs: boolean },
  look: (batchRow: number, prefix: readonly number[]) => void = () => {},
): Model & { work: Work } {
  const work: Work = { calls: 0, rows: 0, runs: 0 };
  let shown: { history: number; prefix: number[] }[] = [];
  const start = (batchRow: number) => ({
    history: mix(seed + Math.imul(batchRow + 1, 0x27d4eb2f)),
    prefix: [] as number[],
  });
  const follow = (before: typeof shown[number], token: number) => ({
    history: longer(before.history, token),
    prefix: [...before.prefix, token],
  });
  const write = (
    to: Float32Array,
    at: number,
    width: number,
    { history, prefix }: typeof shown[number],
    batchRow: number,
  ) => {
    const row = { batchRow, step: prefix.length, last: prefix.at(-1) ?? 0, history };
    for (let token = 0; token < width; token++) to[at + token] = rule(row, token);
    work.rows++;
    look(batchRow, prefix);
  };
  const model = (input: ModelInput): Logits => {
    const { step, rows, vocabSize, tokens, parents, batch, out } = input;
    work.calls++;
    shown = Array.from(
      { length: rows },
      (_, row) => step === 0 ? start(batch[row]) : follow(shown[parents[row]], tokens[row]),
    );
    shown.forEach((row, i) => write(out, i * vocabSize, vocabSize, row, batch[i]));
    return out;
  };
  const scoreRuns = (input: RunInput): Logits => {
    const { rows, width, vocabSize, tokens, lengths, parents, batch } = input;
    work.calls++;
    work.runs++;
    // What nobody may read.
    const out = new Float32Array(rows * width * vocabSize).fill(Infinity);
    for (let row = 0; row < rows; row++) {
      let state = shown[parents[row]];
      for (let i = 0; i < lengths[row]; i++) {
        state = follow(state, tokens[row * width + i]);
        write(out, (row * width + i) * vocabSize, vocabSize, state, batch[row]);
      }
    }
    return out;
  };
  return Object.assign(model, {
    work,
    liveRows: kind.liveRows,
    ...(kind.runs && { scoreRuns }),
  });
}
