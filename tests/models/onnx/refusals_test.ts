/** What ONNX models refuse: options, prompts, graphs that cannot be served. */
import assert from "node:assert/strict";
import { createOnnxModel } from "../../../src/models/onnx/mod.ts";
import { Graph, type Value } from "../../support/onnx/graph.ts";
import { START } from "../../support/onnx/reference.ts";
import { writeToy } from "../../support/onnx/toy.ts";

Deno.test("ONNX: wrong options and prompts are refused", async () => {
  const { decoder, encoder } = writeToy({ encoder: true });
  const create = createOnnxModel as (source: unknown, options?: unknown) => Promise<unknown>;
  await assert.rejects(create(7), TypeError);
  await assert.rejects(create(decoder, { provider: "cuda" }), TypeError);
  await assert.rejects(create(decoder, { provider: "webgpu" }), TypeError);
  await assert.rejects(create(decoder, { padToken: -1 }), RangeError);
  await assert.rejects(create(decoder, { encoder }), RangeError); // no start token
  await assert.rejects(create(decoder, { encoder, startToken: 13 }), {
    name: "RangeError",
    actual: 13,
  });
  await assert.rejects(create(decoder, { encoder: { run() {} }, startToken: 0 }), TypeError);
  await using model = await createOnnxModel(writeToy({}).decoder);
  const refused = [[], [[]], [[1], []], [[13]], [[-1]], [[0.5]], [[NaN]]];
  for (const prompts of refused) {
    assert.throws(() => model.withPrompts(prompts), { name: "RangeError" }, `${prompts}`);
  }
  assert.throws(() => model.withPrompts(undefined as unknown as number[][]), TypeError);
  assert.throws(() => model.withPrompts([[1, 2], [3, 13]]), { row: 1, column: 1, token: 13 });
});

Deno.test("ONNX: options of the CPU that make no sense, alone or together, are refused", async () => {
  const { decoder } = writeToy({});
  const create = createOnnxModel as (source: unknown, options?: unknown) => Promise<unknown>;
  const session = { run() {} };
  const device = {} as GPUDevice;
  const wrong: [unknown, Record<string, unknown>, RegExp][] = [
    [decoder, { runtime: "bun" }, /"web" or "node"/],
    [decoder, { runtime: "node", ort: {} }, /`runtime` together with `ort`/],
    [decoder, { runtime: "web", ort: {} }, /`runtime` together with `ort`/],
    [decoder, { threads: 2, ort: {} }, /`threads` together with `ort`/],
    [decoder, { runtime: "node", device }, /`device` with `runtime: "node"`/],
    [decoder, { runtime: "node", device, provider: "webgpu" }, /`device` with/],
    [decoder, { runtime: "node", provider: "webgpu" }, /`provider: "webgpu"` with/],
    [session, { runtime: "node" }, /`runtime` for an InferenceSession/],
    [session, { threads: 2 }, /`threads` for an InferenceSession/],
  ];
  for (const [source, options, message] of wrong) {
    await assert.rejects(create(source, options), { name: "TypeError", message });
  }
  for (const threads of [0, 1.5, 257, NaN, "2"]) {
    await assert.rejects(create(decoder, { threads }), { name: "RangeError", actual: threads });
  }
});

Deno.test("ONNX: what cannot be served is refused, and the input or output named", async () => {
  const shape = ["batch_size", "sequence_length"];
  const ids: Value = { name: "input_ids", type: "int64", shape };
  const logits: Value = { name: "logits", type: "float32", shape: [...shape, 13] };
  const cache = (name: string, shape: Value["shape"]): Value => ({ name, type: "float32", shape });
  const past = "past_key_values.0.key";
  const good = ["batch_size", 2, "past", 4];
  const cases: [Value[], Value[], string][] = [
    [[{ ...ids, name: "inputs_embeds" }], [logits], "inputs_embeds"],
    [[ids, { ...ids, name: "token_type_ids" }], [logits], "token_type_ids"],
    [[cache("attention_mask", shape)], [logits], "attention_mask"],
    [[{ ...ids, name: "position_ids" }], [logits], "input_ids"],
    [[{ ...ids, shape: [1, "sequence_length"] }], [logits], "input_ids"],
    [[{ ...ids, shape: [...shape, 2] }], [logits], "input_ids"],
    [[ids, { ...ids, name: "attention_mask" }, { ...ids, name: "decoder_attention_mask" }], [
      logits,
    ], "decoder_attention_mask"],
    [[ids], [{ ...logits, name: "scores" }], "logits"],
    [[ids], [{ ...logits, type: "int64" }], "logits"],
    [[ids], [{ ...logits, shape: ["n"] }], "logits"],
    [[ids, cache(past, good)], [logits], "present.0.key"],
    [[ids, cache(past, [1, 2, "past", 4])], [logits, cache("present.0.key", good)], past],
    [[ids, cache(past, ["batch_size", "heads", "past", 4])], [logits], past],
    [[ids, cache(past, ["batch_size", 2, 8, 4])], [logits], past],
    [[ids, { ...cache(past, good), type: "int64" }], [logits], past],
    [
      [ids, cache(past, good)],
      [logits, { ...cache("present.0.key", good), type: "float16" }],
      "present.0.key",
    ],
    [[ids, cache("encoder_hidden_states", [...shape, 8])], [logits], "encoder_hidden_states"],
    [[ids, { ...ids, name: "encoder_attention_mask" }], [logits], "encoder_attention_mask"],
    [[ids, cache("past_key_values.0.encoder.key", good)], [
      logits,
      cache("present.0.encoder.key", good),
    ], "past_key_values.0.encoder.key"],
  ];
  for (const [inputs, outputs, name] of cases) {
    await assert.rejects(createOnnxModel(stub(inputs, outputs)), (error: Error) => {
      assert.equal(error.name, "BackendError");
      assert.equal((error as { code?: string }).code, "unsupported-model", error.message);
      assert.ok(error.message.includes(`"${name}"`), `${name}: ${error.message}`);
      return true;
    });
  }
  const files = writeToy({ encoder: true });
  const startToken = START;
  const refused: [Promise<unknown>, RegExp][] = [
    [createOnnxModel(writeToy({}).decoder, { encoder: files.encoder, startToken }), /encoder/],
    [
      createOnnxModel(files.decoder, { encoder: writeToy({}).decoder, startToken }),
      /encoder: input_ids, attention_mask/,
    ],
    [
      createOnnxModel(writeToy({ encoder: true, floats: "float16" }).decoder, {
        encoder: files.encoder,
        startToken,
      }),
      /last_hidden_state.*float32.*float16/,
    ],
    [
      createOnnxModel(writeToy({ encoder: true, crossCache: "first", withPast: true }).decoder, {
        encoder: files.encoder,
        startToken,
      }),
      /past_key_values\.0\.encoder\.key.*comes from nowhere/,
    ],
  ];
  for (const [promise, message] of refused) {
    await assert.rejects(promise, { name: "BackendError", code: "unsupported-model", message });
  }
});

/** A graph of inputs and outputs that are not connected: nothing of it is ever run. */
function stub(inputs: Value[], outputs: Value[]): Uint8Array {
  const g = new Graph();
  for (const { name, type, shape } of inputs) g.input(name, type, shape);
  for (const { name, type, shape } of outputs) {
    const rank = shape?.length ?? 0;
    const zero = g.floats(Array(rank).fill(1), [0]);
    const to = { float32: 1, float16: 10, int64: 7, int32: 6, bool: 9 }[type];
    g.output(name, g.op("Cast", [zero], { to }), type, shape?.map((_, axis) => `${name}_${axis}`));
  }
  return g.encode();
}

Deno.test("ONNX: a graph that fails when it runs is refused at creation", async () => {
  const g = new Graph();
  const ids = g.input("input_ids", "int64", ["b", "s"]);
  const table = g.floats([4, 3], Array(12).fill(0.5));
  const rows = g.op("Gather", [table, ids]);
  // Five rows never come.
  g.output("logits", g.op("Reshape", [rows, g.ints([5, -1, 3])]), "float32", ["b", "s", 3]);
  await assert.rejects(createOnnxModel(g.encode()), {
    name: "BackendError",
    code: "unsupported-model",
    message: /step 0/,
  });
});
