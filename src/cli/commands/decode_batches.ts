/** Searches for many prompts, in batches, with a look at the clock. */
import type { Decoder } from "../../decode/decoder.ts";
import type {
  BeamSearchOptions,
  BeamSearchResult,
  GpuModel,
  GpuRunInput,
  Model,
} from "../../decode/types.ts";
import { wrapModel } from "../../decode/wrap_model.ts";
import { type ErrorFacts, EspalierError } from "../../errors.ts";
import type { OnnxModel } from "../../models/onnx/types.ts";
import { aboutFile, UsageError } from "../errors.ts";
import type { OpenedModel } from "../args/model_flags.ts";
import type { Prompt } from "../args/prompt_flags.ts";

/** What searches have cost so far. */
export interface Cost {
  /** Calls of the model. */
  steps: number;
  /** Milliseconds in all. */
  total: number;
  /** Milliseconds that the search waited for the model; undefined on a GPU, where nobody waits. */
  model: number | undefined;
}

/** What is not to be found, for whatever prompt. */
export interface Excluded {
  readonly exclude: readonly number[] | undefined;
  readonly excludeItems: readonly (bigint | string)[] | undefined;
}

/** Prompts that were searched together, and what was found. */
export interface FoundBatch {
  readonly prompts: readonly Prompt[];
  readonly result: BeamSearchResult;
  /** Of this batch alone. */
  readonly cost: Readonly<Cost>;
}

/**
 * Searches, in order, for up to `size` prompts at a time: fewer where the model takes only prompts of one length
 * together, and these are not.
 *
 * @throws {EspalierError} with code `"wrong-prompt"` for one that the model does not take; naming the model if it fails.
 * @throws {UsageError} if an option does not fit the index.
 */
export async function* searchBatches(
  decoder: Decoder,
  model: OpenedModel,
  prompts: AsyncIterable<Prompt>,
  size: number,
  options: BeamSearchOptions,
  { exclude, excludeItems }: Excluded,
): AsyncGenerator<FoundBatch, void, void> {
  for await (const batch of batches(prompts, size)) {
    for (const group of groups(model.onnx, batch)) {
      const cost: Cost = { steps: 0, total: 0, model: undefined };
      const start = performance.now();
      using prompted = withPrompts(model.onnx, group);
      const result = await decoder.beamSearch(clocked(prompted, cost), {
        ...options,
        vocabSize: model.onnx.vocabSize,
        batchSize: group.length,
        exclude: exclude && group.map(() => exclude),
        excludeItems: excludeItems && group.map(() => excludeItems),
      }).catch((error) => {
        throw error instanceof RangeError
          ? new UsageError(error.message, { cause: error })
          : unknownToken(error, group) ?? aboutFile(error, model.name);
      });
      cost.total = performance.now() - start;
      yield { prompts: group, result, cost };
    }
  }
}

async function* batches(prompts: AsyncIterable<Prompt>, size: number): AsyncGenerator<Prompt[]> {
  let batch: Prompt[] = [];
  for await (const prompt of prompts) {
    batch.push(prompt);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/** Prompts that the model takes together: all, or neighbours of one length. */
function groups(onnx: OnnxModel, batch: Prompt[]): Prompt[][] {
  const runs: Prompt[][] = [];
  for (const prompt of batch) {
    const last = runs.at(-1);
    if (last && last[0].tokens.length === prompt.tokens.length) last.push(prompt);
    else runs.push([prompt]);
  }
  if (runs.length === 1) return runs;
  try {
    withPrompts(onnx, batch)[Symbol.dispose](); // which runs nothing
    return [batch];
  } catch (error) {
    if (error instanceof RangeError) return runs;
    throw error;
  }
}

function withPrompts(onnx: OnnxModel, prompts: readonly Prompt[]) {
  try {
    return onnx.withPrompts(prompts.map(({ tokens }) => tokens));
  } catch (error) {
    const { row, column, token, expected, actual } = error as ErrorFacts;
    if (!(error instanceof RangeError) || row === undefined) throw error;
    const { place } = prompts[row];
    const what = token === undefined
      ? "expected at least the token that starts a text, found none"
      : `expected tokens below ${expected}, as the model has them, found ${token} at position ${column}`;
    const facts: ErrorFacts = token === undefined ? { actual } : { column, expected, actual };
    throw new EspalierError("wrong-prompt", `${place}: ${what}`, facts, { cause: error });
  }
}

/**
 * The error for a token that the graph which reads the prompts does not know: an encoder shows only by failing how many
 * it does. Undefined for other failures.
 */
function unknownToken(error: unknown, prompts: readonly Prompt[]): EspalierError | undefined {
  if (!(error instanceof EspalierError) || error.code !== "run-failed" || error.step !== 0) return;
  const [, index, last] = /idx=(\d+) must be within .* range \[-\d+,(\d+)\]/.exec(error.message) ??
    [];
  const [token, expected] = [Number(index), Number(last) + 1];
  const prompt = prompts.find(({ tokens }) => tokens.includes(token));
  // Positions are looked up, too: a prompt may be too long.
  if (!prompt || prompts.some(({ tokens }) => tokens.length > expected)) return;
  const column = prompt.tokens.indexOf(token);
  return new EspalierError(
    "wrong-prompt",
    `${prompt.place}: expected tokens below ${expected}, as the encoder seems to have them, found ${token} at position ${column}; was the prompt made with the tokenizer of the model?`,
    { column, token, expected, actual: token },
    { cause: error },
  );
}

/** A model whose runs are counted, and timed where it runs on the CPU. */
function clocked(model: Model | GpuModel, cost: Cost): Model | GpuModel {
  if (typeof model === "function") {
    return wrapModel(model, async (call) => {
      const start = performance.now();
      try {
        return await call();
      } finally {
        cost.steps++;
        cost.model = (cost.model ?? 0) + performance.now() - start;
      }
    });
  }
  const { device, cpu, liveRows } = model;
  return {
    device,
    liveRows,
    step: (input) => {
      cost.steps++;
      return model.step(input);
    },
    scoreRuns: model.scoreRuns && ((input: GpuRunInput) => {
      cost.steps++;
      return model.scoreRuns!(input);
    }),
    cpu: cpu && clocked(cpu, cost) as Model,
  };
}
