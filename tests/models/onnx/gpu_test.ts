/** ONNX models on the GPU: every form against every row alone on the CPU, without caches. */
import { some } from "../../support/long.ts";
import assert from "node:assert/strict";
import { createDecoder } from "../../../mod.ts";
import { buildIndex } from "../../../src/build/mod.ts";
import { liveBuffers } from "../../../src/kernels/webgpu/device.ts";
import { createOnnxModel, type OrtModule } from "../../../src/models/onnx/mod.ts";
import type { OnnxModel } from "../../../src/models/onnx/types.ts";
import { narrowInts } from "../../../src/models/onnx/int64_to_int32.ts";
import { loadOrt } from "../../../src/models/onnx/session.ts";
import { assertClose } from "../../support/compare.ts";
import { countReadbacks, withDevice } from "../../support/gpu.ts";
import { FORMS, isMasked, resolutionOf, type ToyForm } from "../../support/onnx/forms.ts";
import {
  assertSearch,
  countTensors,
  problemOf,
  somePrompts,
  START,
  wrapped,
} from "../../support/onnx/reference.ts";
import { writeToy } from "../../support/onnx/toy.ts";

await withDevice("ONNX models on WebGPU", async () => {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const hasHalf = adapter.features.has("shader-f16");
  const openDevice = () =>
    adapter.requestDevice({ requiredFeatures: hasHalf ? ["shader-f16"] : [] });
  const device = await openDevice();
  const reference = await loadOrt("wasm");
  const ort = await loadOrt("webgpu");
  const tensors = countTensors(ort);

  const open = (form: ToyForm, files = writeToy(form)): Promise<OnnxModel> =>
    createOnnxModel(files.decoder, {
      device,
      encoder: files.encoder,
      decoderWithPast: form.twoGraphs ? writeToy({ ...form, withPast: true }).decoder : undefined,
      startToken: START,
      ort: tensors.ort,
    });

  for (const [i, [name, form]] of Object.entries(FORMS).entries()) {
    const ignore = form.floats === "float16" && !hasHalf;
    const why = ignore ? " (skipped: the adapter has no shader-f16)" : "";
    Deno.test({
      name: `ONNX on WebGPU: ${name}${why}`,
      ignore,
      async fn() {
        const files = writeToy(form);
        const before = liveBuffers.get(device) ?? 0;
        {
          await using model = await open(form, files);
          assert.equal(model.vocabSize, 13);
          assert.equal(liveBuffers.get(device), before, "The trial leaves buffers");
          assert.equal(tensors.count, 0, "The trial leaves tensors");
          if (form.merged && form.crossCache === "encoder") {
            // Nothing in it reads encoder_hidden_states: onnxruntime-web fetches such inputs to the CPU.
            assert.equal(model.provider, "wasm");
            assert.match(model.reason, /reads back from the GPU/);
            return;
          }
          assert.equal(model.provider, "webgpu", model.reason);
          // Each form meets one kind of prompts and of sets; in a long run, all of them.
          for (const isUneven of isMasked(form) ? some([false, true], i >> 1) : [false]) {
            for (const isMixed of some([false, true], i)) {
              const prompts = somePrompts(isUneven);
              const resolution = resolutionOf(form);
              const problem = await problemOf(reference, files, prompts, resolution, { isMixed });
              using prompted = model.withPrompts(prompts);
              const readbacks = await countReadbacks(() =>
                assertSearch(problem, prompted, resolution, { times: 2, device })
              );
              assert.equal(readbacks, 2, "One for each of two searches");
            }
          }
        }
        assert.equal(liveBuffers.get(device), before, "Buffers are left");
        assert.equal(tensors.count, 0, "Tensors are left");
      },
    });
  }

  Deno.test("ONNX on WebGPU: searches overlap", async () => {
    await using model = await open({});
    const problems = [];
    for (const prompts of [somePrompts(true), somePrompts(false), [[7, 7], [8]]]) {
      problems.push(await problemOf(reference, writeToy({}), prompts, 1e-4));
    }
    await Promise.all(problems.map(async (problem) => {
      using prompted = model.withPrompts(problem.prompts);
      await assertSearch(problem, prompted, 1e-4, { times: 2, device });
    }));
    await model[Symbol.asyncDispose]();
    assert.equal(tensors.count, 0);
  });

  Deno.test("ONNX on WebGPU: a lost device leaves the search to the CPU", async () => {
    const files = writeToy({});
    const prompts = somePrompts(true);
    const problem = await problemOf(reference, files, prompts, 1e-4);
    using index = await buildIndex(problem.rows, { vocabSize: 11 });
    for (const at of [0, 1, 3]) {
      const lost = await openDevice();
      await using model = await createOnnxModel(files.decoder, { device: lost });
      assert.equal(model.provider, "webgpu", model.reason);
      using prompted = model.withPrompts(prompts);
      assert.ok("step" in prompted);
      const { step } = prompted;
      const losing = {
        ...prompted,
        step(input: Parameters<typeof step>[0]) {
          if (input.step === at) lost.destroy();
          return step(input);
        },
      };
      using decoder = await createDecoder(index, { device: lost });
      const result = await decoder.beamSearch(losing, problem.options);
      assert.equal(result.backend, "wasm");
      assert.ok(assertClose(result, problem.expected, 1e-4) >= 1);
    }
  });

  Deno.test("ONNX on WebGPU: a decoder on WASM takes the CPU's form", async () => {
    const files = writeToy({ encoder: true });
    const prompts = somePrompts(true);
    const problem = await problemOf(reference, files, prompts, 1e-4);
    await using model = await open({ encoder: true }, files);
    using prompted = model.withPrompts(prompts);
    assert.equal(model.provider, "webgpu");
    await assertSearch(problem, prompted, 1e-4, { times: 2 });
  });

  Deno.test("ONNX on WebGPU: what fails there runs on the CPU and says why", async () => {
    const files = writeToy({});
    const prompts = somePrompts(true);
    const problem = await problemOf(reference, files, prompts, 1e-4);
    const failing: OrtModule = {
      ...ort,
      InferenceSession: {
        create(...args: unknown[]) {
          const { executionProviders } = args.at(-1) as { executionProviders: unknown[] };
          if (executionProviders[0] !== "wasm") throw new Error("no such kernel");
          return (ort.InferenceSession.create as (...args: unknown[]) => unknown)(...args);
        },
      } as OrtModule["InferenceSession"],
    };
    await using model = await createOnnxModel(files.decoder, { device, ort: failing });
    assert.equal(model.provider, "wasm");
    assert.match(model.reason, /no such kernel/);
    using prompted = model.withPrompts(prompts);
    await assertSearch(problem, prompted, 1e-4);
    const strict = { device, ort: failing, provider: "webgpu" as const };
    await assert.rejects(createOnnxModel(files.decoder, strict), {
      name: "BackendError",
      code: "no-session",
    });
  });

  Deno.test("ONNX on WebGPU: a session of yours, with its outputs on the GPU or not", async () => {
    const files = writeToy({ ids: "int32" });
    const prompts = somePrompts(true);
    const problem = await problemOf(reference, files, prompts, 1e-4);
    for (const preferredOutputLocation of ["gpu-buffer", "cpu"] as const) {
      const session = await ort.InferenceSession.create(files.decoder, {
        executionProviders: [{ name: "webgpu", device }],
        preferredOutputLocation,
        logSeverityLevel: 3,
      });
      {
        await using model = await createOnnxModel(session, { device, ort });
        const isOnGpu = preferredOutputLocation === "gpu-buffer";
        assert.equal(model.provider, isOnGpu ? "webgpu" : "wasm", model.reason);
        using prompted = model.withPrompts(prompts);
        await assertSearch(problem, prompted, 1e-4, isOnGpu ? { device } : {});
      }
      if (preferredOutputLocation === "cpu") {
        await using model = await createOnnxModel(session, { ort });
        assert.match(model.reason, /no device was passed with the session/);
      }
      await session.release();
    }
  });

  Deno.test("ONNX on WebGPU: graphs in which only some whole numbers are int64", async () => {
    const { decoder } = writeToy({ merged: true }); // needs int32 masks, too
    await using merged = await createOnnxModel(narrowInts(decoder, ["input_ids"])!, { device });
    assert.equal(merged.provider, "webgpu", merged.reason);
    await using two = await createOnnxModel(writeToy({ twoGraphs: true, ids: "int32" }).decoder, {
      device,
      decoderWithPast: writeToy({ twoGraphs: true, withPast: true }).decoder,
    });
    assert.equal(two.provider, "webgpu", two.reason);
  });

  Deno.test({
    name: "ONNX on WebGPU: rows of half-precision numbers that are no whole words go to the CPU",
    ignore: !hasHalf,
    async fn() {
      for (const form of [{ encoder: true, cache: false }, {}]) {
        await using model = await open({ ...form, floats: "float16", heads: 1, headSize: 3 });
        assert.equal(model.provider, "wasm");
        assert.match(model.reason, /multiple of 4 bytes/);
      }
    },
  });

  Deno.test("ONNX on WebGPU: what the GPU refuses in silence is noticed", async () => {
    const { STORAGE, MAP_READ } = GPUBufferUsage;
    const silent = wrapped(ort, (run) => {
      device.createBuffer({ size: 4, usage: STORAGE | MAP_READ }); // not allowed together
      return run();
    });
    const { decoder } = writeToy({ ids: "int32" });
    await assert.rejects(createOnnxModel(decoder, { device, ort: silent, provider: "webgpu" }), {
      name: "BackendError",
      code: "unsupported-model",
      message: /refused by the GPU/,
    });
    assert.equal(Object.hasOwn(device, "createBuffer"), false, "The device is left as it was");
  });

  Deno.test("ONNX on WebGPU: several models are opened at once on one device", async () => {
    const models = await Promise.all(
      ["int32", "int64", "int32"].map((ids) => open({ ids: ids as "int32" })),
    );
    for (const model of models) {
      assert.equal(model.provider, "webgpu", model.reason);
      await model[Symbol.asyncDispose]();
    }
    assert.equal(Object.hasOwn(device, "createBuffer"), false);
  });
});
