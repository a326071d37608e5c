/** The kernel on WebGPU: two dispatches a step, everything stays in buffers until it is read. */
import { BackendError } from "../../errors.ts";
import {
  innerEdges,
  LEVEL_FIELDS,
  levelByteLength,
  levelTable,
  NONE,
  planSections,
} from "../../index/format/layout.ts";
import type { LoadedIndex } from "../../index/index_memory.ts";
import type { Kernel, SearchShape } from "../kernel.ts";
import { compilePipelines, freeBuffer, makeBuffer, type Pipelines, upload } from "./device.ts";
import { GpuFilters } from "./gpu_filters.ts";
import { ADDRESS_FIELDS, type Params } from "./shaders/params.ts";
import { type GpuCounters, GpuSearch, type Level } from "./gpu_search.ts";

/** Level addresses in the table start here, so that 0 stays "absent". */
const TABLE_BASE = 256;

/** Why an index cannot be searched on a device, or undefined if it can. */
export function misfit(loaded: LoadedIndex, limits: GPUSupportedLimits): string | undefined {
  const { levels } = loaded.shape;
  const { byteLength } = planSections(levels);
  if (byteLength > limits.maxBufferSize) {
    return `the index has ${byteLength} bytes, a buffer of the adapter at most ${limits.maxBufferSize}`;
  }
  const largest = Math.max(
    ...levels.map((level, d) => levelByteLength(level, innerEdges(levels, d))),
  );
  if (largest > limits.maxStorageBufferBindingSize) {
    return `a level of the index has ${largest} bytes, a binding of the adapter at most ${limits.maxStorageBufferBindingSize}`;
  }
  return undefined;
}

/** A kernel over a copy of the index in GPU memory. The device stays its owner's. */
export class WebGpuKernel implements Kernel {
  readonly backend = "webgpu";
  readonly device: GPUDevice;
  readonly counters: GpuCounters = { readbacks: 0, timing: undefined };
  readonly filters: GpuFilters;
  /** Let go of on dispose. */
  #loaded: LoadedIndex | undefined;
  #pipelines: Pipelines;
  #index: GPUBuffer;
  #levels: Level[];

  private constructor(
    loaded: LoadedIndex,
    device: GPUDevice,
    pipelines: Pipelines,
    index: GPUBuffer,
  ) {
    this.device = device;
    this.#loaded = loaded;
    this.#pipelines = pipelines;
    this.#index = index;
    this.#levels = bindLevels(loaded);
    this.filters = new GpuFilters(device, loaded.heap);
  }

  /**
   * Compiles the kernels and uploads the index, as its bytes are.
   *
   * @throws {BackendError} if the device does not take it.
   */
  static async create(loaded: LoadedIndex, device: GPUDevice): Promise<WebGpuKernel> {
    const why = misfit(loaded, device.limits);
    if (why) throw new BackendError("index-too-large", `Cannot search on this device: ${why}`);
    const pipelines = await compilePipelines(device);
    // Named filters and item ids stand behind the levels, and stay on the CPU.
    const { byteLength } = planSections(loaded.shape.levels);
    device.pushErrorScope("out-of-memory");
    const index = makeBuffer(
      device,
      "index",
      byteLength,
      GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
    );
    const error = await device.popErrorScope().catch((cause: Error) => cause);
    if (error) {
      freeBuffer(device, index);
      throw new BackendError(
        "out-of-memory",
        `Cannot place the index on the GPU: ${error.message}`,
      );
    }
    upload(device, loaded.heap, { address: loaded.data, byteLength }, index, 0);
    return new WebGpuKernel(loaded, device, pipelines, index);
  }

  /** @param isForCpu whether the model is on the CPU. */
  begin(shape: SearchShape, isForCpu = true): GpuSearch {
    if (!this.#loaded) throw new Error("The kernel has been disposed");
    const { device, filters, counters } = this;
    return new GpuSearch(shape, {
      device,
      filters,
      counters,
      pipelines: this.#pipelines,
      index: this.#index,
      levels: this.#levels,
    }, isForCpu);
  }

  [Symbol.dispose](): void {
    if (!this.#loaded) return;
    this.#loaded = undefined;
    this.filters[Symbol.dispose]();
    freeBuffer(this.device, this.#index);
  }
}

function bindLevels({ shape }: LoadedIndex): Level[] {
  const { sections } = planSections(shape.levels);
  const table = levelTable(shape.levels, TABLE_BASE);
  return shape.levels.map((level, d) => {
    const own = sections.filter(({ name }) => name.startsWith(`level${d}.`));
    const offset = own[0]?.offset ?? 0;
    const byteLength = own.reduce((sum, section) => sum + section.byteLength, 0);
    const record: Partial<Params> = {};
    LEVEL_FIELDS.forEach((field, i) => record[field] = table[d * LEVEL_FIELDS.length + i]);
    for (const field of ADDRESS_FIELDS) {
      const address = record[field]!;
      record[field] = address === 0 ? NONE : (address - TABLE_BASE - offset) / 4;
    }
    return {
      offset,
      byteLength,
      record,
      edges: level.edges,
      ends: level.ends,
      isUnary: level.starts === "one" && level.encoding === "packed",
      hasInnerEnds: level.end,
    };
  });
}
