/**
 * A filtered search equals the search of an index that was built from the allowed sequences alone: the same for every
 * backend.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import type {
  BeamSearchOptions,
  BeamSearchResult,
  ConstraintIndex,
  Decoder,
  ItemFilter,
} from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { TOLERANCE } from "../support/compare.ts";
import { runs } from "../support/long.ts";
import { DELIVERIES, modelOf, Random, type RuleName, RULES } from "../support/models.ts";
import { NONE } from "../support/oracle.ts";
import { type RowSet, rowSets } from "../support/sets.ts";

/** A search, and what its batch rows may come to. */
interface Problem {
  set: RowSet;
  options: BeamSearchOptions & { batchSize: number };
  ends: boolean;
  /** Per batch row, the share of what is allowed and of what is excluded, in 1/256; undefined for none. */
  rows: { allowed?: number; excluded?: number }[];
  /** One filter for all batch rows. */
  isShared: boolean;
  rule: RuleName;
  delivery: typeof DELIVERIES[number];
  seed: number;
}

const shares = fc.constantFrom(undefined, 0, 1, 3, 26, 128, 250, 256);

const problems: fc.Arbitrary<Problem> = fc.record({
  set: rowSets(["fixed", "mixed", "window", "dense", "nearlyDense", "single", "tails", "boundary"]),
  beamSize: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constantFrom(16, 33, 70)),
  normalize: fc.constantFrom("vocab" as const, "allowed" as const, "none" as const),
  lengthPenalty: fc.constantFrom(0, 0, 1, -1),
  tokensPerBeam: fc.constantFrom(undefined, undefined, 1, 3),
  ends: fc.boolean(),
  rows: fc.array(fc.record({ allowed: shares, excluded: shares }), { minLength: 1, maxLength: 3 }),
  isShared: fc.boolean(),
  rule: fc.constantFrom(...Object.keys(RULES) as RuleName[]),
  delivery: fc.constantFrom(...DELIVERIES),
  seed: fc.nat(),
}).map(({ beamSize, normalize, lengthPenalty, tokensPerBeam, ...problem }) => ({
  ...problem,
  options: { batchSize: problem.rows.length, beamSize, normalize, lengthPenalty, tokensPerBeam },
}));

/** Registers the suite for one backend: `long` random problems in a long run. */
export function filterSuite(
  name: string,
  open: (index: ConstraintIndex) => Promise<Decoder>,
  short: number,
  long: number,
): void {
  Deno.test(`${name}: a filtered search equals that of an index of what is allowed`, async () => {
    let filtered = 0;
    await fc.assert(
      fc.asyncProperty(problems, async (problem) => {
        filtered += await check(problem, open, name === "WASM");
      }),
      { seed: 17, numRuns: runs(short, long) },
    );
    assert.ok(filtered > runs(short, long) / 2, `Only ${filtered} batch rows had a filter`);
  });
}

/** Compares one problem, batch row by batch row; returns how many were filtered. */
async function check(
  problem: Problem,
  open: (index: ConstraintIndex) => Promise<Decoder>,
  isExact: boolean,
): Promise<number> {
  const { set, ends, rows, isShared, rule, delivery, seed } = problem;
  const { vocabSize } = set;
  const used = new Set(set.rows.flat());
  let endToken = 0;
  while (used.has(endToken)) endToken++;
  const options = {
    ...problem.options,
    vocabSize: Math.max(vocabSize, endToken + 1),
    ...(ends && { endToken }),
  };
  using index = await buildIndex(set.rows, { vocabSize });
  using decoder = await open(index);
  using made = new DisposableStack();
  const random = new Random(seed);
  const choose = (share: number | undefined) =>
    share === undefined
      ? undefined
      : Array.from({ length: index.size }, (_, i) => i).filter(() => random.below(256) < share);
  const shared = isShared ? choose(rows[0].allowed) : undefined;
  const ordinals = rows.map(({ allowed }) => isShared ? shared : choose(allowed));
  const excluded = rows.map((row) => choose(row.excluded)?.slice(0, 10_000));
  const filters = ordinals.map((list) => list && made.use(index.filter(list)));
  const result = await decoder.beamSearch(modelOf(RULES[rule], seed, delivery), {
    ...options,
    filter: isShared ? filters[0] : filters,
    exclude: excluded,
  });
  for (let b = 0; b < rows.length; b++) {
    const gone = new Set(excluded[b]);
    const left = (ordinals[b] ?? Array.from({ length: index.size }, (_, i) => i))
      .filter((ordinal) => !gone.has(ordinal));
    const place = `batch row ${b} of ${set.shape}, ${left.length} of ${index.size} allowed`;
    const own = rowOf(result, b);
    if (left.length === 0) {
      assert.deepEqual(own, [], place);
      continue;
    }
    using rebuilt = await buildIndex(left.map((ordinal) => index.sequenceAt(ordinal)), {
      vocabSize,
    });
    using other = await open(rebuilt);
    // The model knows its batch row by the seed.
    const model = modelOf(RULES[rule], seed + Math.imul(b, 0x27d4eb2f), delivery);
    const expected = rowOf(await other.beamSearch(model, { ...options, batchSize: 1 }), 0)
      .map((beam) => ({ ...beam, ordinal: left[beam.ordinal] }));
    if (isExact || options.normalize !== "allowed") {
      assert.deepEqual(own, expected, place);
      continue;
    }
    // Sums of the same numbers in another order.
    assert.equal(own.length, expected.length, place);
    own.forEach(({ ordinal, score }, i) => {
      const most = TOLERANCE * Math.max(1, Math.abs(score));
      assert.ok(Math.abs(score - expected[i].score) <= most, `Score ${i} of ${place}`);
      assert.ok(left.includes(ordinal), `Ordinal ${ordinal} of ${place}`);
    });
  }
  return ordinals.filter((list, b) => list ?? excluded[b]).length;
}

/** What one batch row came to. */
function rowOf(result: BeamSearchResult, b: number) {
  const { beamSize, maxLength, counts } = result;
  return Array.from({ length: beamSize }, (_, i) => b * beamSize + i).slice(0, counts[b])
    .map((at) => {
      const sequence = result.sequences.slice(at * maxLength, (at + 1) * maxLength);
      return {
        sequence: [...sequence.filter((token) => token !== NONE)],
        length: result.lengths[at],
        score: result.scores[at],
        ordinal: result.ordinals[at],
      };
    });
}

/** Ordinals that a filter allows. */
export function members(filter: ItemFilter, index: ConstraintIndex): number[] {
  return Array.from({ length: index.size }, (_, i) => i).filter((ordinal) => filter.has(ordinal));
}
