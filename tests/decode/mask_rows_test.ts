/** Masks of rows that change from call to call: what an index remembers of them must never show. */

import assert from "node:assert/strict";
import { ConstraintIndex, createDecoder, type ItemFilter } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { maskLogits } from "../../src/decode/mask.ts";
import {
  loadedIndexOf,
  lookupsOf,
  openIn,
  releaseMemory,
} from "../../src/index/constraint_index.ts";
import { runs } from "../support/long.ts";
import { Random } from "../support/models.ts";
import { type OracleFilter, OracleSet } from "../support/oracle.ts";
import { rowSet, SHAPE_NAMES } from "../support/sets.ts";

/** A row, and what counts in it. */
interface Ruled {
  prefix: number[];
  filter: OracleFilter | undefined;
}

/** What a row keeps: the tokens that may follow, and the end tokens where it may end, or where nothing may follow. */
function keptBy(set: OracleSet, { prefix, filter }: Ruled, ends: readonly number[]): number[] {
  const node = set.find(prefix);
  const children = [...node?.children ?? []].filter(([, child]) =>
    !filter || filter.nodes.has(child)
  );
  const isWhole = node?.ordinal !== undefined && (!filter || filter.ordinals.has(node.ordinal));
  const isEnd = children.length === 0 || isWhole;
  return [...children.map(([token]) => token), ...isEnd ? ends : []];
}

/** Rows as a search loop may have them next: grown, branched off, in another order, shrunk, replaced, astray. */
function nextRows(rows: readonly number[][], set: OracleSet, random: Random): number[][] {
  const grown = (prefix: readonly number[]) => {
    const children = set.allowedTokens(prefix);
    return children.length > 0 ? [...prefix, random.pick(children)] : [...prefix];
  };
  const kind = random.below(8);
  if (kind < 3) return rows.map(grown);
  if (kind === 3) return rows.map(() => grown(random.pick(rows)));
  if (kind === 4) return random.shuffle(rows).slice(rows.length > 1 ? random.below(2) : 0);
  if (kind === 5) return rows.map((row) => row.slice(0, random.below(row.length + 1)));
  return rows.flatMap((row) => {
    const sequence = random.pick(set.sequences);
    const token = random.pick([random.below(set.vocabSize), set.vocabSize]);
    const spoilt = row.map((own, i) => i === random.below(row.length) ? token : own);
    const cut = sequence.slice(0, random.below(sequence.length + 1));
    return random.pick([[spoilt], [[...row, token]], [cut, row], [[]]]);
  });
}

/** Bit patterns, because -0 and NaN stay what they are. */
const bits = (values: Float32Array) => new Uint32Array(values.slice().buffer);

const arrays: ((tokens: number[]) => ArrayLike<number | bigint>)[] = [
  (tokens) => tokens,
  (tokens) => Uint32Array.from(tokens),
  (tokens) => tokens.map(BigInt),
  (tokens) => BigInt64Array.from(tokens, BigInt),
];

for (const shape of SHAPE_NAMES) {
  Deno.test(`Rows that change are masked as if each were new: ${shape}`, async () => {
    for (let seed = 0; seed < runs(6); seed++) {
      const { rows, vocabSize } = rowSet(shape, seed + 70);
      const random = new Random(seed);
      const set = new OracleSet(rows, vocabSize);
      using index = await buildIndex(rows, { vocabSize });
      const width = vocabSize + random.pick([2, 3, 40]);
      const shares = [2, 3, 10].map((of) => set.filter((ordinal) => ordinal % of === 0));
      const filters = shares.map(({ ordinals }) => index.filter(ordinals));
      let prefixes = Array.from({ length: random.between(1, 9) }, (): number[] => []);
      for (let call = 0; call < 40; call++) {
        const chosen = prefixes.map(() => random.below(9));
        const ends = random.pick([[], [vocabSize + 1], [width - 1, vocabSize]]);
        const logits = Float32Array.from(
          { length: prefixes.length * width },
          () => random.pick([1.5, -0, NaN, -3, Infinity, -Infinity]),
        );
        const expected = logits.slice().fill(-Infinity);
        prefixes.forEach((prefix, row) => {
          for (const token of keptBy(set, { prefix, filter: shares[chosen[row]] }, ends)) {
            expected[row * width + token] = logits[row * width + token];
          }
        });
        const asArray = random.pick(arrays);
        maskLogits(index, logits, prefixes.map((prefix) => asArray(prefix)), {
          endToken: ends,
          filter: prefixes.map((_, row): ItemFilter | undefined => filters[chosen[row]]),
        });
        assert.deepEqual(bits(logits), bits(expected), `seed ${seed}, call ${call}`);
        // Others use the same room in between.
        const some = random.pick(prefixes);
        assert.deepEqual([...index.allowedTokens(some)], set.allowedTokens(some));
        assert.equal(index.canEnd(some), set.canEnd(some));
        assert.deepEqual([...index.sequenceAt(0)], set.sequences[0]);
        prefixes = nextRows(prefixes, set, random).slice(0, 30);
      }
      filters.forEach((filter) => filter[Symbol.dispose]());
    }
  });
}

Deno.test("Exclusions that change from call to call count at once", async () => {
  const items = ["a", "b", "c", "d"];
  using index = await buildIndex([[0, 1], [0, 2], [3, 1], [3]], { vocabSize: 4, items });
  const set = new OracleSet([[0, 1], [0, 2], [3, 1], [3]], 4);
  // The last row of a call is as the first one of the next.
  const prefixes = [[0], [], [3], [3, 1], [2], [0]];
  for (let ordinal = 0; ordinal < 4; ordinal++) {
    const without = set.filter((other) => other !== ordinal);
    const ids = index.itemsAt(ordinal) as string[];
    for (
      const rules of [
        { exclude: prefixes.map(() => [ordinal]) },
        { excludeItems: prefixes.map(() => ids) },
      ]
    ) {
      const logits = new Float32Array(prefixes.length * 5).fill(1);
      maskLogits(index, logits, prefixes, { ...rules, endToken: 4 });
      prefixes.forEach((prefix, row) => {
        const kept = [0, 1, 2, 3, 4].filter((token) => logits[row * 5 + token] === 1);
        assert.deepEqual(kept, keptBy(set, { prefix, filter: without }, [4]), `${ordinal}, ${row}`);
      });
    }
  }
});

Deno.test("Many rows, wide rows, and rows with many tokens are masked in several goes", async () => {
  const vocabSize = 5000;
  const first = Array.from({ length: 3000 }, (_, i) => i + (i > 1500 ? 7 : 0));
  const sequences = first.flatMap((a) => a % 100 === 0 ? [[a, 1], [a, a + 1]] : [[a, a]]);
  const set = new OracleSet(sequences, vocabSize);
  using index = await buildIndex(sequences, { vocabSize });
  for (const width of [5000, 40_000, 70_001]) {
    const prefixes = [
      [],
      [],
      [100],
      [],
      [4999],
      [200, 1],
      [],
      [300],
      [],
      ...first.slice(0, 40).map((a) => [a]),
    ];
    const logits = Float32Array.from({ length: prefixes.length * width }, (_, i) => i % 1000);
    const expected = logits.slice().fill(-Infinity);
    prefixes.forEach((prefix, row) => {
      for (const token of keptBy(set, { prefix, filter: undefined }, [4998])) {
        expected[row * width + token] = logits[row * width + token];
      }
    });
    maskLogits(index, logits, prefixes, { endToken: 4998 });
    assert.ok(logits.every((logit, i) => logit === expected[i]), `width ${width}`);
  }
});

Deno.test("More rows than are remembered are masked as well", async () => {
  const long = Array.from({ length: 1024 }, (_, d) => d % 3);
  const sequences = [long, long.with(1023, 3), [...long.slice(0, 500), 3]];
  const set = new OracleSet(sequences, 4);
  using index = await buildIndex(sequences, { vocabSize: 4 });
  const lengths = Array.from({ length: 150 }, (_, row) => (row * 37) % 1025);
  for (const more of [0, 1, -1]) {
    const prefixes = lengths.map((length) => long.slice(0, Math.max(0, length + more)));
    const logits = new Float32Array(prefixes.length * 4).fill(1);
    maskLogits(index, logits, prefixes);
    prefixes.forEach((prefix, row) => {
      const kept = [0, 1, 2, 3].filter((token) => logits[row * 4 + token] === 1);
      assert.deepEqual(kept, set.allowedTokens(prefix), `row ${row}, ${prefix.length} tokens`);
    });
  }
});

Deno.test("A prefix that grows by a token is walked by one token, whatever its length", async () => {
  const long = Array.from({ length: 200 }, (_, d) => d % 7);
  using index = await buildIndex([long, long.with(199, 6)], { vocabSize: 7 });
  const lookups = lookupsOf(index);
  const tokens = () => [...lookups.words.subarray(lookups.firstToken, lookups.firstToken + 2)];
  // The room for the tokens of a prefix shows which of them were written there, and so walked.
  const room = lookups.words.subarray(lookups.firstToken - 200, lookups.firstToken);
  for (let length = 0; length < 200; length++) {
    room.fill(12345);
    lookups.begin();
    const count = lookups.nextTokens(3, long.slice(0, length), lookups.firstToken);
    const walked = [...room].filter((word) => word !== 12345).length;
    assert.equal(walked, Math.min(1, length), `${length} tokens`);
    const expected = length < 199 ? [long[length]] : [long[199], 6].sort();
    assert.deepEqual(tokens().slice(0, count), expected);
  }
});

Deno.test("An index in the memory of one before it knows nothing of its rows", async () => {
  const rows = (tokens: number[]) => tokens.map((token, i) => [i, token, (token + i) % 5]);
  using first = await buildIndex(rows([0, 1, 2, 3]), { vocabSize: 6 });
  using second = await buildIndex(rows([4, 3, 1, 0]), { vocabSize: 6 });
  const prefixes = [[0, 0], [1, 1], [2, 2], [3]];
  const old = await ConstraintIndex.open(first.toBytes());
  maskLogits(old, new Float32Array(24), prefixes);
  const memory = releaseMemory(old);
  assert.ok(memory);
  using index = await openIn(memory, second.toBytes(), {});
  const logits = new Float32Array(24).fill(1);
  maskLogits(index, logits, prefixes);
  prefixes.forEach((prefix, row) => {
    const kept = [0, 1, 2, 3, 4, 5].filter((token) => logits[row * 6 + token] === 1);
    assert.deepEqual(kept, [...second.allowedTokens(prefix)], `row ${row}`);
  });
  assert.throws(() => maskLogits(old, new Float32Array(24), prefixes), { code: "disposed" });
  assert.throws(() => old.allowedTokens([0]), { code: "disposed" });
  assert.throws(() => old.has([0]), { code: "disposed" });
});

Deno.test("Memory that grows between two calls is read where it is now", async () => {
  const sequences = Array.from({ length: 3000 }, (_, i) => [i % 50, Math.floor(i / 50), i % 7]);
  using index = await buildIndex(sequences, { vocabSize: 60 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const set = new OracleSet(sequences, 60);
  const filters: ItemFilter[] = [];
  const { memory } = loadedIndexOf(index).heap;
  for (let depth = 0; depth < 3; depth++) {
    const before = memory.buffer;
    while (filters.length < 200 * (depth + 1)) filters.push(index.filter([filters.length]));
    assert.notEqual(memory.buffer, before);
    const prefixes = sequences.slice(0, 4).map((sequence) => sequence.slice(0, depth));
    const logits = new Float32Array(4 * 60).fill(1);
    decoder.maskLogits(logits, prefixes);
    prefixes.forEach((prefix, row) => {
      const own = logits.subarray(row * 60, row * 60 + 60);
      const kept = Array.from(own, (_, token) => token).filter((token) => own[token] === 1);
      assert.deepEqual(kept, set.allowedTokens(prefix));
    });
    assert.ok(index.has(sequences[depth]));
  }
  filters.forEach((filter) => filter[Symbol.dispose]());
});
