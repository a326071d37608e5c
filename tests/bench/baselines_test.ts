/** The methods that the benches compare: the exact ones agree with the oracle and with ours, the others err as they should. */

import assert from "node:assert/strict";
import { espalier } from "../../bench/baselines/espalier.ts";
import { flatTrie } from "../../bench/baselines/flat_trie.ts";
import { hashBitmap } from "../../bench/baselines/hash_bitmap.ts";
import { mapTrie } from "../../bench/baselines/map_trie.ts";
import type { Method, MethodShape, SequenceSet } from "../../bench/baselines/method.ts";
import { checkFits } from "../../bench/baselines/module.ts";
import { npmTrie } from "../../bench/baselines/npm_trie.ts";
import { ppv } from "../../bench/baselines/ppv.ts";
import { publishedCsr } from "../../bench/baselines/published_csr.ts";
import { branchSet, randomSet } from "../../bench/baselines/random_set.ts";
import { countOutside, hasPrefix } from "../../bench/baselines/set.ts";
import { LimitError } from "../../src/errors.ts";
import { TOLERANCE } from "../support/compare.ts";
import type { RuleName } from "../support/models.ts";
import {
  NONE,
  type OracleBeam,
  type OracleCandidate,
  OracleSet,
  oracleStep,
  prefixOf,
} from "../support/oracle.ts";
import { assertSame, type Beams, logitsOf, run } from "../support/methods.ts";

/** Sets by what is special about them. */
const SETS: Record<string, SequenceSet> = {
  "one level": randomSet(200, { length: 1, vocabSize: 300 }),
  "one sequence": randomSet(1, { length: 8, vocabSize: 33 }),
  "one token": randomSet(1, { length: 1, vocabSize: 2 }),
  "dense, two levels": randomSet(37 ** 2, { length: 2, vocabSize: 37 }),
  "dense, binary": randomSet(256, { length: 8, vocabSize: 2 }),
  "nearly dense": randomSet(900, { length: 3, vocabSize: 10 }),
  "shared prefixes": randomSet(2000, { length: 6, vocabSize: 5 }),
  "random": randomSet(3000, { length: 8, vocabSize: 300 }),
  "a multiple of 32": randomSet(500, { length: 4, vocabSize: 64 }),
  "no branches": branchSet(60, { length: 5, vocabSize: 101, branch: 1 }),
  "wide branches": branchSet(2000, { length: 3, vocabSize: 130, branch: 40 }),
  "tokens of 32 bits": randomSet(300, { length: 2, vocabSize: 70_000 }),
};

/** The exact methods besides ours. */
const EXACT: ((set: SequenceSet) => Promise<Method>)[] = [
  (set) => publishedCsr(set, { dense: 1 }),
  (set) => publishedCsr(set, { dense: 2 }),
  flatTrie,
  mapTrie,
  npmTrie,
  ppv,
];

/** The oracle's log-probabilities of a row; -infinity for what is not among the `cut` highest. */
function logProbabilities(row: Float32Array, cut: number): number[] {
  const logits = Array.from(row, (x) => Number.isNaN(x) ? -Infinity : x);
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = logits.reduce((total, x) => total + Math.exp(x - largest), 0);
  const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b);
  const kept = new Set(order.slice(0, cut));
  return logits.map((x, token) =>
    kept.has(token) && x > -Infinity ? x - largest - Math.log(sum) : -Infinity
  );
}

/** The oracle's beams [B] after every step, until a choice is too close for float32. */
function oracle(
  set: SequenceSet,
  { batchSize, beamSize }: MethodShape,
  logits: Float32Array[],
  cut = Infinity,
): OracleCandidate[][][] {
  const { data, rows, length, vocabSize } = set;
  const sequences = Array.from(
    { length: rows },
    (_, i) => data.subarray(i * length, (i + 1) * length),
  );
  const { root } = new OracleSet(sequences, vocabSize);
  let beams: OracleBeam[][] = Array.from({ length: batchSize }, () => [
    { node: root, score: 0, ended: false },
  ]);
  const steps: OracleCandidate[][][] = [];
  for (let step = 0; step < logits.length; step++) {
    const perBatch = step === 0 ? 1 : beamSize;
    let gap = Infinity;
    const chosen = beams.map((own, b) => {
      const candidates = oracleStep(
        own,
        own.map((_, beam) => {
          const at = (b * perBatch + beam) * vocabSize;
          return logProbabilities(logits[step].subarray(at, at + vocabSize), cut);
        }),
        { normalize: "none" },
      );
      for (let i = 1; i < Math.min(candidates.length, beamSize + 1); i++) {
        gap = Math.min(gap, candidates[i - 1].score - candidates[i].score);
      }
      return candidates.slice(0, beamSize);
    });
    if (gap < TOLERANCE * 10) break;
    steps.push(chosen);
    beams = chosen.map((own) => own.map((beam) => ({ ...beam, ended: false })));
  }
  return steps;
}

/** The beams of a step as the contract lays them out. */
function laidOut(chosen: OracleCandidate[][], beamSize: number, steps: number): Beams {
  const slots = chosen.flatMap((own) => Array.from({ length: beamSize }, (_, i) => own[i]));
  return {
    sequences: Uint32Array.from(
      slots.flatMap((beam) => beam ? prefixOf(beam.node) : new Array<number>(steps).fill(NONE)),
    ),
    scores: Float32Array.from(slots, (beam) => beam?.score ?? -Infinity),
    counts: Uint32Array.from(chosen, (own) => own.length),
  };
}

for (const [name, set] of Object.entries(SETS)) {
  Deno.test(`exact methods: ${name}`, async () => {
    using ours = await espalier(set);
    const methods: Method[] = [];
    for (const make of EXACT) {
      // Its tokens are UTF-16 code units.
      if (make === npmTrie && set.vocabSize > 65536) continue;
      // 4·V² bytes.
      if (methods.length === 1 && set.vocabSize > 32767) continue;
      methods.push(await make(set));
    }
    const isHuge = set.vocabSize > 1000;
    for (const batchSize of [1, 3]) {
      for (const beamSize of isHuge ? [7] : [1, 7, 70]) {
        const shape = { batchSize, beamSize };
        const rules: RuleName[] = isHuge
          ? ["smooth"]
          : ["smooth", "barren", "coarseHoles", "equal"];
        for (const rule of rules) {
          const logits = Array.from(
            { length: set.length },
            (_, d) => logitsOf(set, shape, d, rule),
          );
          const expected = run(ours, shape, logits);
          const what = `B = ${batchSize}, M = ${beamSize}, ${rule} logits`;
          if (rule === "smooth" && beamSize < 70) {
            oracle(set, shape, logits).forEach((chosen, d) =>
              assertSame(expected[d], laidOut(chosen, beamSize, d + 1), `ours, ${what}, step ${d}`)
            );
          }
          for (const method of methods) {
            assert.equal(method.exact, true);
            run(method, shape, logits).forEach((beams, d) =>
              assertSame(beams, expected[d], `${method.name}, ${what}, step ${d}`)
            );
          }
        }
      }
    }
    for (const method of methods) method[Symbol.dispose]();
  });
}

Deno.test("approximate PPV: the best tokens of each beam, then the set", async () => {
  let steps = 0;
  for (const set of [SETS["dense, two levels"], SETS.random, SETS["wide branches"]]) {
    for (const cut of [1, 10, 50, 129]) {
      using method = await ppv(set, { cut });
      assert.equal(method.exact, false);
      const shape = { batchSize: 3, beamSize: 7 };
      for (
        const rule of ["smooth", "holes", "shifted", "coarse", "coarseHoles", "equal"] as const
      ) {
        const logits = Array.from({ length: set.length }, (_, d) => logitsOf(set, shape, d, rule));
        const found = run(method, shape, logits);
        oracle(set, shape, logits, cut).forEach((chosen, d) => {
          const what = `top ${cut}, ${rule}, step ${d}`;
          assertSame(found[d], laidOut(chosen, shape.beamSize, d + 1), what);
          steps++;
        });
      }
    }
  }
  assert.ok(steps >= 150, `Only ${steps} steps could be compared`);
});

Deno.test("hash bitmap: every sequence of the set can come out", async () => {
  for (const name of ["random", "nearly dense", "tokens of 32 bits"]) {
    const set = SETS[name];
    using method = await hashBitmap(set, { logBits: 12 });
    for (let row = 0; row < set.rows; row += 5) {
      const sequence = set.data.slice(row * set.length, (row + 1) * set.length);
      using search = method.begin({ batchSize: 1, beamSize: 1 });
      for (const token of sequence) {
        search.logits().fill(0)[token] = 9;
        search.advance();
      }
      assert.deepEqual([...search.beams().sequences], [...sequence]);
    }
  }
});

Deno.test("hash bitmap: lets others through as often as it is full", async () => {
  const set = randomSet(2000, { length: 1, vocabSize: 65536 });
  const shape = { batchSize: 1, beamSize: 3 };
  const logits = [logitsOf(set, shape, 0, "smooth")];
  for (const logBits of [12, 14, 17]) {
    using method = await hashBitmap(set, { logBits });
    const [beams] = run(method, shape, logits);
    const expected = 1 - Math.exp(-set.rows / 2 ** logBits);
    const measured = (method.passed() - set.rows) / (set.vocabSize - set.rows);
    assert.ok(Math.abs(method.load / expected - 1) < 0.1, `Load ${method.load}, not ${expected}`);
    assert.ok(Math.abs(measured / expected - 1) < 0.1, `Rate ${measured}, not ${expected}`);
    assert.equal(method.exact, false);
    // Whoever tests only what may win finds the same.
    using lazy = await hashBitmap(set, { logBits, lazy: true });
    assertSame(run(lazy, shape, logits)[0], beams, "lazy");
    assert.ok(lazy.passed() < method.passed());
  }
});

Deno.test("hash bitmap: a full one lets every token of the vocabulary through, and no other", async () => {
  for (const vocabSize of [7, 8, 9, 15, 16]) {
    const set = randomSet(300, { length: 3, vocabSize });
    const shape = { batchSize: 1, beamSize: 40 };
    const logits = [logitsOf(set, shape, 0, "smooth")];
    using method = await hashBitmap(set, { logBits: 5 });
    assert.equal(method.load, 1);
    const [{ sequences, counts }] = run(method, shape, logits);
    assert.deepEqual([...counts], [vocabSize]);
    assert.deepEqual(
      sequences.slice(0, vocabSize).sort(),
      Uint32Array.from({ length: vocabSize }, (_, i) => i),
    );
  }
});

Deno.test("hash bitmap: sequences from outside are counted", async () => {
  const set = SETS.random;
  const shape = { batchSize: 3, beamSize: 7 };
  const logits = Array.from({ length: set.length }, (_, d) => logitsOf(set, shape, d, "smooth"));
  using small = await hashBitmap(set, { logBits: 14 });
  using large = await hashBitmap(set, { logBits: 31 });
  using exact = await flatTrie(set);
  const last = (method: Method) => run(method, shape, logits).at(-1)!;
  assert.ok(countOutside(set, last(small), shape.beamSize) > 0);
  assert.equal(countOutside(set, last(exact), shape.beamSize), 0);
  assertSame(last(large), last(exact), "nearly empty");
});

Deno.test("sets that do not fit", async () => {
  const wide = randomSet(10, { length: 2, vocabSize: 70_000 });
  await assert.rejects(publishedCsr(wide, { dense: 2 }), (error: LimitError) => {
    assert.ok(error instanceof LimitError);
    assert.ok((error.actual as number) > 4 * 70_000 ** 2);
    return true;
  });
  await assert.rejects(hashBitmap(wide, { logBits: 36 }), {
    name: "LimitError",
    actual: 2 ** 33 + 4096 + (2 ** 15 + 1) * 8,
  });
  await assert.rejects(npmTrie(wide), { name: "LimitError", actual: 70_000 });
  assert.throws(() => checkFits("it", 2 ** 40, 2 ** 32), {
    name: "LimitError",
    code: "does-not-fit",
    expected: 2 ** 32,
    actual: 2 ** 40,
  });
});

/** Asserts that a set is sorted and distinct. */
function assertSorted({ data, rows, length, vocabSize }: SequenceSet): void {
  assert.equal(data.length, rows * length);
  for (let at = 0; at < data.length; at++) assert.ok(data[at] < vocabSize);
  for (let row = 1; row < rows; row++) {
    let d = 0;
    while (d < length && data[row * length + d] === data[(row - 1) * length + d]) d++;
    assert.ok(
      d < length && data[row * length + d] > data[(row - 1) * length + d],
      `Row ${row} does not come after the one before it`,
    );
  }
}

Deno.test("random sets: sorted, distinct, uniform, the same for a seed", () => {
  for (
    const [length, vocabSize, rows] of [
      [8, 2048, 30_000],
      [8, 256, 10_000],
      [3, 100_000, 5000],
      [20, 3, 20_000],
      [2, 300, 80_000],
      [2, 300, 20_000],
      [1, 40_000, 39_999],
    ]
  ) {
    const set = randomSet(rows, { length, vocabSize, seed: 5 });
    assert.equal(set.rows, rows);
    assertSorted(set);
    assert.deepEqual(randomSet(rows, { length, vocabSize, seed: 5 }).data, set.data);
    if (rows < vocabSize ** length / 2) {
      assert.notDeepEqual(randomSet(rows, { length, vocabSize, seed: 6 }).data, set.data);
    }
    // The mean of each column, within 5 standard errors.
    for (let d = 0; d < length; d++) {
      let sum = 0;
      for (let row = 0; row < rows; row++) sum += set.data[row * length + d];
      const deviation = vocabSize / Math.sqrt(12 * rows);
      const middle = (vocabSize - 1) / 2;
      assert.ok(Math.abs(sum / rows - middle) < 5 * deviation, `Mean of column ${d}`);
    }
  }
  assert.equal(randomSet(300 ** 2, { length: 2, vocabSize: 300 }).data.at(-1), 299);
  assert.throws(() => randomSet(101, { length: 2, vocabSize: 10 }), RangeError);
});

Deno.test("random sets: every column has all values about equally often", () => {
  const vocabSize = 64;
  const { data, rows, length } = randomSet(64_000, { length: 8, vocabSize });
  for (let d = 0; d < length; d++) {
    const counts = new Float64Array(vocabSize);
    for (let row = 0; row < rows; row++) counts[data[row * length + d]]++;
    const expected = rows / vocabSize;
    const chiSquare = counts.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
    // 63 degrees of freedom: mean 63, standard deviation 11.2.
    assert.ok(chiSquare > 20 && chiSquare < 130, `Column ${d}: ${chiSquare}`);
  }
});

Deno.test("sets of a branch factor: so many children for each state of the last level", () => {
  for (const [branch, vocabSize] of [[1, 60], [7, 60], [60, 60], [1000, 2 ** 18]]) {
    const set = branchSet(3000, { length: 3, vocabSize, branch });
    assertSorted(set);
    assert.equal(set.rows, Math.ceil(3000 / branch) * branch);
    for (let row = 0; row < set.rows; row++) {
      const prefix = set.data.subarray(row * 3, row * 3 + 2);
      const first = row - row % branch;
      assert.deepEqual(prefix, set.data.subarray(first * 3, first * 3 + 2));
      if (row % branch === 0 && row > 0) {
        assert.notDeepEqual(prefix, set.data.subarray((row - 1) * 3, (row - 1) * 3 + 2));
      }
    }
  }
  assert.throws(() => branchSet(10, { length: 2, vocabSize: 5, branch: 6 }), RangeError);
});

Deno.test("prefixes of a set are found, others are not", () => {
  const set = SETS["nearly dense"];
  const known = new Set(
    Array.from({ length: set.rows }, (_, row) => set.data.slice(row * 3, row * 3 + 2).join()),
  );
  for (let a = 0; a < 10; a++) {
    for (let b = 0; b < 10; b++) assert.equal(hasPrefix(set, [a, b]), known.has(`${a},${b}`));
  }
  assert.equal(hasPrefix(set, [10]), false);
});
