/** Random searches as models see them: which rows each call has, and what they continue. */
import type { Logits, Model, ModelInput, RunInput } from "../../../mod.ts";
import type { Random } from "../models.ts";

/** Logits per row of toys. */
export const WIDTH = 13;
/** M of schedules. */
export const BEAMS = 4;

/** Rows of one call, by batch row. */
export interface Turn {
  batch: number[];
  tokens: number[];
  /** Rows of the turn before. */
  parents: number[];
}

/** Turns behind the prompts: rows branch, change places, and end, whole batch rows too. At least one lives on. */
export function someTurns(random: Random, prompts: number, steps: number): Turn[] {
  const turns: Turn[] = [];
  let before = Array.from({ length: prompts }, (_, row) => row);
  for (let step = 1; step <= steps; step++) {
    const turn: Turn = { batch: [], tokens: [], parents: [] };
    const lucky = random.pick(before);
    for (let batchRow = 0; batchRow < prompts; batchRow++) {
      const own = [...before.keys()].filter((row) => before[row] === batchRow);
      // One time in four rows stay as they are, so that there is nothing to move.
      const isStill = random.below(4) === 0;
      const least = batchRow === lucky ? 1 : 0;
      const count = own.length === 0 ? 0 : isStill ? own.length : random.between(least, BEAMS);
      for (let i = 0; i < count; i++) {
        turn.batch.push(batchRow);
        turn.tokens.push(random.below(11));
        turn.parents.push(isStill ? own[i] : random.pick(own));
      }
    }
    turns.push(turn);
    before = turn.batch;
  }
  return turns;
}

/** A call of a model for one step. */
export function inputOf(step: number, prompts: number, turn: Turn): ModelInput {
  const rows = turn.batch.length;
  return {
    step,
    rows,
    batchSize: prompts,
    beamSize: BEAMS,
    vocabSize: WIDTH,
    tokens: Uint32Array.from(turn.tokens),
    parents: Uint32Array.from(turn.parents),
    batch: Uint32Array.from(turn.batch),
    out: new Float32Array(rows * WIDTH),
  };
}

/** The turn in front of all: the prompts. */
export const promptTurn = (prompts: number): Turn => ({
  batch: Array.from({ length: prompts }, (_, row) => row),
  tokens: [],
  parents: [],
});

/** A model's logits for the live rows of each turn, the prompts first; each row a copy. */
export async function liveLogits(
  model: Model,
  prompts: number,
  turns: Turn[],
): Promise<Logits[][]> {
  const found: Logits[][] = [];
  for (const [step, turn] of [promptTurn(prompts), ...turns].entries()) {
    const logits = await model(inputOf(step, prompts, turn));
    found.push(turn.batch.map((_, row) => rowOf(logits, row)));
  }
  return found;
}

/** The same, where the model is shown all rows: dead ones continue some row of their batch row with token 1. */
export async function fullLogits(
  model: Model,
  prompts: number,
  turns: Turn[],
): Promise<Logits[][]> {
  const found: Logits[][] = [];
  let before = promptTurn(prompts).batch;
  let perBatch = 1;
  for (const [step, turn] of [promptTurn(prompts), ...turns].entries()) {
    const places = placesOf(turn.batch, step === 0 ? 1 : BEAMS);
    let input = inputOf(0, prompts, turn);
    if (step > 0) {
      const batch = Array.from({ length: prompts * BEAMS }, (_, at) => Math.floor(at / BEAMS));
      const full: Turn = {
        batch,
        tokens: batch.map(() => 1),
        parents: batch.map((batchRow) => batchRow * perBatch),
      };
      places.forEach((place, row) => {
        full.tokens[place] = turn.tokens[row];
        full.parents[place] = before[turn.parents[row]];
      });
      input = inputOf(step, prompts, full);
    }
    const logits = await model(input);
    found.push(places.map((place) => rowOf(logits, place)));
    before = places;
    perBatch = step === 0 ? 1 : BEAMS;
  }
  return found;
}

/** Where rows are among all, in the order of their ranks. */
function placesOf(batch: number[], perBatch: number): number[] {
  const counts = new Map<number, number>();
  return batch.map((batchRow) => {
    const rank = counts.get(batchRow) ?? 0;
    counts.set(batchRow, rank + 1);
    return batchRow * perBatch + rank;
  });
}

/** A copy of one row. */
export const rowOf = (logits: Logits, row: number): Logits =>
  logits.slice(row * WIDTH, (row + 1) * WIDTH);

/** A run behind some turns: of a part of the rows, in their order, at least one of them. */
export function someRun(random: Random, prompts: number, step: number, { batch }: Turn): RunInput {
  const lucky = random.below(batch.length);
  const parents = [...batch.keys()].filter((row) => row === lucky || random.below(2) === 0);
  const width = random.between(2, 4);
  const lengths = parents.map((_, row) => row === 0 ? width : random.between(1, width));
  const tokens = lengths.flatMap((length) =>
    Array.from({ length: width }, (_, i) => i < length ? random.below(11) : 1)
  );
  return {
    step,
    rows: parents.length,
    width,
    tokens: Uint32Array.from(tokens),
    lengths: Uint32Array.from(lengths),
    parents: Uint32Array.from(parents),
    batch: Uint32Array.from(parents, (row) => batch[row]),
    batchSize: prompts,
    vocabSize: WIDTH,
  };
}

/** The steps that a run stands for: those of its rows that are long enough, and which rows of the run these are. */
export function stepsOfRun(run: RunInput): { turn: Turn; rows: number[] }[] {
  let before: number[] | undefined;
  return Array.from({ length: run.width }, (_, i) => {
    const rows = [...run.lengths.keys()].filter((row) => i < run.lengths[row]);
    const turn: Turn = {
      batch: rows.map((row) => run.batch[row]),
      tokens: rows.map((row) => run.tokens[row * run.width + i]),
      parents: rows.map((row) => before ? before.indexOf(row) : run.parents[row]),
    };
    before = rows;
    return { turn, rows };
  });
}
