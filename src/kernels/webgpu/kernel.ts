/** The kernel on WebGPU: two dispatches a step, everything stays in buffers until it is read. */
import { BackendError, LimitError } from "../../errors.ts";
import type { FilterBits } from "../../index/filter_bits.ts";
import {
  innerEdges,
  LEVEL_FIELDS,
  levelByteLength,
  levelTable,
  NONE,
  planSections,
} from "../../index/layout.ts";
import type { IndexStorage } from "../../index/storage.ts";
import { Ranges } from "../../wasm/ranges.ts";
import type { Kernel, SearchShape } from "../kernel.ts";
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
  /** Small, to begin with, and to go back to. */
  #noFilters: GPUBuffer;
  /** Changes when what was placed in `filters` is gone. */
  filterGeneration = 0;
  /** Words of it that are taken, and by which filter. */
  #ranges = new Ranges(0);
  #placed = new WeakMap<FilterBits, number>();

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
    this.#noFilters = makeBuffer(device, "no filters", 256, FILTER_USAGE);
    this.filters = this.#noFilters;
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
    // Named filters and item ids stand behind the levels, and stay on the CPU.
    const { byteLength } = planSections(storage.shape.levels);
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
    const kernel = new WebGpuKernel(storage, device, pipelines, index);
    kernel.#upload(index, 0, storage.data, byteLength);
    return kernel;
  }

  /**
   * Word of {@linkcode filters} where a filter starts. It is copied there when it is first used, and makes room when its
   * memory on the CPU side is given back.
   *
   * @throws {LimitError} if it does not fit.
   */
  filterAt(filter: FilterBits): number {
    const known = this.#placed.get(filter);
    if (known !== undefined) return known;
    const words = filter.byteLength / 4;
    const address = this.#ranges.find(words);
    const bytes = (address + words) * 4;
    const { maxBufferSize, maxStorageBufferBindingSize } = this.device.limits;
    const most = Math.floor(Math.min(maxBufferSize, maxStorageBufferBindingSize) / 16) * 16;
    if (bytes > most) {
      throw new LimitError(
        "search-too-large",
        `Cannot search on this GPU: its filters take ${bytes} bytes, at most ${most} fit; dispose of some, or use backend "wasm"`,
        { expected: most, actual: bytes },
      );
    }
    if (bytes > this.filters.size) this.#growFilters(Math.min(2 * bytes, most));
    this.#ranges.take(address, words);
    this.#placed.set(filter, address);
    this.#upload(this.filters, address * 4, filter.address, filter.byteLength);
    const ranges = this.#ranges;
    filter.whenFreed(() => ranges.give(address));
    return address;
  }

  /**
   * Starts with no filters again, after there was no memory for them: what stands in `filters` may be invalid. Searches
   * that use them notice by {@linkcode filterGeneration}.
   */
  forgetFilters(): void {
    this.#replaceFilters(this.#noFilters);
    this.filterGeneration++;
    this.#ranges = new Ranges(0);
    this.#placed = new WeakMap();
  }

  #growFilters(bytes: number): void {
    const larger = makeBuffer(this.device, "filters", bytes, FILTER_USAGE);
    const encoder = this.device.createCommandEncoder({ label: "espalier filters" });
    encoder.copyBufferToBuffer(this.filters, 0, larger, 0, this.filters.size);
    this.device.queue.submit([encoder.finish()]);
    this.#replaceFilters(larger);
  }

  #replaceFilters(buffer: GPUBuffer): void {
    if (this.filters !== this.#noFilters) freeBuffer(this.device, this.filters);
    this.filters = buffer;
  }

  /** Copies bytes of the heap to a buffer, piece by piece. */
  #upload(target: GPUBuffer, offset: number, address: number, byteLength: number): void {
    const { heap } = this.#storage!;
    for (let at = 0; at < byteLength; at += UPLOAD_BYTES) {
      const bytes = heap.u8(address + at, Math.min(UPLOAD_BYTES, byteLength - at));
      this.device.queue.writeBuffer(target, offset + at, bytes);
    }
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
    this.#replaceFilters(this.#noFilters);
    for (const buffer of [this.#index, this.#noFilters]) freeBuffer(this.device, buffer);
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
