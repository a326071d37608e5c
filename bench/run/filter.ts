/** Item filters in WASM: compiling, their memory, searches with them against searches without, exclusions. */
import { type ConstraintIndex, createDecoder, type Decoder, type ItemFilter } from "../../mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { filterBitsOf } from "../../src/index/item_filter.ts";
import type { BeamSearchOptions } from "../../src/decode/types.ts";
import { record, writeRecords } from "../lib/records.ts";
import { B, L, M, median, random, randomIndex, randomLogits, V } from "../lib/support.ts";

const REPEATS = 200;
const LOGITS = randomLogits(L);
const BUDGET_MS: Record<number, number> = { 1e6: 4, 1e7: 20 };

const BENCH = "Item filters";

/** Milliseconds of one search, without the time in which the model writes its logits. */
async function search(decoder: Decoder, options: Partial<BeamSearchOptions>): Promise<number> {
  let writing = 0;
  const start = performance.now();
  await decoder.beamSearch(({ step, rows, out }) => {
    const began = performance.now();
    out.set(LOGITS[step].subarray(0, rows * V));
    writing += performance.now() - began;
    return out;
  }, { batchSize: B, beamSize: M, ...options });
  return performance.now() - start - writing;
}

/** Medians with and without, taken in turns, because machines change their pace. */
async function compare(decoder: Decoder, options: Partial<BeamSearchOptions>) {
  const [without, filtered]: [number[], number[]] = [[], []];
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    without.push(await search(decoder, {}));
    filtered.push(await search(decoder, options));
  }
  return { without: median(without), filtered: median(filtered) };
}

function randomBits(index: ConstraintIndex, share: number): Uint8Array {
  const next = random(3);
  const bits = new Uint8Array(Math.ceil(index.size / 8));
  for (let i = 0; i < index.size; i++) {
    if (next() < share * 2 ** 32) bits[i >> 3] |= 1 << (i & 7);
  }
  return bits;
}

/** Milliseconds that making a filter takes, median. */
function making(make: () => ItemFilter): number {
  const times = Array.from({ length: 15 }, () => {
    const start = performance.now();
    using _ = make();
    return performance.now() - start;
  });
  return median(times);
}

export async function benchFilter(): Promise<void> {
  console.log(`\nItem filters in WASM on one core, B = ${B}, M = ${M}, V = ${V}, L = ${L}`);
  for (const items of [1e6, 1e7]) {
    using index = await randomIndex(items);
    using decoder = await createDecoder(index, { backend: "wasm" });
    const edges = index.levels.reduce((sum, level) => sum + level.edges, 0);
    console.log();
    const figure = (what: string, value: number, unit: string, atMost?: number) =>
      record(BENCH, `${items / 1e6} M items, ${what}`, value, unit, atMost);
    for (const share of [0.01, 0.1, 0.5]) {
      const bits = randomBits(index, share);
      using filter = index.filter({ bits });
      using other = index.filter({ bits: randomBits(index, 0.5) });
      const { byteLength } = filterBitsOf(filter, loadedIndexOf(index));
      const allowed = `${100 * share} % allowed`;
      figure(`${allowed}: memory`, 8 * byteLength / edges, "bits an edge", 1);
      const compiling = making(() => index.filter({ bits }));
      figure(`${allowed}: compile from bits`, compiling, "ms", BUDGET_MS[items]);
      figure(`${allowed}: and`, making(() => filter.and(other)), "ms");
      figure(`${allowed}: or`, making(() => filter.or(other)), "ms");
      const { without, filtered } = await compare(decoder, { filter });
      figure(`${allowed}: search`, filtered, "ms");
      figure(`${allowed}: search against one without`, filtered / without, "×", 1.15);
    }
    using fresh = index.filter({ bits: randomBits(index, 0.5) });
    const next = random(5);
    for (const count of [100, 10_000]) {
      const exclude = Array.from(
        { length: B },
        () => Uint32Array.from({ length: count }, () => next() % index.size),
      );
      for (const filter of [undefined, fresh]) {
        const { without, filtered } = await compare(decoder, { exclude, filter });
        const what = `${count} excluded per batch row${filter ? ", and 50 % allowed" : ""}`;
        figure(`${what}: search`, filtered, "ms");
        figure(`${what}: search against one without`, filtered / without, "×");
      }
    }
  }
}

if (import.meta.main) {
  await benchFilter();
  await writeRecords();
}
