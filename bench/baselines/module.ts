/** The WASM module of the baselines (asm/baselines) and heaps to run it in. */
import { LimitError } from "../../src/errors.ts";
import { WasmHeap } from "../../src/wasm/heap.ts";

/** What the module exports; addresses are bytes in its memory. See asm/baselines for each function. */
export interface BaselineExports {
  normalize(
    logits: number,
    rows: number,
    vocab: number,
    scores: number,
    shifts: number,
    bases: number,
  ): void;
  stepCsr(search: number, step: number, csr: number): void;
  stepHash(search: number, step: number, bitmap: number, shift: number, eager: boolean): void;
  passedCount(): number;
  insertRows16: InsertRows;
  insertRows32: InsertRows;
  stepPpv16: StepPpv;
  stepPpv32: StepPpv;
}
type InsertRows = (
  rows: number,
  count: number,
  length: number,
  hashes: number,
  bitmap: number,
  shift: number,
  fresh: boolean,
) => void;
type StepPpv = (
  search: number,
  step: number,
  column: number,
  rows: number,
  cut: number,
) => void;

/** A heap and its instance's functions. */
export interface BaselineHeap {
  readonly heap: WasmHeap;
  readonly exports: BaselineExports;
}

/** What a WASM memory can have. */
const MAX_BYTES = 2 ** 32;

// One module for all: its instances share the compiled code.
const module = await WebAssembly.compile(
  await Deno.readFile(new URL("./baselines.gen.wasm", import.meta.url)),
);

/**
 * A heap with room for `bytes`.
 *
 * @throws {LimitError} if they are too many for a WASM memory; `actual` is their number.
 */
export async function openHeap(name: string, bytes: number): Promise<BaselineHeap> {
  checkFits(name, bytes, MAX_BYTES);
  const heap = await WasmHeap.create(bytes, module);
  return { heap, exports: heap.exports as unknown as BaselineExports };
}

/** @throws {LimitError} if a method needs more than there can be. */
export function checkFits(name: string, bytes: number, limit: number): void {
  if (bytes <= limit) return;
  throw new LimitError(
    "does-not-fit",
    `Cannot make ${name}: the set needs ${bytes} bytes, ${limit} can be had; take a smaller set`,
    { expected: limit, actual: bytes },
  );
}

/**
 * Typed arrays of a set, outside the heap of JavaScript.
 *
 * @throws {LimitError} if the machine does not give the memory.
 */
export function allocate<T>(name: string, bytes: number, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new LimitError(
      "does-not-fit",
      `Cannot make ${name}: the machine does not give the ${bytes} bytes that the set needs; take a smaller set`,
      { actual: bytes },
      { cause },
    );
  }
}
