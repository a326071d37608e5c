/** Masked logits against the oracle. */

import assert from "node:assert/strict";
import { createDecoder } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { runs } from "../support/long.ts";
import { Random } from "../support/models.ts";
import { OracleSet } from "../support/oracle.ts";
import { hugeVocabulary, rowSet, SHAPE_NAMES } from "../support/sets.ts";

/** What each row must look like afterwards. */
function masked(
  logits: Float32Array,
  prefixes: readonly ArrayLike<number>[],
  set: OracleSet,
  endToken?: number,
): Float32Array {
  const width = logits.length / prefixes.length;
  return logits.map((logit, i) => {
    const prefix = prefixes[Math.floor(i / width)];
    const token = i % width;
    const ends = !set.find(prefix) || set.canEnd(prefix);
    const allowed = token === endToken ? ends : set.allowedTokens(prefix).includes(token);
    return allowed ? logit : -Infinity;
  });
}

/** Stored sequences, cut, continued and spoilt. */
function somePrefixes(set: OracleSet, random: Random, count: number): number[][] {
  return Array.from({ length: count }, () => {
    const sequence = random.pick(set.sequences);
    const prefix = sequence.slice(0, random.below(sequence.length + 1));
    const kind = random.below(5);
    if (kind === 0) return [...prefix, random.below(set.vocabSize)];
    if (kind === 1) return sequence;
    if (kind === 2) return [...sequence, set.vocabSize];
    return prefix;
  });
}

/** Bit patterns, because -0 and NaN stay what they are. */
const bits = (values: Float32Array) => new Uint32Array(values.slice().buffer);

for (const shape of SHAPE_NAMES) {
  Deno.test(`Only tokens that may follow keep their logits: ${shape}`, async () => {
    for (let seed = 0; seed < runs(4); seed++) {
      const { rows, vocabSize } = rowSet(shape, seed + 30);
      const random = new Random(seed);
      const set = new OracleSet(rows, vocabSize);
      using index = await buildIndex(rows, { vocabSize });
      using decoder = await createDecoder(index, { backend: "wasm" });
      const used = new Set(rows.flat());
      for (const wider of [0, 1, 2, 3, 31, 64]) {
        const width = vocabSize + wider;
        const free = Array.from({ length: width }, (_, token) => token).filter((t) => !used.has(t));
        const prefixes = somePrefixes(set, random, random.between(1, 6));
        const logits = Float32Array.from(
          { length: prefixes.length * width },
          () => random.pick([1.5, -0, NaN, -3, Infinity, -Infinity]),
        );
        for (const endToken of [undefined, ...free.length ? [random.pick(free)] : []]) {
          const found = logits.slice();
          decoder.maskLogits(found, prefixes, { endToken });
          const expected = masked(logits, prefixes, set, endToken);
          assert.deepEqual(bits(found), bits(expected), `seed ${seed}, end token ${endToken}`);
        }
      }
    }
  });
}

Deno.test("A prefix outside the set masks its whole row but the end token", async () => {
  using index = await buildIndex([[0, 1], [2]], { vocabSize: 4 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const outside = [[1], [0, 0], [2, 3], [2, 2], [0, 1, 3], [-1], [0.5], [9]];
  for (const endToken of [undefined, 3]) {
    const logits = new Float32Array(outside.length * 5).fill(1);
    decoder.maskLogits(logits, outside, { endToken });
    outside.forEach((prefix, row) => {
      const expected = [0, 1, 2, 3, 4].map((token) => token === endToken ? 1 : -Infinity);
      assert.deepEqual([...logits.subarray(row * 5, row * 5 + 5)], expected, `${prefix}`);
    });
  }
});

Deno.test("Masks of a large vocabulary, prefixes as typed arrays", async () => {
  const { rows, vocabSize } = hugeVocabulary(2, 151_936);
  const set = new OracleSet(rows, vocabSize);
  using index = await buildIndex(rows, { vocabSize });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const prefixes = [new Uint32Array(0), Uint32Array.from(rows[0].slice(0, 1)), [1, 2, 3]];
  const logits = new Float32Array(3 * vocabSize).fill(0.25);
  decoder.maskLogits(logits, prefixes);
  prefixes.forEach((prefix, row) => {
    const own = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
    const kept: number[] = [];
    own.forEach((logit, token) => logit === 0.25 && kept.push(token));
    assert.deepEqual(kept, set.allowedTokens(prefix));
  });
});

Deno.test("Masking writes to the given view only", async () => {
  using index = await buildIndex([[0, 1], [2]], { vocabSize: 4 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const all = new Float32Array(4 + 8 + 4).fill(7);
  decoder.maskLogits(all.subarray(4, 12), [[], [0]]);
  assert.deepEqual([...all.subarray(0, 4), ...all.subarray(12)], new Array(8).fill(7));
  assert.deepEqual([...all.subarray(4, 12)], [
    ...[7, -Infinity, 7, -Infinity],
    ...[-Infinity, 7, -Infinity, -Infinity],
  ]);
});

Deno.test("Logits that are no whole rows of at least the vocabulary are a RangeError", async () => {
  using index = await buildIndex([[0, 1], [2]], { vocabSize: 4 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const wrong: [number, number][] = [[3, 1], [7, 2], [9, 2], [0, 1], [13, 3], [4, 2], [4, 0]];
  for (const [length, rows] of wrong) {
    const logits = new Float32Array(length).fill(1);
    const prefixes = new Array(rows).fill([]);
    assert.throws(() => decoder.maskLogits(logits, prefixes), RangeError, `${length}, ${rows}`);
    assert.ok(logits.every((logit) => logit === 1), "Nothing is masked then");
  }
});

Deno.test("An end token outside the row is a RangeError", async () => {
  using index = await buildIndex([[0, 1], [2]], { vocabSize: 4 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  for (const endToken of [-1, 5, 1.5, NaN]) {
    const logits = new Float32Array(5).fill(1);
    assert.throws(() => decoder.maskLogits(logits, [[]], { endToken }), RangeError, `${endToken}`);
  }
});
