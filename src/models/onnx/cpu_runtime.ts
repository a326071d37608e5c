/** The two runtimes of models on the CPU: onnxruntime-web, and onnxruntime-node for servers. */
import { BackendError, rangeError, typeError } from "../../errors.ts";
import { withHalfAsWords } from "./half_as_words.ts";
import {
  isSession,
  loadOrt,
  type OnnxSource,
  type OrtModule,
  type SessionOptions,
} from "./session.ts";
import type { OnnxOptions } from "./types.ts";

// Both are in variables: whoever does not ask for them neither downloads nor locks them, and bundlers of pages do not
// look for them. tools/bundle takes "npm:" and the version away, which package.json then has.
const ORT_NODE = "npm:onnxruntime-node@1.30.0";
/** The entry for Node, which runs in Deno, too: its threads are those of `node:worker_threads`. */
const ORT_WEB_ON_SERVERS = "npm:onnxruntime-web@1.30.0";

const MOST_THREADS = 256;

/** A runtime that is loaded, and how sessions are made on the CPU. */
export interface CpuRuntime {
  readonly ort: OrtModule;
  readonly session: SessionOptions;
}

type CpuOptions = Pick<OnnxOptions, "ort" | "runtime" | "threads">;

/** @throws {TypeError} or {RangeError} if options of the CPU make no sense, alone or together. */
export function checkCpuOptions(source: OnnxSource, options: OnnxOptions): void {
  const { runtime, threads, ort, device, provider } = options;
  if (runtime !== undefined && runtime !== "web" && runtime !== "node") {
    const expected = ["web", "node"];
    throw typeError(`Cannot run on ${String(runtime)}: expected runtime "web" or "node"`, {
      expected,
      actual: runtime,
    });
  }
  if (
    threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= MOST_THREADS)
  ) {
    throw rangeError(`Cannot run on ${threads} threads: expected 1 to ${MOST_THREADS}`, {
      expected: MOST_THREADS,
      actual: threads,
    });
  }
  const chosen = runtime !== undefined ? "runtime" : threads !== undefined ? "threads" : undefined;
  if (chosen && isSession(source)) {
    throw typeError(
      `Cannot choose \`${chosen}\` for an InferenceSession: it runs as it was made; leave \`${chosen}\` out, and pass the module that made it as \`ort\``,
    );
  }
  if (chosen && ort) {
    throw typeError(
      `Cannot choose \`${chosen}\` together with \`ort\`: a module has settings of its own; leave one of them out`,
    );
  }
  if (runtime !== "node") return;
  const onGpu = device ? "`device`" : provider === "webgpu" ? '`provider: "webgpu"`' : undefined;
  if (onGpu) {
    throw typeError(
      `Cannot use ${onGpu} with \`runtime: "node"\`, which runs on the CPU; leave one of them out`,
    );
  }
}

/**
 * Loads the runtime that options name.
 *
 * @throws {BackendError} with code `"needs-onnxruntime-node"` or `"no-threads"`.
 */
export async function loadCpuRuntime(options: CpuOptions): Promise<CpuRuntime> {
  const { ort, runtime, threads } = options;
  if (runtime === "node") {
    const session: SessionOptions = {
      executionProviders: ["cpu"],
      intraOpNumThreads: threads ?? 1,
      interOpNumThreads: 1,
    };
    return { ort: await loadOrtNode(), session };
  }
  return { ort: ort ?? await loadOrtWeb(threads), session: { executionProviders: ["wasm"] } };
}

/** onnxruntime-node: one object for a process, because sessions take their turns by it. */
let ortNode: OrtModule | undefined;

async function loadOrtNode(): Promise<OrtModule> {
  try {
    const ort = await import(/* webpackIgnore: true */ /* @vite-ignore */ ORT_NODE);
    const { InferenceSession, Tensor, env } = ort as OrtModule;
    return ortNode ??= {
      InferenceSession: {
        create: async (...given: unknown[]) =>
          withHalfAsWords(await InferenceSession.create(...given as [Uint8Array, SessionOptions])),
      },
      Tensor,
      env,
    };
  } catch (cause) {
    const reason = firstLine(cause);
    throw new BackendError(
      "needs-onnxruntime-node",
      `Cannot run on onnxruntime-node, which cannot be loaded: ${reason}; Deno needs --allow-ffi, Node the package ${ORT_NODE}; elsewhere leave out \`runtime: "node"\``,
      { expected: ORT_NODE, actual: reason },
      { cause },
    );
  }
}

/** Threads that each module of onnxruntime-web has begun with; undefined: as many as it likes. */
const begun = new WeakMap<OrtModule, number | undefined>();

async function loadOrtWeb(threads: number | undefined): Promise<OrtModule> {
  const { crossOriginIsolated } = globalThis as { crossOriginIsolated?: boolean };
  const isForServers = threads !== undefined && threads > 1 && !crossOriginIsolated;
  const ort = isForServers
    ? await loadWithThreads(threads)
    : await loadOrt("wasm").catch(loadInWorker);
  const wanted = threads ?? (crossOriginIsolated ? undefined : 1);
  if (!begun.has(ort)) {
    begun.set(ort, wanted);
    if (wanted !== undefined) ort.env.wasm.numThreads = wanted;
  }
  const actual = begun.get(ort);
  if (actual === wanted) return ort;
  throw new BackendError(
    "no-threads",
    `Cannot run on ${wanted ?? "the default number of"} threads: onnxruntime-web has begun with ${
      actual ?? "the default"
    }, which it keeps; pass the same \`threads\` for all models of a process`,
    { expected: actual, actual: wanted },
  );
}

async function loadWithThreads(threads: number): Promise<OrtModule> {
  try {
    return await loadOnServer();
  } catch (cause) {
    throw new BackendError(
      "no-threads",
      `Cannot run on ${threads} threads: Deno and Node have them, and pages that are isolated from other origins (crossOriginIsolated); leave out \`threads\``,
      { expected: 1, actual: threads },
      { cause },
    );
  }
}

/** In a Web Worker of Deno the entry for pages fails: it resolves its address against `location.origin`, which is "null". */
async function loadInWorker(error: unknown): Promise<OrtModule> {
  try {
    return await loadOnServer();
  } catch {
    throw error;
  }
}

const loadOnServer = (): Promise<OrtModule> =>
  import(/* webpackIgnore: true */ /* @vite-ignore */ ORT_WEB_ON_SERVERS);

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0];
}
