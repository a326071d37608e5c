/** Searches on WebGPU: any adapter, the software one in CI. */
import assert from "node:assert/strict";
import { createDecoder, type Decoder, type GpuModel, type Model } from "../../../mod.ts";
import { buildIndex } from "../../../src/build/mod.ts";
import type { ConstraintIndex } from "../../../mod.ts";
import { compileKernel, liveBuffers } from "../../../src/kernels/webgpu/device.ts";
import { misfit } from "../../../src/kernels/webgpu/kernel.ts";
import { loadedIndexOf } from "../../../src/index/constraint_index.ts";
import {
  countReadbacks,
  GoldenGpuModel,
  type GpuLayout,
  openDevice,
  withDevice,
} from "../../support/gpu.ts";
import { IN_BROWSER } from "../../support/long.ts";
import { goldenRule, modelOf } from "../../support/models.ts";
import { oracleSearch, OracleSet } from "../../support/oracle.ts";
import { assertClose, assertLayout } from "../../support/compare.ts";
import { searchSuite } from "../../suites/search.ts";
import { rowSet } from "../../support/sets.ts";

await withDevice("searches on WebGPU", (device) => {
  const open = (index: ConstraintIndex): Promise<Decoder> =>
    createDecoder(index, { backend: "webgpu", device });

  searchSuite("WebGPU", open, 0.3);

  /** A set of one length and one of several, with what the golden model finds in them. */
  async function problem(shape: "fixed" | "mixed") {
    const { rows, vocabSize } = rowSet(shape, 5);
    const options = { batchSize: 2, beamSize: 9 };
    const set = new OracleSet(rows, vocabSize);
    const expected = await oracleSearch(set, modelOf(goldenRule), {
      ...options,
      normalize: "none",
      vocabSize,
    });
    return { rows, vocabSize, options: { ...options, normalize: "none" as const }, set, expected };
  }

  Deno.test("A search with a GPU model reads back once and frees what it made", async () => {
    const { rows, vocabSize, options, set, expected } = await problem("fixed");
    using index = await buildIndex(rows, { vocabSize });
    const before = liveBuffers.get(device) ?? 0;
    {
      using decoder = await open(index);
      const model = new GoldenGpuModel(device, vocabSize, 18);
      const readbacks = await countReadbacks(async () => {
        const result = await decoder.beamSearch(model, options);
        assertLayout(result, set, options);
        assert.equal(assertClose(result, expected), 2);
        assert.equal(result.backend, "webgpu");
      });
      assert.equal(readbacks, 1);
      assert.equal(model.steps, index.maxLength);
      model.destroy();
    }
    assert.equal(liveBuffers.get(device), before);
  });

  Deno.test("Logits on the GPU may be wider, offset, and of half precision", async () => {
    const { rows, vocabSize, options, set, expected } = await problem("mixed");
    using index = await buildIndex(rows, { vocabSize });
    using decoder = await open(index);
    const layouts: GpuLayout[] = [
      { type: "float32", extra: 0, front: 3 },
      { type: "float32", extra: 5, front: 64 },
      { type: "float16", extra: 0, front: 0 },
      { type: "float16", extra: 3, front: 129 },
    ];
    const half: Model = (input) => Float16Array.from(modelOf(goldenRule)(input) as Float32Array);
    const expectedHalf = await oracleSearch(set, half, { ...options, vocabSize });
    for (const layout of layouts) {
      const model = new GoldenGpuModel(device, vocabSize, 18, { layout });
      const result = await decoder.beamSearch(model, options);
      assertLayout(result, set, options);
      assertClose(result, layout.type === "float16" ? expectedHalf : expected);
      model.destroy();
    }
  });

  Deno.test("A device lost at any step, or before, leaves the right answer to the CPU", async () => {
    const { rows, vocabSize, options, set, expected } = await problem("fixed");
    using index = await buildIndex(rows, { vocabSize });
    const cpu = modelOf(goldenRule);
    for (let at = -1; at <= index.maxLength; at++) {
      const lost = await openDevice();
      using decoder = await createDecoder(index, { device: lost });
      assert.equal(decoder.backend, "webgpu");
      const inner = new GoldenGpuModel(lost, vocabSize, 18);
      const model = (cpu?: Model) => ({
        device: lost,
        cpu,
        step(input: Parameters<typeof inner.step>[0]) {
          if (input.step === at) lost.destroy();
          const logits = inner.step(input);
          // After the last step's work has been handed in, before it is read.
          if (at === index.maxLength && input.step === at - 1) lost.destroy();
          return logits;
        },
      });
      if (at < 0) lost.destroy();
      const result = await decoder.beamSearch(model(cpu), options);
      assert.equal(result.backend, "wasm", `Lost at step ${at}`);
      assertLayout(result, set, options);
      assert.equal(assertClose(result, expected), 2);
      await assert.rejects(decoder.beamSearch(model(), options), {
        name: "BackendError",
        code: "no-cpu-form",
      });
    }
  });

  Deno.test("A device lost under several searches at once spoils none of them", async () => {
    for (const shape of ["fixed", "mixed"] as const) {
      const { rows, vocabSize, options, expected } = await problem(shape);
      using index = await buildIndex(rows, { vocabSize });
      for (const at of IN_BROWSER ? [1] : [0, 1, 2]) {
        const lost = await openDevice();
        using decoder = await createDecoder(index, { device: lost, backend: "webgpu" });
        const searches = Array.from({ length: 3 }, (_, i) => {
          const inner = modelOf(goldenRule, 0, "async-own");
          const model: Model = (input) => {
            if (i === 1 && input.step === at) lost.destroy();
            return inner(input);
          };
          return decoder.beamSearch(model, options);
        });
        for (const result of await Promise.all(searches)) assertClose(result, expected);
        const later = await decoder.beamSearch(modelOf(goldenRule), options);
        assert.equal(later.backend, "wasm");
      }
    }
  });

  Deno.test("A model on the CPU is searched on WASM, unless the GPU is asked for", async () => {
    const { rows, vocabSize, options } = await problem("fixed");
    using index = await buildIndex(rows, { vocabSize });
    using auto = await createDecoder(index, { device });
    assert.equal(auto.backend, "webgpu");
    const model = modelOf(goldenRule);
    assert.equal((await auto.beamSearch(model, options)).backend, "wasm");
    using forced = await open(index);
    assert.equal((await forced.beamSearch(model, options)).backend, "webgpu");
  });

  Deno.test("Software adapters are used when they are asked for only", async () => {
    using index = await buildIndex([[1], [2]], { vocabSize: 3 });
    const adapter = await navigator.gpu.requestAdapter();
    const isSoftware = adapter!.info.isFallbackAdapter;
    using auto = await createDecoder(index);
    assert.equal(auto.backend, isSoftware ? "wasm" : "webgpu");
    assert.match(auto.reason, isSoftware ? /software/ : /hardware/);
    const strict = createDecoder(index, { backend: "webgpu" });
    if (isSoftware) await assert.rejects(strict, { code: "software-adapter" });
    else (await strict)[Symbol.dispose]();
    using allowed = await createDecoder(index, { backend: "webgpu", allowSoftwareAdapter: true });
    assert.equal(allowed.backend, "webgpu");
    const { counts } = await allowed.beamSearch(({ rows }) => new Float32Array(3 * rows), {
      beamSize: 2,
    });
    assert.equal(counts[0], 2);
  });

  Deno.test("GPU models that do not fit are refused, and errors name the step", async () => {
    const { rows, vocabSize, options } = await problem("fixed");
    using index = await buildIndex(rows, { vocabSize });
    using decoder = await open(index);
    const other = await openDevice();
    // A model brings its device: the index is placed there, too.
    const foreign = new GoldenGpuModel(other, vocabSize, 18);
    assert.equal((await decoder.beamSearch(foreign, options)).backend, "webgpu");
    other.destroy();
    for (const buffer of [undefined, { size: 1e9 }]) {
      const step = () => ({ buffer, offset: 0, rowStride: vocabSize, type: "float32" });
      const wrong = { device, step } as unknown as GpuModel;
      await assert.rejects(decoder.beamSearch(wrong, options), { code: "bad-gpu-logits", step: 0 });
    }
    const nothing = { device, step: () => undefined } as unknown as GpuModel;
    await assert.rejects(decoder.beamSearch(nothing, options), { code: "bad-gpu-logits" });
    device.pushErrorScope("validation");
    assert.equal(await device.popErrorScope(), null);
    await assert.rejects(device.popErrorScope(), "A scope of the search is still open");
    const small = new GoldenGpuModel(device, vocabSize, 2);
    await assert.rejects(decoder.beamSearch(small, options), {
      name: "ModelOutputError",
      code: "bad-gpu-logits",
      step: 1,
    });
    small.destroy();
    using wasm = await createDecoder(index, { backend: "wasm" });
    const model = new GoldenGpuModel(device, vocabSize, 18);
    await assert.rejects(wasm.beamSearch(model, options), { code: "no-cpu-form" });
    model.destroy();
    const infinite: Model = ({ step, rows }) =>
      new Float32Array(rows * vocabSize).fill(step === 1 ? Infinity : 0);
    await assert.rejects(decoder.beamSearch(infinite, options), {
      name: "ModelOutputError",
      code: "infinite-logit",
      step: 1,
    });
    // The decoder is as good as before.
    const { counts } = await decoder.beamSearch(modelOf(goldenRule), options);
    assert.equal(counts.length, 2);
  });

  Deno.test("A GPU that runs out of memory leaves the search to the CPU", async () => {
    const { rows, vocabSize, options, expected } = await problem("fixed");
    using index = await buildIndex(rows, { vocabSize });
    const labels = ["beams 0", "records", "tokens", "params", "flags", "search data", "staging"];
    for (const label of [...IN_BROWSER ? labels.slice(0, 2) : labels, "logits"]) {
      const full = await openDevice();
      using decoder = await createDecoder(index, { device: full, backend: "webgpu" });
      const isFull = exhaust(full, `espalier ${label}`);
      const cpu = modelOf(goldenRule);
      const gpuModel = new GoldenGpuModel(full, vocabSize, 18, { cpu });
      const model = label === "logits" ? cpu : gpuModel;
      const result = await decoder.beamSearch(model, options);
      assert.equal(result.backend, "wasm", label);
      assert.equal(assertClose(result, expected), 2);
      assert.ok(isFull(), label);
      gpuModel.destroy();
      full.destroy();
    }
  });

  Deno.test("A GPU that has no memory for a filter searches without it, and later with it", async () => {
    const rows = Array.from({ length: 5000 }, (_, i) => [i % 70, i / 70 | 0]);
    using index = await buildIndex(rows, { vocabSize: 80 });
    const full = await openDevice();
    using decoder = await createDecoder(index, { device: full, backend: "webgpu" });
    using filter = index.filter([5, 70, 900]);
    const search = (options = {}) =>
      decoder.beamSearch(modelOf(goldenRule), { beamSize: 4, ...options });
    const expected = await search({ exclude: [] });
    const { createBuffer, pushErrorScope, popErrorScope } = full;
    const isFull = exhaust(full, "espalier filters");
    const onCpu = await search({ filter });
    assert.equal(onCpu.backend, "wasm");
    assert.ok(isFull());
    Object.assign(full, { createBuffer, pushErrorScope, popErrorScope });
    assert.deepEqual(await search(), expected);
    const later = await search({ filter });
    assert.equal(later.backend, "webgpu");
    assert.deepEqual(later.ordinals, onCpu.ordinals);
    full.destroy();
  });

  /** Makes a device refuse the buffer with a label, as one without memory does: it is invalid, too. */
  function exhaust(full: GPUDevice, label: string): () => boolean {
    const { createBuffer, pushErrorScope, popErrorScope } = full;
    const scopes: GPUErrorFilter[] = [];
    let isFull = false;
    full.createBuffer = (descriptor) => {
      isFull ||= descriptor.label === label;
      const size = descriptor.label === label ? full.limits.maxBufferSize + 16 : descriptor.size;
      return createBuffer.call(full, { ...descriptor, size });
    };
    full.pushErrorScope = (filter) => {
      scopes.push(filter);
      pushErrorScope.call(full, filter);
    };
    full.popErrorScope = async () => {
      const filter = scopes.pop();
      const error = await popErrorScope.call(full);
      return filter === "out-of-memory" && isFull ? new GPUOutOfMemoryError("Simulated") : error;
    };
    return () => isFull;
  }

  Deno.test("A search whose logits do not fit a binding goes to the CPU", async () => {
    const vocabSize = 2 ** 15;
    using index = await buildIndex([[1, 2], [3, 4], [5, vocabSize - 1]], { vocabSize });
    using forced = await open(index);
    const few = { batchSize: 1, beamSize: 1024, vocabSize: 2 ** 16 };
    const wide: Model = ({ rows }) => new Float32Array(rows * 2 ** 16);
    const result = await forced.beamSearch(wide, few);
    assert.equal(result.backend, "wasm");
    assert.equal(result.counts[0], 3);
  });

  Deno.test("Where the platform's GPU fails, auto chooses WASM and says why", async () => {
    using index = await buildIndex([[1], [2]], { vocabSize: 3 });
    const failures: [Partial<GPU>, RegExp][] = [
      [{ requestAdapter: () => Promise.reject(new Error("driver trouble")) }, /driver trouble/],
      [{ requestAdapter: () => Promise.resolve(null) }, /no adapter/],
    ];
    for (const [gpu, reason] of failures) {
      using decoder = await createDecoder(index, { gpu: gpu as GPU });
      assert.equal(decoder.backend, "wasm");
      assert.match(decoder.reason, reason);
      const strict = createDecoder(index, { gpu: gpu as GPU, backend: "webgpu" });
      await assert.rejects(strict, { name: "BackendError" });
    }
    const limits = { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 };
    // An older browser: no `info`. Its device is not asked for until a model brings one.
    const old = { limits, requestDevice: () => Promise.reject(new Error("no device")) };
    const gpu = { requestAdapter: () => Promise.resolve(old) } as unknown as GPU;
    using auto = await createDecoder(index, { gpu });
    assert.equal(auto.backend, "webgpu");
    const strict = createDecoder(index, { gpu, backend: "webgpu" });
    await assert.rejects(strict, { name: "BackendError", code: "no-device" });
  });

  Deno.test("What the GPU refuses is a BackendError", async () => {
    const { rows, vocabSize, options } = await problem("fixed");
    using index = await buildIndex(rows, { vocabSize });
    using decoder = await open(index);
    const size = 18 * vocabSize * 4;
    // No kernel may bind a buffer that is not for storage.
    const buffer = device.createBuffer({ size, usage: GPUBufferUsage.COPY_DST });
    const model: GpuModel = {
      device,
      step: () => ({ buffer, offset: 0, rowStride: vocabSize, type: "float32" }),
      cpu: modelOf(goldenRule),
    };
    await assert.rejects(decoder.beamSearch(model, options), {
      name: "BackendError",
      code: "validation",
    });
    buffer.destroy();
    const { counts } = await decoder.beamSearch(modelOf(goldenRule), options);
    assert.equal(counts.length, 2);
  });

  Deno.test("Errors in a kernel are shown with their lines", async () => {
    const code = "@compute @workgroup_size(1)\nfn main() {\n  let wrong: u32 = 1.5;\n}\n";
    const source = { label: "broken", bindings: ["uniform" as const], code };
    await assert.rejects(compileKernel(device, source), {
      name: "BackendError",
      code: "bad-kernel",
      message: /broken[^]*let wrong/,
    });
  });

  Deno.test("An index that does not fit an adapter says why", async () => {
    const { rows, vocabSize } = await problem("mixed");
    using index = await buildIndex(rows, { vocabSize });
    const loaded = loadedIndexOf(index);
    const limits = (maxBufferSize: number, maxStorageBufferBindingSize: number) =>
      ({ maxBufferSize, maxStorageBufferBindingSize }) as GPUSupportedLimits;
    assert.equal(misfit(loaded, device.limits), undefined);
    assert.match(
      misfit(loaded, limits(256, 2 ** 27)) ?? "",
      /a buffer of the adapter at most 256/,
    );
    assert.match(
      misfit(loaded, limits(2 ** 28, 128)) ?? "",
      /a binding of the adapter at most 128/,
    );
  });

  Deno.test("A long search over sequences of several lengths ends when no beam lives", async () => {
    const longest = Array.from({ length: 200 }, (_, i) => i % 3);
    using index = await buildIndex([longest, [0, 2], [0, 0, 1], [1, 1]], { vocabSize: 3 });
    using decoder = await open(index);
    const model = new GoldenGpuModel(device, 3, 2);
    const options = { beamSize: 2 };
    const result = await decoder.beamSearch(model, options);
    const expected = await oracleSearch(
      new OracleSet([longest, [0, 2], [0, 0, 1], [1, 1]], 3),
      modelOf(goldenRule),
      { ...options, vocabSize: 3 },
    );
    assertClose(result, expected);
    assert.ok(expected.shown.length < 20, `${expected.shown.length} steps are needed`);
    assert.ok(model.steps <= 24, `${model.steps} steps`);
    model.destroy();
  });
});
