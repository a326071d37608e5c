/** What users of ONNX models give and get. */
import type { GpuModel, Model } from "../../decode/types.ts";
import type { OnnxProvider, OnnxSource, OrtModule } from "./session.ts";

/** How to open an ONNX model. */
export interface OnnxOptions {
  /** The encoder of an encoder-decoder: it takes the prompts. */
  encoder?: OnnxSource;
  /** The graph for the steps behind the first, of exports that have two (`decoder_with_past_model.onnx`). */
  decoderWithPast?: OnnxSource;
  /** A device to run on; it stays the caller's. Half-precision models need its feature `shader-f16`. */
  device?: GPUDevice;
  /**
   * `"auto"` (default): WebGPU if a device is given and the whole model runs on it without reading back, else WASM on
   * the CPU. `"webgpu"` throws where that fails.
   */
  provider?: "auto" | OnnxProvider;
  /**
   * What runs the model on the CPU. `"web"` (default): onnxruntime-web, which is WebAssembly and runs everywhere.
   *
   * `"node"`: onnxruntime-node, native code for servers, which runs the demo's model 2 to 3 times as fast. It is loaded
   * when the model is opened and not before. Deno gets it from `npm:onnxruntime-node@1.30.0` at first use (114 MB to
   * download, 290 MB on disk) and needs `--allow-ffi` and `--allow-read`. Node needs `npm install
   * onnxruntime-node@1.30.0`. The package has the libraries for the CPU of Linux, macOS (arm64) and Windows in it. Its
   * install script fetches CUDA and need not run: Deno does not run it, `npm install --ignore-scripts` neither. Where
   * native code cannot run (workerd, browsers) the model is refused with code `"needs-onnxruntime-node"`. It excludes
   * `device`, `provider: "webgpu"` and `ort`.
   *
   * Scores of the two differ by rounding. A step of `"node"` blocks the event loop while it runs, as one of `"web"` does.
   */
  runtime?: "web" | "node";
  /**
   * Threads on the CPU, 1 to 256. Default 1; in pages that are isolated from other origins, what onnxruntime-web chooses.
   * All models of a process that run in onnxruntime-web share them, so that they must ask for the same number. More than
   * one helps only if steps are large and cores idle. On two cores, two threads of the demo's model answer 1.1 times as
   * many requests in `"web"` and 0.6 times as many in `"node"`, two workers 1.5 and 1.4 times as many
   * (`deno task bench:workers`).
   */
  threads?: number;
  /**
   * The module onnxruntime-web to use; for sessions, the very one that made them, which may be onnxruntime-node. It
   * excludes `runtime` and `threads`. Default: `npm:onnxruntime-web@1.30.0`, its entry `/webgpu` or `/wasm`. Its entry for
   * Node is used in two cases. Deno and Node with several `threads`: the others start threads from a blob URL, which these
   * two cannot import. Web Workers of Deno: the others cannot be imported there.
   */
  ort?: OrtModule;
  /** What the decoder of an encoder-decoder starts with (`decoder_start_token_id`), below `vocabSize`. */
  startToken?: number;
  /**
   * What shorter prompts of a batch are padded with; masks hide it. An encoder must know it; a decoder-only model gets
   * its last token in place of one beyond its vocabulary, such as tokenizers add to GPT-2. Default 0.
   */
  padToken?: number;
  /** Stands in for `fetch`. */
  fetch?: typeof fetch;
}

/**
 * What {@linkcode OnnxModel.withPrompts} gives: a model for one search at a time. Dispose of it to free its caches. It has
 * `liveRows`, and `scoreRuns` if the trial of the model showed that it may; the `cpu` form of one on the GPU has no
 * `scoreRuns`.
 */
export type PromptedModel = (Model | GpuModel) & Disposable;

/**
 * An ONNX model that is open. Disposing of it ends the searches that run, with code `"disposed"`, and then releases
 * the sessions that it made; await that with `Symbol.asyncDispose`.
 */
export interface OnnxModel extends Disposable, AsyncDisposable {
  /** W, logits per row: what searches must be given as `vocabSize`. */
  readonly vocabSize: number;
  /** Where its logits are: in the memory of the GPU, or of the CPU. (A session of yours runs where you made it.) */
  readonly provider: OnnxProvider;
  /**
   * Why there. Then, if it is so: `; no runs: ` and why there is no `scoreRuns`; `; rows depend on each other: ` and the
   * node type that makes them, see {@linkcode withPrompts}. Sessions do not tell their nodes.
   */
  readonly reason: string;
  /**
   * Makes a model that continues prompts, one for each batch row: pass it to `beamSearch` with
   * `batchSize: prompts.length` and `vocabSize`. Copies the prompts; runs nothing yet.
   *
   * Each search that overlaps with another needs its own; a search after another may use the same, and starts from
   * the prompts again. Between searches it holds the caches of the last.
   *
   * Where a model takes masks, prompts may differ in length: a decoder's are padded on the left, an encoder's on the
   * right. A decoder with `attention_mask` but without `position_ids` must derive its positions from the mask, as
   * OPT and BLOOM do.
   *
   * Cost of a search: the prompts run once per batch row; then each step runs one token (all tokens so far, without
   * caches) of the rows that the search shows: on the CPU those that live, so that a prompt without any costs nothing. On
   * the CPU caches are copied out of the session, by beam unless rows stay as they are, and in again at every step. What
   * an encoder made is copied only when the number of rows of some prompt changes. A run computes the tokens of each
   * row, padded to the longest; its caches are dropped.
   *
   * Logits of live rows are those of all rows to the last bit, if rows do not depend on each other. They do where
   * activations are quantized by one scale for the whole tensor: by `DynamicQuantizeLinear`, `DynamicQuantizeMatMul` or
   * `DynamicQuantizeLSTM`. There the logits of a row depend a little on which others are in the batch, prompts as well
   * as beams, and results with live rows may differ from those with all rows. Live rows are shown all the same: so dead
   * rows do not weigh in. MatMulNBits quantizes blocks of a row, and is not concerned.
   *
   * A search ends with code `"run-failed"` where the model fails. On the CPU it does if it has no position for
   * some token, or an encoder does not know one; on the GPU that is not noticed, and the logits are meaningless.
   *
   * A call that is not that of the step that is next fails with code `"out-of-turn"`; rows that do not continue those of
   * the step before, with `"wrong-rows"` (parents on the GPU are not looked at).
   *
   * @throws {RangeError} if there are no prompts, one is empty, lengths differ without a mask, or a token is out of
   * range. @throws {EspalierError} with code `"disposed"`.
   */
  withPrompts(prompts: readonly ArrayLike<number>[]): PromptedModel;
}
