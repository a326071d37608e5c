/** The oracle against words one can check by eye, and against itself by another way. */

import assert from "node:assert/strict";
import { ModelOutputError } from "../../mod.ts";
import { runs } from "../support/long.ts";
import { EXACT_RULES, modelOf, Random, RULES } from "../support/models.ts";
import {
  NONE,
  type OracleBeam,
  oracleSearch,
  OracleSet,
  oracleStep,
  prefixOf,
} from "../support/oracle.ts";
import { rowSet } from "../support/sets.ts";

Deno.test("The oracle numbers sequences level by level", () => {
  const set = new OracleSet([[1, 0], [2], [1], [0, 1, 1], [1, 0], [0, 1]], 3);
  assert.deepEqual(set.sequences, [[1], [2], [0, 1], [1, 0], [0, 1, 1]]);
  assert.deepEqual(set.levels.map((level) => level.length), [3, 2, 1]);
  assert.deepEqual(set.allowedTokens([]), [0, 1, 2]);
  assert.deepEqual(set.allowedTokens([0, 1]), [1]);
  assert.equal(set.canEnd([0]), false);
  assert.equal(set.canEnd([0, 1]), true);
  assert.equal(set.has([]), false);
  assert.equal(set.fixedLength, false);
});

/** Candidates as `parent token score`, `-` for no token. */
const words = (candidates: ReturnType<typeof oracleStep>) =>
  candidates.map(({ parent, token, score }) =>
    `${parent} ${token === NONE ? "-" : token} ${score}`
  );

Deno.test("The oracle ranks stops, ended beams and children", () => {
  const set = new OracleSet([[0], [0, 0], [0, 1], [1, 0], [2]], 4);
  const beam = (prefix: number[], score: number, ended = false): OracleBeam => ({
    node: set.find(prefix)!,
    score,
    ended,
  });
  const beams = [beam([0], -1), undefined, beam([2], -2, true), beam([1], -1)];
  const row = [-1, -1, -9, -0.5];
  const rows = [row, [Infinity], [Infinity], row];
  const none = { normalize: "none" } as const;
  assert.deepEqual(words(oracleStep(beams, rows, none)), [
    ...["0 - -1", "0 0 -2", "0 1 -2", "2 - -2", "3 0 -2"],
  ]);
  assert.deepEqual(words(oracleStep(beams, rows, { ...none, endToken: 3 })), [
    ...["0 - -1.5", "0 0 -2", "0 1 -2", "2 - -2", "3 0 -2"],
  ]);
  assert.deepEqual(words(oracleStep(beams, rows, { ...none, tokensPerBeam: 1 })), [
    ...["0 - -1", "0 0 -2", "2 - -2", "3 0 -2"],
  ]);
  // Children are of length 2 and the stop of length 1.
  assert.deepEqual(words(oracleStep(beams, rows, { ...none, lengthPenalty: 2 })), [
    ...["0 0 -2", "0 1 -2", "3 0 -2", "0 - -1", "2 - -2"],
  ]);
  const filter = set.filter((ordinal) => [2, 3].includes(ordinal));
  assert.deepEqual(set.sequences[2], [0, 0]);
  assert.deepEqual(words(oracleStep([beams[0]], rows, { ...none, filter })), ["0 0 -2", "0 1 -2"]);
  const infinite = [[0, Infinity, 0, 0]];
  assert.throws(() => oracleStep([beams[0]], infinite, none), ModelOutputError);
  // Nothing is wrong where the token is not allowed; it takes all probability.
  assert.deepEqual(words(oracleStep([beams[3]], infinite, none)), ["0 0 -1"]);
  assert.deepEqual(words(oracleStep([beams[3]], infinite)), []);
});

Deno.test("The oracle normalizes over the vocabulary or over what is allowed", () => {
  const set = new OracleSet([[0], [1]], 4);
  const root = { node: set.root, score: 0, ended: false };
  const scores = (options: Parameters<typeof oracleStep>[2], logits: number[]) =>
    oracleStep([root], [logits], options).map(({ score }) => Math.exp(score).toFixed(4));
  assert.deepEqual(scores({}, [0, 0, 0, 0]), ["0.2500", "0.2500"]);
  assert.deepEqual(scores({}, [0, 0, NaN, 0]), ["0.3333", "0.3333"]);
  assert.deepEqual(scores({}, [0, NaN, -Infinity, 0]), ["0.5000"]);
  assert.deepEqual(scores({ normalize: "allowed" }, [0, 0, 9, 9]), ["0.5000", "0.5000"]);
  assert.deepEqual(scores({ normalize: "allowed" }, [NaN, -Infinity, 9, 9]), []);
  assert.deepEqual(scores({}, [-Infinity, -Infinity, -Infinity, NaN]), []);
});

Deno.test("Among the oracle's filtered items it finds what it finds in a set of only those", async () => {
  for (let seed = 0; seed < runs(40); seed++) {
    const random = new Random(seed);
    const { rows, vocabSize } = rowSet(random.pick(["fixed", "mixed", "tails"]), seed);
    const full = new OracleSet(rows, vocabSize);
    const share = random.between(1, 4);
    const chosen = full.sequences.map((_, i) => i === 0 || random.below(share) === 0);
    const small = new OracleSet(full.sequences.filter((_, i) => chosen[i]), vocabSize);
    const options = {
      beamSize: random.between(1, 30),
      batchSize: 2,
      vocabSize: vocabSize + 1,
      normalize: "none" as const,
      ...(random.below(2) && { endToken: vocabSize }),
    };
    const rule = RULES[random.pick(EXACT_RULES)];
    const found = await oracleSearch(full, modelOf(rule, seed), {
      ...options,
      allowed: (ordinal) => chosen[ordinal],
    });
    const wanted = await oracleSearch(small, modelOf(rule, seed), options);
    const plain = ({ beams }: typeof found) =>
      beams.map((row) => row.map(({ node, score }) => [prefixOf(node), score]));
    assert.deepEqual(plain(found), plain(wanted));
  }
});

Deno.test("A wide enough beam finds the best of all sequences", async () => {
  for (let seed = 0; seed < runs(10); seed++) {
    const { rows, vocabSize } = rowSet("tails", seed);
    const set = new OracleSet(rows, vocabSize);
    // The logit depends on step and token alone, so that a sequence's score is a plain sum.
    const logit = (step: number, token: number) => new Random(step * 4099 + token).below(9) * -0.5;
    const sums = set.sequences.map((s) => s.reduce((sum, token, i) => sum + logit(i, token), 0));
    const { beams } = await oracleSearch(set, modelOf(({ step }, token) => logit(step, token)), {
      beamSize: set.size,
      normalize: "none",
    });
    assert.deepEqual(beams[0].map(({ score }) => score), sums.toSorted((a, b) => b - a));
    beams[0].forEach(({ node, score }) => assert.equal(score, sums[node.ordinal!]));
  }
});
