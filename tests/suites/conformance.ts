/**
 * What every kernel must do: step by step, from the same beams, it chooses what the oracle chooses. Scores
 * may differ by 1e-5 · max(1, |score|), and winners only where the oracle's keys are that close.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { ConstraintIndex } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { filterBitsOf } from "../../src/index/item_filter.ts";
import { BEAM_BITS } from "../../src/kernels/constants.ts";
import type { Beams, Kernel, KernelSearch, SearchShape } from "../../src/kernels/kernel.ts";
import { TOLERANCE } from "../support/compare.ts";
import { type Delivery, EXACT_RULES, modelOf, type RuleName, RULES } from "../support/models.ts";
import {
  logitRows,
  NONE,
  type OracleBeam,
  type OracleCandidate,
  type OracleFilter,
  type OracleNode,
  OracleSet,
  oracleStep,
} from "../support/oracle.ts";
import { type RowSet, rowSets } from "../support/sets.ts";

interface Problem {
  set: RowSet;
  options: Pick<SearchShape, "batchSize" | "beamSize" | "normalize" | "tokensPerBeam"> & {
    lengthPenalty: number;
  };
  wider: number;
  ends: boolean;
  /** Per batch row, which of 8 items is allowed; 0xff = no filter. */
  filters: number[];
  rule: RuleName;
  delivery: Delivery;
  seed: number;
}

const problems: fc.Arbitrary<Problem> = fc.record({
  set: rowSets(["fixed", "mixed", "window", "dense", "nearlyDense", "single", "tails", "boundary"]),
  options: fc.record({
    batchSize: fc.integer({ min: 1, max: 3 }),
    beamSize: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(31, 32, 33, 64, 70, 200)),
    normalize: fc.constantFrom("vocab" as const, "allowed" as const, "none" as const),
    lengthPenalty: fc.constantFrom(0, 0, 0.7, 1, -1),
    tokensPerBeam: fc.constantFrom(undefined, undefined, 1, 2, 7),
  }),
  wider: fc.constantFrom(0, 1, 2, 3, 5, 29),
  ends: fc.boolean(),
  filters: fc.array(fc.constantFrom(0xff, 0xff, 0, 1, 0x5a, 0xfe), { minLength: 3, maxLength: 3 }),
  rule: fc.constantFrom("smooth", "holes", "barren", "coarse", "coarseHoles", "equal"),
  delivery: fc.constantFrom("out", "own", "bits", "half"),
  seed: fc.nat(),
});

/** Runs the suite on one kernel: so many random problems, step by step. Returns how many steps there were. */
export async function conformance(
  open: (index: ConstraintIndex) => Kernel | Promise<Kernel>,
  numRuns: number,
): Promise<number> {
  let steps = 0;
  await fc.assert(
    fc.asyncProperty(problems, async (problem) => {
      steps += await checkProblem(problem, open);
    }),
    { seed: 11, numRuns },
  );
  assert.ok(steps > 2 * numRuns, `Only ${steps} steps were compared`);
  return steps;
}

async function checkProblem(
  { set, options, wider, ends, filters, rule, delivery, seed }: Problem,
  open: (index: ConstraintIndex) => Kernel | Promise<Kernel>,
): Promise<number> {
  const oracle = new OracleSet(set.rows, set.vocabSize);
  const used = new Set(set.rows.flat());
  let endToken: number | undefined = ends ? 0 : undefined;
  while (endToken !== undefined && used.has(endToken)) endToken++;
  const logitWidth = Math.max(set.vocabSize + wider, (endToken ?? 0) + 1);
  using index = await buildIndex(set.rows, { vocabSize: set.vocabSize });
  using kernel = await open(index);
  const { batchSize, beamSize } = options;
  const masks = filters.slice(0, batchSize);
  const oracleFilters = masks.map((mask) =>
    mask === 0xff ? undefined : oracle.filter((ordinal) => (mask >> (ordinal & 7) & 1) === 1)
  );
  using made = new DisposableStack();
  const itemFilters = oracleFilters.map((filter) =>
    filter && made.use(index.filter(filter.ordinals))
  );
  const shape: SearchShape = {
    ...options,
    logitWidth,
    endToken,
    padToken: 0,
    filters: itemFilters.map((filter) => filter && filterBitsOf(filter, loadedIndexOf(index))),
  };
  using search = kernel.begin(shape);
  const model = modelOf(RULES[rule], seed, delivery);
  const isExact = (EXACT_RULES as readonly RuleName[]).includes(rule) &&
    options.normalize === "none" && options.lengthPenalty === 0;
  let beams: (OracleBeam | undefined)[][] = masks.map(() => [
    { node: oracle.root, score: 0, ended: false },
  ]);
  let chosen: OracleCandidate[][] = [];
  const last = oracle.maxLength + (endToken === undefined ? 0 : 1);
  let step = 0;
  for (; step < last && beams.flat().some((beam) => beam && !beam.ended); step++) {
    const width = step === 0 ? 1 : beamSize;
    if (step > 0) search.load(step, toBeams(oracle, beams, oracleFilters, batchSize * beamSize));
    const rows = batchSize * width;
    assert.equal(search.rows, rows);
    const parents = Uint32Array.from({ length: step === 0 ? 0 : rows }, (_, row) => {
      const b = Math.floor(row / beamSize);
      return step === 1 ? b : b * beamSize + (chosen[b][row % beamSize]?.parent ?? 0);
    });
    const tokens = Uint32Array.from(
      parents,
      (_, row) => tokenOf(chosen[Math.floor(row / beamSize)][row % beamSize]),
    );
    const logits = await model({
      step,
      rows,
      batchSize,
      beamSize,
      vocabSize: logitWidth,
      tokens,
      parents,
      batch: Uint32Array.from({ length: rows }, (_, row) => Math.floor(row / width)),
      out: search.out(),
    });
    const values = logitRows(logits, rows);
    await search.advance(logits);
    chosen = masks.map((_, b) => {
      const candidates = oracleStep(beams[b], values.slice(b * width, (b + 1) * width), {
        ...options,
        endToken,
        filter: oracleFilters[b],
      });
      const at = { batch: b, beamSize, width, step };
      compare(oracle, search, at, candidates, oracleFilters[b], isExact);
      return candidates.slice(0, beamSize);
    });
    beams = chosen.map((winners) =>
      Array.from(
        { length: beamSize },
        (_, i) => winners[i] && { ...winners[i], score: Math.fround(winners[i].score) },
      )
    );
  }
  return step;
}

const tokenOf = (winner: OracleCandidate | undefined) =>
  !winner || winner.token === NONE ? 0 : winner.token;

/** Holds the kernel's beams of one batch row against all candidates of the oracle. */
function compare(
  oracle: OracleSet,
  search: KernelSearch,
  { batch, beamSize, width, step }: Record<"batch" | "beamSize" | "width" | "step", number>,
  candidates: readonly OracleCandidate[],
  filter: OracleFilter | undefined,
  isExact: boolean,
): void {
  const { scores, states, edges, lengths, status } = search.beams();
  const tokens = search.tokens();
  const parents = search.parents();
  const count = Math.min(beamSize, candidates.length);
  const close = (a: number, b: number) => Math.abs(a - b) <= TOLERANCE * Math.max(1, Math.abs(b));
  const seen = new Set<OracleCandidate>();
  for (let i = 0; i < beamSize; i++) {
    const at = batch * beamSize + i;
    const place = `beam ${i} of batch row ${batch} at step ${step}`;
    assert.ok(Math.floor(parents[at] / width) === batch, `Parent of ${place}`);
    if (i >= count) {
      assert.equal(status[at], 0, `Status of ${place}`);
      assert.equal(scores[at], -Infinity, `Score of ${place}`);
      assert.equal(tokens[at], 0, `Token of ${place}`);
      continue;
    }
    const node: OracleNode | undefined = oracle.levels[lengths[at] - 1]?.[edges[at]];
    assert.ok(node, `Edge ${edges[at]} of length ${lengths[at]}, ${place}`);
    const parent = parents[at] - batch * width;
    const found = candidates.find((candidate) =>
      candidate.node === node && candidate.parent === parent && !seen.has(candidate)
    );
    assert.ok(found, `${place} is no candidate, or twice`);
    seen.add(found);
    assert.ok(close(scores[at], found.score), `Score ${scores[at]}, not ${found.score}, ${place}`);
    assert.ok(close(found.key, candidates[i].key), `Order: ${found.key} at ${place}`);
    if (isExact) assert.equal(found, candidates[i], `Tie order at ${place}`);
    if (status[at] === BEAM_BITS.ENDED) {
      assert.ok(found.ended, `${place} has ended`);
    } else {
      // A beam that the filter leaves nothing but its end may end now or at the next step, live or not.
      assert.equal(tokens[at], found.token, `Token of ${place}`);
      const goesOn = [...node.children.values()].some((child) => filter?.nodes.has(child) ?? true);
      const ignored = goesOn ? 0 : BEAM_BITS.LIVE;
      assert.equal(status[at] | ignored, openStatus(node, filter) | ignored, `Status of ${place}`);
      assert.equal(states[at], stateOf(oracle, node), `State of ${place}`);
    }
  }
}

/** Status of a beam that has not ended. */
function openStatus(node: OracleNode, filter: OracleFilter | undefined): number {
  const isEnd = node.ordinal !== undefined && (!filter || filter.ordinals.has(node.ordinal));
  return (node.children.size > 0 ? BEAM_BITS.LIVE : 0) | (isEnd ? BEAM_BITS.STOPPABLE : 0);
}

/** State numbers: which edges with children come before. */
function stateOf(oracle: OracleSet, node: OracleNode): number {
  if (node.children.size === 0) return NONE;
  if (node.level < 0) return 0;
  return oracle.levels[node.level].slice(0, node.edge).filter((n) => n.children.size > 0).length;
}

function toBeams(
  oracle: OracleSet,
  beams: readonly (readonly (OracleBeam | undefined)[])[],
  filters: readonly (OracleFilter | undefined)[],
  count: number,
): Beams {
  const words = () => new Uint32Array(count);
  const result: Beams = {
    scores: new Float32Array(count).fill(-Infinity),
    states: words().fill(NONE),
    edges: words().fill(NONE),
    lengths: words(),
    status: words(),
  };
  beams.forEach((row, b) =>
    row.forEach((beam, i) => {
      if (!beam) return;
      const { node, score, ended } = beam;
      const at = b * row.length + i;
      result.scores[at] = score;
      result.edges[at] = node.edge;
      result.lengths[at] = node.level + 1;
      result.states[at] = ended ? NONE : stateOf(oracle, node);
      result.status[at] = ended ? BEAM_BITS.ENDED : openStatus(node, filters[b]);
    })
  );
  return result;
}
