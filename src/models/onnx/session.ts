/** ONNX graphs as sessions of onnxruntime-web: opened from where they are, run one at a time. */
import { BackendError, StorageError, typeError } from "../../errors.ts";
import { redactCause, redactUrl } from "../../storage/redact.ts";
import { compiledModule } from "../../wasm/kernels.ts";
import type { GraphInfo, IntType, TensorInfo } from "./signature.ts";
// An import map does not apply to who imports us by URL: the version is pinned in full, here and below.
// deno-lint-ignore no-import-prefix
import type { InferenceSession, Tensor } from "npm:onnxruntime-web@1.30.0";

export type { InferenceSession, Tensor };

/** The module onnxruntime-web: any of its entries. */
export type OrtModule = Pick<
  typeof import("npm:onnxruntime-web@1.30.0"),
  "InferenceSession" | "Tensor" | "env"
>;

/** Where a graph comes from: its bytes, its address, or a session of yours. */
export type OnnxSource = Uint8Array | ArrayBuffer | string | URL | InferenceSession;

/** How a session is made: where it runs, and on how many threads. */
export type SessionOptions = InferenceSession.SessionOptions;

/** Where a graph runs: `"wasm"` is the CPU, in either runtime. */
export type OnnxProvider = "webgpu" | "wasm";

/** A graph that can be run. */
export interface Graph extends GraphInfo {
  readonly session: InferenceSession;
  /** Whether the session is released with the graph. */
  readonly isOwned: boolean;
}

/** Loads onnxruntime-web: 3.7 MB for WASM, 6.6 MB with WebGPU. */
export async function loadOrt(provider: OnnxProvider): Promise<OrtModule> {
  // Our kernels are wanted soon, and would wait for its much larger code to be compiled: half a second.
  compiledModule().catch(() => {}); // where that is not allowed, they are given
  const ort: OrtModule = provider === "webgpu"
    // deno-lint-ignore no-import-prefix
    ? await import("npm:onnxruntime-web@1.30.0/webgpu")
    // deno-lint-ignore no-import-prefix
    : await import("npm:onnxruntime-web@1.30.0/wasm");
  // Its threads are made for pages that are isolated from other origins; elsewhere they fail to start.
  const { crossOriginIsolated } = globalThis as { crossOriginIsolated?: boolean };
  if (!crossOriginIsolated) ort.env.wasm.numThreads = 1;
  return ort;
}

const tails = new WeakMap<object, Promise<unknown>>();

/** Runs what concerns the same thing one after the other. A failure is its caller's and stops nothing. */
export function inTurn<T>(thing: object, run: () => Promise<T>): Promise<T> {
  const result = (tails.get(thing) ?? Promise.resolve()).then(run);
  tails.set(thing, result.catch(() => {}));
  return result;
}

/** As {@linkcode inTurn}: a module of onnxruntime-web cannot run two sessions at once, it returns nonsense. */
export function ortInTurn<T>({ InferenceSession }: OrtModule, run: () => Promise<T>): Promise<T> {
  return inTurn(InferenceSession, run);
}

/** Whether a source is a session already. */
export function isSession(source: OnnxSource | undefined): source is InferenceSession {
  return typeof (source as InferenceSession | undefined)?.run === "function";
}

/**
 * The bytes of a graph.
 *
 * @throws {StorageError} if it cannot be fetched. @throws {TypeError} if the source is none.
 */
export async function readSource(
  source: Exclude<OnnxSource, InferenceSession>,
  fetchIt: typeof fetch,
): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (typeof source !== "string" && !(source instanceof URL)) {
    throw typeError(
      "Cannot open an ONNX model: expected its bytes, a URL or an InferenceSession",
      { actual: typeof source },
    );
  }
  const url = redactUrl(String(source));
  let response: Response;
  try {
    response = await fetchIt(source);
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    const why = `Cannot fetch the ONNX model ${url}; look at the cause`;
    throw new StorageError("fetch-failed", why, { url }, { cause: redactCause(cause) });
  }
  await response.body?.cancel();
  throw new StorageError(
    "http-status",
    `Cannot fetch the ONNX model ${url}: expected status 200, got ${response.status}`,
    { url, expected: 200, actual: response.status },
  );
}

/** Sessions whose results stay on a device. */
export function onDevice(device: GPUDevice): SessionOptions {
  return {
    executionProviders: [{ name: "webgpu", device }],
    preferredOutputLocation: "gpu-buffer",
  };
}

/**
 * Opens a graph.
 *
 * @param options where to run it.
 * @param part which graph of the model it is, for errors.
 * @throws {BackendError} with code `"no-session"` if the runtime does not take it.
 */
export async function openGraph(
  ort: OrtModule,
  source: Uint8Array | InferenceSession,
  options: SessionOptions,
  part: string,
): Promise<Graph> {
  if (isSession(source)) return graphOf(source, false);
  try {
    // Errors are thrown; warnings (nodes that stay on the CPU) would go to the console.
    const create = () => ort.InferenceSession.create(source, { ...options, logSeverityLevel: 3 });
    return graphOf(await ortInTurn(ort, create), true);
  } catch (cause) {
    const isOnGpu = options.preferredOutputLocation === "gpu-buffer";
    throw new BackendError(
      "no-session",
      `Cannot open the ONNX model on ${isOnGpu ? "WebGPU" : "the CPU"}: ${messageOf(cause)}`,
      { expected: isOnGpu ? "webgpu" : "wasm", section: part },
      { cause },
    );
  }
}

function graphOf(session: InferenceSession, isOwned: boolean): Graph {
  const read = (infos: readonly InferenceSession.ValueMetadata[]): TensorInfo[] =>
    infos.map((info) => info.isTensor ? info : { name: info.name, type: "no tensor", shape: [] });
  return {
    session,
    isOwned,
    inputs: read(session.inputMetadata),
    outputs: read(session.outputMetadata),
  };
}

/** What an error says. onnxruntime-web throws numbers, too. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Whole numbers as a tensor [rows, columns]; `at` gives each, 0 … 2^31-1.
 *
 * BigInts would cost an allocation each: both types are written as words, the low one first.
 */
export function intTensor(
  ort: OrtModule,
  type: IntType,
  rows: number,
  columns: number,
  at: (row: number, column: number) => number,
): Tensor {
  const step = type === "int64" ? 2 : 1;
  const words = new Int32Array(rows * columns * step);
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i += step) words[i] = at(row, column);
  }
  const data = type === "int64" ? new BigInt64Array(words.buffer) : words;
  return new ort.Tensor(type, data, [rows, columns]);
}
