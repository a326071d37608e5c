/** Entries, the pairs of a sequence and an item, against a plain list, around every word and block. */
import assert from "node:assert/strict";
import { buildIndex } from "../../src/build/mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { Entries, type SharedSequence } from "../../src/index/entries.ts";
import { Random } from "../support/models.ts";

/** Items of each sequence, so that all together are `count`. */
function sizesOf(count: number, random: Random): number[] {
  const sizes: number[] = [];
  for (let left = count; left > 0; left -= sizes.at(-1)!) {
    sizes.push(Math.min(left, random.pick([1, 1, 1, 2, 3, 33, 600])));
  }
  return sizes;
}

Deno.test("Entries are where a plain list has them", async () => {
  const random = new Random(3);
  const bounds = [1, 32, 64, 512, 1024, 1536];
  for (const count of bounds.flatMap((bound) => [bound - 1, bound, bound + 1]).filter(Boolean)) {
    for (let times = 0; times < 5; times++) {
      const sizes = sizesOf(count, random);
      const rows = sizes.flatMap((size, ordinal) => Array.from({ length: size }, () => [ordinal]));
      const options = { vocabSize: Math.max(2, sizes.length), items: rows.map((_, i) => i) };
      using index = await buildIndex(rows, options);
      const entries = Entries.of(loadedIndexOf(index));
      const shared: SharedSequence[] = [];
      let [first, number] = [0, 0];
      for (const [ordinal, size] of sizes.entries()) {
        const isShared = size > 1;
        const end = first + size;
        const own = { first, end, number: isShared ? number : undefined };
        assert.deepEqual(entries.of(ordinal), own, `${count} entries, ordinal ${ordinal}`);
        if (isShared) shared.push({ ordinal, first, end, number });
        if (isShared) number += size;
        first = end;
      }
      assert.deepEqual([entries.count, entries.sharedCount], [count, number]);
      const visited: SharedSequence[] = [];
      entries.forEachShared((sequence) => visited.push(sequence));
      assert.deepEqual(visited, shared);
    }
  }
});
