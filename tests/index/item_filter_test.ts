/** Item filters: lookups and their algebra against plain sets. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { ConstraintIndex, createDecoder, EspalierError, type ItemFilter } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { maskLogits } from "../../src/decode/mask.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { filterBitsOf } from "../../src/index/item_filter.ts";
import { members } from "../suites/filter.ts";
import { runs } from "../support/long.ts";
import { modelOf, Random, RULES } from "../support/models.ts";
import { rowSets } from "../support/sets.ts";

const subsets = fc.record({
  set: rowSets(),
  seed: fc.nat(),
  share: fc.constantFrom(0, 2, 30, 128, 254, 256),
});

/** Some of the ordinals. */
function subset(size: number, seed: number, share: number): number[] {
  const random = new Random(seed);
  return Array.from({ length: size }, (_, i) => i).filter(() => random.below(256) < share);
}

function packed(ordinals: readonly number[], size: number): Uint8Array {
  const bits = new Uint8Array(Math.ceil(size / 8));
  for (const ordinal of ordinals) bits[ordinal >> 3] |= 1 << (ordinal & 7);
  return bits;
}

Deno.test("Filtered lookups are those of an index of what is allowed", async () => {
  await fc.assert(
    fc.asyncProperty(subsets, async ({ set, seed, share }) => {
      const { vocabSize } = set;
      using index = await buildIndex(set.rows, { vocabSize });
      const allowed = subset(index.size, seed, share);
      using filter = index.filter(allowed);
      assert.equal(filter.size, allowed.length);
      assert.deepEqual(members(filter, index), allowed);
      const rows = allowed.map((ordinal) => index.sequenceAt(ordinal));
      using rebuilt = rows.length > 0 ? await buildIndex(rows, { vocabSize }) : undefined;
      const random = new Random(seed);
      for (let i = 0; i < 40; i++) {
        const row = random.pick(set.rows);
        const prefix = row.slice(0, random.between(0, row.length));
        const expected = rebuilt?.allowedTokens(prefix) ?? new Uint32Array();
        assert.deepEqual(index.allowedTokens(prefix, filter), expected, `after ${prefix}`);
        assert.equal(index.canEnd(prefix, filter), rebuilt?.has(prefix) ?? false, `at ${prefix}`);
        const [own, other] = [1, 2].map(() =>
          Float32Array.from({ length: vocabSize }, Math.random)
        );
        other.set(own);
        maskLogits(index, own, [prefix], { filter });
        if (rebuilt) maskLogits(rebuilt, other, [prefix]);
        else other.fill(-Infinity);
        assert.deepEqual(own, other, `logits after ${prefix}`);
      }
    }),
    { seed: 3, numRuns: runs(300, 3000) },
  );
});

Deno.test("The algebra of filters is that of sets, and gives its memory back", async () => {
  await fc.assert(
    fc.asyncProperty(subsets, fc.nat(), async ({ set, seed, share }, otherSeed) => {
      using index = await buildIndex(set.rows, { vocabSize: set.vocabSize });
      const { heap } = loadedIndexOf(index);
      const free = heap.allocate(1);
      heap.free(free);
      const [a, b] = [subset(index.size, seed, share), subset(index.size, otherSeed, 100)];
      const inA = new Set(a);
      const inB = new Set(b);
      const all = Array.from({ length: index.size }, (_, i) => i);
      {
        using left = index.filter({ bits: packed(a, index.size) });
        using right = index.filter(new Set(b));
        const cases: [string, ItemFilter, (ordinal: number) => boolean][] = [
          ["and", left.and(right), (i) => inA.has(i) && inB.has(i)],
          ["or", left.or(right), (i) => inA.has(i) || inB.has(i)],
          ["andNot", left.andNot(right), (i) => inA.has(i) && !inB.has(i)],
          ["not", left.not(), (i) => !inA.has(i)],
        ];
        for (const [name, filter, isIn] of cases) {
          const expected = all.filter(isIn);
          assert.deepEqual(members(filter, index), expected, name);
          assert.equal(filter.size, expected.length, name);
          using fresh = index.filter(expected);
          const row = set.rows[seed % set.rows.length];
          for (let length = 0; length < row.length; length++) {
            const prefix = row.slice(0, length);
            assert.deepEqual(
              index.allowedTokens(prefix, filter),
              index.allowedTokens(prefix, fresh),
              `${name} after ${prefix}`,
            );
          }
          filter[Symbol.dispose]();
        }
      }
      assert.equal(heap.allocate(1), free, "Memory that nobody has given back");
    }),
    { seed: 4, numRuns: runs(200, 2000) },
  );
});

Deno.test("A filter that allows nothing finds nothing, whatever its neighbours find", async () => {
  using index = await buildIndex([[1, 2, 3], [1, 2], [4, 0, 1]], { vocabSize: 5 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  using nothing = index.filter([]);
  for (const normalize of ["vocab", "allowed", "none"] as const) {
    const { counts, scores } = await decoder.beamSearch(modelOf(RULES.smooth), {
      batchSize: 3,
      beamSize: 4,
      normalize,
      filter: [undefined, nothing, undefined],
      exclude: [[], undefined, [0, 1, 2]],
    });
    assert.deepEqual([...counts], [3, 0, 0]);
    assert.ok(scores.subarray(4).every((score) => score === -Infinity));
  }
});

Deno.test("Searches go on with filters that are disposed of meanwhile, and keep no memory", async () => {
  const rows = Array.from({ length: 500 }, (_, i) => [i % 7, i % 11, i % 13]);
  using index = await buildIndex(rows, { vocabSize: 16 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const { heap } = loadedIndexOf(index);
  const free = heap.allocate(1);
  heap.free(free);
  const searches = Array.from({ length: 8 }, async (_, i) => {
    const filter = index.filter(subset(index.size, i, 60));
    const allowed = new Set(members(filter, index));
    const gone = [...allowed].slice(0, 5);
    const searching = decoder.beamSearch(modelOf(RULES.smooth, i, "async-own"), {
      beamSize: 20,
      filter,
      exclude: [gone],
    });
    filter[Symbol.dispose]();
    index.filter(subset(index.size, 99, 200))[Symbol.dispose](); // memory that is used again
    const { ordinals, counts } = await searching;
    for (const ordinal of ordinals.subarray(0, counts[0])) {
      assert.ok(allowed.has(ordinal) && !gone.includes(ordinal));
    }
    assert.equal(counts[0], Math.min(20, allowed.size - 5));
  });
  await Promise.all(searches);
  assert.equal(heap.allocate(1), free, "Memory that nobody has given back");
});

Deno.test("Batch rows that a list leaves out have no filter, whatever stood in memory before", async () => {
  const rows = Array.from({ length: 400 }, (_, i) => [i % 20, i / 20 | 0]);
  using index = await buildIndex(rows, { vocabSize: 20 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  using nothing = index.filter([]);
  const search = (options: Record<string, unknown>) =>
    decoder.beamSearch(modelOf(RULES.smooth), { batchSize: 3, beamSize: 5, ...options });
  await search({ filter: nothing });
  const filter: ItemFilter[] = new Array(3);
  filter[1] = nothing;
  assert.deepEqual([...(await search({ filter })).counts], [5, 0, 5]);
  const { heap } = loadedIndexOf(index);
  const dirty = heap.allocate(1e6);
  heap.u8(dirty, 1e6).fill(0xee);
  heap.free(dirty);
  assert.deepEqual([...(await search({ filter: new Array(3) })).counts], [5, 5, 5]);
  assert.deepEqual([...(await search({ exclude: new Array(3) })).counts], [5, 5, 5]);
});

Deno.test("A filter that is disposed of at once serves a search of an index that is still loading", async () => {
  const rows = Array.from({ length: 400 }, (_, i) => [i % 20, i / 20 | 0]);
  using whole = await buildIndex(rows, {
    vocabSize: 20,
    items: rows.map((_, i) => `${i}`.padStart(3000)),
  });
  const bytes = whole.toBytes();
  const gate = Promise.withResolvers<void>();
  const stream = new ReadableStream<Uint8Array>({
    async start(controller) {
      controller.enqueue(bytes.subarray(0, 1.1 * 2 ** 20)); // the first chunk: levels, some items
      await gate.promise;
      controller.enqueue(bytes.subarray(1.1 * 2 ** 20));
      controller.close();
    },
  });
  using index = await ConstraintIndex.open(stream, { progressive: true });
  assert.ok(!loadedIndexOf(index).loading.isComplete);
  using decoder = await createDecoder(index, { backend: "wasm" });
  const filter = index.filter([7]);
  const searching = decoder.beamSearch(modelOf(RULES.smooth), { beamSize: 5, filter });
  filter[Symbol.dispose]();
  assert.deepEqual([...(await searching).ordinals.slice(0, 2)], [7, 0xffffffff]);
  gate.resolve();
  await index.ready;
});

Deno.test("Lists of row starts that lie write nothing beyond the rows", async () => {
  using index = await buildIndex([[0, 1]], { vocabSize: 2 });
  const { heap } = loadedIndexOf(index);
  const [edges, states] = [200_000, 70];
  const random = new Random(6);
  for (const lie of [() => 0, () => random.below(edges), (i: number) => i + 1, () => 2 ** 32 - 1]) {
    const list = heap.allocate(4 * 1000);
    heap.u32(list, 1000).set(Array.from({ length: 1000 }, (_, i) => lie(i)));
    const source = heap.allocate(edges / 8 + 16);
    heap.u8(source, edges / 8 + 16).fill(0xff);
    const target = heap.allocate(4096);
    const words = heap.u8(target, 4096).fill(0);
    heap.exports.joinListed(list, 1000, edges, source, target, states);
    assert.ok(words.subarray(Math.ceil(states / 8) + 16).every((byte) => byte === 0));
    for (const address of [list, source, target]) heap.free(address);
  }
});

Deno.test("Bad filters are refused, and say why", async () => {
  using index = await buildIndex([[1, 2], [1, 3], [2, 0]], { vocabSize: 4 });
  using other = await buildIndex([[1, 2], [1, 3], [2, 1]], { vocabSize: 4 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  using filter = index.filter([0]);
  using foreign = other.filter([0]);
  const search = (options: Record<string, unknown>) => () =>
    decoder.beamSearch(modelOf(RULES.smooth), { beamSize: 2, ...options });
  for (const ordinal of [-1, 3, 0.5, NaN, "1", 2 ** 32]) {
    assert.throws(() => index.filter([ordinal as number]), /is no ordinal of the index.*\[0, 3\)/);
    assert.throws(() => filter.has(ordinal as number), RangeError);
    await assert.rejects(search({ exclude: [[ordinal]] }), RangeError);
  }
  assert.throws(() => index.filter({ bits: new Uint8Array(2) }), /2 bytes: 3 sequences need 1/);
  assert.throws(() => index.filter({ bits: [1] as unknown as Uint8Array }), TypeError);
  for (const nonsense of [undefined, null, 3, {}]) {
    assert.throws(() => index.filter(nonsense as unknown as number[]), TypeError);
    assert.throws(() => filter.and(nonsense as unknown as ItemFilter), TypeError);
  }
  for (const use of ["and", "or", "andNot"] as const) {
    assert.throws(() => filter[use](foreign), /belongs to another index/);
  }
  assert.throws(() => index.allowedTokens([1], foreign), TypeError);
  assert.throws(() => index.canEnd([1], foreign), TypeError);
  await assert.rejects(search({ filter: foreign }), /belongs to another index/);
  await assert.rejects(
    search({ filter: [filter, filter] }),
    /"filter" has 2 entries, expected 1: one for each row/,
  );
  for (const nonsense of ["fresh", {}, null]) {
    await assert.rejects(search({ filter: nonsense }), TypeError);
  }
  await assert.rejects(
    search({ exclude: [[], []] }),
    /"exclude" has 2 entries, expected 1: one for each row/,
  );
  await assert.rejects(search({ exclude: [3] }), TypeError);
  await assert.rejects(search({ exclude: [null] }), TypeError);
  assert.throws(() => index.allowedTokens([1], null as unknown as ItemFilter), TypeError);
  assert.throws(() => index.canEnd([1], null as unknown as ItemFilter), TypeError);
  await assert.rejects(search({ exclude: 3 }), TypeError);
  await assert.rejects(search({ exclude: [new Uint32Array(10_001)] }), /at most 10000/);
  filter[Symbol.dispose]();
  filter[Symbol.dispose]();
  assert.throws(
    () => filter.has(0),
    (e: unknown) => e instanceof EspalierError && e.code === "disposed",
  );
  await assert.rejects(search({ filter }), { code: "disposed" });
});

Deno.test("Damaged indexes give wrong filters, and nothing outside them is touched", async () => {
  const random = new Random(8);
  for (let round = 0; round < runs(150, 3000); round++) {
    const set = Array.from(
      { length: 300 },
      () => Array.from({ length: random.between(1, 4) }, () => random.below(random.pick([3, 70]))),
    );
    using index = await buildIndex(set, { vocabSize: 70 });
    const bytes = index.toBytes();
    const data = bytes.length - loadedIndexOf(index).header.dataByteLength;
    for (let i = 0; i < 20; i++) {
      bytes[data + random.below(bytes.length - data)] = random.below(256);
    }
    using damaged = await ConstraintIndex.open(bytes, { verify: false });
    const { heap, data: start, dataByteLength } = loadedIndexOf(damaged);
    const before = heap.u8(start, dataByteLength).slice();
    // A filter between two neighbours, to see what is written over.
    using probe = damaged.filter([]);
    const { byteLength } = filterBitsOf(probe, loadedIndexOf(damaged));
    const guards = [heap.allocate(4096), heap.allocate(byteLength), heap.allocate(4096)];
    for (const guard of [guards[0], guards[2]]) heap.u8(guard, 4096).fill(0x5a);
    heap.free(guards.splice(1, 1)[0]);
    using filter = damaged.filter(subset(damaged.size, round, 128));
    const { address } = filterBitsOf(filter, loadedIndexOf(damaged));
    assert.ok(guards[0] < address && address < guards[1]);
    using _ = filter.not();
    using decoder = await createDecoder(damaged, { backend: "wasm" });
    await decoder.beamSearch(modelOf(RULES.smooth, round), {
      beamSize: 8,
      filter,
      exclude: [subset(damaged.size, round + 1, 30)],
    });
    assert.deepEqual(heap.u8(start, dataByteLength), before);
    for (const guard of guards) assert.ok(heap.u8(guard, 4096).every((byte) => byte === 0x5a));
  }
});
