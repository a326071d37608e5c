/** One WASM memory with an instance over it, and who uses which part of it. */
import { LimitError } from "../errors.ts";
import { relaxedSimdModule } from "./relaxed_simd.ts";
import { compiledModule, type SumBlocks, type WasmExports } from "./kernels.ts";
import { Allocator } from "./allocator.ts";

const PAGE = 65536;
const MAX_BYTES = 2 ** 32;
const ALIGNMENT = 256;
/** SIMD loops read a few words past the end of what they work on. */
const SLACK = 256;

const aligned = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/**
 * A memory of up to 4 GiB. Everything that the kernels touch lives in one heap: an index, its workspaces,
 * its filters. Growing detaches views: take them afresh after anything that may allocate.
 */
export class WasmHeap {
  readonly memory: WebAssembly.Memory;
  readonly exports: WasmExports;
  #allocator: Allocator;

  private constructor(memory: WebAssembly.Memory, instance: WebAssembly.Instance) {
    this.memory = memory;
    this.exports = instance.exports as unknown as WasmExports;
    this.#allocator = new Allocator(aligned(this.exports.heapBase()));
  }

  /** @param bytes room to make at once, so that the memory need not grow for it. */
  static async create(bytes: number, module?: WebAssembly.Module): Promise<WasmHeap> {
    const initial = Math.min(Math.ceil((bytes + SLACK + 2 * ALIGNMENT) / PAGE) + 1, 65536);
    let memory: WebAssembly.Memory;
    try {
      memory = new WebAssembly.Memory({ initial, maximum: 65536 });
    } catch (cause) {
      throw outOfMemory(initial * PAGE, cause);
    }
    const [kernels, fused] = await Promise.all([module ?? compiledModule(), relaxedSimdModule()]);
    const instance = await WebAssembly.instantiate(kernels, {
      env: { memory, "Math.log": Math.log },
    });
    if (fused) preferFused(instance.exports as unknown as WasmExports, fused, memory);
    return new WasmHeap(memory, instance);
  }

  /**
   * Reserves `bytes`, aligned to 256, content undefined. May grow the memory, which detaches views.
   *
   * @throws {LimitError} if the memory cannot grow any more; nothing is reserved then.
   */
  allocate(bytes: number): number {
    const size = aligned(Math.max(bytes, 1));
    const address = this.#allocator.find(size);
    const end = address + size;
    const missing = end + SLACK - this.memory.buffer.byteLength;
    if (end + SLACK > MAX_BYTES) throw outOfMemory(end);
    if (missing > 0) {
      try {
        this.memory.grow(Math.ceil(missing / PAGE));
      } catch (cause) {
        throw outOfMemory(end, cause);
      }
    }
    this.#allocator.take(address, size);
    return address;
  }

  /** Gives back what {@linkcode allocate} returned. */
  free(address: number): void {
    this.#allocator.give(address);
  }

  /** Gives everything back and detaches all views: nobody may be left who uses the memory. */
  reset(): void {
    this.#allocator = new Allocator(aligned(this.exports.heapBase()));
    this.memory.grow(0);
  }

  /** View of `length` bytes at an address, valid until the memory grows. */
  u8(address: number, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.memory.buffer as ArrayBuffer, address, length);
  }

  /** View of `length` words at an address, valid until the memory grows. */
  u32(address: number, length: number): Uint32Array<ArrayBuffer> {
    return new Uint32Array(this.memory.buffer as ArrayBuffer, address, length);
  }

  /** View of `length` floats at an address, valid until the memory grows. */
  f32(address: number, length: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.memory.buffer as ArrayBuffer, address, length);
  }
}

function outOfMemory(bytes: number, cause?: unknown): LimitError {
  return new LimitError(
    "out-of-memory",
    `Cannot grow the WASM memory to ${bytes} bytes: 4 GiB is the most, and the machine may have less; split the set, sort it beforehand, or search fewer beams at once`,
    { expected: MAX_BYTES, actual: bytes },
    { cause },
  );
}

/**
 * Has the log-sum-exp use the loop with fused multiply-add, a third faster, where the engine really fuses. Relaxed SIMD
 * leaves that open, and rounded twice that loop is too far off. The last bits of scores differ between both loops.
 */
function preferFused(
  exports: WasmExports,
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
): void {
  const { multiplyAdd, sumBlocks } = new WebAssembly.Instance(module, { env: { memory } })
    .exports as { multiplyAdd: (a: number, b: number, c: number) => number; sumBlocks: SumBlocks };
  // 2^-24 remains of (1 + 2^-12)² - (1 + 2^-11), unless the product has been rounded.
  const isFused = multiplyAdd(1 + 2 ** -12, 1 + 2 ** -12, -(1 + 2 ** -11)) !== 0;
  if (isFused) exports.table.set(exports.sumBlocksSlot(), sumBlocks);
}
