/** Runs of ONNX models on the CPU: several tokens of each row in one call, and the trial that they are offered after. */
import assert from "node:assert/strict";
import type { Logits, RunInput } from "../../../mod.ts";
import { loadOrt } from "../../../src/models/onnx/session.ts";
import { runs } from "../../support/long.ts";
import { Random } from "../../support/models.ts";
import { FORMS, isMasked, scoresRuns, type ToyForm } from "../../support/onnx/forms.ts";
import {
  assertRun,
  bitsOf,
  numbersOf,
  onCpu,
  openToy,
  toleranceOf,
} from "../../support/onnx/open.ts";
import { somePrompts, wrapped } from "../../support/onnx/reference.ts";
import {
  inputOf,
  liveLogits,
  promptTurn,
  someRun,
  someTurns,
  WIDTH,
} from "../../support/onnx/schedule.ts";

const PROMPTS = 3;
/** What a run is for rows that go on with tokens each, behind the prompts. */
const runOf = (rows: number[][], parents: number[]): RunInput => {
  const width = Math.max(...rows.map((row) => row.length));
  return {
    step: 1,
    rows: rows.length,
    width,
    tokens: Uint32Array.from(rows.flatMap((row) => [...row, ...Array(width - row.length).fill(1)])),
    lengths: Uint32Array.from(rows, (row) => row.length),
    parents: Uint32Array.from(parents),
    batch: Uint32Array.from(parents),
    batchSize: PROMPTS,
    vocabSize: WIDTH,
  };
};

for (const [name, form] of Object.entries(FORMS)) {
  Deno.test(`ONNX on the CPU, runs: ${name}`, async () => {
    await using model = await openToy(form);
    using prompted = model.withPrompts(somePrompts(isMasked(form)));
    using other = model.withPrompts(somePrompts(isMasked(form)));
    const { scoreRuns } = onCpu(prompted);
    assert.equal(scoreRuns !== undefined, scoresRuns(form), model.reason);
    assert.equal(/no runs: .* last position alone/.test(model.reason), !scoresRuns(form));
    if (!scoreRuns) return;
    for (let seed = 1; seed <= runs(4); seed++) {
      const random = new Random(seed);
      const steps = random.below(4);
      const turns = someTurns(random, PROMPTS, steps);
      await liveLogits(onCpu(prompted), PROMPTS, turns);
      const found = [];
      // One after the other, from the same last step.
      for (let i = 0; i < 3; i++) {
        const run = someRun(random, PROMPTS, steps + 1, turns.at(-1) ?? promptTurn(PROMPTS));
        const logits: Logits = await scoreRuns(run);
        assert.equal(logits.length, run.rows * run.width * WIDTH);
        found.push({ run, bits: bitsOf(logits), logits: numbersOf(logits) });
      }
      for (const { run, bits, logits } of found) {
        assert.deepEqual(bitsOf(await scoreRuns(run)), bits, "A run leaves something behind");
        await liveLogits(onCpu(other), PROMPTS, turns);
        await assertRun(run, logits, onCpu(other), toleranceOf(form));
      }
    }
  });
}

Deno.test("ONNX, runs: where new tokens see those behind them, none are offered", async () => {
  const forms: ToyForm[] = [
    {},
    { mask: false },
    { floats: "float16" },
    { cache: false },
    { merged: true },
    { twoGraphs: true },
    { encoder: true },
    { encoder: true, crossCache: "first", twoGraphs: true },
  ];
  for (const form of forms) {
    await using model = await openToy({ ...form, causal: false });
    using prompted = model.withPrompts(somePrompts(false));
    assert.equal(onCpu(prompted).scoreRuns, undefined);
    assert.match(model.reason, /^no device was passed; no runs: its logits are off .* by \d/);
    const turns = someTurns(new Random(1), PROMPTS, 3);
    await liveLogits(onCpu(prompted), PROMPTS, turns); // goes step by step
  }
});

Deno.test("ONNX, runs: a model that fails on several tokens goes step by step", async () => {
  const ort = wrapped(await loadOrt("wasm"), (run, feeds) => {
    const isRun = feeds.input_ids.dims[1] > 1 && feeds["past_key_values.0.key"].dims[2] > 0;
    if (isRun) throw new Error("one token at a time");
    return run();
  });
  await using model = await openToy({}, { ort });
  assert.match(model.reason, /; no runs: it fails on several tokens: one token at a time$/);
  using prompted = model.withPrompts(somePrompts(true));
  assert.equal(onCpu(prompted).scoreRuns, undefined);
  await liveLogits(onCpu(prompted), PROMPTS, someTurns(new Random(1), PROMPTS, 3));
});

Deno.test("ONNX, runs: logits that are off in one row or place alone are noticed", async () => {
  const wasm = await loadOrt("wasm");
  // Rows of the trial have three tokens and two: what follows the second is not read.
  const cases: [row: number, place: number, isSeen: boolean][] = [
    [0, 0, true],
    [0, 2, true],
    [1, 1, true],
    [1, 2, false],
  ];
  for (const [row, place, isSeen] of cases) {
    const ort = wrapped(wasm, async (run, feeds) => {
      const outputs = await run();
      const isRun = feeds.input_ids.dims[1] > 1 && feeds["past_key_values.0.key"].dims[2] > 0;
      if (isRun) (outputs.logits.data as Float32Array)[(row * 3 + place) * WIDTH + 5] += 0.01;
      return outputs;
    });
    await using model = await openToy({}, { ort });
    assert.equal(/no runs: its logits are off/.test(model.reason), isSeen, `${row}, ${place}`);
  }
});

Deno.test("ONNX, runs: padding that is seen is noticed", async () => {
  const wasm = await loadOrt("wasm");
  for (const form of [{}, { positionIds: false }]) {
    const ort = wrapped(wasm, (run, feeds) => {
      const isRun = feeds.input_ids.dims[1] > 1 && feeds["past_key_values.0.key"].dims[2] > 0;
      if (isRun) (feeds.attention_mask.data as BigInt64Array).fill(1n);
      return run();
    });
    await using model = await openToy(form, { ort });
    assert.match(model.reason, /no runs: its logits are off/);
  }
});

Deno.test("ONNX, runs: padding takes no position that the model lacks", async () => {
  for (const form of [{}, { positionIds: false }]) {
    await using model = await openToy({ ...form, maxPositions: 6 });
    const prompts = [[1, 2, 3, 4], [5], [6]];
    using prompted = model.withPrompts(prompts);
    using other = model.withPrompts(prompts);
    const start = inputOf(0, PROMPTS, promptTurn(PROMPTS));
    await onCpu(prompted)(start);
    await onCpu(other)(start);
    // The first row has one place left, and a run of five places.
    const run = runOf([[7], [8, 9, 10, 1, 2]], [0, 1]);
    const logits = numbersOf(await onCpu(prompted).scoreRuns!(run));
    await assertRun(run, logits, onCpu(other), 1e-4);
  }
});

Deno.test("ONNX, runs: in their turn, with whole rows, until the signal", async () => {
  await using model = await openToy({});
  using prompted = model.withPrompts(somePrompts(true));
  const cpu = onCpu(prompted);
  const score = async (run: RunInput) => await cpu.scoreRuns!(run);
  const run = runOf([[1, 2, 3], [4, 5]], [0, 2]);
  await assert.rejects(score(run), { code: "out-of-turn" });
  await cpu(inputOf(0, PROMPTS, promptTurn(PROMPTS)));
  await assert.rejects(score({ ...run, step: 0 }), { code: "out-of-turn" });
  await assert.rejects(score({ ...run, step: 2 }), { code: "out-of-turn" });
  await assert.rejects(score({ ...run, vocabSize: 11 }), { name: "RangeError" });
  const lengths = (...lengths: number[]) => ({ ...run, lengths: Uint32Array.from(lengths) });
  await assert.rejects(score(lengths(3, 4)), { code: "wrong-rows", row: 1, actual: 4 });
  await assert.rejects(score(lengths(0, 2)), { code: "wrong-rows", row: 0, actual: 0 });
  await assert.rejects(score(lengths(3)), { code: "wrong-rows", actual: 1 });
  await assert.rejects(score({ ...run, tokens: run.tokens.slice(1) }), { code: "wrong-rows" });
  await assert.rejects(score({ ...run, parents: Uint32Array.of(0, 1) }), {
    code: "wrong-rows",
    message: /row 1 of batch row 2 continues row 1/,
  });
  const signal = AbortSignal.abort(new Error("enough"));
  await assert.rejects(score({ ...run, signal }), { message: "enough" });
  const both = await Promise.allSettled([score(run), score(run)]);
  assert.deepEqual(both.map(({ status }) => status), ["fulfilled", "rejected"]);
  prompted[Symbol.dispose]();
  await assert.rejects(score(run), { code: "disposed" });
});
