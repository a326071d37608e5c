/** The kernel on WebGPU: two dispatches a step, everything stays in buffers until it is read. */
import { BackendError } from "../../errors.ts";
import {
  innerEdges,
  LEVEL_FIELDS,
  levelByteLength,
  levelTable,
  NONE,
  planSections,
} from "../../index/layout.ts";
import type { IndexStorage } from "../../index/storage.ts";
import type { Kernel, KernelAddress, SearchShape } from "../kernel.ts";
import { compilePipelines, freeBuffer, makeBuffer, type Pipelines } from "./device.ts";
import { ADDRESS_FIELDS, type Params } from "./params.ts";
import { GpuSearch, type Level } from "./search.ts";

const UPLOAD_BYTES = 2 ** 24;
/** Level addresses in the table start here, so that 0 stays "absent". */
const TABLE_BASE = 256;
/** STORAGE | COPY_DST | COPY_SRC: it grows by copying. */
const FILTER_USAGE = 0x80 | 0x08 | 0x04;

/** Why an index cannot be searched on a device, or undefined if it can. */
export function misfit(storage: IndexStorage, limits: GPUSupportedLimits): string | undefined {
  const { levels } = storage.shape;
  if (storage.dataByteLength > limits.maxBufferSize) {
    return `the index has ${storage.dataByteLength} bytes, a buffer of the adapter at most ${limits.maxBufferSize}`;
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
  /** Buffers mapped so far. */
  readbacks = 0;
  /** For benches: every dispatch writes two timestamps from `next` on. Needs the feature `timestamp-query`. */
  timing: { querySet: GPUQuerySet; next: number } | undefined;
  /** Let go of on dispose. */
  #storage: IndexStorage | undefined;
  #pipelines: Pipelines;
  #index: GPUBuffer;
  #levels: Level[];
  /** Words of all filters. Grows: read it afresh. */
  filters: GPUBuffer;
  #filterWords = 0;

  private constructor(
    storage: IndexStorage,
    device: GPUDevice,
    pipelines: Pipelines,
    index: GPUBuffer,
  ) {
    this.device = device;
    this.#storage = storage;
    this.#pipelines = pipelines;
    this.#index = index;
    this.#levels = bindLevels(storage);
    this.filters = makeBuffer(device, "filters", 256, FILTER_USAGE);
  }

  /**
   * Compiles the kernels and uploads the index, as its bytes are.
   *
   * @throws {BackendError} if the device does not take it.
   */
  static async create(storage: IndexStorage, device: GPUDevice): Promise<WebGpuKernel> {
    const why = misfit(storage, device.limits);
    if (why) throw new BackendError("index-too-large", `Cannot search on this device: ${why}`);
    const pipelines = await compilePipelines(device);
    const { heap, data, dataByteLength } = storage;
    device.pushErrorScope("out-of-memory");
    const index = makeBuffer(
      device,
      "index",
      dataByteLength,
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
    for (let at = 0; at < dataByteLength; at += UPLOAD_BYTES) {
      const length = Math.min(UPLOAD_BYTES, dataByteLength - at);
      device.queue.writeBuffer(index, at, heap.u8(data + at, length));
    }
    return new WebGpuKernel(storage, device, pipelines, index);
  }

  /** Puts words of filters where searches find them; returns their address. Before any search with filters. */
  place(words: Uint32Array<ArrayBuffer>): KernelAddress {
    const address = this.#filterWords;
    const bytes = (address + words.length) * 4;
    if (bytes > this.filters.size) {
      const larger = makeBuffer(this.device, "filters", 2 * bytes, FILTER_USAGE);
      if (address > 0) {
        const encoder = this.device.createCommandEncoder({ label: "espalier filters" });
        encoder.copyBufferToBuffer(this.filters, 0, larger, 0, address * 4);
        this.device.queue.submit([encoder.finish()]);
      }
      freeBuffer(this.device, this.filters);
      this.filters = larger;
    }
    this.device.queue.writeBuffer(this.filters, address * 4, words);
    this.#filterWords += words.length;
    return address;
  }

  begin(shape: SearchShape): GpuSearch {
    if (!this.#storage) throw new Error("The kernel has been disposed");
    return new GpuSearch(
      this,
      this.#storage,
      shape,
      this.#pipelines,
      this.#index,
      this.#levels,
    );
  }

  [Symbol.dispose](): void {
    if (!this.#storage) return;
    this.#storage = undefined;
    freeBuffer(this.device, this.#index);
    freeBuffer(this.device, this.filters);
  }
}

function bindLevels({ shape }: IndexStorage): Level[] {
  const { sections } = planSections(shape.levels);
  const table = levelTable(shape.levels, TABLE_BASE);
  return shape.levels.map((_, d) => {
    const own = sections.filter(({ name }) => name.startsWith(`level${d}.`));
    const offset = own[0]?.offset ?? 0;
    const byteLength = own.reduce((sum, section) => sum + section.byteLength, 0);
    const record: Partial<Params> = {};
    LEVEL_FIELDS.forEach((field, i) => record[field] = table[d * LEVEL_FIELDS.length + i]);
    for (const field of ADDRESS_FIELDS) {
      const address = record[field]!;
      record[field] = address === 0 ? NONE : (address - TABLE_BASE - offset) / 4;
    }
    return { offset, byteLength, record };
  });
}
