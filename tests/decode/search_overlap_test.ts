/** Decodes that overlap, models that answer late, memory that grows in between. */

import assert from "node:assert/strict";
import { createDecoder, type Decoder } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import type { BeamSearchOptions, Logits, Model, ModelInput } from "../../src/decode/types.ts";
import { assertLayout, assertSame, assertShown, watched } from "../support/compare.ts";
import { runs } from "../support/long.ts";
import { DELIVERIES, modelOf, Random, RULES } from "../support/models.ts";
import { oracleSearch, OracleSet } from "../support/oracle.ts";
import { rowSet } from "../support/sets.ts";

/** One of the decodes that overlap. All tie, so results are exact. */
async function decode(
  decoder: Decoder,
  set: OracleSet,
  seed: number,
  options: Partial<BeamSearchOptions> = {},
): Promise<void> {
  const random = new Random(seed);
  const all = {
    beamSize: random.between(1, 40),
    batchSize: random.between(1, 3),
    vocabSize: set.vocabSize + random.below(40),
    normalize: "none" as const,
    ...options,
  };
  const delivery = random.pick(DELIVERIES);
  const { model, shown } = watched(modelOf(RULES.coarse, seed, delivery), set, all);
  const [result, expected] = await Promise.all([
    decoder.beamSearch(model, all),
    oracleSearch(set, modelOf(RULES.coarse, seed, delivery), all),
  ]);
  assertLayout(result, set, all);
  assertSame(result, expected);
  assertShown(shown, expected.shown);
}

Deno.test("Decodes on one decoder overlap without harm", async () => {
  for (const shape of ["fixed", "mixed", "tails"] as const) {
    for (let seed = 0; seed < runs(2); seed++) {
      const { rows, vocabSize } = rowSet(shape, seed + 50);
      const set = new OracleSet(rows, vocabSize);
      using index = await buildIndex(rows, { vocabSize });
      using decoder = await createDecoder(index, { backend: "wasm" });
      const seeds = Array.from({ length: 12 }, (_, i) => seed * 100 + i);
      await Promise.all(seeds.map((each) => decode(decoder, set, each)));
    }
  }
});

Deno.test("Decoders of several indexes overlap without harm", async () => {
  const stack = new AsyncDisposableStack();
  const decodes: (() => Promise<void>)[] = [];
  for (let seed = 0; seed < 5; seed++) {
    const { rows, vocabSize } = rowSet("mixed", seed + 80);
    const set = new OracleSet(rows, vocabSize);
    const index = stack.use(await buildIndex(rows, { vocabSize }));
    for (let twice = 0; twice < 2; twice++) {
      const decoder = stack.use(await createDecoder(index, { backend: "wasm" }));
      decodes.push(() => decode(decoder, set, seed));
    }
  }
  await Promise.all(decodes.map((start) => start()));
  await stack.disposeAsync();
});

/** A promise, and what fulfils it. */
interface Gate {
  opened: Promise<void>;
  open: () => void;
}

function gate(): Gate {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}

Deno.test("Memory that grows while a model waits harms no decode", async () => {
  const { rows, vocabSize } = rowSet("nearlyDense", 7);
  const set = new OracleSet(rows, vocabSize);
  const small = { beamSize: 5, batchSize: 2, vocabSize, normalize: "none" as const };
  const large = { beamSize: 1024, batchSize: 4, vocabSize: vocabSize + 700 };
  for (const reads of ["afresh", "own"]) {
    for (const step of [0, 1]) {
      using index = await buildIndex(rows, { vocabSize });
      using decoder = await createDecoder(index, { backend: "wasm" });
      const [waits, goesOn] = [gate(), gate()];
      const inner = modelOf(RULES.coarse, 9, reads === "own" ? "own" : "out");
      const waiting: Model = async (input) => {
        if (input.step === step) {
          waits.open();
          await goesOn.opened;
        }
        // `inner` takes `input.out` only now, after the other decode had its way with the memory.
        return inner(input);
      };
      const { model, shown } = watched(waiting, set, small);
      const first = decoder.beamSearch(model, small);
      await waits.opened;
      await decode(decoder, set, 3, large);
      goesOn.open();
      const result = await first;
      const expected = await oracleSearch(set, modelOf(RULES.coarse, 9), small);
      assertSame(result, expected);
      assertShown(shown, expected.shown);
    }
  }
});

Deno.test("Memory that grows between a model's answer and its use harms no decode", async () => {
  const { rows, vocabSize } = rowSet("nearlyDense", 7);
  const set = new OracleSet(rows, vocabSize);
  const small = { beamSize: 5, batchSize: 2, normalize: "none" as const };
  const large = { beamSize: 1024, batchSize: 4, vocabSize: vocabSize + 700 };
  const expected = await oracleSearch(set, modelOf(RULES.coarse, 9), small);
  for (const step of [0, 1]) {
    using index = await buildIndex(rows, { vocabSize });
    using decoder = await createDecoder(index, { backend: "wasm" });
    const inner = modelOf(RULES.coarse, 9);
    let other: Promise<void> | undefined;
    // deno-lint-ignore require-await -- asynchronous, and `out` is as fresh as can be
    const model: Model = async (input) => {
      // Microtasks run between the return and the search that waits for it.
      if (input.step === step) queueMicrotask(() => other = decode(decoder, set, 3, large));
      return inner(input);
    };
    const search = decoder.beamSearch(model, small);
    const [result] = await Promise.allSettled([search]);
    await other;
    assert.equal(result.status, "fulfilled", String((result as PromiseRejectedResult).reason));
    assertSame(await search, expected);
  }
});

Deno.test("A large decode that starts and waits leaves a small one's logits alone", async () => {
  const { rows, vocabSize } = rowSet("fixed", 3);
  const set = new OracleSet(rows, vocabSize);
  using index = await buildIndex(rows, { vocabSize });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const inner = modelOf(RULES.coarse, 1);
  const pending: Promise<void>[] = [];
  // Every step starts another decode when the logits are in `out`, but not yet handed over.
  const model: Model = (input) => {
    const logits = inner(input) as Logits;
    const seed = 20 + input.step;
    pending.push(decode(decoder, set, seed, { beamSize: 300, vocabSize: vocabSize + 500 }));
    return logits.length > 0 ? logits : input.out;
  };
  const options = { beamSize: 7, batchSize: 3, normalize: "none" as const };
  const result = await decoder.beamSearch(model, options);
  await Promise.all(pending);
  assertSame(result, await oracleSearch(set, modelOf(RULES.coarse, 1), options));
});

Deno.test("A model may hand over one array of its own again and again, or a view into one", async () => {
  const { rows, vocabSize } = rowSet("mixed", 5);
  const set = new OracleSet(rows, vocabSize);
  using index = await buildIndex(rows, { vocabSize });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const options = { beamSize: 6, batchSize: 2, normalize: "none" as const };
  const expected = await oracleSearch(set, modelOf(RULES.coarse, 2), options);
  for (const kind of [Float32Array, Float16Array, Uint16Array]) {
    const reused = new kind(12 * vocabSize + 3);
    const inner = modelOf(RULES.coarse, 2, kind === Uint16Array ? "bits" : "own");
    const model: Model = (input) => {
      const view = reused.subarray(3, 3 + input.rows * vocabSize);
      view.set(inner(input) as Float32Array);
      return view;
    };
    assertSame(await decoder.beamSearch(model, options), expected);
  }
});

Deno.test("Results stay as they are when later decodes run", async () => {
  const { rows, vocabSize } = rowSet("mixed", 6);
  const set = new OracleSet(rows, vocabSize);
  using index = await buildIndex(rows, { vocabSize });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const options = { beamSize: 6, batchSize: 2, normalize: "none" as const };
  const result = await decoder.beamSearch(modelOf(RULES.coarse, 1), options);
  const before = structuredClone(result);
  for (let seed = 0; seed < 4; seed++) await decode(decoder, set, seed);
  assert.deepEqual(result, before);
});

Deno.test("Logits written to a view that memory growth detached are noticed, not lost", async () => {
  const { rows, vocabSize } = rowSet("nearlyDense", 7);
  const set = new OracleSet(rows, vocabSize);
  using index = await buildIndex(rows, { vocabSize });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const large = { beamSize: 1024, batchSize: 4, vocabSize: vocabSize + 700 };
  const model: Model = async (input) => {
    const stale = input.out;
    await decode(decoder, set, 3, large);
    assert.equal(stale.length, 0, "The large decode has grown the memory");
    for (let i = 0; i < input.rows * vocabSize; i++) stale[i] = i;
    return input.out;
  };
  const search = decoder.beamSearch(model, { beamSize: 5 });
  await assert.rejects(search, { name: "ModelOutputError", code: "unwritten-logits", row: 0 });
});

Deno.test("The memory of a model input is out of reach once its step is over", async () => {
  using index = await buildIndex([[0, 1], [1, 0]], { vocabSize: 2 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const inputs: ModelInput[] = [];
  const stale = { name: "EspalierError", code: "stale-input" };
  const model: Model = (input) => {
    // The memory of an earlier step has the size of this one, and is this one's.
    for (const earlier of inputs) assert.throws(() => earlier.out, stale);
    inputs.push(input);
    return new Float32Array(input.rows * 2);
  };
  await decoder.beamSearch(model, { beamSize: 2 });
  assert.equal(inputs.length, 2);
  for (const input of inputs) assert.throws(() => input.out, stale);
});
