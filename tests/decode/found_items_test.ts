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
