/** What named filters and item ids take: bytes in the file, time to build, to look up, to unpack. */
import { buildIndex, type BuildOptions } from "../../src/build/mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { namedFilterBits } from "../../src/index/named_filters.ts";
import { record, writeRecords } from "../lib/records.ts";
import { median, random, randomSids, V } from "../lib/support.ts";

const BENCH = "Named filters and item ids, 1 M items";
const ROWS = 1e6;
const LOOKUPS = 1e5;

async function measure(what: string, options: Partial<BuildOptions>, plain: number): Promise<void> {
  const sids = randomSids(ROWS);
  const began = performance.now();
  using index = await buildIndex(sids, { vocabSize: V, ...options });
  const took = performance.now() - began;
  record(BENCH, `${what}: size`, (index.byteLength - plain) / index.size, "bytes an item");
  record(BENCH, `${what}: build with them`, took, "ms");
  if (index.items) {
    const next = random(3);
    const start = performance.now();
    for (let i = 0; i < LOOKUPS; i++) index.itemsAt(next() % index.size);
    const took = performance.now() - start;
    record(BENCH, `${what}: one lookup`, took / LOOKUPS * 1e6, "ns");
  }
  for (const name of index.filterNames) {
    const times = Array.from({ length: 9 }, () => {
      const start = performance.now();
      namedFilterBits(loadedIndexOf(index), name);
      return performance.now() - start;
    });
    record(BENCH, `${what}: its bits`, median(times), "ms");
  }
}

export async function benchAttached(): Promise<void> {
  console.log(`\n${BENCH}`);
  using plain = await buildIndex(randomSids(ROWS), { vocabSize: V });
  const next = random(2);
  for (const share of [0.01, 0.1, 0.5, 0.99]) {
    const filter = Uint8Array.from({ length: ROWS }, () => Number(next() < share * 2 ** 32));
    await measure(`a filter of ${100 * share} %`, { filters: { filter } }, plain.byteLength);
  }
  const integers = BigInt64Array.from({ length: ROWS }, () => BigInt(next() % 1e9));
  await measure("ids below 10^9", { items: integers }, plain.byteLength);
  const strings = Array.from(integers, (id) => `B${id.toString(36).padStart(9, "0")}`);
  await measure("ids of 10 characters", { items: strings }, plain.byteLength);
}

if (import.meta.main) {
  await benchAttached();
  await writeRecords();
}
