/** ONNX models that see live rows alone: the same logits as with all rows, and no work for dead ones. */
import assert from "node:assert/strict";
import { loadOrt, type Tensor } from "../../../src/models/onnx/session.ts";
import { runs } from "../../support/long.ts";
import { Random } from "../../support/models.ts";
import { FORMS, isMasked } from "../../support/onnx/forms.ts";
import { bitsOf, onCpu, openToy } from "../../support/onnx/open.ts";
import { somePrompts, wrapped } from "../../support/onnx/reference.ts";
import {
  fullLogits,
  inputOf,
  liveLogits,
  promptTurn,
  someTurns,
  type Turn,
  WIDTH,
} from "../../support/onnx/schedule.ts";

const PROMPTS = 3;
const STEPS = 5;

for (const [name, form] of Object.entries(FORMS)) {
  Deno.test(`ONNX on the CPU, live rows: ${name}`, async () => {
    await using model = await openToy(form);
    using full = model.withPrompts(somePrompts(isMasked(form)));
    using live = model.withPrompts(somePrompts(isMasked(form)));
    assert.equal(onCpu(live).liveRows, true);
    for (let seed = 1; seed <= runs(3); seed++) {
      const turns = someTurns(new Random(seed), PROMPTS, STEPS);
      const wanted = await fullLogits(onCpu(full), PROMPTS, turns);
      const found = await liveLogits(onCpu(live), PROMPTS, turns);
      for (const [step, rows] of wanted.entries()) {
        rows.forEach((row, i) => {
          assert.deepEqual(bitsOf(found[step][i]), bitsOf(row), `Step ${step}, row ${i}: ${seed}`);
        });
      }
    }
  });
}

Deno.test("ONNX, live rows: no dead row is computed, and what does not change is not moved", async () => {
  const wasm = await loadOrt("wasm");
  const forms = [
    {},
    { cache: false },
    { encoder: true },
    { encoder: true, cache: false },
    { encoder: true, crossCache: "encoder" },
    { encoder: true, crossCache: "first", twoGraphs: true },
    { encoder: true, crossCache: "first", merged: true },
  ] as const;
  for (const form of forms) {
    let calls: { feeds: Record<string, Tensor>; outputs: Record<string, Tensor> }[] = [];
    const ort = wrapped(wasm, async (run, feeds) => {
      const outputs = await run();
      calls.push({ feeds, outputs });
      return outputs;
    });
    await using model = await openToy(form, { ort });
    using prompted = model.withPrompts(somePrompts(true));
    const [rows, others] = [[1, 0, 2], [0, 0, 2]];
    const turns: Turn[] = [
      { batch: [0, 1, 1, 2], tokens: [1, 2, 3, 4], parents: [0, 1, 1, 2] },
      { batch: [0, 1, 1, 2], tokens: [5, 6, 7, 8], parents: [0, 2, 1, 3] }, // change places
      { batch: [0, 1, 1, 2], tokens: [1, 3, 5, 7], parents: [0, 1, 2, 3] }, // stay
      { batch: [0, 0, 2], tokens: [2, 4, 6], parents: [0, 0, 3] }, // a prompt has ended
      { batch: [0, 0, 2], tokens: rows, parents: rows },
      { batch: [0, 0, 2], tokens: others, parents: others },
      { batch: [2], tokens: [9], parents: [2] },
    ];
    calls = [];
    await liveLogits(onCpu(prompted), PROMPTS, turns);
    const isEncoder = "encoder" in form;
    assert.equal(calls.length, 1 + turns.length + Number(isEncoder));
    if (isEncoder) assert.equal(calls.shift()!.feeds.input_ids.dims[0], PROMPTS);
    const names = Object.keys(calls[2].feeds);
    const cross = names.filter((name) => /^encoder_hidden|\.encoder\./.test(name));
    assert.equal(cross.length > 0, isEncoder);
    const past = names.filter((name) => /^past/.test(name) && !name.includes(".encoder."));
    assert.equal(past.length > 0, !("cache" in form));
    for (const [step, { batch, parents }] of turns.entries()) {
      const [{ outputs, feeds: before }, { feeds }] = [calls[step], calls[step + 1]];
      for (const name of [...cross, ...past, "input_ids"]) {
        assert.equal(feeds[name].dims[0], batch.length, `${name} after step ${step}`);
      }
      if (step === 0) continue;
      const isSame = `${batch}` === `${turns[step - 1].batch}`;
      for (const name of cross) assert.equal(feeds[name] === before[name], isSame, name);
      const isIdentity = isSame && parents.every((parent, row) => parent === row);
      for (const name of past) {
        const present = outputs[name.replace("past_key_values", "present")];
        assert.equal(feeds[name] === present, isIdentity, name);
      }
    }
    // A run of the rows that there are, in another order: two of one prompt change places.
    const before = calls[turns.length - 2].feeds;
    await liveLogits(onCpu(prompted), PROMPTS, turns.slice(0, -1));
    const { batch } = turns.at(-2)!;
    await onCpu(prompted).scoreRuns!({
      step: turns.length,
      rows: 3,
      width: 2,
      tokens: Uint32Array.of(1, 2, 3, 4, 5, 6),
      lengths: Uint32Array.of(2, 2, 2),
      parents: Uint32Array.of(1, 0, 2),
      batch: Uint32Array.from(batch),
      batchSize: PROMPTS,
      vocabSize: WIDTH,
    });
    const [last, { feeds }] = calls.slice(-2);
    assert.equal(feeds.input_ids.dims[0], 3);
    for (const name of cross) {
      assert.equal(feeds[name], last.feeds[name], name);
      assert.notEqual(feeds[name], before[name]);
    }
  }
});

Deno.test("ONNX, live rows: what only the first step took of the encoder goes", async () => {
  let freed = 0;
  const ort = wrapped(await loadOrt("wasm"), async (run) => {
    const outputs = await run();
    const hidden = outputs.last_hidden_state;
    if (hidden) hidden.dispose = () => void freed++;
    return outputs;
  });
  await using model = await openToy({ encoder: true, crossCache: "first", twoGraphs: true }, {
    ort,
  });
  using prompted = model.withPrompts(somePrompts(true));
  // No row moves: what a move frees is not it.
  const stay = { tokens: [3, 4, 5], parents: [0, 1, 2] };
  freed = 0;
  await onCpu(prompted)(inputOf(0, PROMPTS, promptTurn(PROMPTS)));
  assert.equal(freed, 0);
  await onCpu(prompted)(inputOf(1, PROMPTS, { ...promptTurn(PROMPTS), ...stay }));
  assert.equal(freed, 1);
});

Deno.test("ONNX, live rows: a search begins again at any time", async () => {
  await using model = await openToy({ encoder: true });
  using prompted = model.withPrompts(somePrompts(true));
  const turns = someTurns(new Random(7), PROMPTS, STEPS);
  const wanted = await liveLogits(onCpu(prompted), PROMPTS, turns);
  for (let steps = 0; steps < STEPS; steps++) {
    await liveLogits(onCpu(prompted), PROMPTS, someTurns(new Random(steps), PROMPTS, steps));
    assert.deepEqual(await liveLogits(onCpu(prompted), PROMPTS, turns), wanted);
  }
});

Deno.test("ONNX, live rows: rows that do not continue those before are refused", async () => {
  await using model = await openToy({});
  using prompted = model.withPrompts(somePrompts(true));
  const good: Turn = { batch: [0, 2, 2], tokens: [1, 2, 3], parents: [0, 2, 2] };
  const wrong: [Turn, RegExp][] = [
    [{ batch: [], tokens: [], parents: [] }, /"batch" has 0 numbers for 0 rows/],
    [{ ...good, tokens: [1, 2] }, /"tokens" has 2 numbers for 3 rows/],
    [{ ...good, parents: [0, 2, 2, 2] }, /"parents" has 4 numbers for 3 rows/],
    [{ ...good, batch: [0, 2, 1] }, /row 2 has batch row 1/],
    [{ ...good, batch: [0, 2, 3] }, /row 2 has batch row 3/],
    [{ ...good, parents: [0, 1, 2] }, /row 1 of batch row 2 continues row 1/],
    [{ ...good, parents: [0, 2, 3] }, /row 2 of batch row 2 continues row 3/],
  ];
  for (const [turn, message] of wrong) {
    await onCpu(prompted)(inputOf(0, PROMPTS, promptTurn(PROMPTS)));
    const step = onCpu(prompted)(inputOf(1, PROMPTS, turn));
    await assert.rejects(async () => await step, { code: "wrong-rows", step: 1, message });
  }
  // A prompt that has ended does not come back.
  await liveLogits(onCpu(prompted), PROMPTS, [good]);
  const back = { batch: [1], tokens: [1], parents: [1] };
  await assert.rejects(async () => await onCpu(prompted)(inputOf(2, PROMPTS, back)), {
    code: "wrong-rows",
    message: /row 0 of batch row 1 continues row 1/,
  });
  const { batch: _, ...without } = inputOf(2, PROMPTS, good);
  await assert.rejects(async () => await onCpu(prompted)(without as never), { code: "wrong-rows" });
});
