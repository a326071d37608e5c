/** Batches of rows: the builder takes them as it takes single rows, with numbers where they come sorted. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { buildIndex, type BuildOptions, type RowBatch } from "../../src/build/mod.ts";
import { runs } from "../support/long.ts";
import { rowSets } from "../support/sets.ts";

function batchOf(rows: readonly number[][], numbers?: readonly number[]): RowBatch {
  let end = 0;
  return {
    data: Uint32Array.from(rows.flat()),
    ends: Uint32Array.from(rows, (row) => end += row.length),
    numbers: numbers && Uint32Array.from(numbers),
  };
}

async function* inBatches(rows: readonly number[][], size: number, numbers?: readonly number[]) {
  for (let from = 0; from < rows.length; from += size) {
    const batch = batchOf(rows.slice(from, from + size), numbers?.slice(from, from + size));
    yield await Promise.resolve(batch);
  }
}

async function outcome(rows: Parameters<typeof buildIndex>[0], options: BuildOptions) {
  let ordinals: Uint32Array | undefined;
  const reportOrdinals = (reported: Uint32Array) => void (ordinals = reported);
  using index = await buildIndex(rows, { ...options, reportOrdinals });
  return { bytes: index.toBytes(), ordinals };
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((token, i) => token !== b[i]);
  return at < 0 || at >= b.length ? a.length - b.length : a[at] - b[at];
}

Deno.test("Batches give what their rows give, sorted elsewhere or not", async () => {
  await fc.assert(
    fc.asyncProperty(rowSets(), fc.integer({ min: 1, max: 50 }), async (set, size) => {
      const { rows, vocabSize } = set;
      const options = {
        vocabSize,
        items: rows.map((_, i) => i >> 1),
        filters: { odd: rows.map((_, i) => i % 2) },
      };
      const expected = await outcome(rows, options);
      assert.deepEqual(await outcome(inBatches(rows, size), options), expected);
      const order = rows.map((_, i) => i).sort((a, b) => compare(rows[a], rows[b]) || a - b);
      const sorted = inBatches(order.map((i) => rows[i]), size, order);
      assert.deepEqual(await outcome(sorted, { ...options, sorted: true }), expected);
    }),
    { seed: 8, numRuns: runs(60) },
  );
});

Deno.test("Row numbers are refused unless each comes once, and without sorted", async () => {
  const rows = [[1], [2], [3]];
  const options = { vocabSize: 4, sorted: true, reportOrdinals: () => {} };
  for (const numbers of [[0, 1, 1], [0, 1, 3], [1, 2, 4_000_000]]) {
    const built = buildIndex(inBatches(rows, 2, numbers), options);
    await assert.rejects(built, { name: "BuildInputError", code: "bad-row-number" });
  }
  const some = async function* () {
    yield await Promise.resolve(batchOf(rows.slice(0, 2), [0, 1]));
    yield [3];
  };
  await assert.rejects(buildIndex(some(), options), { code: "bad-row-number" });
  const unsorted = buildIndex(inBatches(rows, 3, [0, 1, 2]), { vocabSize: 4 });
  await assert.rejects(unsorted, /where they are numbered/);
});
