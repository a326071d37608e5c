/** The loop of a beam search, for models on the CPU and on the GPU. */
import { EspalierError } from "../errors.ts";
import type { Beams, Kernel, KernelSearch, Logits, Runs, SearchShape } from "../kernels/kernel.ts";
import { maySettle } from "../kernels/settle.ts";
import type { WebGpuKernel } from "../kernels/webgpu/kernel.ts";
import type { GpuModel, Model, ModelInput, RunInput } from "./types.ts";

/** How long a search goes on. */
export interface SearchControl {
  /** Steps at most. */
  steps: number;
  /** Whether it takes exactly so many: no beam ends before. */
  hasFixedLength: boolean;
  /** Throws if the search must not go on: aborted, disposed of. Called after every wait. */
  check(): void;
  /** Waits until the index has the level of a step; undefined if it is there. */
  waitForLevel(step: number): Promise<void> | undefined;
  /** Whether the index has all its levels. */
  isLoaded(): boolean;
  readonly signal: AbortSignal | undefined;
}

/** Steps between two looks at whether a beam lives, where sequences differ in length: each costs a readback. */
const STEPS_PER_LOOK = 8;

/** Logits of runs take no more room than those of a step, or than this. */
const RUN_BYTES = 2 ** 22;

/**
 * Searches with a model on the CPU. As soon as every live beam has one way to go on, one call scores what is left, or none
 * where that scores 0.
 *
 * @throws whatever the model throws.
 */
export async function runModel(
  kernel: Kernel,
  shape: SearchShape,
  model: Model,
  control: SearchControl,
): Promise<Beams> {
  const { steps, hasFixedLength, check, waitForLevel } = control;
  const { batchSize, beamSize, logitWidth } = shape;
  using search = kernel.begin(shape);
  let isOver = false;
  using _ = { [Symbol.dispose]: () => isOver = true };
  while (search.step < steps && (hasFixedLength ? search.rows > 0 : search.isLive)) {
    const step = search.step;
    const runs = runsOf(search, shape, model, control);
    if (runs) {
      if (shape.normalize !== "allowed") await scoreRuns(runs, step, shape, model, control);
      runs.finish();
      break;
    }
    const input: ModelInput = {
      step,
      rows: search.rows,
      batchSize,
      beamSize,
      vocabSize: logitWidth,
      tokens: search.tokens(),
      parents: search.parents(),
      batch: search.batch(),
      get out() {
        // Later the memory belongs to another step, or to another search.
        if (isOver || search.step !== step) throw staleInput(step);
        return search.out();
      },
    };
    const answer = model(input);
    const logits = isPromise(answer) ? await answer : answer;
    check();
    const arriving = waitForLevel(step);
    if (arriving) {
      await arriving;
      check();
    }
    const advanced = search.advance(logits);
    if (advanced) {
      await advanced;
      check();
    }
  }
  return search.beams();
}

/** What is left, if nothing is left to choose and one call can score it, or none need. */
function runsOf(
  search: KernelSearch,
  shape: SearchShape,
  { scoreRuns }: Model,
  { isLoaded }: SearchControl,
): Runs | undefined {
  const { normalize, batchSize, beamSize, logitWidth } = shape;
  const isFree = normalize === "allowed";
  // The prompt is no token that could be fed: step 0 is the model's own.
  if (!(isFree || scoreRuns && search.step > 0) || !isLoaded()) return undefined;
  const runs = search.runs?.();
  if (isFree || !runs) return runs;
  // Where some may end before others, the search may be settled long before all have.
  if (maySettle(shape) && runs.lengths.some((length) => length < runs.width)) return undefined;
  return runs.width > 1 && runs.width <= runPositions(batchSize * beamSize, logitWidth)
    ? runs
    : undefined;
}

/** Most positions whose logits a call may return. */
function runPositions(rows: number, logitWidth: number): number {
  return Math.max(rows, Math.floor(RUN_BYTES / (4 * logitWidth)));
}

/** Has the model score runs, as many rows at a time as there is room for. */
async function scoreRuns(
  runs: Runs,
  step: number,
  { batchSize, beamSize, logitWidth }: SearchShape,
  model: Model,
  { check, signal }: SearchControl,
): Promise<void> {
  const { width } = runs;
  const perCall = Math.floor(runPositions(batchSize * beamSize, logitWidth) / width);
  for (let first = 0; first < runs.rows; first += perCall) {
    const end = Math.min(first + perCall, runs.rows);
    const input: RunInput = {
      step,
      rows: end - first,
      width,
      tokens: runs.tokens.slice(first * width, end * width),
      lengths: runs.lengths.slice(first, end),
      parents: runs.parents.slice(first, end),
      batch: runs.batch.slice(first, end),
      batchSize,
      vocabSize: logitWidth,
      signal,
    };
    const answer = model.scoreRuns!(input);
    const logits = isPromise(answer) ? await answer : answer;
    check();
    runs.score(first, end - first, logits);
  }
}

/**
 * Searches with a model on the GPU. Waits for it once, at the end; where sequences differ in length and are long,
 * once more every few steps, to stop early.
 *
 * @throws whatever the model throws.
 */
export async function runGpuModel(
  kernel: WebGpuKernel,
  shape: SearchShape,
  model: GpuModel,
  { steps, hasFixedLength, check }: SearchControl,
): Promise<Beams> {
  const { batchSize } = shape;
  using search = kernel.begin(shape, false);
  while (search.step < steps) {
    const input = {
      step: search.step,
      rows: search.rows,
      batchSize,
      beamSize: search.width,
      tokens: search.tokenBuffer,
      parents: search.parentBuffer,
    };
    const width = model.scoreRuns && search.runWidth;
    if (width) {
      const tokens = await search.spellRuns(width);
      check();
      const logits = await model.scoreRuns!({ ...input, width, tokens });
      check();
      search.advanceRuns(logits, width);
      break;
    }
    const logits = await model.step(input);
    check();
    search.advanceOnGpu(logits);
    const left = steps - search.step;
    if (!hasFixedLength && search.step % STEPS_PER_LOOK === 0 && left >= STEPS_PER_LOOK) {
      if (!await search.stillLives()) break;
      check();
    }
  }
  const beams = await search.read();
  check();
  return beams;
}

/** Awaiting costs a turn of the event loop: models that answer at once are not awaited. */
function isPromise(answer: Logits | Promise<Logits>): answer is Promise<Logits> {
  return typeof (answer as Promise<Logits> | undefined)?.then === "function";
}

function staleInput(step: number): EspalierError {
  return new EspalierError(
    "stale-input",
    `Cannot read "out" of step ${step}: its search has gone on or ended; use the input of the present call`,
    { step },
  );
}
