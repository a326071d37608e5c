/**
 * Time of the constrained search in WASM: log-sum-exp against a read pass, the constraint beyond it, whole
 * searches against the budget, against an unconstrained search in the same kernels, and over set sizes.
 */
import { createDecoder, type Decoder } from "../../mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { WasmKernel } from "../../src/kernels/wasm/kernel.ts";
import { passesOver, stepsOf, timed } from "../lib/kernel_search.ts";
import { record, writeRecords } from "../lib/records.ts";
import { B, L, line, M, median, randomIndex, randomLogits, V } from "../lib/support.ts";
import { allowEverything } from "../lib/unconstrained.ts";

const REPEATS = 400;
const BUDGET_US = 33;

const BENCH = "Search in WASM";

/** Milliseconds of a whole search, the writing of logits left out. */
async function search(decoder: Decoder, logits: readonly Float32Array[]): Promise<number> {
  let writing = 0;
  const start = performance.now();
  await decoder.beamSearch(({ step, rows, out }) => {
    writing += timed(() => out.set(logits[step].subarray(0, rows * V)));
    return out;
  }, { batchSize: B, beamSize: M });
  return performance.now() - start - writing;
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/** What is measured in turns: milliseconds, and the search against an unconstrained one. */
interface Round {
  lse: number;
  steps: number[];
  constraint: number;
  unconstrained: number;
  whole: number;
  smallest: number;
}

export async function benchSearch(): Promise<void> {
  const logits = randomLogits(L);
  console.log(`\nSearch in WASM on one core, B = ${B}, M = ${M}, V = ${V}, L = ${L}`);

  const rows = B * M;
  const { write, read, logSumExp } = passesOver(logits[1], (await allowEverything(V, L)).heap);
  const free = new WasmKernel(await allowEverything(V, L));
  using smallest = await randomIndex(1e5);
  using onSmallest = await createDecoder(smallest, { backend: "wasm" });
  for (const items of [1e5, 1e6, 1e7, 3e7]) {
    using index = await randomIndex(items);
    using decoder = await createDecoder(index, { backend: "wasm" });
    const held = new WasmKernel(loadedIndexOf(index));
    // All in turns: machines change their pace.
    const rounds: Round[] = [];
    for (let round = 0; round < 2 * REPEATS; round++) {
      write();
      const lse = logSumExp();
      const steps = stepsOf(held, logits);
      rounds.push({
        lse,
        steps,
        constraint: (sum(steps) - lse * (L - 1 + 1 / M)) / L,
        unconstrained: sum(steps) / sum(stepsOf(free, logits, true)),
        whole: await search(decoder, logits),
        smallest: await search(onSmallest, logits),
      });
    }
    const settled = rounds.slice(REPEATS);
    const of = (value: (round: Round) => number) => median(settled.map(value));
    const lse = of((round) => round.lse);
    console.log();
    const figure = (what: string, value: number, unit: string, atMost?: number) =>
      record(BENCH, `${items / 1e6} M items: ${what}`, value, unit, atMost);
    figure(
      "constraint a step",
      1000 * of(({ constraint }) => constraint),
      "µs",
      items <= 1e7 ? BUDGET_US : undefined,
    );
    const bySteps = logits.map((_, d) => of(({ steps, lse }) => steps[d] - (d ? lse : lse / M)));
    line("  by step", bySteps.map((ms) => (1000 * ms).toFixed(0)).join(" "));
    const whole = 1000 * of(({ whole }) => whole);
    const budget = 1000 * (7 * lse + 8 * BUDGET_US / 1000) * 1.05;
    figure("whole search", whole, "µs", items === 1e7 ? budget : undefined);
    figure("steps in the kernels", 1000 * of(({ steps }) => sum(steps)), "µs");
    figure("against the unconstrained search", of((round) => round.unconstrained), "×", 1);
    figure(
      "against 0.1 M items",
      of(({ whole, smallest }) => whole / smallest),
      "×",
      items === 3e7 ? 1.2 : undefined,
    );
  }

  // Last, when the engine has long compiled both loops for speed.
  console.log();
  const passes = Array.from({ length: 2000 }, () => ({ read: read(), lse: logSumExp() }))
    .slice(1000);
  record(
    BENCH,
    `one read pass over ${rows} × ${V} logits`,
    1000 * median(passes.map((p) => p.read)),
    "µs",
  );
  record(
    BENCH,
    `log-sum-exp of ${rows} × ${V}`,
    1000 * median(passes.map(({ lse }) => lse)),
    "µs",
  );
  record(
    BENCH,
    "log-sum-exp against the read pass",
    median(passes.map((p) => p.lse / p.read)),
    "×",
    13,
  );
}

if (import.meta.main) {
  await benchSearch();
  await writeRecords();
}
