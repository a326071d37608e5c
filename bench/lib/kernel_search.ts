/** One search in the kernels themselves, step by step, and passes over its logits. */
import type { WasmHeap } from "../../src/wasm/heap.ts";
import type { WasmKernel } from "../../src/kernels/wasm/kernel.ts";
import { B, M, V } from "./support.ts";

/** Milliseconds of some work. */
export function timed(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

/**
 * Milliseconds of each step of a search with the logits in place.
 *
 * @param reset sends every beam back to state 0: see bench/lib/unconstrained.ts.
 */
export function stepsOf(
  kernel: WasmKernel,
  logits: readonly Float32Array[],
  reset = false,
): number[] {
  using search = kernel.begin({
    batchSize: B,
    beamSize: M,
    logitWidth: V,
    normalize: "vocab",
    lengthPenalty: 0,
    padToken: 0,
  });
  return logits.map((values, step) => {
    const out = search.out();
    out.set(values.subarray(0, out.length));
    const time = timed(() => search.advance(out));
    if (reset) {
      const beams = search.beams();
      beams.states.fill(0);
      search.load(step + 1, beams);
    }
    return time;
  });
}

/**
 * Passes over the logits of a step: B·M rows of V. Each takes one and tells its milliseconds; the logits lie in the
 * caches as the last pass left them, or as `write` does, which is how a model leaves them to a search.
 */
export function passesOver(logits: Float32Array, heap: WasmHeap) {
  const rows = B * M;
  const address = heap.allocate(rows * V * 4);
  const write = () => heap.f32(address, rows * V).set(logits);
  write();
  const pass = (visit: (row: number, n: number) => number) => () =>
    timed(() => {
      for (let row = 0; row < rows; row++) visit(address + row * V * 4, V);
    });
  return { write, read: pass(heap.exports.rowMax), logSumExp: pass(heap.exports.logSumExp) };
}
