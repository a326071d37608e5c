/** Tiny models with random weights, in the folders that transformers.js loads. */
import { join } from "node:path";
import { Graph } from "../../support/onnx/graph.ts";
import { Random } from "../../support/models.ts";

/** Width of the logits. */
export const WIDTH = 64;
/** The models' eos_token_id. */
export const END = 60;
/** Their pad_token_id, which the decoder of the encoder-decoder model starts with. */
export const PAD = 61;
/** Width of their hidden states. */
const HIDDEN = 16;

/** Weights of a matrix, large enough for different inputs to have different best tokens. */
function weights(graph: Graph, random: Random, rows: number, columns: number): string {
  const values = Array.from({ length: rows * columns }, () => random.below(2001) / 500 - 2);
  return graph.floats([rows, columns], values);
}

/** One layer of attention with a cache: hidden states depend on all ids that are not padding. */
function decoder(random: Random): Graph {
  const graph = new Graph();
  const ids = graph.input("input_ids", "int64", ["batch_size", "sequence_length"]);
  const mask = graph.input("attention_mask", "int64", ["batch_size", "total_sequence_length"]);
  const past = ["key", "value"].map((name) =>
    graph.input(`past_key_values.0.${name}`, "float32", [
      "batch_size",
      1,
      "past_sequence_length",
      HIDDEN,
    ])
  );
  const x = graph.op("Gather", [weights(graph, random, WIDTH, HIDDEN), ids]);
  const project = () =>
    graph.op("Unsqueeze", [
      graph.op("MatMul", [x, weights(graph, random, HIDDEN, HIDDEN)]),
      graph.ints([1]),
    ]);
  const [keys, values] = past.map((cached) => graph.op("Concat", [cached, project()], { axis: 2 }));
  const products = graph.op("MatMul", [
    project(),
    graph.op("Transpose", [keys], { perm: [0, 1, 3, 2] }),
  ]);
  const shown = graph.op("Cast", [mask], { to: 1 });
  const bias = graph.op("Mul", [
    graph.op("Sub", [shown, graph.floats([], [1])]),
    graph.floats([], [1e9]),
  ]);
  // No causal mask: only the last position is looked at.
  const attention = graph.op("Softmax", [
    graph.op("Add", [products, graph.op("Unsqueeze", [bias, graph.ints([1, 2])])]),
  ], { axis: -1 });
  const context = graph.op("Squeeze", [
    graph.op("MatMul", [attention, values]),
    graph.ints([1]),
  ]);
  const hidden = graph.op("Tanh", [graph.op("Add", [context, x])]);
  const logits = graph.op("MatMul", [hidden, weights(graph, random, HIDDEN, WIDTH)]);
  graph.output("logits", logits, "float32");
  graph.output("present.0.key", keys, "float32");
  graph.output("present.0.value", values, "float32");
  return graph;
}

/** Hidden states of an encoder: embeddings. */
function encoder(random: Random): Graph {
  const graph = new Graph();
  const ids = graph.input("input_ids", "int64", ["batch_size", "encoder_sequence_length"]);
  const x = graph.op("Gather", [weights(graph, random, WIDTH, HIDDEN), ids]);
  graph.output("last_hidden_state", x, "float32");
  return graph;
}

/** Without a cache: logits depend on the last id, and on the mean of the encoder's states. */
function crossDecoder(random: Random): Graph {
  const graph = new Graph();
  const ids = graph.input("input_ids", "int64", ["batch_size", "decoder_sequence_length"]);
  const states = graph.input("encoder_hidden_states", "float32", [
    "batch_size",
    "encoder_sequence_length",
    HIDDEN,
  ]);
  const x = graph.op("Gather", [weights(graph, random, WIDTH, HIDDEN), ids]);
  const mean = graph.op("ReduceMean", [states], { axes: [1] });
  const hidden = graph.op("Tanh", [graph.op("Add", [x, mean])]);
  const logits = graph.op("MatMul", [hidden, weights(graph, random, HIDDEN, WIDTH)]);
  graph.output("logits", logits, "float32");
  return graph;
}

async function writeModel(
  folder: string,
  config: Record<string, unknown>,
  graphs: Record<string, Graph>,
): Promise<void> {
  await Deno.mkdir(join(folder, "onnx"), { recursive: true });
  const ids = { eos_token_id: END, pad_token_id: PAD, decoder_start_token_id: PAD };
  await Deno.writeTextFile(
    join(folder, "config.json"),
    JSON.stringify({ ...config, ...ids, vocab_size: WIDTH }),
  );
  await Deno.writeTextFile(join(folder, "generation_config.json"), JSON.stringify(ids));
  for (const [name, graph] of Object.entries(graphs)) {
    await Deno.writeFile(join(folder, "onnx", `${name}.onnx`), graph.encode());
  }
}

/** Writes "decoder-only" and "encoder-decoder" below a folder. */
export async function writeModels(folder: string): Promise<void> {
  const random = new Random(7);
  await writeModel(join(folder, "decoder-only"), {
    model_type: "gpt2",
    architectures: ["GPT2LMHeadModel"],
    n_layer: 1,
    n_head: 1,
    n_embd: HIDDEN,
  }, { model: decoder(random) });
  await writeModel(join(folder, "encoder-decoder"), {
    model_type: "t5",
    architectures: ["T5ForConditionalGeneration"],
    is_encoder_decoder: true,
    num_layers: 1,
    num_decoder_layers: 1,
    num_heads: 1,
    d_kv: HIDDEN,
    d_model: HIDDEN,
  }, { encoder_model: encoder(random), decoder_model_merged: crossDecoder(random) });
}
