/**
 * Parallel prefix verification: binary search over the sorted sequences for every token of every beam (exact), or
 * for the best few logits of each beam only. Each search stays within the rows that begin with the beam's prefix.
 * In WASM; asm/baselines/ppv.ts is the step.
 */
import type { Method, SequenceSet } from "./method.ts";
import { openHeap } from "./module.ts";
import { WasmSearch } from "./wasm_search.ts";

/** Options of {@linkcode ppv}. */
export interface PpvOptions {
  /** Logits of each beam that are tested, the highest; 0 tests all. Default 0; 50 as published. */
  cut?: number;
}

/**
 * 2 or 4 bytes for every token of the set, which is kept by column. One pass over the set.
 *
 * @throws {LimitError} if that is above 4 GiB.
 */
export async function ppv(set: SequenceSet, { cut = 0 }: PpvOptions = {}): Promise<Method> {
  const name = cut === 0 ? "PPV exact" : `PPV approximate, top ${cut}`;
  const { data, rows, length, vocabSize } = set;
  const size = data.BYTES_PER_ELEMENT;
  const byteLength = data.length * size;
  const { heap, exports } = await openHeap(name, byteLength + (length + 1) * 256);
  const columns = Array.from({ length }, (_, d) => {
    const address = heap.allocate(rows * size);
    const column = size === 2
      ? new Uint16Array(heap.memory.buffer, address, rows)
      : heap.u32(address, rows);
    for (let row = 0, at = d; row < rows; row++, at += length) column[row] = data[at];
    return address;
  });
  const run = size === 2 ? exports.stepPpv16 : exports.stepPpv32;
  const method = {
    heap,
    exports,
    length,
    vocabSize,
    perRow: cut,
    step: (search: number, step: number) => run(search, step, columns[step], rows, cut),
  };
  return {
    name,
    exact: cut === 0,
    byteLength,
    begin: (shape) => new WasmSearch(method, shape),
    [Symbol.dispose]() {},
  };
}
