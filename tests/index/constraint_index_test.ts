/** The index against the oracle: what is built, stored and opened answers as the plain set does. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { ConstraintIndex, EspalierError } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { runs } from "../support/long.ts";
import { Random } from "../support/models.ts";
import { OracleSet } from "../support/oracle.ts";
import {
  equallyLong,
  flatten,
  hugeVocabulary,
  rowSet,
  SHAPE_NAMES,
  smallSets,
} from "../support/sets.ts";

/** Prefixes worth asking for: of every length where sequences are short, some where they are long. */
function prefixesOf(sequence: readonly number[], random: Random): number[][] {
  const lengths = sequence.length <= 12
    ? [...sequence.keys(), sequence.length]
    : [0, 1, sequence.length - 1, sequence.length, random.below(sequence.length)];
  return lengths.map((length) => sequence.slice(0, length));
}

/** Sequences that are nearly, or really, in the set: cut, longer, one token changed. */
function nearMisses(sequence: readonly number[], vocabSize: number, random: Random): number[][] {
  const at = random.below(sequence.length);
  return [
    sequence.slice(0, -1),
    [...sequence, random.below(vocabSize)],
    sequence.with(at, (sequence[at] + 1) % vocabSize),
    sequence.with(at, (sequence[at] + vocabSize - 1) % vocabSize),
    sequence.with(at, random.below(vocabSize)),
  ];
}

/** Asks everything, for at most `most` sequences. */
function assertAnswers(index: ConstraintIndex, set: OracleSet, seed = 0, most = 60): void {
  const random = new Random(seed);
  assert.equal(index.size, set.size);
  assert.equal(index.vocabSize, set.vocabSize);
  assert.equal(index.maxLength, set.maxLength);

  const ask = (sequence: number[]) => {
    assert.equal(index.has(sequence), set.has(sequence), `has(${sequence})`);
    assert.equal(index.ordinalOf(sequence), set.ordinalOf(sequence), `ordinalOf(${sequence})`);
    assert.equal(index.canEnd(sequence), set.canEnd(sequence), `canEnd(${sequence})`);
    const tokens = index.allowedTokens(sequence);
    assert.ok(tokens instanceof Uint32Array);
    assert.deepEqual([...tokens], set.allowedTokens(sequence), `allowedTokens(${sequence})`);
  };
  ask([]);
  const step = Math.max(1, Math.floor(set.size / most));
  for (let ordinal = 0; ordinal < set.size; ordinal += step) {
    const sequence = set.sequenceAt(ordinal);
    const found = index.sequenceAt(ordinal);
    assert.ok(found instanceof Uint32Array);
    assert.deepEqual([...found], sequence, `sequenceAt(${ordinal})`);
    prefixesOf(sequence, random).forEach(ask);
    nearMisses(sequence, set.vocabSize, random).forEach(ask);
  }
  assert.deepEqual([...index.sequenceAt(set.size - 1)], set.sequenceAt(set.size - 1));
}

function assertLevels(index: ConstraintIndex, set: OracleSet): void {
  assert.equal(index.levels.length, set.maxLength);
  index.levels.forEach((level, d) => {
    const edges = set.levels[d];
    const states = d === 0
      ? [set.root]
      : set.levels[d - 1].filter(({ children }) => children.size > 0);
    const tokens = edges.map(({ token }) => token).sort((a, b) => a - b);
    const range = tokens[tokens.length - 1] - tokens[0] + 1;
    assert.equal(level.edges, edges.length, `edges of level ${d}`);
    assert.equal(level.states, states.length, `states of level ${d}`);
    const branches = states.map(({ children }) => children.size).sort((a, b) => b - a);
    assert.equal(level.maxBranch, branches[0], `maxBranch of level ${d}`);
    assert.equal(level.tokenMin, tokens[0], `tokenMin of level ${d}`);
    assert.equal(level.tokenBits, Math.ceil(Math.log2(range)), `tokenBits of level ${d}`);
  });
  const stored = index.levels.reduce((sum, { byteLength }) => sum + byteLength, 0);
  assert.ok(stored < index.byteLength, "Levels are smaller than the file, which has a header");
}

/** Builds, stores, opens, and asks at both ends. */
async function assertRoundTrip(rows: number[][], vocabSize: number, seed: number): Promise<void> {
  const set = new OracleSet(rows, vocabSize);
  let reported: Uint32Array | undefined;
  using index = await buildIndex(rows, {
    vocabSize,
    reportOrdinals: (ordinals) => {
      assert.equal(reported, undefined, "reportOrdinals is called once");
      reported = ordinals.slice();
    },
  });
  assertAnswers(index, set, seed);
  assertLevels(index, set);
  assert.deepEqual(reported, Uint32Array.from(rows, (row) => set.ordinalOf(row)!));

  const bytes = index.toBytes();
  assert.equal(bytes.length, index.byteLength);
  assert.match(index.digest, /^[0-9a-f]{64}$/);
  assert.deepEqual(new Uint8Array(await new Response(index.toStream()).arrayBuffer()), bytes);
  using opened = await ConstraintIndex.open(bytes);
  await opened.ready;
  assert.equal(opened.digest, index.digest);
  assert.deepEqual(opened.levels, index.levels);
  assertAnswers(opened, set, seed + 1);
  assert.deepEqual(opened.toBytes(), bytes);
}

for (const shape of SHAPE_NAMES) {
  Deno.test(`A built and an opened index answer as the set does: ${shape}`, async () => {
    for (let seed = 0; seed < runs(8); seed++) {
      const { rows, vocabSize } = rowSet(shape, seed);
      await assertRoundTrip(rows, vocabSize, seed);
    }
  });
}

Deno.test("A built and an opened index answer as the set does: many sequences", async () => {
  const random = new Random(5);
  const sets: [number, number, () => number][] = [
    [40_000, 2048, () => 4],
    [30_000, 300, () => random.between(1, 5)],
    [20_000, 16, () => 4],
    [20_000, 100_000, () => random.between(2, 3)],
  ];
  for (const [count, vocabSize, length] of sets) {
    const rows = Array.from(
      { length: count },
      () => Array.from({ length: length() }, () => random.below(vocabSize)),
    );
    await assertRoundTrip(rows, vocabSize, count);
  }
});

Deno.test("A built and an opened index answer as the set does: small sets", async () => {
  await fc.assert(
    fc.asyncProperty(smallSets, fc.nat(), async ({ rows, vocabSize }, seed) => {
      await assertRoundTrip(rows, vocabSize, seed);
    }),
    { seed: 1, numRuns: runs(150) },
  );
});

for (const vocabSize of [2, 3, 65535, 65536, 65537, 2 ** 20 - 1, 2 ** 20]) {
  Deno.test(`A built and an opened index answer as the set does: ${vocabSize} tokens`, async () => {
    await assertRoundTrip(hugeVocabulary(vocabSize, vocabSize).rows, vocabSize, vocabSize);
  });
}

Deno.test("Every kind of input gives the same index and the ordinal of every row", async () => {
  for (let seed = 0; seed < runs(6); seed++) {
    for (const shape of ["fixed", "nearlyDense", "mixed", "boundary", "tails"] as const) {
      const { rows, vocabSize } = rowSet(shape, seed);
      const set = new OracleSet(rows, vocabSize);
      const sorted = rows.toSorted((a, b) => {
        const differs = a.findIndex((token, i) => token !== b[i]);
        return differs < 0 || differs >= b.length ? a.length - b.length : a[differs] - b[differs];
      });
      const typed = vocabSize <= 256 ? Uint8Array : Uint16Array;
      const inputs: [string, number[][], Parameters<typeof buildIndex>[0], boolean][] = [
        ["array", rows, rows, false],
        ["sorted array", sorted, sorted, true],
        ["typed rows", rows, rows.map((row) => typed.from(row)), false],
        ["generator", rows, rows.values(), false],
        ["async generator", rows, asyncRows(rows), false],
        ["sorted async generator", sorted, asyncRows(sorted), true],
      ];
      if (equallyLong(rows)) {
        const { data, ...sizes } = flatten(rows);
        for (const kind of [Uint8Array, Uint16Array, Uint32Array, Int32Array]) {
          if (kind === Uint8Array && vocabSize > 256) continue;
          inputs.push([kind.name, rows, { data: kind.from(data), ...sizes }, false]);
        }
        inputs.push(["sorted matrix", sorted, flatten(sorted), true]);
      }
      let digest: string | undefined;
      for (const [name, order, input, isSorted] of inputs) {
        let ordinals: Uint32Array | undefined;
        const reportOrdinals = (found: Uint32Array) => ordinals = found.slice();
        using index = await buildIndex(input, { vocabSize, sorted: isSorted, reportOrdinals });
        assert.deepEqual(
          ordinals,
          Uint32Array.from(order, (row) => set.ordinalOf(row)!),
          `${name}, ${shape}, seed ${seed}`,
        );
        assert.equal(index.digest, digest ??= index.digest, `${name}, ${shape}, seed ${seed}`);
      }
    }
  }
});

async function* asyncRows(rows: readonly number[][]): AsyncGenerator<number[]> {
  for (const row of rows) {
    await Promise.resolve();
    yield row;
  }
}

Deno.test("A matrix may be a view into a larger buffer, and stays as it was", async () => {
  const buffer = Uint16Array.of(9, 9, 3, 1, 0, 2, 3, 1, 9);
  const before = buffer.slice();
  const matrix = { data: buffer.subarray(2, 8), rows: 3, length: 2 };
  using index = await buildIndex(matrix, { vocabSize: 4 });
  assert.deepEqual(Array.from({ length: index.size }, (_, i) => [...index.sequenceAt(i)]), [
    [0, 2],
    [3, 1],
  ]);
  assert.deepEqual(buffer, before);
});

Deno.test("Sets that differ have digests that differ", async () => {
  const digests = new Set<string>();
  const all: [number[][], number][] = [[[[0]], 2], [[[1]], 2], [[[0]], 3], [[[0], [1]], 2]];
  for (const [rows, vocabSize] of [...all, [[[0, 1]], 2], [[[0], [0, 1]], 2]] as typeof all) {
    using index = await buildIndex(rows, { vocabSize });
    digests.add(index.digest);
  }
  assert.equal(digests.size, 6);
});

Deno.test("What cannot be a token is refused, not an error", async () => {
  using index = await buildIndex([[0], [1, 2], [1, 3]], { vocabSize: 5 });
  for (
    const bad of [-1, 0.5, NaN, Infinity, -Infinity, 5, 2 ** 20, 2 ** 32, 2 ** 32 + 1, -(2 ** 32)]
  ) {
    for (const sequence of [[bad], [1, bad], [bad, 2], [1, 2, bad]]) {
      assert.equal(index.has(sequence), false, `has(${sequence})`);
      assert.equal(index.ordinalOf(sequence), undefined);
      assert.equal(index.canEnd(sequence), false);
      assert.deepEqual([...index.allowedTokens(sequence)], [], `allowedTokens(${sequence})`);
    }
  }
  assert.equal(index.has(new Array(5000).fill(1)), false);
  assert.equal(index.has(Uint8Array.of(1, 3)), true);
  assert.equal(index.has(Int32Array.of(1, -3)), false);
});

Deno.test("Ordinals out of range are a RangeError", async () => {
  using index = await buildIndex([[0], [1, 2], [1, 3]], { vocabSize: 4 });
  for (const ordinal of [-1, 3, 0.5, NaN, Infinity, 2 ** 32, 0xffffffff]) {
    assert.throws(() => index.sequenceAt(ordinal), RangeError, `${ordinal}`);
  }
});

Deno.test("A disposed index says so", async () => {
  const index = await buildIndex([[0], [1, 2]], { vocabSize: 4 });
  index[Symbol.dispose]();
  index[Symbol.dispose]();
  const disposed = (error: unknown) => error instanceof EspalierError && error.code === "disposed";
  assert.throws(() => index.has([0]), disposed);
  assert.throws(() => index.ordinalOf([0]), disposed);
  assert.throws(() => index.sequenceAt(0), disposed);
  assert.throws(() => index.allowedTokens([]), disposed);
  assert.throws(() => index.canEnd([]), disposed);
  assert.throws(() => index.toBytes(), disposed);
});
