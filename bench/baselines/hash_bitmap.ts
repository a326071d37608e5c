/**
 * A hash bitmap: one bit for the hash of every prefix of the set, all in one vector. A step tests every token of
 * every beam. In WASM; asm/baselines/hash.ts is the step.
 */
import type { Method, SequenceSet } from "./method.ts";
import { openHeap } from "./module.ts";
import { WasmSearch } from "./wasm_search.ts";

/** Rows that are copied into the heap at once. */
const WINDOW = 2 ** 15;

/** Options of {@linkcode hashBitmap}. */
export interface HashOptions {
  /** Base-2 logarithm of the number of bits, 5 … 32. Default 30: 128 MiB. */
  logBits?: number;
  /**
   * Tests only groups of tokens of which one could still be among the best M. The same results; the published
   * method, and the default, tests all.
   */
  lazy?: boolean;
}

/** A hash bitmap tells how full it is, and what it let through. */
export interface HashBitmap extends Method {
  /** Ones among the bits: the rate at which tokens that are not allowed pass. */
  readonly load: number;
  /** Tokens that passed the test in all searches so far. */
  passed(): number;
}

/**
 * 2^logBits / 8 bytes, whatever the set. One pass over the set.
 *
 * @throws {LimitError} if that is above 4 GiB.
 */
export async function hashBitmap(
  set: SequenceSet,
  { logBits = 30, lazy = false }: HashOptions = {},
): Promise<HashBitmap> {
  const name = `hash bitmap, 2^${logBits} bits${lazy ? ", lazy" : ""}`;
  const { data, rows, length, vocabSize } = set;
  const byteLength = 2 ** logBits / 8;
  const size = data.BYTES_PER_ELEMENT;
  const windowBytes = (WINDOW + 1) * length * size;
  const { heap, exports } = await openHeap(name, byteLength + windowBytes + 4096);
  const bitmap = heap.allocate(byteLength);
  heap.u32(bitmap, byteLength / 4).fill(0);
  const shift = 32 - logBits;

  const window = heap.allocate(windowBytes);
  const hashes = heap.allocate(length * 4);
  const insert = size === 2 ? exports.insertRows16 : exports.insertRows32;
  const view = size === 2
    ? new Uint16Array(heap.memory.buffer, window, windowBytes / 2)
    : heap.u32(window, windowBytes / 4);
  for (let row = 0; row < rows; row += WINDOW) {
    // With the last row of the window before it.
    const from = Math.max(0, row - 1);
    const to = Math.min(rows, row + WINDOW);
    view.set(data.subarray(from * length, to * length));
    const at = window + (row - from) * length * size;
    insert(at, to - row, length, hashes, bitmap, shift, row === 0);
  }
  heap.free(window);
  heap.free(hashes);

  let ones = 0;
  for (let word of heap.u32(bitmap, byteLength / 4)) {
    for (; word !== 0; word &= word - 1) ones++;
  }
  const method = {
    heap,
    exports,
    length,
    vocabSize,
    step: (search: number, step: number) => exports.stepHash(search, step, bitmap, shift, !lazy),
  };
  return {
    name,
    exact: false,
    byteLength,
    load: ones / 2 ** logBits,
    passed: () => exports.passedCount(),
    begin: (shape) => new WasmSearch(method, shape),
    [Symbol.dispose]() {},
  };
}
