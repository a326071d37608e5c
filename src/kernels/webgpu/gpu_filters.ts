/** Filters in GPU memory: one buffer, in which each filter is placed when a search first uses it. */
import { LimitError } from "../../errors.ts";
import type { FilterBits } from "../../index/filter_bits.ts";
import { Allocator } from "../../wasm/allocator.ts";
import type { WasmHeap } from "../../wasm/heap.ts";
import { freeBuffer, makeBuffer, upload } from "./device.ts";

/** STORAGE | COPY_DST | COPY_SRC: the buffer grows by copying. */
const FILTER_USAGE = 0x80 | 0x08 | 0x04;

/** The filters of a kernel. */
export class GpuFilters implements Disposable {
  /** Words of all filters. Grows: read it afresh. */
  buffer: GPUBuffer;
  /** Changes when what was placed in {@linkcode buffer} is gone. */
  generation = 0;
  #device: GPUDevice;
  /** Let go of on dispose: a device keeps kernels alive, and so would keep the memory of indexes that are gone. */
  #heap: WasmHeap | undefined;
  /** Small, to begin with, and to go back to. */
  #empty: GPUBuffer;
  /** Words of the buffer that are taken, and by which filter. */
  #allocator = new Allocator(0);
  #placed = new WeakMap<FilterBits, number>();

  /** @param heap where the filters are copied from. */
  constructor(device: GPUDevice, heap: WasmHeap) {
    this.#device = device;
    this.#heap = heap;
    this.#empty = makeBuffer(device, "no filters", 256, FILTER_USAGE);
    this.buffer = this.#empty;
  }

  /**
   * Word of {@linkcode buffer} where a filter starts. It is copied there when it is first used, and makes room when its
   * memory on the CPU side is given back.
   *
   * @throws {LimitError} if it does not fit.
   */
  place(filter: FilterBits): number {
    const known = this.#placed.get(filter);
    if (known !== undefined) return known;
    const words = filter.byteLength / 4;
    const address = this.#allocator.find(words);
    const bytes = (address + words) * 4;
    const { maxBufferSize, maxStorageBufferBindingSize } = this.#device.limits;
    const most = Math.floor(Math.min(maxBufferSize, maxStorageBufferBindingSize) / 16) * 16;
    if (bytes > most) {
      throw new LimitError(
        "search-too-large",
        `Cannot search on this GPU: its filters take ${bytes} bytes, at most ${most} fit; dispose of some, or use backend "wasm"`,
        { expected: most, actual: bytes },
      );
    }
    if (bytes > this.buffer.size) this.#grow(Math.min(2 * bytes, most));
    this.#allocator.take(address, words);
    this.#placed.set(filter, address);
    upload(this.#device, this.#heap!, filter, this.buffer, address * 4);
    const allocator = this.#allocator;
    filter.whenFreed(() => allocator.give(address));
    return address;
  }

  /**
   * Starts with no filters again, after there was no memory for them: what the buffer holds may be invalid. Searches
   * that use them notice by {@linkcode generation}.
   */
  forget(): void {
    this.#replace(this.#empty);
    this.generation++;
    this.#allocator = new Allocator(0);
    this.#placed = new WeakMap();
  }

  #grow(bytes: number): void {
    const larger = makeBuffer(this.#device, "filters", bytes, FILTER_USAGE);
    const encoder = this.#device.createCommandEncoder({ label: "espalier filters" });
    encoder.copyBufferToBuffer(this.buffer, 0, larger, 0, this.buffer.size);
    this.#device.queue.submit([encoder.finish()]);
    this.#replace(larger);
  }

  #replace(buffer: GPUBuffer): void {
    if (this.buffer !== this.#empty) freeBuffer(this.#device, this.buffer);
    this.buffer = buffer;
  }

  [Symbol.dispose](): void {
    this.#heap = undefined;
    this.#replace(this.#empty);
    freeBuffer(this.#device, this.#empty);
  }
}
