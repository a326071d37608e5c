/** What the search refuses: wrong options, models that misbehave, signals that abort, disposal. */

import assert from "node:assert/strict";
import {
  ConstraintIndex,
  createDecoder,
  type Decoder,
  EspalierError,
  ModelOutputError,
} from "../../mod.ts";
import { createHandler } from "../../src/edge/mod.ts";
import { s3Source, uploadToS3 } from "../../src/storage/s3/mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import type {
  BeamSearchOptions,
  BeamSearchResult,
  Logits,
  Model,
  ModelInput,
  Normalize,
} from "../../src/decode/types.ts";
import { assertClose, assertLayout, assertSame } from "../support/compare.ts";
import { modelOf, RULES } from "../support/models.ts";
import { oracleSearch, OracleSet } from "../support/oracle.ts";

const VOCAB = 6;
const ROWS = [[0, 1, 2], [0, 2], [1], [1, 1], [2, 2, 2], [3, 0, 1]];
const SET = new OracleSet(ROWS, VOCAB);
const OPTIONS = { beamSize: 4, batchSize: 2, normalize: "none" as const };

/** Runs `test` with a decoder, then asserts that the decoder still searches as it should. */
async function withDecoder(test: (decoder: Decoder) => Promise<void>): Promise<void> {
  using index = await buildIndex(ROWS, { vocabSize: VOCAB });
  using decoder = await createDecoder(index, { backend: "wasm" });
  await test(decoder);
  await assertUsable(decoder);
}

async function assertUsable(decoder: Decoder): Promise<void> {
  const expected = await oracleSearch(SET, modelOf(RULES.coarse, 5), OPTIONS);
  const result = await decoder.beamSearch(modelOf(RULES.coarse, 5), OPTIONS);
  assertLayout(result, SET, OPTIONS);
  assertSame(result, expected);
}

/** Both a rejection and an exception thrown at once count. */
function assertRejects(
  decode: () => Promise<BeamSearchResult>,
  check: (error: unknown) => boolean,
  message?: string,
): Promise<void> {
  return assert.rejects(async () => void await decode(), check, message);
}

const zeros: Model = ({ out }) => out.fill(0);
type ErrorType = typeof RangeError | typeof TypeError | typeof ModelOutputError;
const is = (type: ErrorType) => (error: unknown) => error instanceof type;

Deno.test("Options out of range are a RangeError, before the model is called", async () => {
  const wrong: Record<string, Partial<BeamSearchOptions>[]> = {
    beamSize: [0, -1, 1025, 1.5, NaN, Infinity].map((beamSize) => ({ beamSize })),
    batchSize: [0, -1, 1.5, NaN].map((batchSize) => ({ batchSize })),
    vocabSize: [VOCAB - 1, 0, -1, VOCAB + 0.5, NaN].map((vocabSize) => ({ vocabSize })),
    tokensPerBeam: [0, -1, 1.5, NaN].map((tokensPerBeam) => ({ tokensPerBeam })),
    endToken: [-1, VOCAB, 1.5, NaN, 2 ** 32 + 4].map((endToken) => ({ endToken })),
    "endToken that occurs": [0, 1, 2, 3].map((endToken) => ({ endToken })),
    padToken: [-1, 1.5, NaN].map((padToken) => ({ padToken })),
    lengthPenalty: [NaN, Infinity].map((lengthPenalty) => ({ lengthPenalty })),
  };
  await withDecoder(async (decoder) => {
    for (const [name, cases] of Object.entries(wrong)) {
      for (const options of cases) {
        const model: Model = () => assert.fail(`Model called in spite of ${name}`);
        await assertRejects(
          () => decoder.beamSearch(model, { beamSize: 2, ...options }),
          is(RangeError),
          `${name}: ${Object.values(options)}`,
        );
      }
    }
  });
});

Deno.test("The end token may lie beyond the index's vocabulary, within the row", async () => {
  await withDecoder(async (decoder) => {
    for (const endToken of [4, 5, VOCAB, VOCAB + 1]) {
      const options = { ...OPTIONS, vocabSize: VOCAB + 2, endToken };
      const expected = await oracleSearch(SET, modelOf(RULES.coarse, endToken), options);
      assertSame(await decoder.beamSearch(modelOf(RULES.coarse, endToken), options), expected);
    }
  });
});

Deno.test("An unknown normalization and a model that is none are a TypeError", async () => {
  await withDecoder(async (decoder) => {
    for (const normalize of ["softmax", "", null, 1] as unknown[] as Normalize[]) {
      const search = () => decoder.beamSearch(zeros, { beamSize: 2, normalize });
      await assertRejects(search, is(TypeError), String(normalize));
    }
    const none = undefined as unknown as Model;
    await assertRejects(() => decoder.beamSearch(none, { beamSize: 2 }), is(TypeError));
  });
});

Deno.test("Logits of another length are a ModelOutputError with both lengths", async () => {
  await withDecoder(async (decoder) => {
    for (const step of [0, 1, 2]) {
      for (const change of [-1, 1, VOCAB, -VOCAB]) {
        for (const kind of [Float32Array, Float16Array, Uint16Array]) {
          const model: Model = (input) => {
            if (input.step !== step) return input.out.fill(0);
            return new kind(input.rows * VOCAB + change);
          };
          const expected = (step === 0 ? 2 : 8) * VOCAB;
          await assertRejects(() => decoder.beamSearch(model, OPTIONS), (error) => {
            assert.ok(error instanceof ModelOutputError, String(error));
            assert.equal(error.expected, expected);
            assert.equal(error.actual, expected + change);
            assert.equal(error.step, step);
            return true;
          });
        }
      }
    }
  });
});

Deno.test("Logits of another type are a ModelOutputError", async () => {
  const others: ((rows: number) => unknown)[] = [
    () => undefined,
    () => null,
    (count) => new Array(count).fill(0),
    (count) => new Float64Array(count),
    (count) => new Int16Array(count),
    (count) => new Float32Array(count).buffer,
    (count) => ({ length: count }),
  ];
  await withDecoder(async (decoder) => {
    for (const other of others) {
      const model: Model = ({ rows }) => other(rows * VOCAB) as Logits;
      await assertRejects(() => decoder.beamSearch(model, OPTIONS), is(ModelOutputError));
      const later: Model = ({ rows }) => Promise.resolve(other(rows * VOCAB) as Logits);
      await assertRejects(() => decoder.beamSearch(later, OPTIONS), is(ModelOutputError));
    }
  });
});

/** Zeros with one special value. */
function oneValue(value: number, step: number, row: number, token: number, kind: string): Model {
  return (input: ModelInput) => {
    const values = new Float32Array(input.rows * VOCAB);
    if (input.step === step) values[row * VOCAB + token] = value;
    if (kind === "out") {
      input.out.set(values);
      return input.out;
    }
    const half = new Float16Array(values);
    return kind === "own" ? values : kind === "half" ? half : new Uint16Array(half.buffer);
  };
}

Deno.test("+infinity is a ModelOutputError with step and row where a live row allows the token, and nowhere else", async () => {
  const counts = { error: 0, none: 0 };
  await withDecoder(async (decoder) => {
    for (const normalize of ["vocab", "allowed", "none"] as const) {
      for (let place = 0; place < 2 * 8 * VOCAB; place++) {
        const [token, row, step] = [place % VOCAB, Math.floor(place / VOCAB) % 8, place % 2];
        const kind = ["out", "own", "half", "bits"][place % 4];
        const options = { ...OPTIONS, normalize };
        const model = oneValue(Infinity, step, row, token, kind);
        const expected = await oracleSearch(SET, model, options).catch((error) => error as Error);
        if (!(expected instanceof Error)) {
          counts.none++;
          assertClose(await decoder.beamSearch(model, options), expected, 1e-5);
          continue;
        }
        counts.error++;
        await assertRejects(() => decoder.beamSearch(model, options), (error) => {
          assert.ok(error instanceof ModelOutputError, `${normalize} ${kind}: ${error}`);
          assert.equal(error.step, step);
          assert.equal(error.row, row);
          return true;
        });
      }
    }
  });
  assert.ok(counts.error > 40 && counts.none > 40, JSON.stringify(counts));
});

Deno.test("What rows hold that do not live does not matter", async () => {
  // [1] ends at step 0 and [2] never ends: rows 1 … 3 do not live at step 1.
  const rows = [[1], [2, 0], [2, 1]];
  using index = await buildIndex(rows, { vocabSize: 4 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  for (const garbage of [Infinity, NaN, -Infinity, 3e38]) {
    const model: Model = ({ step, out }) => {
      if (step === 0) out.set([0, -1, -0.5, 0]);
      else out.fill(garbage).set([-1, -2, 0, 0]);
      return out;
    };
    const result = await decoder.beamSearch(model, { beamSize: 4, normalize: "none" });
    assert.deepEqual([...result.counts], [3]);
    assert.deepEqual([...result.ordinals], [0, 1, 2, 0xffffffff]);
    assert.deepEqual([...result.scores], [-1, -1.5, -2.5, -Infinity]);
  }
});

Deno.test("What the model throws comes out, and the decoder stays usable", async () => {
  await withDecoder(async (decoder) => {
    for (const step of [0, 1, 2]) {
      const reason = new Error(`Step ${step}`);
      const throwing: Model = (input) => {
        if (input.step === step) throw reason;
        return input.out.fill(0);
      };
      const rejecting: Model = async (input) => {
        await Promise.resolve();
        return throwing(input);
      };
      for (const model of [throwing, rejecting]) {
        await assertRejects(() => decoder.beamSearch(model, OPTIONS), (error) => error === reason);
        await assertUsable(decoder);
      }
    }
  });
});

Deno.test("A search stops with the signal's reason", async () => {
  await withDecoder(async (decoder) => {
    const reason = { why: "No longer wanted" };
    const uncalled: Model = () => assert.fail("Model called after the signal");
    const aborted = AbortSignal.abort(reason);
    await assertRejects(
      () => decoder.beamSearch(uncalled, { ...OPTIONS, signal: aborted }),
      (error) => error === reason,
    );
    for (const step of [0, 1]) {
      const controller = new AbortController();
      let calls = 0;
      const model: Model = async (input) => {
        calls++;
        if (input.step === step) controller.abort(reason);
        await Promise.resolve();
        return input.out.fill(0);
      };
      await assertRejects(
        () => decoder.beamSearch(model, { ...OPTIONS, signal: controller.signal }),
        (error) => error === reason,
      );
      assert.equal(calls, step + 1);
      await assertUsable(decoder);
    }
    await assertRejects(
      () => decoder.beamSearch(zeros, { ...OPTIONS, signal: AbortSignal.abort() }),
      (error) => error instanceof DOMException && error.name === "AbortError",
    );
  });
});

Deno.test("A disposed decoder, and one whose index is disposed, say so", async () => {
  const disposed = (error: unknown) => error instanceof EspalierError && error.code === "disposed";
  const index = await buildIndex(ROWS, { vocabSize: VOCAB });
  const decoder = await createDecoder(index, { backend: "wasm" });
  const other = await createDecoder(index, { backend: "wasm" });
  decoder[Symbol.dispose]();
  decoder[Symbol.dispose]();
  await assertRejects(() => decoder.beamSearch(zeros, { beamSize: 2 }), disposed);
  assert.throws(() => decoder.maskLogits(new Float32Array(VOCAB), [[]]), disposed);
  await assertUsable(other);
  index[Symbol.dispose]();
  await assertRejects(() => other.beamSearch(zeros, { beamSize: 2 }), disposed);
  assert.throws(() => other.maskLogits(new Float32Array(VOCAB), [[]]), disposed);
  other[Symbol.dispose]();
  await assert.rejects(async () => await createDecoder(index, { backend: "wasm" }), disposed);
});

Deno.test("A decoder disposed while its model runs ends the search", async () => {
  using index = await buildIndex(ROWS, { vocabSize: VOCAB });
  const decoder = await createDecoder(index, { backend: "wasm" });
  const model: Model = async ({ rows, step }) => {
    await Promise.resolve();
    if (step === 1) decoder[Symbol.dispose]();
    return new Float32Array(rows * VOCAB);
  };
  await assertRejects(
    () => decoder.beamSearch(model, OPTIONS),
    (error) => error instanceof EspalierError && error.code === "disposed",
  );
});

const SERVED = { index: "https://cdn.example/index.safetensors" };
const S3 = {
  bucket: "b",
  key: "k",
  endpoint: "https://s3.example",
  credentials: { accessKeyId: "a", secretAccessKey: "s" },
};

Deno.test("Options that are misspelt are refused, and the nearest one is named", async () => {
  using index = await buildIndex([[0, 1], [1, 0]], { vocabSize: 2 });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const model: Model = ({ out }) => out.fill(0);
  // deno-lint-ignore no-explicit-any -- as in JavaScript
  const any = (options: Record<string, unknown>) => options as any;
  const logits = () => new Float32Array(2);
  const calls: [() => unknown, string, string][] = [
    [() => decoder.beamSearch(model, any({ beamSize: 1, filters: [] })), "filters", "filter"],
    [() => decoder.beamSearch(model, any({ beamsize: 1 })), "beamsize", "beamSize"],
    [() => decoder.maskLogits(logits(), [[]], any({ fliter: 1 })), "fliter", "filter"],
    [() => buildIndex([[0]], any({ vocabSize: 2, filter: {} })), "filter", "filters"],
    [() => ConstraintIndex.open(index.toBytes(), any({ verfy: true })), "verfy", "verify"],
    [() => createDecoder(index, any({ backed: "wasm" })), "backed", "backend"],
    [() => s3Source(any({ bucket: "b", keys: "k" })), "keys", "key"],
    [() => uploadToS3(S3, new Blob([]).stream(), any({ partByte: 1 })), "partByte", "partBytes"],
    [() => createHandler({ ...SERVED, cors: any({ origin: "*" }) }), "origin", "origins"],
    [() => createHandler({ ...SERVED, decoder: any({ backends: "wasm" }) }), "backends", "backend"],
  ];
  for (const [call, actual, expected] of calls) {
    await assert.rejects(async () => void await call(), { name: "TypeError", actual, expected });
  }
});
