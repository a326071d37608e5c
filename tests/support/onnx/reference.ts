/** What the adapter must agree with: every row alone, its whole text at once, nothing kept from step to step. */
import type { InferenceSession, OrtModule, Tensor } from "../../../src/models/onnx/session.ts";
import type { Model, ModelInput } from "../../../mod.ts";
import { createDecoder } from "../../../mod.ts";
import { buildIndex } from "../../../src/build/mod.ts";
import type { PromptedModel } from "../../../src/models/onnx/types.ts";
import { assertClose, assertLayout } from "../compare.ts";
import { Random } from "../models.ts";
import { type OracleResult, oracleSearch, OracleSet } from "../oracle.ts";
import type { ToyFiles } from "./toy.ts";
import assert from "node:assert/strict";

/** Decoder start token of the tests. */
export const START = 2;

/** A model that runs a toy's sessions for one row after the other. */
export async function referenceModel(
  ort: OrtModule,
  files: ToyFiles,
  prompts: readonly (readonly number[])[],
): Promise<{ model: Model } & AsyncDisposable> {
  const options = { executionProviders: ["wasm"], logSeverityLevel: 3 } as const;
  const decoder = await ort.InferenceSession.create(files.decoder, options);
  const encoder = files.encoder && await ort.InferenceSession.create(files.encoder, options);
  const known = new Map<string, Float32Array>();
  let histories: number[][] = [];

  async function rowLogits(prompt: readonly number[], history: number[]): Promise<Float32Array> {
    const given = new Map<string, Tensor>();
    if (encoder) {
      const encoded = await encoder.run(feed(ort, encoder, prompt, given));
      given.set("encoder_hidden_states", encoded.last_hidden_state);
      for (const [name, tensor] of Object.entries(encoded)) {
        given.set(name.replace("present", "past_key_values"), tensor);
      }
      if (decoder.inputNames.includes("encoder_attention_mask")) {
        const mask = ints(ort, decoder, "encoder_attention_mask", prompt, 1);
        given.set("encoder_attention_mask", mask);
      }
    }
    const text = encoder ? [START, ...history] : [...prompt, ...history];
    const { logits } = await decoder.run(feed(ort, decoder, text, given));
    const width = logits.dims.at(-1)!;
    return Float32Array.from((logits.data as Float32Array).subarray(-width));
  }

  return {
    async model({ step, rows, batchSize, tokens, parents, vocabSize, out }: ModelInput) {
      const next = Array.from(
        { length: rows },
        (_, row) => step === 0 ? [] : [...histories[parents[row]], tokens[row]],
      );
      histories = next;
      for (let row = 0; row < rows; row++) {
        const prompt = prompts[Math.floor(row / (rows / batchSize))];
        const key = `${prompt}|${next[row]}`;
        if (!known.has(key)) known.set(key, await rowLogits(prompt, next[row]));
        out.set(known.get(key)!, row * vocabSize);
      }
      return out;
    },
    async [Symbol.asyncDispose]() {
      await decoder.release();
      await encoder?.release();
    },
  };
}

function ints(
  ort: OrtModule,
  session: InferenceSession,
  name: string,
  values: readonly number[],
  fill?: number,
): Tensor {
  const { type } = session.inputMetadata.find((info) => info.name === name) as {
    type: "int64" | "int32";
  };
  const own = values.map((value) => fill ?? value);
  const data = type === "int64" ? BigInt64Array.from(own, BigInt) : Int32Array.from(own);
  return new ort.Tensor(type, data, [1, own.length]);
}

function feed(
  ort: OrtModule,
  session: InferenceSession,
  text: readonly number[],
  given: ReadonlyMap<string, Tensor>,
): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {};
  for (const info of session.inputMetadata) {
    if (!info.isTensor) continue;
    const { name, shape, type } = info;
    const tensor = given.get(name);
    if (tensor) feeds[name] = tensor;
    else if (name === "input_ids") feeds[name] = ints(ort, session, name, text);
    else if (name === "attention_mask") feeds[name] = ints(ort, session, name, text, 1);
    else if (name === "position_ids") feeds[name] = ints(ort, session, name, [...text.keys()]);
    else if (name === "use_cache_branch") {
      feeds[name] = new ort.Tensor("bool", Uint8Array.of(0), [1]);
    } else if (name === "num_logits_to_keep") {
      feeds[name] = new ort.Tensor("int64", BigInt64Array.of(1n), shape.map(() => 1));
    } else if (name.startsWith("past_key_values")) {
      const dims = shape.map((d, axis) => axis === 0 ? 1 : typeof d === "string" ? 0 : d);
      const data = type === "float32" ? new Float32Array() : new Uint16Array();
      feeds[name] = new ort.Tensor(type, data, dims);
    }
  }
  return feeds;
}

/** A set to search: sequences of tokens below 11. */
export function someRows(seed: number, isMixed = false): number[][] {
  const random = new Random(seed);
  return Array.from(
    { length: 60 },
    () => Array.from({ length: isMixed ? random.between(1, 4) : 4 }, () => random.below(11)),
  );
}

/** Prompts of a batch of three. */
export function somePrompts(isUneven: boolean): number[][] {
  return isUneven ? [[3, 1, 4, 1, 5], [9], [2, 6, 5]] : [[3, 1, 4], [9, 2, 6], [2, 6, 5]];
}

/** A search to make through the adapter, and what must come out. */
export interface Problem {
  rows: number[][];
  prompts: number[][];
  options: {
    batchSize: number;
    beamSize: number;
    vocabSize: number;
    endToken?: number;
    padToken?: number;
  };
  expected: OracleResult;
}

/**
 * Makes a problem out of a toy, such that `resolution` tells winners from losers in a batch row at least: a padded one,
 * if there are any.
 */
export async function problemOf(
  ort: OrtModule,
  files: ToyFiles,
  prompts: number[][],
  resolution: number,
  { isMixed = false, beamSize = 4, vocabSize = 13 } = {},
): Promise<Problem> {
  const options = {
    batchSize: prompts.length,
    beamSize,
    vocabSize,
    padToken: 1,
    ...(isMixed && { endToken: 12 }),
  };
  await using reference = await referenceModel(ort, files, prompts);
  const lengths = prompts.map((prompt) => prompt.length);
  const isPadded = (row: number) => lengths[row] < Math.max(...lengths);
  const isEven = !lengths.some((_, row) => isPadded(row));
  for (let seed = 1; seed < 20; seed++) {
    const rows = someRows(seed, isMixed);
    const expected = await oracleSearch(new OracleSet(rows, 11), reference.model, options);
    const isClear = expected.gaps.some((gap, row) => gap > resolution && (isEven || isPadded(row)));
    if (isClear) return { rows, prompts, options, expected };
  }
  throw new Error("All sets tie");
}

/** Searches with a model and asserts that the result is the expected one. */
export async function assertSearch(
  { rows, options, expected }: Problem,
  prompted: PromptedModel,
  resolution: number,
  { times = 1, device }: { times?: number; device?: GPUDevice } = {},
): Promise<void> {
  using index = await buildIndex(rows, { vocabSize: 11 });
  using decoder = await createDecoder(index, { device });
  for (let i = 0; i < times; i++) {
    const result = await decoder.beamSearch(prompted, options);
    assert.equal(result.backend, device ? "webgpu" : "wasm");
    assertLayout(result, new OracleSet(rows, 11), options);
    const compared = assertClose(result, expected, resolution);
    assert.ok(compared >= 1, "No batch row is clear enough to compare");
  }
}

/** Arguments of a call that is passed on as it is. */
type Passed<T> = (...args: unknown[]) => Promise<T>;

/** onnxruntime-web whose sessions run through `around`, which is handed the run itself and what is fed. */
export function wrapped(
  ort: OrtModule,
  around: (
    run: () => Promise<Record<string, Tensor>>,
    feeds: Record<string, Tensor>,
  ) => Promise<Record<string, Tensor>>,
): OrtModule {
  const create = ort.InferenceSession.create as Passed<InferenceSession>;
  return {
    ...ort,
    InferenceSession: {
      async create(...args: unknown[]) {
        const session = await create(...args);
        const run = session.run.bind(session) as Passed<Record<string, Tensor>>;
        session.run = (...args: unknown[]) =>
          around(() => run(...args), args[0] as Record<string, Tensor>);
        return session;
      },
    } as OrtModule["InferenceSession"],
  };
}

/** onnxruntime-web, with the tensors that it leaves on the GPU counted. */
export function countTensors(ort: OrtModule): { ort: OrtModule; count: number } {
  const counter = {
    count: 0,
    ort: wrapped(ort, async (run) => {
      const outputs = await run();
      for (const tensor of Object.values(outputs)) {
        if (tensor.location !== "gpu-buffer") continue;
        counter.count++;
        const dispose = tensor.dispose.bind(tensor);
        tensor.dispose = () => {
          counter.count--;
          tensor.dispose = dispose;
          dispose();
        };
      }
      return outputs;
    }),
  };
  return counter;
}
