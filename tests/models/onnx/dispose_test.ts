/** Disposing of models and prompts while searches run, on the CPU and on the GPU. */
import { LONG } from "../../support/long.ts";
import assert from "node:assert/strict";
import { createDecoder, type GpuModel, type Model } from "../../../mod.ts";
import { buildIndex } from "../../../src/build/mod.ts";
import { liveBuffers } from "../../../src/kernels/webgpu/device.ts";
import { createOnnxModel, type OrtModule } from "../../../src/models/onnx/mod.ts";
import type { OnnxModel, PromptedModel } from "../../../src/models/onnx/types.ts";
import { loadOrt } from "../../../src/models/onnx/session.ts";
import { withDevice } from "../../support/gpu.ts";
import { countTensors, someRows, START, wrapped } from "../../support/onnx/reference.ts";
import { writeToy } from "../../support/onnx/toy.ts";

const STEPS = 4;
/** Moments of a step, and the one behind it, before the search goes on. */
const MOMENTS = ["asked", "runs", "has run", "answered"];
/** Between the last two. */
const TURNS = Array.from({ length: 8 }, (_, i) => `has run, ${i + 1} turns later`);
const SEARCH = { beamSize: 4, vocabSize: 13 };
const DISPOSED = { name: "EspalierError", code: "disposed" };

/** A model that tells of the steps that it is asked for, and of its answers. */
function watched(
  prompted: PromptedModel,
  tell: (moment: string, step: number) => void,
): Model | GpuModel {
  const watch =
    <I extends { step: number }, O>(run: (input: I) => O | Promise<O>) =>
    async (input: I): Promise<O> => {
      const answer = run(input);
      tell("asked", input.step);
      await answer;
      tell("answered", input.step);
      return answer;
    };
  if (typeof prompted === "function") return watch(prompted as Model);
  return { device: prompted.device, step: watch(prompted.step) };
}

/** Disposes of a model, or of prompts, at every moment of every step, with another search beside. */
async function testDispose(
  plain: OrtModule,
  what: "model" | "prompts",
  encoder: boolean,
  device?: GPUDevice,
): Promise<void> {
  const files = writeToy({ encoder, ids: "int32" });
  const tensors = countTensors(plain);
  let now = 0;
  let tell = (_moment: string, _step: number) => {};
  const ort = wrapped(tensors.ort, async (run) => {
    const [told, step] = [tell, now];
    const outputs = run();
    told("runs", step);
    await outputs;
    told("has run", step);
    (async () => {
      for (const turn of TURNS) {
        await null;
        told(turn, step);
      }
    })();
    return outputs;
  });
  const options = { encoder: files.encoder, startToken: START, device, ort };
  const open = () => createOnnxModel(files.decoder, options);
  using index = await buildIndex(someRows(1), { vocabSize: 11 });
  using decoder = await createDecoder(index, { device });
  const before = device && liveBuffers.get(device);
  let model = await open();
  assert.equal(model.provider, device ? "webgpu" : "wasm", model.reason);
  const undisturbed = await decoder.beamSearch(model.withPrompts([[1, 2]]), SEARCH);
  // Models take long to open.
  const moments = what === "model" ? MOMENTS : [...MOMENTS, ...TURNS];
  // On a software GPU every search takes its time: a fifth of the moments, in turn those of every step.
  for (let at = 0; at < STEPS * moments.length; at += device && !LONG ? 5 : 1) {
    const step = Math.floor(at / moments.length);
    const where = `${moments[at % moments.length]}, step ${step}`;
    const prompted = model.withPrompts([[1, 2]]);
    const other = model.withPrompts([[3, 4]]);
    let closed: PromiseLike<void> | undefined;
    let late = 0;
    now = 0;
    tell = (moment, step) => {
      if (moment === "asked") now = step;
      if (closed && moment === "runs") late++;
      if (closed || `${moment}, step ${step}` !== where) return;
      closed = Promise.resolve();
      if (what === "model") closed = model[Symbol.asyncDispose]();
      else prompted[Symbol.dispose]();
    };
    const [outcome, beside] = await Promise.allSettled([
      decoder.beamSearch(watched(prompted, tell), SEARCH),
      decoder.beamSearch(other, SEARCH),
    ]);
    assert.ok(closed, where);
    await closed;
    if (outcome.status === "fulfilled") {
      assert.deepEqual(outcome.value, undisturbed, where);
      assert.match(where, new RegExp(`(later|answered), step ${STEPS - 1}`));
    }
    for (const { reason } of [outcome, beside] as PromiseRejectedResult[]) {
      if (reason) assert.equal(reason.code, "disposed", `${where}: ${reason.stack}`);
    }
    prompted[Symbol.dispose]();
    other[Symbol.dispose]();
    tell = () => {};
    if (what === "model") {
      assert.equal(late, 0, `${where}: runs all the same`);
      assert.equal(tensors.count, 0, where);
      model = await open();
    } else assert.equal(beside.status, "fulfilled", where);
  }
  await model[Symbol.asyncDispose]();
  assert.equal(tensors.count, 0);
  assert.equal(device && liveBuffers.get(device), before);
}

function testAll(where: string, ort: OrtModule, device?: GPUDevice): void {
  for (const what of ["model", "prompts"] as const) {
    for (const encoder of [false, true]) {
      const whose = `${what} of ${encoder ? "an encoder-decoder" : "a decoder"}`;
      Deno.test(`ONNX on ${where}: ${whose} disposed of during a search`, async () => {
        await testDispose(ort, what, encoder, device);
      });
    }
  }
}

const wasm = await loadOrt("wasm");
testAll("the CPU", wasm);

Deno.test("ONNX: what has been disposed of says so", async () => {
  using index = await buildIndex(someRows(1), { vocabSize: 11 });
  using decoder = await createDecoder(index);
  const model = await createOnnxModel(writeToy({}).decoder);
  const [early, late] = [1, 2].map(() => model.withPrompts([[1, 2]]));
  early[Symbol.dispose]();
  await assert.rejects(decoder.beamSearch(early, SEARCH), DISPOSED);
  await decoder.beamSearch(late, SEARCH);
  model[Symbol.dispose]();
  await assert.rejects(decoder.beamSearch(late, SEARCH), DISPOSED);
  await model[Symbol.asyncDispose]();
  assert.throws(() => model.withPrompts([[1]]), DISPOSED);
});

Deno.test("ONNX: where one tensor cannot be freed, the others are", async () => {
  let live = 0;
  const ort = wrapped(wasm, async (run) => {
    const outputs = await run();
    for (const tensor of Object.values(outputs)) {
      live++;
      tensor.dispose = () => {
        live--;
        throw new Error("null function");
      };
    }
    return outputs;
  });
  using index = await buildIndex(someRows(1), { vocabSize: 11 });
  using decoder = await createDecoder(index);
  await using model = await createOnnxModel(writeToy({}).decoder, { ort });
  using prompted = model.withPrompts([[1, 2]]);
  await decoder.beamSearch(prompted, SEARCH);
  await model[Symbol.asyncDispose]();
  assert.equal(live, 0);
});

await withDevice("ONNX models that are disposed of, on WebGPU", async () => {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const device = await adapter.requestDevice();
  // onnxruntime-web asks devices for what is collected with their adapter: then Deno 2.9.6 panics.
  Deno.test.afterAll(() => void adapter);
  const ort = await loadOrt("webgpu");
  testAll("WebGPU", ort, device);

  Deno.test("ONNX on WebGPU: the CPU's form of what has been disposed of", async () => {
    using index = await buildIndex(someRows(1), { vocabSize: 11 });
    using decoder = await createDecoder(index, { backend: "wasm" });
    await using model = await createOnnxModel(writeToy({}).decoder, { device });
    const prompted = model.withPrompts([[1, 2]]);
    prompted[Symbol.dispose]();
    await assert.rejects(decoder.beamSearch(prompted, SEARCH), DISPOSED);
  });

  Deno.test("ONNX on WebGPU: disposed of while the CPU's form is opened", async () => {
    using index = await buildIndex(someRows(1), { vocabSize: 11 });
    using decoder = await createDecoder(index, { backend: "wasm" });
    for (const what of ["model", "prompts"]) {
      let closed: PromiseLike<void> | undefined;
      // Its trial is the first that runs after the model has been opened.
      const opening = wrapped(ort, (run) => {
        if (what === "model") closed ??= model?.[Symbol.asyncDispose]();
        else prompted?.[Symbol.dispose]();
        return run();
      });
      let prompted: PromptedModel | undefined = undefined;
      let model: OnnxModel | undefined = undefined;
      model = await createOnnxModel(writeToy({}).decoder, { device, ort: opening });
      prompted = model.withPrompts([[1, 2]]);
      await assert.rejects(decoder.beamSearch(prompted, SEARCH), DISPOSED);
      await closed;
      await model[Symbol.asyncDispose]();
    }
  });
});
