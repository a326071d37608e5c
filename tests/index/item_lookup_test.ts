/** Item ids in the index: what comes out is what went in, whatever the ids and the rows. */

import assert from "node:assert/strict";
import fc from "fast-check";
import {
  BuildInputError,
  ConstraintIndex,
  createDecoder,
  EspalierError,
  IndexFormatError,
  IndexIntegrityError,
  LimitError,
} from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { eliasFanoShape } from "../../src/index/bits/elias_fano.ts";
import { getBits, putBits } from "../../src/index/bits/bit_vector.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { namedFilterBits } from "../../src/index/named_filters.ts";
import { planData } from "../../src/index/format/header.ts";
import { planSections } from "../../src/index/format/layout.ts";
import {
  answersOf,
  assertItems,
  fuzz,
  ITEM_KINDS,
  itemsOf,
  largeAttached,
} from "../support/filters_and_items.ts";
import { damage, signed, streamOf, takeApart } from "../support/corrupt.ts";
import { runs } from "../support/long.ts";
import { Random } from "../support/models.ts";
import { compareRows, OracleSet } from "../support/oracle.ts";
import { equallyLong, flatten, rowSet, rowSets } from "../support/sets.ts";

type Input = Parameters<typeof buildIndex>[0];
type Items = Parameters<typeof buildIndex>[1]["items"];

Deno.test("Items come back by ordinal, built and opened", async () => {
  const kinds = fc.constantFrom(...Object.keys(ITEM_KINDS));
  await fc.assert(
    fc.asyncProperty(rowSets(), kinds, fc.nat(), async ({ rows, vocabSize }, kind, seed) => {
      const set = new OracleSet(rows, vocabSize);
      const items = ITEM_KINDS[kind](rows.length, new Random(seed));
      const expected = itemsOf(rows, set, items);
      using index = await buildIndex(rows, { vocabSize, items });
      assertItems(index, expected);
      const bytes = index.toBytes();
      assert.equal(bytes.length, index.byteLength);
      const source = streamOf(bytes, new Random(seed));
      using opened = await ConstraintIndex.open(source, { verify: true });
      assertItems(opened, expected);
      assert.deepEqual(await new Response(opened.toStream()).bytes(), bytes);
    }),
    { seed: 3, numRuns: runs(150) },
  );
});

Deno.test("Every kind of input gives the same items", async () => {
  async function* later(rows: number[][]) {
    for (const row of rows) yield await Promise.resolve(row);
  }
  for (let seed = 0; seed < runs(8); seed++) {
    const { rows, vocabSize } = rowSet(seed % 2 ? "mixed" : "nearlyDense", seed);
    const set = new OracleSet(rows, vocabSize);
    const sorted = rows.toSorted(compareRows);
    const inputs: [number[][], Input, boolean][] = [
      [rows, rows, false],
      [rows, later(rows), false],
      [sorted, sorted.values(), true],
    ];
    if (equallyLong(rows)) {
      inputs.push([rows, flatten(rows), false], [sorted, flatten(sorted), true]);
    }
    const items = ITEM_KINDS.names(rows.length, new Random(seed)) as string[];
    for (const [order, input, isSorted] of inputs) {
      let ordinals = new Uint32Array();
      using index = await buildIndex(input, {
        vocabSize,
        items,
        sorted: isSorted,
        reportOrdinals: (found) => ordinals = found.slice(),
      });
      assertItems(index, itemsOf(order, set, items));
      assert.deepEqual(ordinals, Uint32Array.from(order, (row) => set.ordinalOf(row)!));
    }
  }
});

Deno.test("Many items of one sequence, and at the bounds of blocks", async () => {
  for (const count of [16, 17, 511, 512, 513, 1024, 5000]) {
    const rows = [[1], ...Array.from({ length: count }, () => [2]), [3]];
    const set = new OracleSet(rows, 4);
    for (const kind of ["small", "names", "running", "words"]) {
      const items = ITEM_KINDS[kind](rows.length, new Random(count));
      using index = await buildIndex(rows, { vocabSize: 4, items });
      using opened = await ConstraintIndex.open(index.toBytes(), { verify: true });
      assertItems(opened, itemsOf(rows, set, items));
    }
  }
});

Deno.test("Ids take as many bits as their range", async () => {
  const rows = Array.from({ length: 4096 }, (_, i) => [i >> 6, i & 63]);
  const bytesOf = async (items: Items, itemLookup?: boolean) => {
    using plain = await buildIndex(rows, { vocabSize: 64 });
    using index = await buildIndex(rows, { vocabSize: 64, items, itemLookup });
    const size = (index: ConstraintIndex) => loadedIndexOf(index).dataByteLength;
    return size(index) - size(plain);
  };
  assert.equal(await bytesOf(rows.map(() => 77n)), 0);
  const twoValues = rows.map((_, i) => -5 + i % 2);
  assert.equal(await bytesOf(twoValues, false), 512 + 256);
  // To lead back they take 12 bits more each, or none where they ascend.
  assert.equal(await bytesOf(twoValues), 512 + 256 + 12 * 512 + 256);
  assert.equal(await bytesOf(rows.map((_, i) => i)), 12 * 512 + 256);
  const farApart = rows.map((_, i) => i % 2 ? 0n : 2n ** 64n - 1n);
  assert.equal(await bytesOf(farApart, false), 64 * 512 + 256);
});

Deno.test("An index without items says so", async () => {
  using index = await buildIndex([[1], [2]], { vocabSize: 4 });
  assert.equal(index.items, undefined);
  assert.throws(() => index.itemsAt(0), { name: "EspalierError", code: "no-items" });
  using other = await buildIndex([[1], [2]], { vocabSize: 4, items: ["a", "b"] });
  for (const ordinal of [-1, 2, 0.5, NaN, Infinity, 2 ** 32]) {
    assert.throws(() => other.itemsAt(ordinal), RangeError, `${ordinal}`);
  }
  other[Symbol.dispose]();
  assert.throws(() => other.itemsAt(0), { code: "disposed" });
});

async function assertRefused(items: unknown, facts: Record<string, unknown>): Promise<void> {
  async function* later() {
    yield [1];
    yield await Promise.resolve([2]);
  }
  const matrix = { data: Uint8Array.of(1, 2), rows: 2, length: 1 };
  for (const input of [matrix, [[1], [2]], later()]) {
    const build = buildIndex(input, { vocabSize: 4, items: items as Items });
    await assert.rejects(build, (error) => {
      assert.ok(error instanceof BuildInputError, String(error));
      assert.match(error.message, /^Cannot build: .+, expected .+; /);
      for (const [fact, value] of Object.entries(facts)) {
        assert.deepEqual(Reflect.get(error, fact), value, `${fact} of: ${error.message}`);
      }
      JSON.stringify(error);
      return true;
    });
  }
}

Deno.test("Ids that are none are refused with their row", async () => {
  const code = "bad-item";
  await assertRefused([1, 0.5], { code, row: 1, actual: 0.5 });
  await assertRefused([2 ** 53, 1], { code, row: 0, actual: 2 ** 53 });
  await assertRefused([1, NaN], { code, row: 1 });
  await assertRefused([1, "a"], { code, row: 1, actual: "a" });
  await assertRefused(["a", 1n], { code, row: 1, actual: "1" });
  await assertRefused([null, 1], { code, row: 0, actual: null });
  await assertRefused(["a", undefined], { code, row: 1, actual: undefined });
  await assertRefused(["a", "\ud800"], { code, row: 1 });
  await assertRefused(["a\udc00b", "c"], { code, row: 0 });
  await assertRefused([-1n, 2n ** 64n - 1n], { code, row: 1, actual: String(2n ** 64n - 1n) });
  await assertRefused([0n, 2n ** 64n], { code, row: 1 });
  await assertRefused([-(2n ** 63n) - 1n, 0n], { code, row: 0 });
  for (const items of [[], [1], ["a", "b", "c"], new BigInt64Array(3)]) {
    await assertRefused(items, { code: "items-length", expected: 2, actual: items.length });
  }
  for (const items of [null, "ab", 5, {}, new Map(), true]) {
    const build = buildIndex([[1], [2]], { vocabSize: 4, items: items as unknown as Items });
    await assert.rejects(build, { name: "TypeError" });
  }
});

Deno.test("Bits are put and got at every place and width", () => {
  const random = new Random(8);
  for (let width = 0; width <= 32; width++) {
    const words = new Uint32Array(42);
    const values = Array.from({ length: 40 }, () => random.uint32() >>> (32 - width) % 32);
    const expected = width === 0 ? values.map(() => 0) : values;
    expected.forEach((value, i) => putBits(words, i * width + 3, width, value));
    expected.forEach((value, i) => assert.equal(getBits(words, i * width + 3, width), value));
    assert.equal(getBits(words, 42 * 32, width), 0);
  }
});

Deno.test("Elias–Fano lists take two bits and the logarithm of the gap", () => {
  assert.deepEqual(eliasFanoShape(0, 5), { count: 0, lowBits: 0, highBits: 0 });
  assert.deepEqual(eliasFanoShape(1, 2 ** 32), { count: 1, lowBits: 32, highBits: 2 });
  for (const [count, universe] of [[10, 1000], [1000, 1000], [7, 3], [1, 1], [1e6, 1e8]]) {
    const { lowBits, highBits } = eliasFanoShape(count, universe);
    assert.ok(highBits <= 3 * count + 1 || lowBits === 0, `${count} of ${universe}`);
  }
});

Deno.test("Damaged items are read within their sections", async () => {
  for (const [kind, make] of Object.entries(ITEM_KINDS)) {
    const random = new Random(kind.length);
    const { rows, vocabSize } = rowSet("mixed", 5);
    using index = await buildIndex(rows, { vocabSize, items: make(rows.length, random) });
    const { shape, data } = takeApart(index.toBytes());
    const start = planSections(shape.levels).byteLength;
    if (start < data.length) await fuzz(shape, data, start, runs(40, 1000), random);
  }
});

Deno.test("Verification finds damaged structure of items", async () => {
  for (const kind of ["small", "signed", "words", "names", "empty"]) {
    const random = new Random(kind.length);
    const { rows, vocabSize } = rowSet("mixed", 7);
    const items = ITEM_KINDS[kind](rows.length, random);
    const expected = itemsOf(rows, new OracleSet(rows, vocabSize), items);
    using built = await buildIndex(rows, { vocabSize, items });
    const { shape, data } = takeApart(built.toBytes());
    const start = planSections(shape.levels).byteLength;
    let refused = 0;
    for (let i = 0; i < runs(60, 1000); i++) {
      const damaged = data.slice();
      damaged.set(damage(data.subarray(start), random, true), start);
      const bytes = await signed(shape, damaged);
      try {
        using index = await ConstraintIndex.open(bytes, { verify: true });
        // Other ids may be as sound as the true ones, but each sequence has some.
        expected.forEach((_, ordinal) => assert.ok(index.itemsAt(ordinal).length > 0));
        assert.doesNotMatch(String(expected.map((_, o) => index.itemsAt(o))), /\ufffd/);
      } catch (error) {
        assert.ok(error instanceof IndexIntegrityError && error.section, String(error));
        refused++;
      }
    }
    assert.ok(refused > 10, `${kind}: ${refused} were refused`);
  }
});

Deno.test("Damaged headers of items are refused", async () => {
  using index = await buildIndex([[1], [2], [2]], { vocabSize: 4, items: [5, 6, 9] });
  using named = await buildIndex([[1], [2], [2]], { vocabSize: 4, items: ["a", "b", "c"] });
  const integers = { type: "integer", count: 3, min: "5", max: "9" };
  const strings = { type: "string", count: 3, byteLength: 3 };
  const changes: [ConstraintIndex, unknown][] = [
    ...[null, [], 5, {}, "x"].map((items) => [index, items] as [ConstraintIndex, unknown]),
    ...[
      { type: "float" },
      { count: 1 },
      { count: 2 },
      { count: 2 ** 31 },
      { count: "3" },
      { min: 5 },
      { min: "" },
      { min: "10" },
      { min: "0x1" },
      { max: "18446744073709551616" },
      { min: "-1", max: "18446744073709551615" },
      { max: "5" },
    ].map((change) => [index, { ...integers, ...change }] as [ConstraintIndex, unknown]),
    ...[{ count: 2 }, { byteLength: -1 }, { byteLength: 2 ** 33 }, { byteLength: null }]
      .map((change) => [named, { ...strings, ...change }] as [ConstraintIndex, unknown]),
  ];
  for (const [from, items] of changes) {
    const { shape, data } = takeApart(from.toBytes());
    const text = JSON.stringify({ ...shape, items });
    const bytes = await signed(shape, data, { index: text });
    await assert.rejects(ConstraintIndex.open(bytes), { code: "inconsistent-header" }, text);
  }
});

Deno.test("Headers that are accepted bound what any data can do", async () => {
  const random = new Random(21);
  const { rows, vocabSize } = rowSet("mixed", 11);
  const values = [0, 1, 2, 3, -1, 0.5, 33, 2 ** 20, 2 ** 30, 2 ** 53, "1", "-1", null, true];
  const words = ["sparse", "bits", "integer", "string", String(2n ** 64n - 1n)];
  let opened = 0;
  for (let i = 0; i < runs(600, 20_000); i++) {
    const items = random.pick(Object.values(ITEM_KINDS))(rows.length, random);
    const share = random.pick([2, 10, 40]);
    const filters = { a: rows.map(() => random.below(share) === 0), b: rows.map(() => true) };
    using index = await buildIndex(rows, { vocabSize, items, filters });
    const { shape, data } = takeApart(index.toBytes());
    const target = random.pick([...shape.filters!, shape.items!]);
    const key = random.pick([...Object.keys(target), "inverted", "encoding", "type"]);
    const value: unknown = Reflect.get(target, key);
    const next = typeof value === "number" && random.below(3)
      ? value + random.pick([-1, 1, 32, 500])
      : random.pick([...values, ...words]);
    Reflect.set(target, key, next);
    let byteLength = data.length;
    try {
      byteLength = Math.min(2 ** 22, planData(shape).byteLength);
    } catch {
      // Too large to place, or no numbers.
    }
    const fitted = new Uint8Array(Number.isInteger(byteLength) ? byteLength : data.length);
    fitted.set(data.subarray(0, fitted.length));
    try {
      using other = await ConstraintIndex.open(
        await signed(shape, fitted, { index: JSON.stringify(shape) }).catch(() =>
          signed(takeApart(index.toBytes()).shape, data, { index: JSON.stringify(shape) })
        ),
        { verify: random.below(4) === 0 },
      );
      opened++;
      answersOf(other);
    } catch (cause) {
      const isRefusal = cause instanceof IndexFormatError || cause instanceof IndexIntegrityError ||
        cause instanceof LimitError;
      if (!isRefusal) throw new Error(`${i}: ${key} = ${next}`, { cause });
    }
  }
  assert.ok(opened > runs(600, 20_000) / 20, `${opened} were opened`);
});

for (const kind of ["integer", "string"] as const) {
  for (const verify of [undefined, true, false]) {
    Deno.test(`Progressive: levels first, then ${kind} items (verify: ${verify})`, async () => {
      const { index: built, idOf } = await largeAttached(kind);
      using _built = built;
      const bytes = built.toBytes();
      const header = loadedIndexOf(built).header.bytes.length;
      const gate = Promise.withResolvers<void>();
      let at = 0;
      const source = new ReadableStream<Uint8Array>({
        async pull(controller) {
          const end = Math.min(bytes.length, at + 2 ** 16);
          if (at >= header + 1.5 * 2 ** 20) await gate.promise;
          controller.enqueue(bytes.slice(at, end));
          at = end;
          if (at === bytes.length) controller.close();
        },
      });
      using index = await ConstraintIndex.open(source, { progressive: true, verify });
      const { loading: arrival } = loadedIndexOf(index);
      await arrival.wait(index.maxLength);
      const isNotLoaded = (error: unknown) =>
        error instanceof EspalierError && error.code === "not-loaded";
      assert.deepEqual([...index.sequenceAt(501)], [1, 1]);
      assert.throws(() => index.itemsAt(0), isNotLoaded);
      assert.throws(() => namedFilterBits(loadedIndexOf(index), "even"), isNotLoaded);
      assert.throws(() => index.toBytes(), isNotLoaded);
      assert.throws(() => index.toStream(), isNotLoaded);
      gate.resolve();
      await index.ready;
      assert.ok(arrival.isComplete);
      for (let i = 0; i < index.size; i += 997) assert.deepEqual(index.itemsAt(i), [idOf(i)]);
      assert.equal(namedFilterBits(loadedIndexOf(index), "even")[7], 0x55);
      assert.deepEqual(index.toBytes(), bytes);
    });
  }
}

Deno.test("Ids of the wrong kind are named as such, and others lead nowhere", async () => {
  using integers = await buildIndex([[1], [2], [2]], { vocabSize: 4, items: [5, 6, 9] });
  using strings = await buildIndex([[1], [2], [2]], { vocabSize: 4, items: ["5", "b", "c"] });
  const wrong = (index: ConstraintIndex, id: unknown, expected: RegExp) => {
    const ids = [id as bigint];
    assert.throws(() => index.ordinalsOfItem(ids[0]), { name: "TypeError", message: expected });
    assert.throws(() => index.filter({ items: ids }), { name: "TypeError", message: expected });
  };
  wrong(integers, 5, /expected a bigint, such as 5n/);
  wrong(integers, "5", /by a string: the ids of the index are integers/);
  wrong(strings, 5, /expected a string, such as "5"/);
  wrong(strings, 5n, /by a bigint: the ids of the index are strings/);
  wrong(strings, undefined, /by a undefined/);
  assert.throws(() => strings.filter({ items: "abc" }), TypeError);
  const both = { items: ["b"], bits: Uint8Array.of(1) };
  assert.throws(() => strings.filter(both), { name: "TypeError", actual: "bits" });
  const asOrdinals = [5n] as unknown as number[];
  assert.throws(() => integers.filter(asOrdinals), {
    name: "TypeError",
    message: /go into { items }/,
  });
  assert.deepEqual(strings.ordinalsOfItem("\ud800"), []);
  assert.deepEqual(strings.ordinalsOfItem("b".repeat(100_000)), []);
  using all = strings.filter({ items: ["x", "y"] });
  assert.deepEqual([all.size, all.itemCount, all.unknownItems], [0, 0, 2]);
});

Deno.test("An index whose ids do not lead back says so", async () => {
  const rows = [[1], [2], [3]];
  using index = await buildIndex(rows, { vocabSize: 4, items: [7, 6, 9], itemLookup: false });
  const noLookup = { name: "EspalierError", code: "no-item-lookup" };
  assert.throws(() => index.ordinalsOfItem(7n), noLookup);
  assert.throws(() => index.filter({ items: [7n] }), noLookup);
  using decoder = await createDecoder(index, { backend: "wasm" });
  const search = { beamSize: 1, excludeItems: [[7n]] };
  await assert.rejects(decoder.beamSearch(({ out }) => out, search), noLookup);
  // Such files are what version 0.1 wrote, and reads.
  assert.equal(headerOf(index.toBytes()).version, "1");
  using ascending = await buildIndex(rows, { vocabSize: 4, items: [6, 7, 7] });
  assert.equal(headerOf(ascending.toBytes()).version, "1");
  assert.deepEqual(ascending.ordinalsOfItem(7n), [1, 2]);
  using other = await buildIndex(rows, { vocabSize: 4, items: [7, 6, 9] });
  assert.equal(headerOf(other.toBytes()).version, "2");
  using plain = await buildIndex(rows, { vocabSize: 4 });
  assert.throws(() => plain.ordinalsOfItem(7n), { code: "no-items" });
  await assert.rejects(buildIndex(rows, { vocabSize: 4, itemLookup: true }), TypeError);
});

Deno.test("Above a million items ids lead back where that costs nothing, or is asked for", async () => {
  const rows = 1_000_001;
  const data = Uint32Array.from({ length: 2 * rows }, (_, i) => i % 2 ? (i >> 1) % 1024 : i >> 11);
  const build = (items: BigInt64Array, itemLookup?: boolean) =>
    buildIndex({ data, rows, length: 2 }, { vocabSize: 1024, items, itemLookup });
  const idOf = (i: number) => BigInt(i * 7919 % rows);
  using index = await build(BigInt64Array.from({ length: rows }, (_, i) => idOf(i)));
  assert.throws(() => index.ordinalsOfItem(7n), { code: "no-item-lookup" });
  using ascending = await build(BigInt64Array.from({ length: rows }, (_, i) => BigInt(i)));
  assert.deepEqual(ascending.ordinalsOfItem(7n), [7]);
  using asked = await build(BigInt64Array.from({ length: rows }, (_, i) => idOf(i)), true);
  for (let i = 0; i < rows; i += 9973) assert.deepEqual(asked.ordinalsOfItem(idOf(i)), [i]);
});

Deno.test("Verification finds an order of ids that is none", async () => {
  for (const items of [[7, 6, 9, 6], ["b", "a", "c", "a"]]) {
    const rows = [[1], [2], [3], [3]];
    using index = await buildIndex(rows, { vocabSize: 4, items: items as number[] });
    const { shape, data } = takeApart(index.toBytes());
    const { offset } = planData(shape).sections.find(({ name }) => name === "items.order")!;
    for (const bits of [1, 2, 4, 8, 16, 64, 128, 256]) {
      const damaged = data.slice();
      new DataView(damaged.buffer, damaged.byteOffset).setUint32(
        offset,
        new DataView(data.buffer, data.byteOffset).getUint32(offset, true) ^ bits,
        true,
      );
      const bytes = await signed(shape, damaged);
      await assert.rejects(ConstraintIndex.open(bytes, { verify: true }), {
        section: "items.order",
      });
      using unverified = await ConstraintIndex.open(bytes);
      for (const id of items) {
        const asked = typeof id === "string" ? id : BigInt(id);
        for (const ordinal of unverified.ordinalsOfItem(asked)) assert.ok(ordinal < index.size);
        using filter = unverified.filter({ items: [asked] });
        assert.ok(filter.size <= index.size);
      }
    }
  }
});

/** Metadata of a file. */
function headerOf(bytes: Uint8Array): Record<string, string> {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))).__metadata__;
}

Deno.test("A search that excludes items waits until they are there", async () => {
  const { index: built } = await largeAttached("integer");
  const bytes = built.toBytes();
  const gone = built.itemsAt(0) as bigint[];
  built[Symbol.dispose]();
  const rest = Promise.withResolvers<void>();
  const source = new ReadableStream({
    start: (to) => to.enqueue(bytes.slice(0, -1)),
    async pull(to) {
      await rest.promise;
      to.enqueue(bytes.slice(-1));
      to.close();
    },
  });
  using index = await ConstraintIndex.open(source, { progressive: true });
  using decoder = await createDecoder(index, { backend: "wasm" });
  let isDone = false;
  const search = decoder.beamSearch(({ out }) => out.fill(0), {
    beamSize: 3,
    excludeItems: [gone],
  }).finally(() => isDone = true);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(!isDone);
  assert.throws(() => index.ordinalsOfItem(gone[0]), { code: "not-loaded" });
  rest.resolve();
  const { ordinals } = await search;
  assert.equal(ordinals.length, 3);
  assert.ok(!ordinals.includes(0));
});
