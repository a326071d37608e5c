/** Sequences read one after the other, against those looked up one by one. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { ConstraintIndex } from "../../mod.ts";
import { BitCursor } from "../../src/index/bits/bit_cursor.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { edgeBatches } from "../../src/index/edge_reader.ts";
import { SequenceCursor } from "../../src/index/sequence_cursor.ts";
import { bitVectorWords } from "../../src/index/bits/sections.ts";
import { buildAs, STORINGS } from "../support/encodings.ts";
import { runs } from "../support/long.ts";
import { Random } from "../support/models.ts";
import { OracleSet } from "../support/oracle.ts";
import { rowSets } from "../support/sets.ts";

function assertRead(index: ConstraintIndex, set: OracleSet, random: Random): void {
  const cursor = new SequenceCursor(index);
  const read: number[][] = [];
  while (cursor.next()) {
    assert.equal(cursor.ordinal, read.length);
    read.push([...cursor.sequence()]);
  }
  assert.deepEqual(read, set.sequences);
  assert.equal(cursor.ordinal, index.size);
  assert.equal(cursor.next(), false);
  for (let i = 0; i < 20; i++) {
    const ordinal = random.below(index.size);
    assert.ok(cursor.seek(ordinal));
    assert.deepEqual([...cursor.sequence()], set.sequences[ordinal]);
  }
  for (const [d, level] of set.levels.entries()) {
    const parents = [...new Set(level.map(({ parent }) => parent))];
    const found = Array.from(
      edgeBatches(index, d),
      ({ first, tokens, rows }) => Array.from(tokens, (token, i) => [first + i, token, rows[i]]),
    ).flat();
    const expected = level.map(({ token, parent }, i) => [i, token, parents.indexOf(parent)]);
    assert.deepEqual(found, expected);
  }
}

Deno.test("A cursor reads all sequences in order, and finds any of them", async () => {
  await fc.assert(
    fc.asyncProperty(rowSets(), fc.nat(), async ({ rows, vocabSize }, seed) => {
      using index = await buildIndex(rows, { vocabSize });
      assertRead(index, new OracleSet(rows, vocabSize), new Random(seed));
    }),
    { seed: 1, numRuns: runs(60) },
  );
});

Deno.test("A cursor reads all sequences, however levels are stored", async () => {
  const storings = fc.array(fc.constantFrom(...STORINGS), { minLength: 1, maxLength: 4 });
  const sets = rowSets(["mixed", "boundary", "window", "tails"]);
  await fc.assert(
    fc.asyncProperty(sets, storings, fc.nat(), async ({ rows, vocabSize }, ways, seed) => {
      const set = new OracleSet(rows, vocabSize);
      using index = await buildAs(set.sequences, vocabSize, ...ways);
      assertRead(index, set, new Random(seed));
    }),
    { seed: 1, numRuns: runs(60) },
  );
});

Deno.test("A cursor reads more than one batch, with gaps that are far apart", async () => {
  const random = new Random(5);
  // Short sequences by the ten thousand; a long one here and there.
  const rows = Array.from({ length: 60_000 }, (_, i) => {
    const row = [i >> 8, i & 255];
    return i % 1999 === 0 ? [...row, random.below(256), i & 255] : row;
  });
  for (const storing of STORINGS) {
    using index = await buildAs(rows, 256, storing);
    const cursor = new SequenceCursor(index);
    let count = 0;
    while (cursor.next()) {
      if (count++ % 97 > 0 && cursor.length === 2) continue;
      assert.deepEqual(cursor.sequence(), index.sequenceAt(cursor.ordinal));
    }
    assert.equal(count, index.size);
  }
});

Deno.test("A cursor ends, whatever the bytes are", async () => {
  await fc.assert(
    fc.asyncProperty(rowSets(["mixed", "window"]), fc.nat(), async ({ rows, vocabSize }, seed) => {
      using built = await buildIndex(rows, { vocabSize });
      const bytes = built.toBytes();
      const random = new Random(seed);
      const header = bytes.length - dataLength(bytes);
      for (let i = 0; i < 20; i++) {
        bytes[header + random.below(bytes.length - header)] = random.below(256);
      }
      using index = await ConstraintIndex.open(bytes, { verify: false });
      const cursor = new SequenceCursor(index);
      let count = 0;
      while (cursor.next()) count++;
      assert.equal(count, index.size);
    }),
    { seed: 1, numRuns: runs(60) },
  );
});

const dataLength = (bytes: Uint8Array) =>
  bytes.length - 8 - new DataView(bytes.buffer).getUint32(0, true);

Deno.test("Ones and zeros are found by their numbers", () => {
  const random = new Random(3);
  for (const bits of [1, 31, 32, 33, 511, 512, 513, 5000]) {
    for (const share of [0, 1, 30, 99, 100]) {
      const flags = Array.from({ length: bits }, () => Number(random.below(100) < share));
      const [count] = bitVectorWords(bits, 0);
      const words = new Uint32Array(count);
      flags.forEach((flag, i) => words[i >> 5] |= flag << (i & 31));
      const ranks = Uint32Array.from(
        { length: Math.floor(bits / 512) + 1 },
        (_, block) => flags.slice(0, 512 * block).filter(Boolean).length,
      );
      for (const wanted of [0, 1] as const) {
        const places = flags.flatMap((flag, i) => flag === wanted ? [i] : []);
        for (const stride of [1, 3, 700]) {
          const vector = { words, ranks, selects: new Uint32Array(), bits, ones: 0 };
          const cursor = new BitCursor(vector, wanted);
          for (let k = 0; k < places.length; k += stride) {
            assert.equal(cursor.seek(k), places[k]);
            assert.equal(cursor.seek(k), places[k]);
          }
          assert.equal(cursor.seek(places.length), bits);
        }
      }
    }
  }
});
