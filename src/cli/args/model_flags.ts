/** ONNX models, from the files that flags name. What runs them is loaded when one is opened. */
import type { DecoderOptions } from "../../decode/decoder.ts";
import { EspalierError } from "../../errors.ts";
import type { ConstraintIndex } from "../../index/constraint_index.ts";
import type { OnnxModel, OnnxOptions } from "../../models/onnx/types.ts";
import { type BackendChoice, findDevice } from "./gpu_device.ts";
import { parseAddress } from "./index_source.ts";
import { lookAt, openFile } from "../io/files.ts";
import { isAddress, isS3, shownName } from "../io/addresses.ts";
import { aboutFile, UsageError } from "../errors.ts";
import type { Io } from "../io/terminal.ts";
import type { ProgressLine } from "../io/progress_line.ts";
import { type S3Flags, s3Location, s3Object } from "./s3_flags.ts";
import { MAX_TOKEN, wholeFlag } from "./search_flags.ts";

/** Flags of models, for `parseFlags`. */
export const MODEL_OPTIONS = {
  model: { type: "string" },
  encoder: { type: "string" },
  "start-token": { type: "string" },
  "decoder-with-past": { type: "string" },
  "pad-token": { type: "string" },
  backend: { type: "string" },
  runtime: { type: "string" },
  threads: { type: "string" },
} as const;

/** The same, for the help of a command. */
export const MODEL_HELP =
  `  --model FILE    the decoder, in ONNX: a file or URL, as the files below are
  --encoder FILE  the encoder of an encoder-decoder: it reads the prompts
  --start-token N      what the decoder of an encoder-decoder starts with (decoder_start_token_id)
  --decoder-with-past FILE  the graph for the steps behind the first, of exports that have two
  --pad-token N   what shorter prompts and empty beams show to the model; default 0
  --backend B     auto (default): the GPU where there is one that runs the whole model, else the CPU; wasm: the CPU;
                  webgpu: the GPU or an error
  --runtime R     what runs the model on the CPU. web (default): onnxruntime-web; node: onnxruntime-node, native code
                  that is 2 to 3 times as fast. Deno downloads it at first use, 114 MB, and needs --allow-ffi,
                  which "deno task cli" has; its install script need not run. Not with --backend webgpu
  --threads N     threads that the model runs on, on the CPU; default 1`;

/** Where a model is, and how to run it. */
export interface ModelArguments {
  readonly model: string;
  readonly encoder?: string;
  readonly decoderWithPast?: string;
  readonly startToken?: number;
  readonly padToken?: number;
  readonly backend: BackendChoice;
  readonly runtime: OnnxOptions["runtime"];
  readonly threads: number | undefined;
}

/** Reads the flags; undefined where there is no model. @throws {UsageError} if they do not go together. */
export function parseModel(
  values: { [Name in keyof typeof MODEL_OPTIONS]?: string },
): ModelArguments | undefined {
  const { model, encoder, backend = "auto" } = values;
  if (model === undefined) {
    const name = (Object.keys(MODEL_OPTIONS) as (keyof typeof MODEL_OPTIONS)[])
      .find((name) => values[name] !== undefined);
    if (name) throw new UsageError(`Expected --model FILE with --${name}`);
    return undefined;
  }
  if (backend !== "auto" && backend !== "wasm" && backend !== "webgpu") {
    throw new UsageError(`Expected --backend auto, wasm or webgpu, found "${backend}"`);
  }
  const { runtime } = values;
  if (runtime !== undefined && runtime !== "web" && runtime !== "node") {
    throw new UsageError(`Expected --runtime web or node, found "${runtime}"`);
  }
  if (runtime === "node" && backend === "webgpu") {
    throw new UsageError("Expected --runtime node without --backend webgpu: it runs on the CPU");
  }
  const threads = wholeFlag("--threads", values.threads, 1, 256);
  const startToken = wholeFlag("--start-token", values["start-token"], 0, MAX_TOKEN);
  if ((encoder === undefined) !== (startToken === undefined)) {
    throw new UsageError("Expected --encoder FILE and --start-token N together");
  }
  const padToken = wholeFlag("--pad-token", values["pad-token"], 0, MAX_TOKEN);
  const decoderWithPast = values["decoder-with-past"];
  return { model, encoder, decoderWithPast, startToken, padToken, backend, runtime, threads };
}

/** A model that is open, and where searches with it run. */
export interface OpenedModel extends AsyncDisposable {
  readonly onnx: OnnxModel;
  /** File or URL of the decoder, without secrets. */
  readonly name: string;
  /** For `createDecoder`. */
  readonly decoder: DecoderOptions;
  /** Where the model runs, and why: "the CPU: there is no WebGPU adapter". */
  readonly place: string;
}

/** The graphs of a model, read. */
export interface ModelFiles {
  readonly decoder: Uint8Array;
  readonly decoderWithPast?: Uint8Array;
  readonly encoder?: Uint8Array;
}

/**
 * Reads the files of a model.
 *
 * @throws {EspalierError} naming the file, if it cannot be read. @throws {UsageError} if an address is none.
 */
export async function readModelFiles(
  args: ModelArguments,
  s3: S3Flags,
  { signal }: Io,
  progress: ProgressLine,
): Promise<ModelFiles> {
  progress.show("reading the model", 0);
  const read = async (file: string | undefined) =>
    file === undefined ? undefined : await readModel(file, s3, signal);
  const decoder = await readModel(args.model, s3, signal);
  return {
    decoder,
    decoderWithPast: await read(args.decoderWithPast),
    encoder: await read(args.encoder),
  };
}

/**
 * Opens a model.
 *
 * @throws {EspalierError} naming the file, if it is no model that can be run, or cannot be read.
 * @throws {UsageError} if an address is none, or a flag does not fit the model.
 */
export async function openModel(
  args: ModelArguments,
  s3: S3Flags,
  io: Io,
  progress: ProgressLine,
): Promise<OpenedModel> {
  return await openModelFiles(await readModelFiles(args, s3, io, progress), args, io.signal);
}

/**
 * Opens a model whose files have been read.
 *
 * @throws {EspalierError} naming the file, if it is no model that can be run.
 * @throws {UsageError} if a flag does not fit the model.
 */
export async function openModelFiles(
  { decoder, decoderWithPast, encoder }: ModelFiles,
  args: ModelArguments,
  signal: AbortSignal,
): Promise<OpenedModel> {
  const { startToken, padToken, backend, runtime, threads } = args;
  const name = shownName(args.model);
  const { createOnnxModel } = await import("../../models/onnx/mod.ts");
  const { device, reason } = runtime === "node"
    ? { reason: "onnxruntime-node" }
    : await findDevice(backend);
  let onnx: OnnxModel;
  try {
    signal.throwIfAborted();
    const provider = backend === "webgpu" ? backend : "auto";
    const parts = { encoder, decoderWithPast, startToken, padToken };
    onnx = await createOnnxModel(decoder, { ...parts, device, provider, runtime, threads });
  } catch (error) {
    device?.destroy();
    // What the library calls a wrong argument was a flag.
    if (error instanceof RangeError || error instanceof TypeError) {
      throw new UsageError(`${name}: ${error.message}`, { cause: error });
    }
    if (
      encoder === undefined && error instanceof EspalierError && /`encoder`/.test(error.message)
    ) {
      // The library has an option for it.
      throw new UsageError(
        `Expected --encoder FILE and --start-token N, because ${name} takes what an encoder makes (input "${error.actual}"), found none`,
        { cause: error },
      );
    }
    const files = { decoder: args.model, ...args };
    const part = error instanceof EspalierError ? error.section : undefined;
    // An error about one graph names its file. One about how they fit together names all.
    const at = part === "encoder" || part === "decoderWithPast" || part === "decoder"
      ? [files[part]]
      : [args.model, args.decoderWithPast, args.encoder];
    throw aboutFile(error, at.filter((file) => file !== undefined).map(shownName).join(" with "));
  }
  const isOnGpu = onnx.provider === "webgpu";
  return {
    onnx,
    name,
    decoder: isOnGpu ? { device } : { backend: "wasm" },
    place: isOnGpu ? `the GPU, ${reason}` : `the CPU: ${device ? onnx.reason : reason}`,
    async [Symbol.asyncDispose]() {
      await onnx[Symbol.asyncDispose]();
      device?.destroy();
    },
  };
}

/** @throws {EspalierError} with code `"model-misfit"` if an index has tokens that a model does not know. */
export function checkVocabulary(
  { onnx, name }: OpenedModel,
  index: ConstraintIndex,
  indexName: string,
): void {
  if (onnx.vocabSize >= index.vocabSize) return;
  throw new EspalierError(
    "model-misfit",
    `${name}: expected a model of at least ${index.vocabSize} tokens, the vocabulary of ${indexName}, found one of ${onnx.vocabSize}; give the model that the index was made for`,
    { expected: index.vocabSize, actual: onnx.vocabSize, file: name },
  );
}

async function readModel(file: string, s3: S3Flags, signal: AbortSignal): Promise<Uint8Array> {
  const name = shownName(file);
  try {
    if (isS3(file)) {
      const { source } = await s3Object(s3Location(file, s3));
      return await new Response(await source.read(undefined, signal)).bytes();
    }
    if (isAddress(file)) {
      const { readSource } = await import("../../models/onnx/session.ts");
      return await readSource(parseAddress(file), (url) => fetch(url, { signal }));
    }
    const { kind } = await lookAt(file);
    if (kind !== undefined) {
      throw new EspalierError(
        "wrong-file-type",
        `${file}: expected an ONNX model, found ${kind}; export the model to ONNX first`,
        { file, expected: "onnx", actual: kind },
      );
    }
    using opened = await openFile(file);
    return await new Response(opened.readable).bytes();
  } catch (error) {
    signal.throwIfAborted();
    throw aboutFile(error, name);
  }
}
