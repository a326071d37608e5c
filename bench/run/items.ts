/**
 * Item ids that lead back, and rules about single items: bytes, lookups, exclusions, memory. `deno task bench:items`;
 * 10 million items, some minutes and 3 GB.
 */
import { type ConstraintIndex, createDecoder } from "../../mod.ts";
import { buildIndex, type ItemIds } from "../../src/build/mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { filterBitsOf } from "../../src/index/item_filter.ts";
import { jsonFile, record, writeRecords } from "../lib/records.ts";
import { B, M, MB, median, random, randomSids, V } from "../lib/support.ts";

const BENCH = "Items and their ids";
const ITEMS = 1e7;
const LOOKUPS = 20_000;
const LIMIT_US = { integers: 5, strings: 15 };
/** Memory of an isolate. */
const ISOLATE_MB = 128;

/** Ids of 32 bits in no order, nearly all of them once. */
const integerAt = (row: number) => BigInt(random(row)());
/** As shops write them. */
const stringAt = (row: number) => `sku-${random(row)().toString(36)}`;

async function build(items: ItemIds, itemLookup: boolean): Promise<ConstraintIndex> {
  const began = performance.now();
  const filters = { even: new Uint8Array(ITEMS).map((_, i) => i & 1) };
  const index = await buildIndex(randomSids(ITEMS), { vocabSize: V, items, itemLookup, filters });
  record(
    BENCH,
    `10 M items, ${index.items!.type} ids, lookup ${itemLookup ? "with" : "without"}: build`,
    (performance.now() - began) / 1000,
    "s",
  );
  return index;
}

/** Median and slowest percentile, microseconds. */
function lookups(index: ConstraintIndex, idAt: (row: number) => bigint | string) {
  const next = random(13);
  const times: number[] = [];
  // Many at a time: the clock of a process is coarse.
  const AT_ONCE = 20;
  for (let i = 0; i < LOOKUPS; i += AT_ONCE) {
    const ids = Array.from({ length: AT_ONCE }, () => idAt(next() % ITEMS));
    const began = performance.now();
    for (const id of ids) if (index.ordinalsOfItem(id).length === 0) throw new Error("lost");
    times.push((performance.now() - began) * 1000 / AT_ONCE);
  }
  return { typical: median(times), slow: times.sort((a, b) => a - b)[times.length * 0.99 | 0] };
}

async function searches(index: ConstraintIndex): Promise<void> {
  using decoder = await createDecoder(index, { backend: "wasm" });
  const next = random(14);
  const ids = Array.from({ length: 100 }, () => integerAt(next() % ITEMS));
  const ordinals = ids.map((id) => index.ordinalsOfItem(id)[0]);
  const ways = {
    ordinals: { exclude: [ordinals, ordinals] },
    ids: { excludeItems: [ids, ids] },
  };
  const times: Record<string, number[]> = { ordinals: [], ids: [] };
  for (let i = 0; i < 40; i++) {
    for (const [name, exclude] of Object.entries(ways)) {
      const began = performance.now();
      const search = { batchSize: B, beamSize: M, ...exclude };
      await decoder.beamSearch(({ out }) => out.fill(0), search);
      times[name].push(performance.now() - began);
    }
  }
  const [byOrdinal, byId] = [median(times.ordinals), median(times.ids)];
  record(BENCH, "10 M items: search with 100 ids excluded per batch row", byId, "ms");
  record(BENCH, "the same against 100 ordinals", byId / byOrdinal, "×");
}

function memory(index: ConstraintIndex): void {
  const loaded = loadedIndexOf(index);
  using even = index.filter("even");
  using odd = even.not();
  const filters = [even, odd].map((filter) => filterBitsOf(filter, loaded).heldBytes);
  const all = index.byteLength + filters[0] + filters[1];
  record(BENCH, "10 M items of 32 bits, lookup: index", index.byteLength / MB, "MB");
  record(BENCH, `the same with two filters (an isolate has ${ISOLATE_MB} MB)`, all / MB, "MB");
}

jsonFile(Deno.args);
{
  const ids = BigInt64Array.from({ length: ITEMS }, (_, row) => integerAt(row));
  using without = await build(ids, false);
  using index = await build(ids, true);
  const bytes = index.byteLength - without.byteLength;
  record(BENCH, "lookup: bits an item", 8 * bytes / index.items!.count, "bits", 24.01);
  const { typical, slow } = lookups(index, integerAt);
  record(BENCH, "ordinalsOfItem, integers of 32 bits, median", typical, "µs", LIMIT_US.integers);
  record(BENCH, "ordinalsOfItem, integers of 32 bits, 99 of 100", slow, "µs");
  await searches(index);
  memory(index);
}
{
  // Nobody holds the ids but the index.
  using index = await build(Array.from({ length: ITEMS }, (_, row) => stringAt(row)), true);
  const { typical, slow } = lookups(index, stringAt);
  record(BENCH, "ordinalsOfItem, strings, median", typical, "µs", LIMIT_US.strings);
  record(BENCH, "ordinalsOfItem, strings, 99 of 100", slow, "µs");
}
await writeRecords();
