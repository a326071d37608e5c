/** Results as items: several of one sequence, cut where it is asked for, filtered by name. */
import assert from "node:assert/strict";
import { createDecoder, itemsOf } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { modelOf, Random, RULES } from "../support/models.ts";

Deno.test("Results expand to the items of their sequences, best first", async () => {
  const random = new Random(2);
  const rows = Array.from(
    { length: 300 },
    () => [random.below(6), random.below(6), random.below(6)],
  );
  const items = rows.map((row, i) => `${row.join("-")} #${i}`);
  const fresh = rows.map((_, i) => i % 3 === 0);
  using index = await buildIndex(rows, { vocabSize: 6, items, filters: { fresh } });
  assert.ok(index.size < rows.length);
  using decoder = await createDecoder(index, { backend: "wasm" });
  using filter = index.namedFilter("fresh");
  const search = { batchSize: 2, beamSize: 20, filter: [filter, undefined] };
  const result = await decoder.beamSearch(modelOf(RULES.smooth, 1), search);
  const found = itemsOf(index, result);
  found.forEach((list, b) => {
    const expected = Array.from({ length: result.counts[b] }, (_, i) => {
      const at = b * 20 + i;
      const sequence = result.sequences.subarray(at * 3, at * 3 + 3).join("-");
      const own = items.filter((item) => item.startsWith(`${sequence} `))
        .filter((item) => b === 1 || fresh[items.indexOf(item)]).sort();
      assert.ok(own.length > 0);
      return own.map((item) => ({ item, ordinal: result.ordinals[at], score: result.scores[at] }));
    });
    assert.deepEqual(list, expected.flat());
  });
  assert.ok(found[1].length > result.counts[1]);
  assert.deepEqual(itemsOf(index, result, 7), found.map((list) => list.slice(0, 7)));
});

Deno.test("Results of an index without items do not expand", async () => {
  using index = await buildIndex([[0, 1]], { vocabSize: 2 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const result = await decoder.beamSearch(({ out }) => out.fill(0), { beamSize: 1 });
  assert.throws(() => itemsOf(index, result), { code: "no-items" });
});

Deno.test("An item that several sequences lead to takes one place, with its best score or their sum", async () => {
  const random = new Random(9);
  const rows = Array.from(
    { length: 200 },
    () => [random.below(6), random.below(6), random.below(6)],
  );
  const items = rows.map(() => `item ${random.below(40)}`);
  using index = await buildIndex(rows, { vocabSize: 6, items });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const result = await decoder.beamSearch(modelOf(RULES.smooth, 3), { batchSize: 2, beamSize: 60 });
  const kept = itemsOf(index, result, { duplicates: "keep" });
  const best = itemsOf(index, result);
  const sum = itemsOf(index, result, { duplicates: "sum" });
  kept.forEach((all, row) => {
    const byItem = Map.groupBy(all, ({ item }) => item);
    assert.ok(byItem.size < all.length);
    assert.deepEqual(best[row], [...byItem.values()].map(([first]) => first));
    const probability = (found: { score: number }[]) =>
      found.reduce((sum, { score }) => sum + Math.exp(score), 0);
    const expected = new Map([...byItem].map(([item, found]) => [item, probability(found)]));
    assert.equal(sum[row].length, byItem.size);
    sum[row].forEach(({ item, score, ordinal }, i) => {
      assert.ok(Math.abs(score - Math.log(expected.get(item)!)) < 1e-9);
      assert.equal(ordinal, byItem.get(item)![0].ordinal);
      assert.ok(i === 0 || sum[row][i - 1].score >= score);
    });
    for (const most of [0, 1, 7, 1000]) {
      assert.deepEqual(itemsOf(index, result, { most })[row], best[row].slice(0, most));
      const most2 = itemsOf(index, result, { most, duplicates: "sum" })[row];
      assert.deepEqual(most2, sum[row].slice(0, most));
    }
  });
  const wrong = (options: object) => () => itemsOf(index, result, options);
  assert.throws(wrong({ duplicates: "first" }), { name: "TypeError", actual: "first" });
  assert.throws(wrong({ duplicate: "sum" }), /nearest is "duplicates"/);
});
