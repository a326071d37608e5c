/** Toys as models, and their logits as numbers. */
import assert from "node:assert/strict";
import type { Logits, Model, RunInput } from "../../../mod.ts";
import { createOnnxModel } from "../../../src/models/onnx/mod.ts";
import type { OnnxModel, OnnxOptions, PromptedModel } from "../../../src/models/onnx/types.ts";
import { fromHalf } from "../../../src/models/onnx/logits.ts";
import type { ToyForm } from "./forms.ts";
import { START } from "./reference.ts";
import { inputOf, rowOf, stepsOfRun, WIDTH } from "./schedule.ts";
import { writeToy } from "./toy.ts";

/** Opens a toy, with its encoder and its second graph if it has them. */
export function openToy(form: ToyForm, options: OnnxOptions = {}): Promise<OnnxModel> {
  const files = writeToy(form);
  return createOnnxModel(files.decoder, {
    encoder: files.encoder,
    decoderWithPast: form.twoGraphs ? writeToy({ ...form, withPast: true }).decoder : undefined,
    startToken: START,
    ...options,
  });
}

/** A prompted model as one on the CPU. */
export function onCpu(prompted: PromptedModel): Model {
  assert.equal(typeof prompted, "function");
  return prompted as Model;
}

/** The bits of logits, so that what is equal is equal in all of them. */
export const bitsOf = (logits: Logits): Uint8Array =>
  new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength).slice();

/** Logits as numbers. */
export const numbersOf = (logits: Logits): number[] =>
  Array.from(logits, (x) => logits instanceof Uint16Array ? fromHalf(x) : x);

/** How far runs may be from single steps, relative to 1 or to the logit. */
export const toleranceOf = ({ floats }: ToyForm): number => floats === "float16" ? 1e-2 : 1e-4;

/** Asserts that logits are the same but for rounding. */
export function assertNear(actual: number[], wanted: number[], most: number, where: string): void {
  assert.equal(actual.length, wanted.length, where);
  wanted.forEach((x, i) => {
    const off = Math.abs(actual[i] - x) / Math.max(1, Math.abs(x));
    assert.ok(off <= most, `${where}: ${actual[i]} in place of ${x}`);
  });
}

/** Takes the steps that a run stands for, and asserts that its logits [rows, width, W] are theirs. */
export async function assertRun(
  run: RunInput,
  logits: number[],
  model: Model,
  most: number,
): Promise<void> {
  for (const [i, { turn, rows }] of stepsOfRun(run).entries()) {
    const single = await model(inputOf(run.step + i, run.batchSize, turn));
    rows.forEach((row, at) => {
      const from = (row * run.width + i) * WIDTH;
      const where = `Token ${i} of row ${row}, of a run at step ${run.step}`;
      assertNear(logits.slice(from, from + WIDTH), numbersOf(rowOf(single, at)), most, where);
    });
  }
}
