/** What the benches measure with: a model that knows the set, the memory of objects, the peer's mask. */
import assert from "node:assert/strict";
import { espalier } from "../../bench/baselines/espalier.ts";
import { mapTrie, mapTrieBytes } from "../../bench/baselines/map_trie.ts";
import type { Method } from "../../bench/baselines/method.ts";
import { ppv } from "../../bench/baselines/ppv.ts";
import { randomSet } from "../../bench/baselines/random_set.ts";
import { allowedTokens, countOutside } from "../../bench/baselines/set.ts";
import { knownLogits } from "../../bench/paper/knowing_model.ts";
import { oddOnes, stepOfBoth } from "../../bench/paper/odd.ts";
import { type Caps, plan, type Point } from "../../bench/paper/plan.ts";
import type { Result } from "../../bench/paper/results.ts";
import { runPoint } from "../../bench/paper/run_point.ts";
import { missedShare, search } from "../../bench/paper/search.ts";
import { maskByTrie, trieOf } from "../../bench/peers/map_trie.ts";
import { createDecoder } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";

const SHAPE = { rows: 3000, length: 5, vocabSize: 300, batchSize: 2, beamSize: 20 };
const SET = randomSet(SHAPE.rows, SHAPE);
const pointOf = (boost: number): Point => ({ ...plan("quick", false)[0], ...SHAPE, boost });

/** Logits of a row. */
const rowOf = (logits: Float32Array, row: number) =>
  logits.subarray(row * SHAPE.vocabSize, (row + 1) * SHAPE.vocabSize);

Deno.test("allowed tokens of a sorted set are those of the index", async () => {
  const { vocabSize, ...matrix } = SET;
  using index = await buildIndex(matrix, { vocabSize, sorted: true });
  for (const ordinal of [0, 1, 1500, 2999]) {
    const sequence = index.sequenceAt(ordinal);
    for (let depth = 0; depth < SET.length; depth++) {
      const prefix = sequence.subarray(0, depth);
      assert.deepEqual(allowedTokens(SET, prefix), [...index.allowedTokens(prefix)]);
    }
  }
  assert.deepEqual(allowedTokens(SET, [0xffffffff]), []);
});

Deno.test("a model that knows the set adds its boost to the tokens that may follow, and to no other", async () => {
  using ours = await espalier(SET);
  const plain = knownLogits(ours, SET, pointOf(0));
  const boosted = knownLogits(ours, SET, pointOf(8));
  assert.deepEqual([plain.length, boosted.length], [SET.length, SET.length]);
  const allowed = new Set(allowedTokens(SET, []));
  for (let batch = 0; batch < SHAPE.batchSize; batch++) {
    rowOf(boosted[0], batch).forEach((logit, token) => {
      const base = rowOf(plain[0], batch)[token];
      assert.ok(base >= -4 && base < 4);
      assert.equal(logit, Math.fround(base + (allowed.has(token) ? 8 : 0)));
    });
  }
  // Every live row of every step has tokens above all that are not allowed.
  using running = ours.begin(SHAPE);
  boosted.forEach((logits, step) => {
    const perBatch = step === 0 ? 1 : SHAPE.beamSize;
    const sequences = step === 0 ? new Uint32Array() : running.beams().sequences;
    for (let row = 0; row < SHAPE.batchSize * perBatch; row++) {
      const tokens = allowedTokens(SET, sequences.subarray(row * step, (row + 1) * step));
      const high = [...rowOf(logits, row).keys()].filter((token) => rowOf(logits, row)[token] >= 4);
      assert.deepEqual(high, tokens, `step ${step}, row ${row}`);
    }
    const out = running.logits();
    out.set(logits.subarray(0, out.length));
    running.advance();
  });
});

Deno.test("exact methods meet the same model; those that look at the best logits miss less of one that knows", async () => {
  using ours = await espalier(SET);
  using exact = await mapTrie(SET);
  using top = await ppv(SET, { cut: 15 });
  const missed = [0, 8].map((boost) => {
    const point = pointOf(boost);
    const beamsOf = (method: Method) =>
      search(method, point, knownLogits(method, SET, point)).beams;
    assert.deepEqual(knownLogits(exact, SET, point), knownLogits(ours, SET, point));
    const wanted = beamsOf(ours);
    assert.equal(missedShare(wanted, beamsOf(exact), point), 0);
    assert.equal(countOutside(SET, wanted, SHAPE.beamSize), 0);
    return missedShare(wanted, beamsOf(top), point);
  });
  assert.ok(missed[0] > 0.9 && missed[1] < 0.6, `Missed ${missed}`);
});

Deno.test("points in which ours took much longer than beside another method on the set are odd", () => {
  const origin = { machine: "", deno: "", code: "", date: "" };
  const result = (method: Point["method"], ours: number | undefined, boost: number): Result => {
    const own = method === "espalier" ? ours! : 5;
    const step = { median: own, p10: own, p90: own };
    const rest = { byteLength: 1, buildMs: 1, peakBytes: 1, setBytes: 1, repeats: 1, load: 0 };
    const isAlone = ours === undefined || method === "espalier";
    const beside = isAlone ? {} : { ours: { step: ours, constraint: 0 } };
    const outcome = { ...rest, step, exact: true, invalid: 0, ...beside };
    return { point: { ...pointOf(boost), method }, origin, outcome };
  };
  const usual = [result("flatTrie", 1, 0), result("mapTrie", 1.1, 0), result("npmTrie", 1.2, 0)];
  assert.deepEqual(
    oddOnes([...usual, result("espalier", 1, 0), result("webgpu", undefined, 0)]),
    [],
  );
  const odd = [result("espalier", 1.5, 0), result("ppvExact", 1.3, 0)];
  assert.deepEqual(oddOnes([...usual, ...odd]), odd);
  assert.deepEqual(odd.map(stepOfBoth), [1.5, 6.3]);
  assert.equal(stepOfBoth({ ...odd[0], outcome: { reason: "out of memory" } }), Infinity);
  // Another set is another matter.
  assert.deepEqual(oddOnes([...usual, result("ppvExact", 3, 4), result("mapTrie", 3.1, 4)]), []);
});

Deno.test("the memory of tries of objects is what the heap grows by, without the set", async () => {
  const caps: Caps = { seconds: 60, bytes: 2e9, repeats: 3, measureSeconds: 0.1 };
  const point: Point = { ...pointOf(4), method: "mapTrie", rows: 20_000 };
  const outcome = await runPoint(point, caps);
  assert.ok("byteLength" in outcome, JSON.stringify(outcome));
  const computed = mapTrieBytes(randomSet(point.rows, point));
  const isNear = Math.abs(outcome.byteLength / computed - 1) < 0.05;
  assert.ok(isNear, `${outcome.byteLength} bytes measured, ${computed} computed`);
  assert.notEqual(outcome.byteLength, computed);
  assert.equal(outcome.missed, 0);
});

Deno.test("the trie of Maps masks as the decoder does, prefixes of others among the sequences", async () => {
  const vocabSize = 200;
  const wide = Array.from({ length: 100 }, (_, i) => [8, 2 * i]);
  const sequences = [[1, 2, 3], [1, 2], [4], [4, 0], [4, 0, 7], [5], [6, 1], [6, 1, 2], ...wide];
  using index = await buildIndex(sequences, { vocabSize });
  using decoder = await createDecoder(index, { backend: "wasm" });
  for (const order of [sequences, sequences.toReversed()]) {
    const trie = trieOf(order);
    for (
      const prefix of [[], [1], [1, 2], [4], [4, 0], [4, 0, 7], [5], [6], [6, 1], [8], [9], [1, 8]]
    ) {
      const ours = Float32Array.from({ length: vocabSize }, (_, token) => token - 4);
      const theirs = ours.slice();
      decoder.maskLogits(ours, [prefix]);
      maskByTrie(trie, prefix, theirs);
      assert.deepEqual(theirs, ours, `Behind ${prefix}`);
    }
  }
});
