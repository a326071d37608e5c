/** ONNX models on the GPU: steps of changing widths, and runs, against the same model on the CPU. */
import assert from "node:assert/strict";
import type { GpuLogits, GpuModel } from "../../../mod.ts";
import { liveBuffers } from "../../../src/kernels/webgpu/device.ts";
import { loadOrt } from "../../../src/models/onnx/session.ts";
import { fromHalf } from "../../../src/models/onnx/logits.ts";
import { countReadbacks, withDevice } from "../../support/gpu.ts";
import { runs } from "../../support/long.ts";
import { Random } from "../../support/models.ts";
import { isMasked, scoresRuns, type ToyForm } from "../../support/onnx/forms.ts";
import {
  assertNear,
  assertRun,
  numbersOf,
  onCpu,
  openToy,
  toleranceOf,
} from "../../support/onnx/open.ts";
import { countTensors, somePrompts, wrapped } from "../../support/onnx/reference.ts";
import { liveLogits, promptTurn, type Turn, WIDTH as W } from "../../support/onnx/schedule.ts";

const PROMPTS = 3;
/** Forms that differ in what moves: caches, ids, states of encoders, and how logits lie. */
const FORMS: Record<string, ToyForm> = {
  "decoder, cache": {},
  "decoder, cache, half": { floats: "float16" },
  "decoder, cache, last position": { positions: "last" },
  "decoder, cache, logits to keep": { positions: "kept" },
  "decoder, merged": { merged: true },
  "decoder, two graphs": { twoGraphs: true },
  "decoder, no cache": { cache: false },
  "decoder, no cache, int32": { cache: false, ids: "int32" },
  "decoder, no cache, logits to keep": { cache: false, positions: "kept" },
  "encoder-decoder, cache": { encoder: true },
  "encoder-decoder, no cache": { encoder: true, cache: false },
  "encoder-decoder, cross caches of the encoder": { encoder: true, crossCache: "encoder" },
  "encoder-decoder, two graphs": { encoder: true, crossCache: "first", twoGraphs: true },
};

/** A turn of so many beams for each prompt, behind one of so many. */
function someTurn(random: Random, width: number, before: number): Turn {
  const batch = Array.from({ length: PROMPTS * width }, (_, row) => Math.floor(row / width));
  return {
    batch,
    tokens: batch.map(() => random.below(11)),
    parents: batch.map((batchRow) => batchRow * before + random.below(before)),
  };
}

await withDevice("ONNX models on WebGPU, rows and runs", async () => {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const hasHalf = adapter.features.has("shader-f16");
  const device = await adapter.requestDevice({ requiredFeatures: hasHalf ? ["shader-f16"] : [] });
  // onnxruntime-web asks devices for what is collected with their adapter: then Deno 2.9.6 panics.
  Deno.test.afterAll(() => void adapter);
  const ort = await loadOrt("webgpu");
  const tensors = countTensors(ort);
  const { STORAGE, COPY_DST, MAP_READ } = GPUBufferUsage;

  const upload = (values: readonly number[]): GPUBuffer => {
    const buffer = device.createBuffer({ size: 256, usage: STORAGE | COPY_DST });
    if (values.length > 0) device.queue.writeBuffer(buffer, 0, Uint32Array.from(values));
    return buffer;
  };
  /** Logits [rows, positions, W] of a model, wherever it leaves them. */
  const read = async (
    { buffer, offset, rowStride, type, positionStride = 0 }: GpuLogits & {
      positionStride?: number;
    },
    rows: number,
    positions = 1,
  ): Promise<number[]> => {
    const staging = device.createBuffer({ size: buffer.size, usage: COPY_DST | MAP_READ });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const data = staging.getMappedRange().slice(0);
    staging.destroy();
    const isHalf = type === "float16";
    const values = isHalf ? new Uint16Array(data) : new Float32Array(data);
    const start = offset / (isHalf ? 2 : 4);
    return Array.from({ length: rows * positions * W }, (_, at) => {
      const [row, position] = [Math.floor(at / W / positions), Math.floor(at / W) % positions];
      const value = values[start + row * rowStride + position * positionStride + at % W];
      return isHalf ? fromHalf(value) : value;
    });
  };
  const inputFor = (step: number, width: number, { batch, tokens, parents }: Turn) => ({
    step,
    rows: batch.length,
    batchSize: PROMPTS,
    beamSize: width,
    tokens: upload(tokens),
    parents: upload(parents),
  });
  const onGpu = (prompted: unknown): GpuModel => {
    assert.equal(typeof (prompted as GpuModel).step, "function");
    return prompted as GpuModel;
  };

  const stepOf = async (model: GpuModel, step: number, width: number, turn: Turn) => {
    let place: GpuLogits | undefined;
    const readbacks = await countReadbacks(async () => {
      place = await model.step(inputFor(step, width, turn));
    });
    assert.equal(readbacks, 0);
    return await read(place!, turn.batch.length);
  };

  for (const [name, form] of Object.entries(FORMS)) {
    const ignore = form.floats === "float16" && !hasHalf;
    const why = ignore ? " (skipped: the adapter has no shader-f16)" : "";
    Deno.test({
      name: `ONNX on WebGPU, changing widths and runs: ${name}${why}`,
      ignore,
      async fn() {
        const before = liveBuffers.get(device) ?? 0;
        {
          await using reference = await openToy(form);
          await using model = await openToy(form, { device, ort: tensors.ort });
          assert.equal(model.provider, "webgpu", model.reason);
          assert.equal(tensors.count, 0, "The trial leaves tensors");
          const prompts = somePrompts(isMasked(form));
          using wanted = reference.withPrompts(prompts);
          using prompted = model.withPrompts(prompts);
          const gpu = onGpu(prompted);
          assert.equal(gpu.liveRows, true);
          assert.equal(gpu.scoreRuns !== undefined, scoresRuns(form), model.reason);
          assert.equal(onCpu(gpu.cpu as never).liveRows, true);
          for (let seed = 1; seed <= runs(2); seed++) {
            const random = new Random(seed);
            const turns: Turn[] = [];
            let width = 1;
            let last = await stepOf(gpu, 0, 1, promptTurn(PROMPTS));
            for (let step = 1; step <= 4; step++) {
              const next = random.between(1, 4);
              turns.push(someTurn(random, next, width));
              last = await stepOf(gpu, step, next, turns.at(-1)!);
              width = next;
            }
            const logits = await liveLogits(onCpu(wanted), PROMPTS, turns);
            const expected = logits.at(-1)!.flatMap((row) => numbersOf(row));
            const most = toleranceOf(form);
            assertNear(last, expected, most, `Seed ${seed}`);
            if (!gpu.scoreRuns) continue;
            for (let i = 0; i < 2; i++) {
              const length = random.between(2, 4);
              const turn = someTurn(random, width, width);
              const tokens = Array.from(
                { length: turn.batch.length * length },
                () => random.below(11),
              );
              const run = {
                ...inputFor(5, width, turn),
                tokens: upload(tokens),
                width: length,
              };
              let place: Awaited<ReturnType<NonNullable<GpuModel["scoreRuns"]>>> | undefined;
              const readbacks = await countReadbacks(async () => {
                place = await gpu.scoreRuns!(run);
              });
              assert.equal(readbacks, 0);
              const scored = await read(place!, run.rows, length);
              await liveLogits(onCpu(wanted), PROMPTS, turns);
              await assertRun(
                {
                  step: 5,
                  rows: run.rows,
                  width: length,
                  tokens: Uint32Array.from(tokens),
                  lengths: new Uint32Array(run.rows).fill(length),
                  parents: Uint32Array.from(turn.parents),
                  batch: Uint32Array.from(turn.batch),
                  batchSize: PROMPTS,
                  vocabSize: W,
                },
                scored,
                onCpu(wanted),
                most,
              );
            }
          }
        }
        assert.equal(liveBuffers.get(device), before, "Buffers are left");
        assert.equal(tensors.count, 0, "Tensors are left");
      },
    });
  }

  Deno.test("ONNX on WebGPU, runs: the trial finds graphs that score them otherwise", async () => {
    for (const form of [{}, { cache: false }, { encoder: true }]) {
      await using model = await openToy({ ...form, causal: false }, { device, ort });
      assert.match(model.reason, /^the whole model runs .*; no runs: its logits are off/);
      using prompted = model.withPrompts(somePrompts(true));
      assert.equal(onGpu(prompted).scoreRuns, undefined);
    }
  });

  Deno.test("ONNX on WebGPU, runs: none where the graph reads back on several tokens", async () => {
    const reading = wrapped(ort, async (run, feeds) => {
      const outputs = await run();
      const isRun = feeds.input_ids.dims[1] > 1 && feeds["past_key_values.0.key"].dims[2] > 0;
      if (!isRun) return outputs;
      const mapped = device.createBuffer({ size: 16, usage: MAP_READ | COPY_DST });
      await mapped.mapAsync(GPUMapMode.READ);
      mapped.destroy();
      return outputs;
    });
    await using model = await openToy({ ids: "int32" }, { device, ort: reading });
    assert.equal(model.provider, "webgpu", model.reason);
    assert.match(model.reason, /; no runs: it fails on several tokens: .* reads back .* 1 times/);
  });

  Deno.test("ONNX on WebGPU, runs: none where the GPU refuses them in silence", async () => {
    const silent = wrapped(ort, (run, feeds) => {
      const isRun = feeds.input_ids.dims[1] > 1 && feeds["past_key_values.0.key"].dims[2] > 0;
      if (isRun) device.createBuffer({ size: 4, usage: STORAGE | MAP_READ }); // not allowed together
      return run();
    });
    await using model = await openToy({ ids: "int32" }, { device, ort: silent });
    assert.equal(model.provider, "webgpu", model.reason);
    assert.match(model.reason, /; no runs: it fails on several tokens: the GPU refuses it: /);
  });
});
