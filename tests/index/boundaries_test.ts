/** Every edge of a lane, word, block, chunk and buffer, one less and one more. */

import assert from "node:assert/strict";
import { ConstraintIndex, createDecoder } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { type LevelShape, planSections } from "../../src/index/format/layout.ts";
import { verifyStructure } from "../../src/index/verify.ts";
import type { BeamSearchOptions } from "../../src/decode/types.ts";
import { WasmHeap } from "../../src/wasm/heap.ts";
import { assertClose, assertLayout, assertSame } from "../support/compare.ts";
import { buildAs, type Storing, STORINGS } from "../support/encodings.ts";
import { assertConsistent } from "../support/interrogate.ts";
import { runs } from "../support/long.ts";
import { type Delivery, modelOf, Random, RULES } from "../support/models.ts";
import { oracleSearch, OracleSet } from "../support/oracle.ts";

const around = (...sizes: number[]) => sizes.flatMap((size) => [size - 1, size, size + 1]);

/** Searches an index and the oracle, and holds one against the other. */
async function assertSearch(
  index: ConstraintIndex,
  set: OracleSet,
  options: BeamSearchOptions,
  rule: keyof typeof RULES,
  seed: number,
  delivery: Delivery,
): Promise<void> {
  const expected = await oracleSearch(set, modelOf(RULES[rule], seed, delivery), options);
  using decoder = await createDecoder(index, { backend: "wasm" });
  const result = await decoder.beamSearch(modelOf(RULES[rule], seed, delivery), options);
  assertLayout(result, set, options);
  if (rule === "coarse" || rule === "equal") assertSame(result, expected);
  else assertClose(result, expected);
}

const WIDTHS = [1, 2, 3, 4, 5, 6, 7, 8, 31, 32, 33, 63, 64, 65, 127, 128, 129];

for (const storing of STORINGS) {
  Deno.test(`Rows of every width, ${storing}: searches agree with the oracle`, async () => {
    for (const width of WIDTHS) {
      const random = new Random(width);
      const vocabSize = Math.max(2, width);
      // Tokens 0 and width - 1 are there, so that the window has the width as well.
      const rows = [[0, width - 1], [width - 1, 0], [width - 1, width - 1]];
      for (let i = 0; i < 2 * width; i++) rows.push([random.below(width), random.below(width)]);
      const set = new OracleSet(rows, vocabSize);
      using index = await buildAs(rows, vocabSize, storing);
      assertConsistent(index);
      for (const wider of [0, 1, 2, 3]) {
        for (const delivery of ["out", "own", "half", "bits"] as const) {
          const options: BeamSearchOptions & { vocabSize: number } = {
            vocabSize: vocabSize + wider,
            // Rows of logits start at odd addresses from the second batch row on.
            batchSize: 2,
            beamSize: random.pick([1, 3, 7]),
            normalize: random.pick(["vocab", "allowed"]),
          };
          await assertSearch(index, set, options, "smooth", width, delivery);
          const exact = { ...options, normalize: "none" as const };
          await assertSearch(index, set, exact, "coarse", width, delivery);
        }
      }
    }
  });
}

/** Asserts that the index answers as the set does, for every sequence and every prefix. */
function assertLookups(index: ConstraintIndex, set: OracleSet): void {
  assert.equal(index.size, set.size);
  for (let ordinal = 0; ordinal < set.size; ordinal++) {
    const sequence = set.sequenceAt(ordinal);
    assert.deepEqual([...index.sequenceAt(ordinal)], sequence);
    assert.equal(index.ordinalOf(sequence), ordinal);
  }
  for (const node of [set.root, ...set.levels.flat()]) {
    const prefix: number[] = [];
    for (let at = node; at.parent; at = at.parent) prefix.unshift(at.token);
    assert.deepEqual([...index.allowedTokens(prefix)], [...node.children.keys()]);
    assert.equal(index.ordinalOf(prefix), node.ordinal);
  }
}

/** Rows whose last level has `edges` edges in `states` rows. */
function fanned(edges: number, states: number): number[][] {
  const base = Math.floor(edges / states);
  return Array.from({ length: states }, (_, state) => {
    const count = base + (state < edges % states ? 1 : 0);
    return Array.from({ length: count }, (_, i) => [state, (i * 3 + state) % 4001]);
  }).flat();
}

const EDGES = around(32, 64, 96, 512, 1024, 1536);

for (const storing of ["bitmap", "list", "bits"] as const) {
  Deno.test(`Levels of so many edges that words and blocks are full: ${storing}`, async () => {
    for (const edges of EDGES) {
      // Ones of `starts` and zeros fill blocks as well.
      for (const states of new Set([1, 31, 32, 33, 511, 512, 513, edges - 1, edges])) {
        if (states > edges || storing === "bitmap" && states * 128 > 70_000) continue;
        const rows = fanned(edges, states);
        using index = await buildAs(rows, 4096, "bits", storing);
        assert.equal(index.levels[1].edges, edges);
        assert.equal(index.levels[1].states, states);
        verifyStructure(loadedIndexOf(index));
        assertLookups(index, new OracleSet(rows, 4096));
      }
    }
  });
}

Deno.test("Levels on which so many edges go on, or end, that blocks are full", async () => {
  const kinds: Storing[][] = [["bits"], ["list"], ["bitmap"]];
  for (const edges of around(32, 512, 1024)) {
    for (const inner of new Set([1, 31, 32, 511, 512, edges - 512, edges - 1, edges])) {
      if (inner < 1 || inner > edges) continue;
      for (const both of new Set([0, 1, 512, inner])) {
        if (both > inner) continue;
        // Edges that go on, and those that end as well, lie scattered.
        const order = new Random(edges + inner).shuffle([...Array(edges).keys()]);
        const heads = order.map((edge) => [edge & 31, edge >> 5]);
        const rows = heads.flatMap((head, i) =>
          i >= inner ? [head] : i < both ? [head, [...head, 7]] : [[...head, 7]]
        );
        const set = new OracleSet(rows, 64);
        using index = await buildAs(rows, 64, ...kinds[(inner + both) % kinds.length]);
        assert.equal(index.levels[1].edges, edges);
        assert.equal(index.levels[1].ends, edges - inner + both);
        assert.equal(index.levels[2].states, inner);
        verifyStructure(loadedIndexOf(index));
        assertLookups(index, set);
      }
    }
  }
});

Deno.test("Tokens of every width", async () => {
  for (let bits = 0; bits <= 20; bits++) {
    for (const least of [0, 1, 2 ** 20 - 2 ** bits].filter((from) => from + 2 ** bits <= 2 ** 20)) {
      const random = new Random(bits);
      const last = least + 2 ** bits - 1;
      const rows = [[least], [last]];
      for (let i = 0; i < 100; i++) rows.push([least + random.below(2 ** bits)]);
      const pairs = rows.map(([token], i) => [token, rows[rows.length - 1 - i][0]]);
      for (const storing of ["list", "bits"] as const) {
        for (const set of [new OracleSet(rows, 2 ** 20), new OracleSet(pairs, 2 ** 20)]) {
          using index = await buildAs(set.sequences, 2 ** 20, storing);
          assert.ok(index.levels.every(({ tokenBits }) => tokenBits === bits));
          assertLookups(index, set);
        }
      }
    }
  }
});

Deno.test("As many candidates as fit the buffer, fewer, and more", async () => {
  for (const beamSize of [1, 2, 63, 64, 65, 1023, 1024]) {
    const capacity = 2 * beamSize + 64;
    // The buffer is full for the second time after `capacity - beamSize` more.
    const sizes = [beamSize, capacity, 2 * capacity - beamSize, 3 * capacity - 2 * beamSize];
    for (const count of around(...sizes)) {
      if (count < 1) continue;
      const storing: Storing = count % 2 ? "bitmap" : "bits";
      const rows = Array.from({ length: count }, (_, token) => [token]);
      const vocabSize = Math.max(2, count);
      const set = new OracleSet(rows, vocabSize);
      using index = await buildAs(rows, vocabSize, storing);
      using decoder = await createDecoder(index, { backend: "wasm" });
      const random = new Random(count);
      const orders: ((token: number) => number)[] = [
        (token) => token / 16, // Each beats the bar.
        (token) => -token / 16,
        () => random.below(64) / 16 - 2,
        () => -0.5,
      ];
      for (const order of orders) {
        const logits = Float32Array.from({ length: vocabSize }, (_, token) => order(token));
        const cut = random.below(3) === 0 ? Math.max(1, beamSize - 1) : undefined;
        const options = { beamSize, normalize: "none" as const, tokensPerBeam: cut };
        const expected = await oracleSearch(set, () => logits, options);
        assertSame(await decoder.beamSearch(() => logits, options), expected);
      }
    }
  }
});

Deno.test("Several rows share the candidates' buffer, and each its own for a cut", async () => {
  for (const beamSize of [2, 63, 64, 65]) {
    for (const width of around(2 * beamSize + 64)) {
      const rows = Array.from({ length: 3 * width }, (_, i) => [i % 3, Math.floor(i / 3)]);
      const set = new OracleSet(rows, width);
      using index = await buildAs(rows, width, width % 2 ? "bitmap" : "list");
      for (const tokensPerBeam of [undefined, 1, beamSize - 1]) {
        for (const rule of ["coarse", "equal"] as const) {
          const options = { beamSize, vocabSize: width, normalize: "none" as const, tokensPerBeam };
          await assertSearch(index, set, options, rule, width, "own");
        }
      }
    }
  }
});

/** Rows [i, token] whose index takes exactly so many bytes of data. */
function rowsFilling(byteLength: number): { data: Uint32Array; rows: number; length: number } {
  const shared = { states: 1, maxBranch: 1, tokenMin: 0, inner: false, end: false, ends: 0 };
  const tokenCount = 2 ** 20;
  for (let rows = 300_000;; rows += 50) {
    const levels: LevelShape[] = [
      { ...shared, edges: rows, encoding: "bitmap", starts: "bits", tokenCount },
      { ...shared, edges: rows, states: rows, encoding: "packed", starts: "one", tokenCount },
    ];
    const { byteLength: found } = planSections(levels);
    assert.ok(found <= byteLength, `No number of rows takes ${byteLength} bytes`);
    if (found < byteLength) continue;
    const data = new Uint32Array(2 * rows);
    for (let row = 0; row < rows; row++) {
      data[2 * row] = row === rows - 1 ? tokenCount - 1 : 2 * row;
      data[2 * row + 1] = (row * 0x9e3779b1 >>> 12) % tokenCount;
    }
    data[1] = 0;
    data[3] = tokenCount - 1;
    return { data, rows, length: 2 };
  }
}

Deno.test("Data that fills a chunk of the digests, but for one section's alignment", async () => {
  for (const size of [2 ** 20 - 256, 2 ** 20, 2 ** 20 + 256]) {
    const matrix = rowsFilling(size);
    using index = await buildIndex(matrix, { vocabSize: 2 ** 20, sorted: true });
    const { header } = loadedIndexOf(index);
    assert.equal(header.dataByteLength, size);
    assert.equal(header.chunkDigests.length, size > 2 ** 20 ? 2 : 1);
    const bytes = index.toBytes();
    using opened = await ConstraintIndex.open(bytes, { verify: true });
    assert.deepEqual([...opened.sequenceAt(5)], [...matrix.data.subarray(10, 12)]);
    // The last byte belongs to the last digest.
    bytes[bytes.length - 1] ^= 1;
    await assert.rejects(ConstraintIndex.open(bytes), { code: "chunk-digest" });
    await assert.rejects(ConstraintIndex.open(bytes.subarray(0, -1)), { code: "truncated" });
  }
});

Deno.test("Half-precision numbers widen as Float16Array reads them", async () => {
  const heap = await WasmHeap.create(2 ** 20);
  const source = heap.allocate(2 ** 17 + 64);
  const target = heap.allocate(2 ** 18 + 64);
  const assertWidened = (bits: Uint16Array<ArrayBuffer>, offset: number) => {
    heap.u8(source + offset, bits.byteLength).set(new Uint8Array(bits.buffer));
    heap.exports.widen(source + offset, target, bits.length);
    const wanted = new Float16Array(bits.buffer);
    heap.f32(target, bits.length).forEach((value, i) => {
      if (!Object.is(value, wanted[i])) {
        assert.fail(`0x${bits[i].toString(16)}: ${value}, wanted ${wanted[i]}`);
      }
    });
  };
  assertWidened(Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits), 0);
  const random = new Random(1);
  for (let n = 1; n <= 33; n++) {
    for (const offset of [0, 1, 2, 6, 15]) {
      assertWidened(Uint16Array.from({ length: n }, () => random.below(2 ** 16)), offset);
    }
  }
});

/** The same in double precision. */
function logSumExp(values: Float32Array): number {
  const numbers = values.filter((value) => !Number.isNaN(value));
  const largest = numbers.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!Number.isFinite(largest)) return largest;
  return largest + Math.log(numbers.reduce((sum, x) => sum + Math.exp(x - largest), 0));
}

Deno.test("Log-sum-exp is that of double precision, whatever the length", async (t) => {
  const heap = await WasmHeap.create(2 ** 20);
  const { table, sumBlocks, sumBlocksSlot } = heap.exports;
  if (table.get(sumBlocksSlot()) === sumBlocks) {
    // Processors are known on Linux only, and only where a test may read them.
    const processor = await Deno.readTextFile("/proc/cpuinfo").catch(() => "");
    assert.ok(!/^flags.* fma /m.test(processor), "This processor has fused multiply-add");
    console.log("No test of fused multiply-add: this engine or its processor has none");
  } else {
    await t.step("fused multiply-add", () => checkLogSumExp(heap));
    table.set(sumBlocksSlot(), sumBlocks);
  }
  await t.step("without", () => checkLogSumExp(heap));
});

function checkLogSumExp(heap: WasmHeap): void {
  const place = heap.allocate(2 ** 19);
  const random = new Random(2);
  const unit = () => random.uint32() / 2 ** 31 - 1;
  const lengths = Array.from({ length: 130 }, (_, i) => i + 1);
  // Sums are taken in parts of 8192 logits.
  for (const n of [...lengths, ...around(1024, 8192, 16384), 100_003]) {
    for (let i = 0; i < (n > 1000 ? 4 : runs(20)); i++) {
      const scale = random.pick([0, 1e-30, 1e-3, 1, 8, 90, 1e4]);
      const shift = random.pick([0, 0, 100, -2047, 2047, -1e4, 1e4]);
      const holes = random.pick([0, 0, 3, 90]);
      const values = Float32Array.from(
        { length: n },
        () => random.below(100) < holes ? random.pick([-Infinity, NaN]) : scale * unit() + shift,
      );
      const offset = random.pick([0, 4, 8, 12]);
      // What lies behind the row must not count.
      heap.f32(place, 2 ** 17).fill(1e5);
      heap.f32(place + offset, n).set(values);
      const wanted = logSumExp(values);
      const found = heap.exports.logSumExp(place + offset, n);
      const limit = 2e-6 * Math.max(1, Math.abs(wanted));
      assert.ok(
        found === wanted || Math.abs(found - wanted) <= limit,
        `${n} logits of about ${scale} + ${shift}: ${found}, wanted ${wanted}`,
      );
    }
  }
  for (let n = 1; n <= 70; n++) {
    const row = heap.f32(place, n).fill(-Infinity);
    assert.equal(heap.exports.logSumExp(place, n), -Infinity);
    row[n - 1] = NaN;
    assert.equal(heap.exports.logSumExp(place, n), -Infinity);
    row[random.below(n)] = Infinity;
    assert.equal(heap.exports.logSumExp(place, n), Infinity);
  }
}
