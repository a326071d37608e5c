/** Nodes that quantize rows together: found in the bytes of models, and named. */
// deno-lint-ignore-file no-import-prefix -- the version that writes the tests' graphs
import assert from "node:assert/strict";
import type { onnx as Onnx } from "npm:onnx-proto@8.0.1";
import proto from "npm:onnx-proto@8.0.1";
import { loadOrt } from "../../../src/models/onnx/session.ts";
import { createOnnxModel } from "../../../src/models/onnx/mod.ts";
import { quantizerOf } from "../../../src/models/onnx/quantizer.ts";
import { Graph } from "../../support/onnx/graph.ts";
import { numbersOf, onCpu } from "../../support/onnx/open.ts";
import { inputOf, promptTurn, rowOf, WIDTH } from "../../support/onnx/schedule.ts";
import { writeToy } from "../../support/onnx/toy.ts";

const { onnx } = proto as unknown as { onnx: typeof Onnx };

/** A model whose next token depends on the last alone, through weights of eight bits. */
function quantized(): Uint8Array<ArrayBuffer> {
  const g = new Graph();
  const ids = g.input("input_ids", "int64", ["b", "s"]);
  // Tokens of very different sizes: what is large takes the scale of what is small.
  const rows = Array.from(
    { length: WIDTH },
    (_, token) => [0.013, -0.031].map((x) => x * 3 ** token),
  );
  const x = g.op("Gather", [g.floats([WIDTH, 2], rows.flat()), ids]);
  const [small, scale, zero] = g.ops("DynamicQuantizeLinear", [x], 3);
  const weights = Array.from({ length: 2 * WIDTH }, (_, i) => 100 + (i * 7) % 50);
  const table = g.op("Cast", [g.floats([2, WIDTH], weights)], { to: 2 });
  const sums = g.op("Cast", [g.op("MatMulInteger", [small, table, zero])], { to: 1 });
  g.output("logits", g.op("Mul", [sums, scale]), "float32", ["b", "s", WIDTH]);
  return g.encode();
}

Deno.test("ONNX, quantized: a row depends on its batch, which the reason says", async () => {
  const bytes = quantized();
  await using model = await createOnnxModel(bytes);
  assert.match(
    model.reason,
    /^no device .*; rows depend on each other: DynamicQuantizeLinear has one scale for all$/,
  );
  const first = async (prompts: number[][]): Promise<number[]> => {
    using prompted = model.withPrompts(prompts);
    assert.equal(onCpu(prompted).liveRows, true);
    const logits = await onCpu(prompted)(inputOf(0, prompts.length, promptTurn(prompts.length)));
    return numbersOf(rowOf(logits, 0));
  };
  const alone = await first([[1]]);
  assert.deepEqual(await first([[1], [1]]), alone);
  assert.notDeepEqual(await first([[1], [9]]), alone);
  // Single steps have other rows beside them than a run.
  assert.match(model.reason, /; no runs: its logits are off/);

  const ort = await loadOrt("wasm");
  const options = { executionProviders: ["wasm"] };
  await using whole = await createOnnxModel(
    "https://models.example/decoder.onnx",
    { fetch: () => Promise.resolve(new Response(bytes)) },
  );
  assert.match(whole.reason, /DynamicQuantizeLinear/);
  const session = await ort.InferenceSession.create(bytes, options);
  await using closed = await createOnnxModel(session, { ort });
  assert.doesNotMatch(closed.reason, /depend on each other/, "Nobody sees into a session");
  await session.release();
});

Deno.test("ONNX, quantized: node types are found in branches and functions, others are not", () => {
  const graphOf = (type: string): Graph => {
    const g = new Graph();
    g.output("y", g.op(type, [g.input("x", "float32", ["n"])]), "float32");
    return g;
  };
  for (const type of ["DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"]) {
    assert.equal(quantizerOf(graphOf(type).encode()), type);
    const branch = new Graph();
    const taken = branch.input("taken", "bool", [1]);
    const then_branch = { graph: graphOf("Identity") };
    const inner = new Graph();
    const nested = { then_branch, else_branch: { graph: graphOf(type) } };
    inner.output("y", inner.op("If", [taken], nested), "float32");
    const outer = { then_branch, else_branch: { graph: inner } };
    branch.output("y", branch.op("If", [taken], outer), "float32");
    assert.equal(quantizerOf(branch.encode()), type);
    // What onnx-proto writes has no functions yet: field 25 of a model, with nodes in field 7.
    const node = onnx.NodeProto.encode({ opType: type, input: ["x"], output: ["y"] }).finish();
    const body = Uint8Array.of(7 << 3 | 2, node.length, ...node);
    const field = [(25 << 3 | 2) & 127 | 128, (25 << 3 | 2) >> 7, body.length, ...body];
    assert.equal(quantizerOf(Uint8Array.of(...graphOf("f").encode(), ...field)), type);
  }
  for (const type of ["MatMulNBits", "QuantizeLinear", "MatMulInteger", "DequantizeLinear"]) {
    assert.equal(quantizerOf(graphOf(type).encode()), undefined);
  }
  const { decoder } = writeToy({ merged: true });
  for (let length = 0; length <= decoder.length; length += 97) {
    assert.equal(quantizerOf(decoder.subarray(0, length)), undefined);
  }
});
