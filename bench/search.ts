/**
 * Time of the constrained search in WASM: log-sum-exp against a read pass, the constraint beyond it, whole
 * searches against the budget, against an unconstrained search in the same kernels, and over set sizes.
 */
import { createDecoder } from "../mod.ts";
import { storageOf } from "../src/index/constraint_index.ts";
import { WasmKernel } from "../src/kernels/wasm/kernel.ts";
import type { SearchShape } from "../src/kernels/kernel.ts";
import { B, L, line, M, median, randomIndex, randomLogits, V } from "./support.ts";
import { allowEverything } from "./unconstrained.ts";

const SHAPE: SearchShape = {
  batchSize: B,
  beamSize: M,
  rowWidth: V,
  normalize: "vocab",
  lengthPenalty: 0,
  padToken: 0,
};
const REPEATS = 400;
const BUDGET_US = 33;

const us = (milliseconds: number) => `${(milliseconds * 1000).toFixed(1)} µs`;
const timed = (work: () => void) => {
  const start = performance.now();
  work();
  return performance.now() - start;
};

/** Milliseconds of each step of a search, medians, with the logits in place. */
function stepTimes(kernel: WasmKernel, logits: Float32Array[], reset: boolean): number[] {
  const times: number[][] = logits.map(() => []);
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    using search = kernel.begin(SHAPE);
    for (let step = 0; step < L; step++) {
      const out = search.out();
      out.set(logits[step].subarray(0, out.length));
      times[step].push(timed(() => search.advance(out)));
      if (reset) {
        const beams = search.beams();
        beams.states.fill(0);
        search.load(step + 1, beams);
      }
    }
  }
  return times.map(median);
}

export async function benchSearch(): Promise<void> {
  const logits = randomLogits(L);
  console.log(`\nSearch in WASM on one core, B = ${B}, M = ${M}, V = ${V}, L = ${L}`);

  const { heap } = await allowEverything(V, L);
  const rows = B * M;
  const address = heap.allocate(rows * V * 4);
  heap.f32(address, rows * V).set(logits[1]);
  const pass = (visit: (row: number, n: number) => number) => {
    const times = Array.from({ length: 2000 }, () =>
      timed(() => {
        for (let row = 0; row < rows; row++) visit(address + row * V * 4, V);
      }));
    return median(times.slice(1000));
  };
  const read = pass(heap.exports.rowMax);
  const lse = pass(heap.exports.logSumExp);
  line(`one read pass over ${rows} × ${V} logits`, us(read));
  line(`log-sum-exp of ${rows} × ${V}`, us(lse));
  line("  ratio", (lse / read).toFixed(1), "at most 13");
  const lseOfSearch = lse * (L - 1 + 1 / M);

  const free = stepTimes(new WasmKernel(await allowEverything(V, L)), logits, true);
  const freeTotal = free.reduce((a, b) => a + b);

  let smallest = 0;
  for (const items of [1e5, 1e6, 1e7, 3e7]) {
    using index = await randomIndex(items);
    const steps = stepTimes(new WasmKernel(storageOf(index)), logits, false);
    const kernelTotal = steps.reduce((a, b) => a + b);
    using decoder = await createDecoder(index, { backend: "wasm" });
    const searches: number[] = [];
    for (let repeat = 0; repeat < REPEATS; repeat++) {
      let writing = 0;
      const start = performance.now();
      await decoder.beamSearch(({ step, rows, out }) => {
        writing += timed(() => out.set(logits[step].subarray(0, rows * V)));
        return out;
      }, { batchSize: B, beamSize: M });
      searches.push(performance.now() - start - writing);
    }
    const search = median(searches);
    smallest ||= search;
    console.log(`\n${items} items`);
    line(
      "  constraint beyond the log-sum-exp, per step",
      us((kernelTotal - lseOfSearch) / L),
      `at most ${BUDGET_US} µs`,
    );
    line("  by step", steps.map((t, i) => ((t - (i ? lse : lse / M)) * 1000).toFixed(0)).join(" "));
    line(
      "  whole search, logits written in place",
      us(search),
      `at most ${us((7 * lse + 8 * BUDGET_US / 1000) * 1.05)}`,
    );
    line("  against the unconstrained search", (kernelTotal / freeTotal).toFixed(3), "at most 1.0");
    line("  against 1e5 items", (search / smallest).toFixed(3), items === 3e7 ? "at most 1.2" : "");
  }
}

if (import.meta.main) await benchSearch();
