/** The loop of a beam search, for models on the CPU and on the GPU. */
import { EspalierError } from "../errors.ts";
import type { Beams, Kernel, Logits, SearchShape } from "../kernels/kernel.ts";
import type { WebGpuKernel } from "../kernels/webgpu/kernel.ts";
import type { GpuModel, Model, ModelInput } from "./types.ts";

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
}

/** Steps between two looks at whether a beam lives, where sequences differ in length: each costs a readback. */
const STEPS_PER_LOOK = 8;

/**
 * Searches with a model on the CPU.
 *
 * @throws whatever the model throws.
 */
export async function runModel(
  kernel: Kernel,
  shape: SearchShape,
  model: Model,
  { steps, hasFixedLength, check, waitForLevel }: SearchControl,
): Promise<Beams> {
  const { batchSize, beamSize, logitWidth } = shape;
  using search = kernel.begin(shape);
  let isOver = false;
  using _ = { [Symbol.dispose]: () => isOver = true };
  while (search.step < steps && (hasFixedLength || search.isLive)) {
    const step = search.step;
    const input: ModelInput = {
      step,
      rows: search.rows,
      batchSize,
      beamSize,
      vocabSize: logitWidth,
      tokens: search.tokens(),
      parents: search.parents(),
      batch: Uint32Array.from(
        { length: search.rows },
        (_, row) => step === 0 ? row : Math.floor(row / beamSize),
      ),
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
  const { batchSize, beamSize } = shape;
  using search = kernel.begin(shape);
  while (search.step < steps) {
    const logits = await model.step({
      step: search.step,
      rows: search.rows,
      batchSize,
      beamSize,
      tokens: search.tokenBuffer,
      parents: search.parentBuffer,
    });
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
