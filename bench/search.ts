/**
 * Time of the constrained search in WASM: log-sum-exp against a read pass, the constraint beyond it, whole
 * searches against the budget, against an unconstrained search in the same kernels, and over set sizes.
 */
import { createDecoder } from "../mod.ts";
import { storageOf } from "../src/index/constraint_index.ts";
import { WasmKernel } from "../src/kernels/wasm/kernel.ts";
import { passesOver, stepsOf, timed } from "./kernel_search.ts";
import { record, writeRecords } from "./records.ts";
import { B, L, line, M, median, randomIndex, randomLogits, V } from "./support.ts";
import { allowEverything } from "./unconstrained.ts";

const REPEATS = 400;
const BUDGET_US = 33;

const BENCH = "Search in WASM";
/** Milliseconds of each step of a search, medians. */
function stepTimes(kernel: WasmKernel, logits: Float32Array[], reset: boolean): number[] {
  const runs = Array.from({ length: REPEATS }, () => stepsOf(kernel, logits, reset));
  return logits.map((_, step) => median(runs.map((steps) => steps[step])));
}

export async function benchSearch(): Promise<void> {
  const logits = randomLogits(L);
  console.log(`\nSearch in WASM on one core, B = ${B}, M = ${M}, V = ${V}, L = ${L}`);

  const rows = B * M;
  const passes = passesOver(logits[1], (await allowEverything(V, L)).heap);
  const settled = (pass: () => number) => median(Array.from({ length: 2000 }, pass).slice(1000));
  const read = settled(passes.read);
  const lse = settled(passes.logSumExp);
  record(BENCH, `one read pass over ${rows} × ${V} logits`, 1000 * read, "µs");
  record(BENCH, `log-sum-exp of ${rows} × ${V}`, 1000 * lse, "µs");
  record(BENCH, "log-sum-exp against the read pass", lse / read, "×", 13);
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
    console.log();
    const figure = (what: string, value: number, unit: string, atMost?: number) =>
      record(BENCH, `${items / 1e6} M items: ${what}`, value, unit, atMost);
    const constraint = 1000 * (kernelTotal - lseOfSearch) / L;
    figure("constraint a step", constraint, "µs", items <= 1e7 ? BUDGET_US : undefined);
    line("  by step", steps.map((t, i) => ((t - (i ? lse : lse / M)) * 1000).toFixed(0)).join(" "));
    const budget = 1000 * (7 * lse + 8 * BUDGET_US / 1000) * 1.05;
    figure("whole search", 1000 * search, "µs", items === 1e7 ? budget : undefined);
    figure("against the unconstrained search", kernelTotal / freeTotal, "×", 1);
    figure("against 0.1 M items", search / smallest, "×", items === 3e7 ? 1.2 : undefined);
  }
}

if (import.meta.main) {
  await benchSearch();
  await writeRecords();
}
