/** The search against the oracle, on random sets, models and options: the same for every backend. */

import assert from "node:assert/strict";
import fc from "fast-check";
import type { ConstraintIndex, Decoder } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import type { BeamSearchOptions, BeamSearchResult } from "../../src/decode/types.ts";
import { assertClose, assertLayout, assertSame, assertShown, watched } from "../support/compare.ts";
import { IN_BROWSER, runs as allRuns, some } from "../support/long.ts";
import {
  DELIVERIES,
  type Delivery,
  EXACT_RULES,
  magnitude,
  modelOf,
  type RuleName,
  RULES,
  SMOOTH_RULES,
} from "../support/models.ts";
import { type OracleResult, oracleSearch, OracleSet } from "../support/oracle.ts";
import { allRows, hugeVocabulary, type RowSet, rowSet, rowSets } from "../support/sets.ts";

/** Everything that a search depends on. */
interface Problem {
  set: RowSet;
  options: BeamSearchOptions & { vocabSize: number };
  rule: RuleName;
  delivery: Delivery;
  seed: number;
}

/**
 * Registers the suite for one backend.
 *
 * @param share of the random problems that are tried, for backends that take long.
 */
export function searchSuite(
  name: string,
  open: (index: ConstraintIndex) => Promise<Decoder>,
  share = 1,
): void {
  const test = (title: string, run: () => Promise<void>) => Deno.test(`${name}: ${title}`, run);
  const runs = (short: number, long?: number) => Math.ceil(share * allRuns(short, long));

  /** Sizes of the beam: every one has its own luck with lanes and heaps. */
  const beamSizes = fc.oneof(
    fc.integer({ min: 1, max: 9 }),
    fc.constantFrom(15, 16, 17, 31, 32, 33, 64, 70),
  );

  function problems(rules: readonly RuleName[], exact: boolean): fc.Arbitrary<Problem> {
    const shapes = ["fixed", "mixed", "window", "dense", "nearlyDense", "single", "tails"] as const;
    return fc.record({
      set: rowSets(shapes),
      batchSize: fc.integer({ min: 1, max: 4 }),
      beamSize: beamSizes,
      wider: fc.constantFrom(0, 0, 1, 2, 3, 5, 29),
      normalize: exact ? fc.constant("none" as const) : fc.constantFrom("vocab", "allowed", "none"),
      ends: fc.boolean(),
      lengthPenalty: exact ? fc.constant(0) : fc.constantFrom(undefined, 0, 0.5, 1, 2, -1),
      tokensPerBeam: fc.constantFrom(undefined, undefined, 1, 2, 3, 10, 100_000),
      rule: fc.constantFrom(...rules),
      delivery: fc.constantFrom(...DELIVERIES),
      seed: fc.nat(),
    }).map(({ set, wider, ends, rule, delivery, seed, ...options }) => ({
      set,
      options: { ...options, ...tokensOutside(set, wider, ends) },
      rule,
      delivery,
      seed,
    }));
  }

  /** A row width, an end token if there is to be one, a pad token, none of which the set contains. */
  function tokensOutside({ vocabSize, rows }: RowSet, wider: number, ends: boolean) {
    const used = new Set(rows.flat());
    let endToken = 0;
    while (used.has(endToken)) endToken++;
    const width = Math.max(vocabSize + wider, ends ? endToken + 1 : 0);
    const padToken = wider > 1 ? width - 1 : 0;
    return { vocabSize: width, padToken, ...(ends && { endToken }) };
  }

  /** Runs both searches. */
  async function solve({ set, options, rule, delivery, seed }: Problem): Promise<{
    oracle: OracleSet;
    result: BeamSearchResult;
    expected: OracleResult;
    shown: ReturnType<typeof watched>["shown"];
  }> {
    const oracle = new OracleSet(set.rows, set.vocabSize);
    const expected = await oracleSearch(oracle, modelOf(RULES[rule], seed, delivery), options);
    using index = await buildIndex(set.rows, { vocabSize: set.vocabSize });
    using decoder = await open(index);
    const { model, shown } = watched(modelOf(RULES[rule], seed, delivery), oracle, options);
    const result = await decoder.beamSearch(model, options);
    assertLayout(result, oracle, options);
    return { oracle, result, expected, shown };
  }

  /** Asserts that both searches agree; nothing is too close to tell. */
  async function assertExact(problem: Problem): Promise<void> {
    const { result, expected, shown } = await solve(problem);
    assertSame(result, expected);
    assertShown(shown, expected.shown, problem.options.padToken);
  }

  /** Asserts that both searches agree as far as float32 can tell, and says how many batch rows did. */
  async function assertAgrees(problem: Problem): Promise<number> {
    const { oracle, result, expected, shown } = await solve(problem);
    const resolution = oracle.maxLength * magnitude(problem.rule) * 2 ** -22;
    const near = expected.gaps.some((gap) => gap < 1e-3);
    // Where one token alone is allowed its score is known: that may save the last steps.
    if (problem.options.normalize === "allowed") {
      assert.ok(near || shown.length <= expected.shown.length, "Steps");
    } else if (!near) assert.equal(shown.length, expected.shown.length, "Steps");
    return assertClose(result, expected, resolution);
  }

  test("Random searches agree with the oracle", async () => {
    let rows = 0;
    let compared = 0;
    await fc.assert(
      fc.asyncProperty(problems(SMOOTH_RULES, false), async (problem) => {
        rows += problem.options.batchSize ?? 1;
        compared += await assertAgrees(problem);
      }),
      { seed: 1, numRuns: runs(150) },
    );
    assert.ok(compared > 0.8 * rows, `Only ${compared} of ${rows} batch rows were far from a tie`);
  });

  test("Where everything ties, the search is the oracle to the last bit", async () => {
    await fc.assert(
      fc.asyncProperty(problems(EXACT_RULES, true), assertExact),
      { seed: 2, numRuns: runs(200) },
    );
  });

  const plain = (set: RowSet, options: BeamSearchOptions, rule: RuleName, seed = 3): Problem => ({
    set,
    options: { vocabSize: set.vocabSize, ...options },
    rule,
    delivery: "out",
    seed,
  });

  const widths = IN_BROWSER ? [2, 128, 129, 1024] : [1, 2, 127, 128, 129, 255, 1023, 1024];
  for (const beamSize of widths) {
    for (const shape of ["fixed", "mixed", "nearlyDense", "boundary"] as const) {
      test(`A beam of ${beamSize} over ${shape} sequences, fewer or more of them`, async () => {
        const set = rowSet(shape, beamSize + 1);
        await assertExact(plain(set, { beamSize, normalize: "none" }, "coarse"));
        await assertAgrees(plain(set, { beamSize, batchSize: 2 }, "smooth"));
      });
    }
  }

  test("A beam as large as the set returns the set, best first", async () => {
    for (const [vocabSize, length] of [[2, 7], [3, 4], [40, 2]]) {
      const set = { shape: "dense", vocabSize, rows: allRows(vocabSize, length) };
      for (const extra of [-1, 0, 1]) {
        const beamSize = set.rows.length + extra;
        if (beamSize > 1024) continue;
        const { result } = await solve(plain(set, { beamSize, normalize: "none" }, "equal"));
        const ordinals = Array.from({ length: result.counts[0] }, (_, i) => i);
        assert.equal(result.counts[0], Math.min(beamSize, set.rows.length));
        assert.deepEqual([...result.ordinals.subarray(0, result.counts[0])], ordinals);
      }
    }
  });

  test("Beams with equal logits tie in normalized modes too", async () => {
    const set = { shape: "dense", vocabSize: 37, rows: allRows(37, 2) };
    for (const normalize of ["vocab", "allowed"] as const) {
      const { result } = await solve(plain(set, { beamSize: 50, normalize }, "equal"));
      assert.deepEqual([...result.ordinals], Array.from({ length: 50 }, (_, i) => i));
      assert.equal(new Set(result.scores).size, 1);
    }
  });

  test("Rows of many widths are summed whole", async () => {
    const rules = ["smooth", "holes", "wide", "shifted"] as const;
    for (let vocabSize = 2; vocabSize <= 40; vocabSize++) {
      const set = { shape: "few", vocabSize, rows: [[0, 1], [1, 0], [1, 1]] };
      // In 20 widths every rule meets every rest that lanes of four leave.
      for (const rule of some(rules, vocabSize % 5)) {
        await assertAgrees(plain(set, { beamSize: 3, batchSize: 3 }, rule, vocabSize));
        await assertAgrees({ ...plain(set, { beamSize: 3 }, rule), delivery: "bits" });
      }
    }
  });

  test("Very large vocabularies", async () => {
    for (const vocabSize of [65536, 151_936, 2 ** 20]) {
      const set = hugeVocabulary(1, vocabSize);
      await assertAgrees(plain(set, { beamSize: 2 }, "smooth"));
    }
    const set = hugeVocabulary(2, 151_936);
    await assertExact(plain(set, { beamSize: 3, normalize: "none" }, "coarse"));
  });

  test("Sequences of up to 1024 tokens", async () => {
    for (let seed = 0; seed < runs(2, 80); seed++) {
      const set = rowSet("long", seed);
      await assertExact(
        plain(set, { beamSize: 3, batchSize: 2, normalize: "none" }, "coarse", seed),
      );
      await assertAgrees(plain(set, { beamSize: 2 }, "smooth", seed));
    }
  });

  test("A fixed-length search takes maxLength steps, even when all beams are dead", async () => {
    const set = { shape: "fixed", vocabSize: 5, rows: [[0, 1, 2, 3], [1, 1, 1, 1], [2, 3, 0, 1]] };
    const oracle = new OracleSet(set.rows, set.vocabSize);
    using index = await buildIndex(set.rows, { vocabSize: set.vocabSize });
    using decoder = await open(index);
    for (const dying of [0, 1, 2, 3]) {
      for (const nothing of [NaN, -Infinity]) {
        const options = { beamSize: 2, batchSize: 2, vocabSize: 5, padToken: 4 };
        const rule = ({ step }: { step: number }) => step === dying ? nothing : 1;
        const { model, shown } = watched(modelOf(rule), oracle, options);
        const result = await decoder.beamSearch(model, options);
        assertLayout(result, oracle, options);
        assert.deepEqual([...result.counts], [0, 0]);
        assert.equal(shown.length, 4);
        for (const { tokens } of shown.slice(dying + 1)) {
          assert.deepEqual([...tokens], [4, 4, 4, 4]);
        }
      }
    }
  });

  test("A mixed search without an end token stops when no beam lives", async () => {
    const set = { shape: "mixed", vocabSize: 4, rows: [[0], [1], [2, 0, 0, 0]] };
    const model = { 0: -1, 1: -1, 2: -9, 3: 0 } as Record<number, number>;
    const oracle = new OracleSet(set.rows, set.vocabSize);
    using index = await buildIndex(set.rows, { vocabSize: set.vocabSize });
    using decoder = await open(index);
    for (const [beamSize, steps] of [[1, 1], [2, 1], [3, 4]]) {
      const options = { beamSize, vocabSize: 4, normalize: "none" as const };
      const { model: watching, shown } = watched(
        modelOf((_, token) => model[token]),
        oracle,
        options,
      );
      const result = await decoder.beamSearch(watching, options);
      assert.equal(shown.length, steps);
      assert.deepEqual([...result.ordinals], [0, 1, 2].slice(0, beamSize));
    }
  });

  test("With an end token every sequence pays for it, in one more step", async () => {
    const rows = [[0, 1], [1, 0], [1, 1]];
    const set = { shape: "fixed", vocabSize: 3, rows };
    const rule = (row: { last: number; step: number }, token: number) =>
      token === 2 ? -row.last - 0.5 : -0.25;
    const oracle = new OracleSet(set.rows, set.vocabSize);
    using index = await buildIndex(set.rows, { vocabSize: set.vocabSize });
    using decoder = await open(index);
    const options = { beamSize: 3, vocabSize: 3, endToken: 2, normalize: "none" as const };
    const { model, shown } = watched(modelOf(rule), oracle, options);
    const result = await decoder.beamSearch(model, options);
    assert.equal(shown.length, 3);
    assert.deepEqual([...result.ordinals], [1, 0, 2]);
    assert.deepEqual([...result.scores], [-1, -2, -2]);
  });

  test("An ended beam gives way to a live one that ties", async () => {
    // Both stand at -1 after step 1: [0] by ending, [1, 1] by going on from the later parent.
    const rows = [[0], [0, 0], [1, 1]];
    const set = { shape: "mixed", vocabSize: 2, rows };
    await assertExact(plain(set, { beamSize: 1, normalize: "none" }, "equal"));
    const rule = (row: { step: number }, _token: number) => row.step === 0 ? -1 : 0;
    using index = await buildIndex(rows, { vocabSize: 2 });
    using decoder = await open(index);
    const result = await decoder.beamSearch(modelOf(rule), { beamSize: 3, normalize: "none" });
    // By parent first: 0 goes on, 0 ends, then 1 goes on.
    assert.deepEqual([...result.lengths], [2, 1, 2]);
  });

  test("At the largest length penalties that an index allows, ranks are those of float64", async () => {
    for (const length of share < 1 ? some([30, 1024], 0) : [2, 214, 215, 1024]) {
      const rows = [[0], ...[1, 2].map((token) => new Array(length).fill(token))];
      using index = await buildIndex(rows, { vocabSize: 3 });
      using decoder = await open(index);
      // The last token of a sequence makes its score: what ties there keeps an order that it had before.
      const search = (lengthPenalty: number, scores: readonly number[] = [-1, -1, -1]) =>
        decoder.beamSearch(
          modelOf(({ step }, token) => step === (token && length - 1) ? scores[token] : 0),
          {
            beamSize: 3,
            normalize: "none",
            lengthPenalty,
          },
        );
      let most = 0;
      await assert.rejects(search(9), (error) => {
        most = Reflect.get(error as Error, "expected");
        return error instanceof RangeError && error.message.includes(`[-${most}, ${most}]`);
      });
      assert.ok(length > 214 ? most < 8 && most > 6 : most === 8, `${most} for ${length}`);
      await assert.rejects(search(most + 0.001), RangeError);
      await assert.rejects(search(-most - 0.001), RangeError);
      for (const penalty of share < 1 ? [most, -most] : [most, most - 0.1, -most, 0.1 - most]) {
        const factor = length ** penalty;
        // From the smallest that counts to the largest there is; the short sequence between the long ones, or not.
        for (const score of [2 ** -64, 1, 2 ** 127]) {
          for (const short of [score, score * 1.005 / factor]) {
            if (short < 2 ** -64 || short > 2 ** 127) continue;
            const scores = [-short, -1.01 * score, -score].map(Math.fround);
            const ranks = [scores[0], scores[1] / factor, scores[2] / factor];
            const expected = [0, 1, 2].sort((a, b) => ranks[b] - ranks[a]);
            const { sequences } = await search(penalty, scores);
            const found = expected.map((_, i) => sequences[i * length]);
            assert.deepEqual(found, expected, `${scores} with ${penalty}, ${length} tokens`);
          }
        }
      }
    }
  });
}
