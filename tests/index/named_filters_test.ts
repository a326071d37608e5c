/** Named filters in the index: what is allowed is what was said to be, however few or many. */

import assert from "node:assert/strict";
import fc from "fast-check";
import {
  BuildInputError,
  ConstraintIndex,
  type FilterExpression,
  IndexIntegrityError,
} from "../../mod.ts";
import { buildIndex, type FilterValues } from "../../src/build/mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { planSections } from "../../src/index/format/layout.ts";
import { namedFilterBits } from "../../src/index/named_filters.ts";
import { allowedOf, assertFilter, fuzz, ITEM_KINDS } from "../support/filters_and_items.ts";
import { damage, signed, takeApart } from "../support/corrupt.ts";
import { runs } from "../support/long.ts";
import { Random } from "../support/models.ts";
import { OracleSet } from "../support/oracle.ts";
import { allRows, rowSet, rowSets } from "../support/sets.ts";

type Filters = Record<string, FilterValues>;

/** Shares of rows that a filter allows, in percent. */
const DENSITIES = [0, 1, 10, 50, 90, 99, 100];

const KINDS: ((flags: boolean[]) => FilterValues)[] = [
  (flags) => flags,
  (flags) => flags.map(Number),
  (flags) => Uint8Array.from(flags, Number),
  (flags) => Float32Array.from(flags, (flag) => flag ? -0.5 : 0),
  (flags) => flags.map((flag, i) => i % 2 ? flag : flag ? Infinity : -0),
];

function filtersOf(rows: number, random: Random, densities = DENSITIES): Filters {
  return Object.fromEntries(densities.map((density) => {
    const flags = Array.from({ length: rows }, () => random.below(100) < density);
    return [`${density} %`, random.pick(KINDS)(flags)];
  }));
}

Deno.test("Filters that are no plain object are refused: none would be stored", async () => {
  const rows = [[0, 1], [1, 0]];
  for (
    const filters of [new Map([["fresh", [1, 0]]]), [[1, 0]], Uint8Array.of(1, 0), "fresh", null]
  ) {
    const options = { vocabSize: 2, filters: filters as unknown as Record<string, number[]> };
    await assert.rejects(buildIndex(rows, options), TypeError);
  }
  const filters = Object.assign(Object.create(null), { fresh: [1, 0] });
  using index = await buildIndex(rows, { vocabSize: 2, filters });
  assert.deepEqual(index.filterNames, ["fresh"]);
});

Deno.test("Filters come back by name, built and opened", async () => {
  await fc.assert(
    fc.asyncProperty(rowSets(), fc.nat(), async ({ rows, vocabSize }, seed) => {
      const random = new Random(seed);
      const set = new OracleSet(rows, vocabSize);
      const filters = filtersOf(rows.length, random);
      const items = random.below(2) ? ITEM_KINDS.small(rows.length, random) : undefined;
      using index = await buildIndex(rows, { vocabSize, filters, items });
      const bytes = index.toBytes();
      using opened = await ConstraintIndex.open(bytes, { verify: true });
      for (const one of [index, opened]) {
        assert.deepEqual(one.filterNames, Object.keys(filters));
        for (const [name, values] of Object.entries(filters)) {
          assertFilter(one, name, allowedOf(rows, set, values));
        }
      }
      assert.deepEqual(opened.toBytes(), bytes);
    }),
    { seed: 4, numRuns: runs(200) },
  );
});

Deno.test("Large filters take the smaller of bits and lists", async () => {
  const rows = allRows(200, 2);
  const set = new OracleSet(rows, 200);
  const random = new Random(6);
  const filters = filtersOf(rows.length, random);
  using index = await buildIndex(rows, { vocabSize: 200, filters });
  for (const [name, values] of Object.entries(filters)) {
    assertFilter(index, name, allowedOf(rows, set, values));
  }
  const { shape, header } = loadedIndexOf(index);
  assert.deepEqual(
    shape.filters!.map(({ encoding, inverted }) => `${encoding}${inverted ? ", inverted" : ""}`),
    [
      "sparse",
      "sparse",
      "sparse",
      "bits",
      "sparse, inverted",
      "sparse, inverted",
      "sparse, inverted",
    ],
  );
  const bytesOf = (i: number) =>
    header.tensors.filter(({ name }) => name.startsWith(`filter${i}.`))
      .reduce((sum, { byteLength }) => sum + byteLength, 0);
  assert.equal(bytesOf(0), 0);
  assert.equal(bytesOf(3), Math.ceil(40_000 / 8 / 256) * 256);
  assert.ok(bytesOf(1) <= 1024 && bytesOf(5) <= 1024);
  assert.equal(bytesOf(6), 0);
});

Deno.test("Without filters and items the bytes are what they were", async () => {
  // Digests of format version 1 before there were any.
  const digests: [number[][], number, string][] = [
    [
      [[1, 2, 3], [1, 2, 5], [4, 0, 0]],
      8,
      "aaaf419c1e02699671d2acaa952ecfdebccd13fb74dfc2846f64009937e6128e",
    ],
    [
      [[7, 1], [7], [3, 3, 3], [7, 1]],
      8,
      "9a26fef00fae768b487ab8ed86aac4b63b4a6cbc80720ac5aefb866a99208d46",
    ],
  ];
  for (const [rows, vocabSize, digest] of digests) {
    for (const options of [{}, { filters: {} }, { filters: undefined, items: undefined }]) {
      using index = await buildIndex(rows, { vocabSize, ...options });
      assert.equal(index.digest, digest);
      assert.deepEqual(index.filterNames, []);
    }
  }
});

Deno.test("Names may be any text, and no others are known", async () => {
  const names = [
    "__proto__",
    "7",
    'a "b"',
    "日本",
    "x".repeat(200),
    "constructor",
    '"headerSha256":"',
  ];
  const filters = Object.fromEntries(names.map((name, i) => [name, [i % 2, 1]]));
  using built = await buildIndex([[1], [2]], { vocabSize: 4, filters });
  using index = await ConstraintIndex.open(built.toBytes());
  assert.deepEqual([...index.filterNames].sort(), names.sort());
  for (const [name, values] of Object.entries(filters)) {
    assertFilter(index, name, [values[0] === 1, true]);
  }
  assert.throws(() => namedFilterBits(loadedIndexOf(index), "other"), {
    name: "EspalierError",
    code: "unknown-filter",
    expected: index.filterNames,
    actual: "other",
  });
  const own = namedFilterBits(loadedIndexOf(index), "7");
  own.fill(0);
  assert.notDeepEqual(namedFilterBits(loadedIndexOf(index), "7"), own);
});

Deno.test("Filters that are none are refused", async () => {
  const build = (filters: unknown) =>
    buildIndex([[1], [2]], { vocabSize: 4, filters: filters as Filters });
  const refused = async (filters: unknown, facts: Record<string, unknown>) =>
    await assert.rejects(build(filters), (error) => {
      assert.ok(error instanceof BuildInputError, String(error));
      for (const [fact, value] of Object.entries(facts)) {
        assert.deepEqual(Reflect.get(error, fact), value, `${fact} of: ${error.message}`);
      }
      return true;
    });
  for (const name of ["", "x".repeat(201), "a\nb", "\0", "\x7f", "\ud800"]) {
    await refused({ [name]: [1, 0] }, { code: "bad-filter-name", filter: name });
  }
  for (const values of [[], [1], [1, 0, 1], new Uint8Array(5)]) {
    const facts = { code: "filter-length", filter: "f", expected: 2, actual: values.length };
    await refused({ ok: [1, 1], f: values }, facts);
  }
  for (const bad of ["1", null, undefined, NaN, {}, 1n]) {
    await refused({ f: [0, bad] }, { code: "bad-filter-value", filter: "f", row: 1 });
  }
  for (const filters of [null, 5, "f", [[1, 0]], { f: 5 }, { f: null }, { f: "10" }, { f: {} }]) {
    await assert.rejects(build(filters), { name: "TypeError" });
  }
  const many = Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`f${i}`, [1, 1]]));
  await assert.rejects(build(many), { name: "LimitError", code: "too-many-filters" });
});

Deno.test("Damaged filters are read within their sections", async () => {
  for (const shape of ["mixed", "dense"] as const) {
    const { rows, vocabSize } = rowSet(shape, 3);
    const random = new Random(rows.length);
    const filters = filtersOf(rows.length, random);
    using index = await buildIndex(rows, { vocabSize, filters });
    const parts = takeApart(index.toBytes());
    const start = planSections(parts.shape.levels).byteLength;
    await fuzz(parts.shape, parts.data, start, runs(150, 3000), random);
  }
  const rows = allRows(100, 2);
  const random = new Random(9);
  using index = await buildIndex(rows, {
    vocabSize: 100,
    filters: filtersOf(rows.length, random, [1, 2, 98]),
  });
  const { shape, data } = takeApart(index.toBytes());
  assert.ok(shape.filters!.every(({ encoding }) => encoding === "sparse"));
  await fuzz(shape, data, planSections(shape.levels).byteLength, runs(200, 3000), random);
});

Deno.test("Verification finds every flipped bit of filters", async () => {
  const rows = allRows(100, 2);
  const random = new Random(10);
  const filters = filtersOf(rows.length, random, [1, 50, 98]);
  using index = await buildIndex(rows, { vocabSize: 100, filters });
  const { shape, data } = takeApart(index.toBytes());
  const start = planSections(shape.levels).byteLength;
  let passed = 0;
  for (let i = 0; i < runs(400, 5000); i++) {
    const at = start + random.below(data.length - start);
    const damaged = data.slice();
    damaged[at] ^= 1 << random.below(8);
    const bytes = await signed(shape, damaged);
    try {
      using _index = await ConstraintIndex.open(bytes, { verify: true });
      passed++;
    } catch (error) {
      assert.ok(error instanceof IndexIntegrityError && error.code === "structure", String(error));
      assert.match(error.section!, /^filter\d/);
    }
  }
  // A low bit of a list makes another list.
  assert.ok(passed < runs(400, 5000) / 4, `${passed} passed`);
  for (let i = 0; i < runs(100, 1000); i++) {
    const damaged = data.slice();
    damaged.set(damage(data.subarray(start), random, true), start);
    const bytes = await signed(shape, damaged);
    const opened = await ConstraintIndex.open(bytes, { verify: true }).catch((error) => {
      assert.ok(error instanceof IndexIntegrityError, String(error));
    });
    opened?.filterNames.forEach((name, f) => {
      const bits = namedFilterBits(loadedIndexOf(opened), name);
      const ones = bits.reduce((sum, byte) => sum + byte.toString(2).replaceAll("0", "").length, 0);
      assert.equal(ones, shape.filters![f].ones, "As many as the header says");
    });
  }
});

Deno.test("Damaged headers of filters are refused", async () => {
  using index = await buildIndex([[1], [2], [3]], {
    vocabSize: 4,
    filters: { a: [1, 0, 0], b: [0, 0, 0] },
  });
  const { shape, data } = takeApart(index.toBytes());
  const [a, b] = shape.filters!;
  const changes: unknown[] = [
    null,
    [],
    {},
    "a",
    [a, a],
    [a, null],
    [a, { ...b, name: "" }],
    [a, { ...b, name: 5 }],
    [a, { ...b, name: "\n" }],
    [a, { ...b, ones: -1 }],
    [a, { ...b, ones: 4 }],
    [a, { ...b, ones: 1 }],
    [a, { ...b, encoding: "none" }],
    [a, { ...b, inverted: "yes" }],
    [a, { ...b, inverted: true }],
    [{ ...a, inverted: true }, b],
    [{ ...a, encoding: "sparse" }, b],
    new Array(1025).fill(0).map((_, i) => ({ ...b, name: String(i) })),
  ];
  for (const filters of changes) {
    const bytes = await signed(shape, data, { index: JSON.stringify({ ...shape, filters }) });
    await assert.rejects(ConstraintIndex.open(bytes), { code: "inconsistent-header" });
  }
});

Deno.test("Expressions allow what their parts say", async () => {
  const { expression } = fc.letrec<{ expression: FilterExpression }>((tie) => {
    const parts = fc.array(tie("expression"), { minLength: 1, maxLength: 3 });
    return {
      expression: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom("a", "b", "c"),
        fc.record({ not: tie("expression") }),
        fc.record({ all: parts }),
        fc.record({ any: parts }),
      ),
    };
  });
  const holds = (expression: FilterExpression, flags: Record<string, boolean[]>, row: number) => {
    const within = (part: FilterExpression): boolean => {
      if (typeof part === "string") return flags[part][row];
      if ("not" in part) return !within(part.not);
      return "all" in part ? part.all.every(within) : part.any.some(within);
    };
    return within(expression);
  };
  await fc.assert(
    fc.asyncProperty(expression, fc.integer({ min: 2, max: 70 }), fc.nat(), async (
      expression,
      size,
      seed,
    ) => {
      const random = new Random(seed);
      const names = ["a", "b", "c"];
      const flags = Object.fromEntries(
        names.map((name) => [name, Array.from({ length: size }, () => random.below(2) === 1)]),
      );
      const rows = Array.from({ length: size }, (_, row) => [row]);
      using index = await buildIndex(rows, { vocabSize: size, filters: flags });
      using filter = index.filter(expression);
      const expected = rows.map((_, row) => row).filter((row) => holds(expression, flags, row));
      assert.deepEqual(rows.map((_, row) => row).filter((row) => filter.has(row)), expected);
      assert.equal(filter.size, expected.length);
    }),
    { numRuns: runs(100, 10_000), seed: 16 },
  );
});

Deno.test("Expressions that are none are refused, and say where", async () => {
  using index = await buildIndex([[0], [1]], { vocabSize: 2, filters: { a: [1, 0] } });
  const wrong: [unknown, RegExp][] = [
    [{ all: [] }, /found an object with all/],
    [{ any: "a" }, /found an object with any/],
    [{ all: ["a"], any: ["a"] }, /found an object with all, any/],
    [{ all: ["a", { not: 3 }] }, /at \/all\/1\/not, found number/],
    [{ not: { nor: "a" } }, /at \/not, found an object with nor/],
  ];
  for (const [expression, message] of wrong) {
    assert.throws(() => index.filter(expression as FilterExpression), {
      name: "TypeError",
      message,
    });
  }
  assert.throws(() => index.filter({ not: "b" }), { code: "unknown-filter" });
});
