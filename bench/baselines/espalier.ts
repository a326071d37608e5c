/** Ours: the index and kernel on WASM as one of the methods, and whole searches on WebGPU. */
import { createDecoder } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import type { ConstraintIndex } from "../../src/index/constraint_index.ts";
import { WasmKernel } from "../../src/kernels/wasm/kernel.ts";
import type { KernelSearch } from "../../src/kernels/kernel.ts";
import type { Method, MethodSearch, MethodShape, SequenceSet } from "./method.ts";

/** The index on WASM. */
export async function espalier(set: SequenceSet): Promise<Method> {
  const { vocabSize, ...matrix } = set;
  const index = await buildIndex(matrix, { vocabSize, sorted: true });
  const kernel = new WasmKernel(loadedIndexOf(index));
  return {
    name: "Espalier, WASM",
    exact: true,
    byteLength: index.byteLength,
    begin: (shape) => new EspalierSearch(kernel, index, vocabSize, shape),
    [Symbol.dispose]() {
      kernel[Symbol.dispose]();
      index[Symbol.dispose]();
    },
  };
}

class EspalierSearch implements MethodSearch {
  #search: KernelSearch;
  #index: ConstraintIndex;
  #shape: MethodShape;
  #out: Float32Array<ArrayBuffer> | undefined;

  constructor(kernel: WasmKernel, index: ConstraintIndex, vocabSize: number, shape: MethodShape) {
    this.#index = index;
    this.#shape = shape;
    this.#search = kernel.begin({
      ...shape,
      logitWidth: vocabSize,
      normalize: "vocab",
      lengthPenalty: 0,
      padToken: 0,
    });
  }

  logits(): Float32Array {
    return this.#out = this.#search.out();
  }

  advance(): void {
    this.#search.advance(this.#out ?? this.#search.out());
    this.#out = undefined;
  }

  beams(): { sequences: Uint32Array; scores: Float32Array; counts: Uint32Array } {
    const { batchSize, beamSize } = this.#shape;
    const { heap, table } = loadedIndexOf(this.#index);
    const steps = this.#search.step;
    const { edges, scores, status } = this.#search.beams();
    const sequences = new Uint32Array(batchSize * beamSize * steps).fill(0xffffffff);
    const counts = new Uint32Array(batchSize);
    const address = heap.allocate(steps * 4);
    for (let beam = 0; beam < status.length; beam++) {
      if (status[beam] === 0) continue;
      counts[Math.floor(beam / beamSize)]++;
      heap.exports.spellEdge(table, steps - 1, edges[beam], address);
      sequences.set(heap.u32(address, steps), beam * steps);
    }
    heap.free(address);
    return { sequences, scores, counts };
  }

  [Symbol.dispose](): void {
    this.#search[Symbol.dispose]();
  }
}

/** Whole searches on a GPU, timed from the first step to the results on the host. */
export interface GpuTimes {
  /** Of each search; the first, which compiles, is left out. */
  milliseconds: number[];
  scores: Float32Array;
  sequences: Uint32Array;
}

/**
 * Searches on WebGPU cannot be timed by step without waiting for each: one wait takes longer than a step. Hence
 * whole searches, one readback each. `logits` are [B·M, V] per step, on the GPU before the timer starts; step 0
 * reads the first B rows.
 *
 * @throws {BackendError} if the index does not fit the device.
 */
export async function timeGpuSearches(
  set: SequenceSet,
  device: GPUDevice,
  { batchSize, beamSize }: MethodShape,
  logits: readonly Float32Array<ArrayBuffer>[],
  repeats: number,
): Promise<GpuTimes> {
  const { vocabSize, ...matrix } = set;
  using index = await buildIndex(matrix, { vocabSize, sorted: true });
  using decoder = await createDecoder(index, { backend: "webgpu", device });
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
  const buffers = logits.map((values) => {
    const buffer = device.createBuffer({ size: values.byteLength, usage });
    device.queue.writeBuffer(buffer, 0, values);
    return buffer;
  });
  const rowStride = vocabSize;
  const model = {
    device,
    step: ({ step }: { step: number }) =>
      Promise.resolve({ buffer: buffers[step], offset: 0, rowStride, type: "float32" as const }),
  };
  const milliseconds: number[] = [];
  let result = await decoder.beamSearch(model, { batchSize, beamSize });
  for (let repeat = 0; repeat < repeats; repeat++) {
    const start = performance.now();
    result = await decoder.beamSearch(model, { batchSize, beamSize });
    milliseconds.push(performance.now() - start);
  }
  for (const buffer of buffers) buffer.destroy();
  return { milliseconds, scores: result.scores, sequences: result.sequences };
}
