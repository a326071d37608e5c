/**
 * ONNX models for {@linkcode Decoder.beamSearch}, run by onnxruntime-web, or by onnxruntime-node on servers: decoders and
 * encoder-decoders as the usual exporters write them, with `past_key_values` or without. Importing this loads neither:
 * {@linkcode createOnnxModel} does.
 *
 * @module
 */
import type {
  GpuLogits,
  GpuModel,
  GpuModelInput,
  GpuRunInput,
  GpuRunLogits,
  Logits,
  Model,
  ModelInput,
  RunInput,
} from "../../decode/types.ts";
import {
  BackendError,
  checkOptionNames,
  EspalierError,
  rangeError,
  typeError,
} from "../../errors.ts";
import { probeCpu } from "./cpu.ts";
import { checkCpuOptions, loadCpuRuntime } from "./cpu_runtime.ts";
import { closeSessions, openSessions, type Sources } from "./sessions.ts";
import { probeGpu } from "./probe_gpu.ts";
import {
  isSession,
  loadOrt,
  messageOf,
  onDevice,
  type OnnxProvider,
  type OnnxSource,
  type OrtModule,
  readSource,
} from "./session.ts";
import { narrowInts } from "./int64_to_int32.ts";
import { type Opened, type OpenGpu, OpenOnnxModel } from "./open_model.ts";
import type { OnnxModel, OnnxOptions, PromptedModel } from "./types.ts";

export type {
  GpuLogits,
  GpuModel,
  GpuModelInput,
  GpuRunInput,
  GpuRunLogits,
  Logits,
  Model,
  ModelInput,
  OnnxModel,
  OnnxOptions,
  OnnxProvider,
  OnnxSource,
  OrtModule,
  PromptedModel,
  RunInput,
};

/**
 * Opens an ONNX model. Names and shapes are read from it: `input_ids`, `attention_mask`, `position_ids`,
 * `encoder_hidden_states`, `encoder_attention_mask`, `use_cache_branch`, `num_logits_to_keep`, `past_key_values.*` in;
 * `logits` [rows, positions or 1, W], `present.*` out. It is then tried with four steps of at most three rows, so that
 * what cannot be served is refused here, and with one call for three tokens of a row, which must score as those steps
 * do: within 1e-4 (half precision: 1e-2), relative to 1 or to the logit. Only then do its models have `scoreRuns`; if
 * not, `reason` says why. On the GPU the trial also looks for nodes that run on the CPU: a model that reads
 * back because the decoder's ids, masks or positions are int64 is opened again from a copy of its bytes in which they
 * are int32; others go to the CPU, and `reason` says so.
 *
 * Cost: the sessions, one call of the encoder, and five of the decoder, with at most three rows each; on the GPU up to
 * three times that.
 *
 * @param source the decoder: bytes, a URL to fetch, or a session that stays the caller's.
 *
 * @throws {BackendError} with code `"unsupported-model"`, naming the input or output at fault; with code
 * `"no-session"` if the runtime does not open it; with code `"needs-onnxruntime-node"` if that was asked for and cannot be
 * loaded; with code `"no-threads"` if there cannot be as many. @throws {StorageError} if a URL cannot be fetched.
 * @throws {TypeError} or {RangeError} if an option is wrong, or if two exclude each other.
 *
 * @example
 * ```ts
 * import { type ConstraintIndex, createDecoder } from "@espalier/espalier";
 * import { createOnnxModel } from "@espalier/espalier/onnx";
 *
 * async function retrieve(index: ConstraintIndex, prompt: number[], device?: GPUDevice) {
 *   using decoder = await createDecoder(index);
 *   await using model = await createOnnxModel("https://example.com/decoder.onnx", { device });
 *   using prompted = model.withPrompts([prompt]);
 *   const { vocabSize } = model;
 *   return await decoder.beamSearch(prompted, { batchSize: 1, beamSize: 8, vocabSize });
 * }
 * ```
 */
export async function createOnnxModel(
  source: OnnxSource,
  options: OnnxOptions = {},
): Promise<OnnxModel> {
  checkOptionNames("createOnnxModel", options, ONNX_OPTIONS);
  const { provider = "auto", device, startToken, padToken = 0, encoder } = options;
  checkCpuOptions(source, options);
  if (provider !== "auto" && provider !== "webgpu" && provider !== "wasm") {
    throw typeError(`Cannot run on ${String(provider)}: expected "auto", "webgpu" or "wasm"`, {
      expected: ["auto", "webgpu", "wasm"],
      actual: provider,
    });
  }
  if (provider === "webgpu" && !device) {
    throw typeError("Cannot run on WebGPU without a device: pass the decoder's as `device`");
  }
  checkToken("padToken", padToken);
  if (encoder !== undefined) checkToken("startToken", startToken);
  const given = { decoder: source, decoderWithPast: options.decoderWithPast, encoder };
  const read = () => readSources(given, options.fetch ?? fetch);
  const sources = await read();
  const start = encoder === undefined ? undefined : startToken;
  const openCpu = async (sources: Sources): Promise<Opened> => {
    const { ort, session } = await loadCpuRuntime(options);
    const sessions = await openSessions(ort, sources, session);
    try {
      return { sessions, ...await probeCpu(sessions) };
    } catch (error) {
      await closeSessions(sessions);
      throw error;
    }
  };
  let reason = options.runtime === "node"
    ? "onnxruntime-node, which was asked for, runs there"
    : provider === "wasm"
    ? "asked for"
    : `no device was passed${
      isSession(source) ? " with the session: its logits come to the CPU" : ""
    }`;
  let opened: Opened | undefined;
  let gpu: OpenGpu | undefined;
  if (device && provider !== "wasm") {
    try {
      opened = await openGpu(options.ort ?? await loadOrt("webgpu"), sources, device);
      // Sessions cannot be opened again on the CPU.
      gpu = { device, openCpu: isSession(source) ? undefined : async () => openCpu(await read()) };
      reason = "the whole model runs on the device";
    } catch (error) {
      if (provider === "webgpu") throw asBackendError(error);
      reason = messageOf(error);
    }
  }
  opened ??= await openCpu(sources);
  const { sessions, vocabSize } = opened;
  if (start === undefined || start < vocabSize) {
    return new OpenOnnxModel(opened, start, padToken, reason, gpu);
  }
  await closeSessions(sessions);
  throw rangeError(
    `Cannot use ${start} as startToken: the ONNX model has ${vocabSize} tokens`,
    { expected: vocabSize, actual: start },
  );
}

/** Opens a model on the GPU; where it reads back, with int32 in place of int64: its ids, or masks and positions too. */
async function openGpu(
  ort: OrtModule,
  sources: Sources,
  device: GPUDevice,
): Promise<Opened> {
  const open = async (sources: Sources): Promise<Opened> => {
    const sessions = await openSessions(ort, sources, onDevice(device));
    try {
      return { sessions, ...await probeGpu(sessions, device) };
    } catch (error) {
      await closeSessions(sessions);
      throw error;
    }
  };
  try {
    return await open(sources);
  } catch (error) {
    if (!(error instanceof EspalierError && error.code === "reads-back")) throw error;
    for (const inputs of [[IDS], [IDS, ...INT_INPUTS]]) {
      const narrow = (graph: Sources["encoder"]) =>
        graph && !isSession(graph) ? narrowInts(graph, inputs) : undefined;
      const decoder = narrow(sources.decoder);
      const decoderWithPast = narrow(sources.decoderWithPast);
      if (!decoder && !decoderWithPast) continue;
      try {
        return await open({
          decoder: decoder ?? sources.decoder,
          decoderWithPast: decoderWithPast ?? sources.decoderWithPast,
          encoder: sources.encoder, // what it takes comes from the host, where its int64 nodes find it
        });
      } catch {
        // What is wrong with the model as it is says more.
      }
    }
    throw error;
  }
}

const IDS = "input_ids";
/** Other inputs of whole numbers. Not all graphs let them change type: they meet constants of int64. */
const INT_INPUTS = ["attention_mask", "position_ids", "encoder_attention_mask"];

/** @throws {StorageError} if one cannot be fetched. @throws {TypeError} if some are sessions and some are not. */
async function readSources(
  { decoder, decoderWithPast, encoder }: Sources<OnnxSource>,
  fetchIt: typeof fetch,
): Promise<Sources> {
  const read = async (source: OnnxSource) => {
    if (isSession(source) === isSession(decoder)) {
      return isSession(source) ? source : await readSource(source, fetchIt);
    }
    throw typeError("Cannot open an ONNX model of which only a part is a session");
  };
  const [prefill, next, encoding] = await Promise.all([
    read(decoder),
    decoderWithPast === undefined ? undefined : read(decoderWithPast),
    encoder === undefined ? undefined : read(encoder),
  ]);
  return { decoder: prefill, decoderWithPast: next, encoder: encoding };
}

function checkToken(name: string, token: number | undefined): void {
  if (Number.isInteger(token) && token! >= 0 && token! < 2 ** 31) return;
  throw rangeError(`Cannot use ${token} as ${name}: expected a token`, { actual: token });
}

function asBackendError(error: unknown): unknown {
  if (error instanceof EspalierError) return error;
  const why = `Cannot run the ONNX model on WebGPU: ${messageOf(error)}`;
  return new BackendError("no-session", why, { expected: "webgpu" }, { cause: error });
}

const ONNX_OPTIONS = [
  "encoder",
  "decoderWithPast",
  "device",
  "provider",
  "runtime",
  "threads",
  "ort",
  "startToken",
  "padToken",
  "fetch",
] as const satisfies readonly (keyof OnnxOptions)[];
