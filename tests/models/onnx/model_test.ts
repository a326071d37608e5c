/** ONNX models as such: where they come from, what is refused, searches that overlap, begin anew or end early. */
import assert from "node:assert/strict";
import { BackendError, createDecoder, type Model } from "../../../mod.ts";
import { buildIndex } from "../../../src/build/mod.ts";
import { createOnnxModel } from "../../../src/models/onnx/mod.ts";
import type { OnnxOptions } from "../../../src/models/onnx/types.ts";
import { type InferenceSession, loadOrt } from "../../../src/models/onnx/session.ts";
import { narrowInts } from "../../../src/models/onnx/int64_to_int32.ts";
import { Graph } from "../../support/onnx/graph.ts";
import {
  assertSearch,
  type Problem,
  problemOf,
  somePrompts,
  START,
  wrapped,
} from "../../support/onnx/reference.ts";
import { writeToy } from "../../support/onnx/toy.ts";

const ort = await loadOrt("wasm");

Deno.test("ONNX: searches overlap on one model, and its sessions run one at a time", async () => {
  for (const form of [{}, { encoder: true }]) {
    const files = writeToy(form);
    const problems: Problem[] = [];
    for (const prompts of [somePrompts(true), somePrompts(false), [[7, 7], [8]]]) {
      problems.push(await problemOf(ort, files, prompts, 1e-4));
    }
    let running = 0;
    const watching = wrapped(ort, async (run) => {
      assert.equal(++running, 1, "Runs overlap");
      try {
        return await run();
      } finally {
        running--;
      }
    });
    const options = { encoder: files.encoder, startToken: START, ort: watching };
    await using model = await createOnnxModel(files.decoder, options);
    await using other = await createOnnxModel(files.decoder, options);
    await Promise.all([model, other].flatMap((onnx) =>
      problems.map(async (problem) => {
        using prompted = onnx.withPrompts(problem.prompts);
        await assertSearch(problem, prompted, 1e-4, { times: 2 });
      })
    ));
  }
});

Deno.test("ONNX: a search that broke off begins again at the prompts", async () => {
  const files = writeToy({});
  const problem = await problemOf(ort, files, somePrompts(true), 1e-4);
  await using model = await createOnnxModel(files.decoder);
  using prompted = model.withPrompts(problem.prompts);
  using index = await buildIndex(problem.rows, { vocabSize: 11 });
  using decoder = await createDecoder(index);
  for (const at of [0, 1, 2, 3]) {
    const abort = new AbortController();
    const model: Model = (input) => {
      if (input.step === at) abort.abort(new Error("enough"));
      return (prompted as Model)(input);
    };
    const search = decoder.beamSearch(model, { ...problem.options, signal: abort.signal });
    await assert.rejects(search, { message: "enough" });
  }
  await assertSearch(problem, prompted, 1e-4);
});

Deno.test("ONNX: one search at a time for the same prompts, with as many rows as prompts", async () => {
  const files = writeToy({});
  const problem = await problemOf(ort, files, somePrompts(true), 1e-4);
  await using model = await createOnnxModel(files.decoder);
  using prompted = model.withPrompts(problem.prompts);
  using index = await buildIndex(problem.rows, { vocabSize: 11 });
  using decoder = await createDecoder(index);
  const both = [1, 2].map(() => decoder.beamSearch(prompted, problem.options));
  const outcomes = await Promise.allSettled(both);
  const failed = outcomes.filter(({ status }) => status === "rejected");
  assert.ok(failed.length >= 1);
  assert.equal((failed[0] as PromiseRejectedResult).reason.code, "out-of-turn");
  await assert.rejects(decoder.beamSearch(prompted, { ...problem.options, batchSize: 2 }), {
    code: "wrong-batch",
    expected: 3,
    actual: 2,
  });
  await assert.rejects(decoder.beamSearch(prompted, { ...problem.options, vocabSize: 11 }), {
    name: "RangeError",
    message: /vocabSize: model\.vocabSize/,
  });
  await assertSearch(problem, prompted, 1e-4);
});

Deno.test("ONNX: a padding token outside the vocabulary is none to a decoder", async () => {
  const files = writeToy({});
  const problem = await problemOf(ort, files, somePrompts(true), 1e-4);
  await using model = await createOnnxModel(files.decoder, { padToken: 50257 });
  using prompted = model.withPrompts(problem.prompts);
  await assertSearch(problem, prompted, 1e-4);
});

Deno.test("ONNX: where a model fails in a search, the error says at which step", async () => {
  const files = writeToy({ maxPositions: 6 });
  const problem = await problemOf(ort, files, [[1, 2]], 1e-4);
  await using model = await createOnnxModel(files.decoder);
  for (const [length, step] of [[7, 0], [5, 2]]) {
    using prompted = model.withPrompts([Array(length).fill(1)]);
    await assert.rejects(assertSearch(problem, prompted, 1e-4), (error: BackendError) => {
      assert.ok(error instanceof BackendError);
      assert.equal(error.code, "run-failed");
      assert.equal(error.step, step);
      assert.ok(error.cause instanceof Error);
      return true;
    });
  }
  using prompted = model.withPrompts(problem.prompts);
  await assertSearch(problem, prompted, 1e-4);
});

Deno.test("ONNX: from bytes, a buffer, addresses, and sessions of yours", async () => {
  const files = writeToy({ encoder: true });
  const problem = await problemOf(ort, files, somePrompts(true), 1e-4);
  const asked: string[] = [];
  const fetchIt: typeof fetch = (input) => {
    asked.push(String(input));
    if (String(input).includes("missing")) {
      return Promise.resolve(new Response("", { status: 404 }));
    }
    if (String(input).includes("cut")) return Promise.reject(new TypeError("cut off"));
    const file = String(input).includes("encoder") ? files.encoder! : files.decoder;
    return Promise.resolve(new Response(file));
  };
  const sessions: InferenceSession[] = [];
  for (const file of [files.decoder, files.encoder!]) {
    sessions.push(await ort.InferenceSession.create(file, { executionProviders: ["wasm"] }));
  }
  const sources: [Parameters<typeof createOnnxModel>[0], OnnxOptions["encoder"]][] = [
    [files.decoder, files.encoder!.buffer],
    ["https://models.example/d.onnx", new URL("https://models.example/encoder.onnx")],
    [sessions[0], sessions[1]],
  ];
  const options = { startToken: START, fetch: fetchIt };
  for (const [source, encoder] of sources) {
    await using model = await createOnnxModel(source, { ...options, encoder });
    assert.equal(model.provider, "wasm");
    const isSession = typeof source === "object" && "run" in source;
    assert.equal(/with the session/.test(model.reason), isSession);
    assert.match(model.reason, /^no device was passed/);
    using prompted = model.withPrompts(problem.prompts);
    await assertSearch(problem, prompted, 1e-4);
  }
  assert.equal(asked.length, 2);
  // Sessions of the caller's live on.
  const [decoder] = sessions;
  assert.ok(decoder.inputNames.includes("input_ids"));
  for (const session of sessions) await session.release();
  const address = "https://models.example/missing.onnx";
  await assert.rejects(createOnnxModel(`${address}?key=secret`, options), {
    name: "StorageError",
    code: "http-status",
    url: address,
    actual: 404,
  });
  await assert.rejects(createOnnxModel("https://models.example/cut", options), {
    name: "StorageError",
    code: "fetch-failed",
  });
  await assert.rejects(createOnnxModel(Uint8Array.of(1, 2, 3)), {
    name: "BackendError",
    code: "no-session",
  });
});

Deno.test("ONNX: dimensions without names, and a vocabulary that only a run tells", async () => {
  const g = new Graph();
  const ids = g.input("input_ids", "int64", ["", ""]);
  const table = g.floats([5, 5], Array.from({ length: 25 }, (_, i) => Math.sin(i)));
  g.output("logits", g.op("Gather", [table, ids]), "float32", ["", "", ""]);
  await using model = await createOnnxModel(g.encode());
  assert.equal(model.vocabSize, 5);
  using prompted = model.withPrompts([[4, 1]]);
  using index = await buildIndex([[1, 2], [3, 3]], { vocabSize: 4 });
  using decoder = await createDecoder(index);
  const { counts } = await decoder.beamSearch(prompted, { beamSize: 2, vocabSize: 5 });
  assert.deepEqual([...counts], [2]);
});

Deno.test("ONNX: ids are narrowed in the bytes of a model, in its branches too", async () => {
  for (const form of [{}, { merged: true }]) {
    const { decoder } = writeToy(form);
    const copy = decoder.slice();
    const narrow = narrowInts(decoder, ["input_ids"])!;
    assert.deepEqual(decoder, copy, "The caller's bytes are left alone");
    assert.equal(narrow.length, decoder.length);
    const problem = await problemOf(ort, { decoder }, somePrompts(true), 1e-4);
    const session = await ort.InferenceSession.create(narrow, { executionProviders: ["wasm"] });
    const [ids] = session.inputMetadata;
    assert.ok(ids.isTensor && ids.type === "int32");
    await session.release();
    await using model = await createOnnxModel(narrow);
    using prompted = model.withPrompts(problem.prompts);
    await assertSearch(problem, prompted, 1e-4);
  }
  assert.equal(narrowInts(writeToy({ ids: "int32" }).decoder, ["input_ids"]), undefined);
  assert.equal(narrowInts(Uint8Array.of(), ["input_ids"]), undefined);
  const { decoder } = writeToy({});
  for (let length = 1; length < decoder.length; length += 97) {
    narrowInts(decoder.subarray(0, length), ["input_ids"]); // cut off anywhere: no error, no endless loop
  }
});

Deno.test("Importing Espalier loads nothing of onnxruntime-web", async () => {
  const root = new URL("../../../", import.meta.url);
  const info = async (file: string) => {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", file],
      cwd: root,
    }).output();
    return JSON.parse(new TextDecoder().decode(stdout)) as {
      modules: { specifier: string; dependencies?: Dependency[] }[];
    };
  };
  interface Dependency {
    specifier: string;
    code?: unknown;
    isDynamic?: boolean;
  }
  const plain = await info("mod.ts");
  assert.ok(plain.modules.length > 10);
  assert.ok(plain.modules.every(({ specifier }) => !/onnx/.test(specifier)));
  const { modules } = await info("src/models/onnx/mod.ts");
  const own = modules.filter(({ specifier }) =>
    specifier.startsWith("file:") && specifier.includes("/src/")
  );
  for (const { dependencies = [] } of own) {
    for (const { specifier, code, isDynamic } of dependencies) {
      if (specifier.includes("onnxruntime")) assert.ok(isDynamic || !code, specifier);
    }
  }
});
