/** What a handler is told, with its defaults. */
import { checkOptionNames, rangeError, typeError } from "../errors.ts";
import type { OpenOptions } from "../index/constraint_index.ts";
import { DECODER_OPTIONS, type DecoderOptions } from "../decode/decoder.ts";
import type { BeamSearchOptions, GpuModel, Model } from "../decode/types.ts";
import type { IndexSource } from "../storage/source.ts";
import type { CorsOptions } from "./cors.ts";

/** Bounds on what requests may ask for and how long they may take. */
export interface Limits {
  /** Bytes of a request's body, counted as they come. Default 1 MiB. Beyond: 413. */
  bodyBytes: number;
  /** Prompts of a decode request. Default 16. */
  prompts: number;
  /** Prefixes of a mask request. Default 256. */
  prefixes: number;
  /** Tokens of a prompt or prefix. Default 4096. */
  promptTokens: number;
  /** Tokens of prompts and prefixes are below this, the vocabulary of what reads them. Default 2^31. */
  promptVocabulary: number;
  /** Beams, at most 1024. Default 128. A model's logits take up to prompts × beams × vocabulary × 4 bytes. */
  beams: number;
  /** Ordinals that a row may exclude, and item ids, at most 10 000 each. Default 1000. */
  exclusions: number;
  /** Item ids in an allow list, at most 10 000. Default 10 000. */
  onlyItems: number;
  /** Names in all the filters of a request. Default 32. */
  filterTerms: number;
  /** Tokens of a mask answer, all prefixes together. Default 1 000 000. */
  maskTokens: number;
  /** Bytes of compiled filters that are kept for later requests. Default 16 MiB. */
  filterBytes: number;
  /**
   * Bytes of compiled filters that one request may need at once. Default 16 MiB. Beyond: 422. Rows that exclude something
   * take a copy of their filter each beside that, while they are searched.
   */
  requestFilterBytes: number;
  /**
   * Bodies that come at the same time. Default 32. Beyond: 503 with `Retry-After`. Slow clients take up to
   * bodies × bodyBytes of memory.
   */
  bodies: number;
  /** Requests that are worked on at a time. Default 4. */
  concurrency: number;
  /** Requests that wait for one of those. Default 16. Beyond: 503 with `Retry-After`. */
  queue: number;
  /** Longest that a request takes, milliseconds. Default 10 000. Beyond: 504, or 408 while its body comes. */
  deadlineMs: number;
}

/** The defaults of {@linkcode Limits}. */
export const DEFAULT_LIMITS: Readonly<Limits> = {
  bodyBytes: 2 ** 20,
  prompts: 16,
  prefixes: 256,
  promptTokens: 4096,
  promptVocabulary: 2 ** 31,
  beams: 128,
  exclusions: 1000,
  onlyItems: 10_000,
  filterTerms: 32,
  maskTokens: 1_000_000,
  filterBytes: 2 ** 24,
  requestFilterBytes: 2 ** 24,
  bodies: 32,
  concurrency: 4,
  queue: 16,
  deadlineMs: 10_000,
};

/** Largest values that make sense. */
const MOST: Partial<Limits> = {
  promptVocabulary: 2 ** 31,
  beams: 1024,
  exclusions: 10_000,
  onlyItems: 10_000,
  deadlineMs: 2 ** 30,
};

/** A model for the prompts of one request, one per batch row; it is disposed of with its search if it can be. */
export type ServedModel = (Model | GpuModel) & Partial<Disposable> & Partial<AsyncDisposable>;

/**
 * Makes the model of a request, such as `(prompts) => onnx.withPrompts(prompts)`. The signal says when nobody wants the
 * answer any more. A `RangeError` with facts of its own
 * (`row`, `actual`), as those of `./onnx` about prompts, is answered with 422.
 */
export type ModelFactory = (
  prompts: number[][],
  context: { signal: AbortSignal },
) => ServedModel | Promise<ServedModel>;

/** What is said about each request, for logs. Holds nothing that a client has sent but the method. */
export interface LogEntry {
  /** HTTP method. */
  method: string;
  /** Path of the route, or `"other"`. */
  route: string;
  /** HTTP status. */
  status: number;
  /** Time until the answer, milliseconds. */
  durationMs: number;
  /** Digest of the index that the answer came from. */
  index?: string;
}

/** An index that has been loaded, and the one whose place it takes. */
export interface IndexChange {
  /** Digest of its header. */
  digest: string;
  /** Digest of the index that was served before, if there was one. */
  previous?: string;
  /** Its sequences. */
  size: number;
  /** Its tokens are below this. */
  vocabSize: number;
  /** Its bytes. */
  byteLength: number;
}

/** How to serve an index. */
export interface HandlerOptions {
  /**
   * Where the index is. Asked again to see whether it has changed: what can be read only once (a `Response`, a stream)
   * is given as a function that makes it. The signal says when that load has been given up.
   */
  index: IndexSource | ((signal: AbortSignal) => IndexSource | Promise<IndexSource>);
  /** How to open it. In Workers: `{ wasm }`. */
  open?: Omit<OpenOptions, "progressive" | "signal">;
  /** How to search it: backend and device. */
  decoder?: DecoderOptions;
  /** The model. Without it `/v1/decode` answers 501. */
  model?: ModelFactory;
  /**
   * What searches use where a request does not say; `vocabSize` (the width of the model's rows) and `padToken` always. An
   * index that they do not fit is refused.
   */
  search?: Pick<
    BeamSearchOptions,
    "vocabSize" | "padToken" | "endToken" | "normalize" | "lengthPenalty" | "tokensPerBeam"
  >;
  /** Bounds on requests: see {@linkcode Limits}. */
  limits?: Partial<Limits>;
  /** Age at which a request has the index looked at for a newer version, milliseconds. Default 60 000; Infinity: never. */
  revalidateAfterMs?: number;
  /**
   * Memory for indexes. Where an old and a new one do not fit together, the new one is verified as it streams by, and
   * then takes the place of the old one, while requests wait. Where that cannot tell whether it can be served (`verify`
   * of the structure, a backend that must be WebGPU, an end token inside the range of its tokens) the old one stays.
   * Default 96 MiB: what 128 MB leave beside code and requests.
   */
  memoryBytes?: number;
  /**
   * How long a load may show no progress (16 KiB, or a thousandth of a small index), milliseconds. Then it has failed
   * with code `"stalled"`: requests get 503 during the pause, and the next one begins anew unless it has gone on by then.
   * Default 5000.
   */
  takeOverMs?: number;
  /** Tokens of which one must come with each request, as `Authorization: Bearer …`. Not asked for by `/healthz`, `/readyz`. */
  bearerTokens?: readonly string[];
  /** True to leave `/metrics` open where there are `bearerTokens`. */
  openMetrics?: boolean;
  /** Which sites may ask from a browser. Default: none. */
  cors?: CorsOptions;
  /**
   * Told what failed: models, reloads, and what answers hide behind status 500. Default: `console.error`. Messages hold
   * no passwords, keys or signatures of addresses.
   */
  onError?: (error: unknown, during: string) => void;
  /** Told about each request. */
  log?: (entry: LogEntry) => void;
  /** Told about each index that is loaded: the first, and those that take its place. */
  onIndex?: (change: IndexChange) => void;
  /** Stands in for `performance.now`. */
  now?: () => number;
}

/** Options with their defaults, checked. */
export interface Settings extends HandlerOptions {
  limits: Limits;
  source: (signal: AbortSignal) => Promise<IndexSource>;
  revalidateAfterMs: number;
  memoryBytes: number;
  takeOverMs: number;
  now: () => number;
  onError: (error: unknown, during: string) => void;
}

const HANDLER_OPTIONS = [
  "index",
  "open",
  "decoder",
  "model",
  "search",
  "limits",
  "revalidateAfterMs",
  "memoryBytes",
  "takeOverMs",
  "bearerTokens",
  "openMetrics",
  "cors",
  "onError",
  "log",
  "onIndex",
  "now",
] as const satisfies readonly (keyof HandlerOptions)[];

const SERVED_SEARCH_OPTIONS = [
  "vocabSize",
  "padToken",
  "endToken",
  "normalize",
  "lengthPenalty",
  "tokensPerBeam",
] as const satisfies readonly (keyof NonNullable<HandlerOptions["search"]>)[];

const SERVED_OPEN_OPTIONS = [
  "wasm",
  "verify",
  "parallel",
  "fetch",
  "cache",
  "retries",
  "stallTimeoutMs",
  "timeoutMs",
  "onProgress",
] as const satisfies readonly (keyof NonNullable<HandlerOptions["open"]>)[];

/** @throws {TypeError} or {RangeError} if an option makes no sense. */
export function settingsOf(options: HandlerOptions): Settings {
  const { index, onError, limits: own = {}, bearerTokens, search, open, decoder } = options ?? {};
  checkOptionNames("createHandler", options, HANDLER_OPTIONS);
  if (search) checkOptionNames("createHandler with search", search, SERVED_SEARCH_OPTIONS);
  if (decoder) checkOptionNames("createHandler with decoder", decoder, DECODER_OPTIONS);
  if (open) checkOptionNames("createHandler with open", open, SERVED_OPEN_OPTIONS);
  if (index === undefined || index === null) {
    throw typeError("Cannot serve without an index: pass a source, or a function that makes one");
  }
  if (
    index instanceof Response || index instanceof ReadableStream ||
    typeof index === "object" && "readable" in index
  ) {
    throw typeError(
      "Cannot serve an index from what is read only once: pass a function that makes it, such as () => fetch(url)",
      { actual: Object.prototype.toString.call(index) },
    );
  }
  const limits = { ...DEFAULT_LIMITS };
  checkOptionNames("createHandler with limits", own, Object.keys(limits));
  for (const [name, value] of Object.entries(own)) {
    if (value === undefined) continue;
    const key = name as keyof Limits;
    const least = key === "queue" || key === "filterBytes" ? 0 : 1;
    checkNumber(`limits.${name}`, value, least, MOST[key] ?? Number.MAX_SAFE_INTEGER);
    if (key !== "deadlineMs" && !Number.isInteger(value)) {
      throw rangeError(`Cannot serve: limits.${name} is ${value}, expected a whole number`, {
        expected: "a whole number",
        actual: value,
      });
    }
    limits[key] = value;
  }
  const { revalidateAfterMs = 60_000, memoryBytes = 96 * 2 ** 20, takeOverMs = 5000 } = options;
  checkNumber("revalidateAfterMs", revalidateAfterMs, 0, Infinity);
  checkNumber("memoryBytes", memoryBytes, 0, Infinity);
  checkNumber("takeOverMs", takeOverMs, 1, Infinity);
  checkCors(options.cors);
  const isToken = (token: unknown) => typeof token === "string" && /^[\x21-\x7e]+$/.test(token);
  if (bearerTokens && !(bearerTokens.length > 0 && bearerTokens.every(isToken))) {
    throw typeError("Cannot use bearerTokens: expected at least one, of visible ASCII characters");
  }
  return {
    ...options,
    limits,
    source: async (signal) => typeof index === "function" ? await index(signal) : index,
    revalidateAfterMs,
    memoryBytes,
    takeOverMs,
    now: options.now ?? (() => performance.now()),
    onError: quiet(onError ?? printError),
    log: options.log && quiet(options.log),
    onIndex: options.onIndex && quiet(options.onIndex),
  };
}

function printError(error: unknown, during: string): void {
  console.error(`Espalier failed while ${during}:`, error);
}

/** A hook that fails changes no answer. */
function quiet<Arguments extends unknown[]>(hook?: (...given: Arguments) => void) {
  return (...given: Arguments) => {
    try {
      hook?.(...given);
    } catch {
      // Its own business.
    }
  };
}

/** A string would be searched for the origin, and then parts of it may ask as well. */
function checkCors(cors: CorsOptions | undefined): void {
  if (cors === undefined) return;
  checkOptionNames("createHandler with cors", cors, ["origins", "maxAgeSeconds"]);
  const { origins, maxAgeSeconds = 0 } = cors;
  const isList = Array.isArray(origins) && origins.every((origin) => typeof origin === "string");
  if (origins !== "*" && !isList) {
    throw typeError(
      'Cannot serve: cors.origins is no array of origins, such as ["https://shop.example"], nor "*"',
      { expected: "string[]", actual: typeof origins },
    );
  }
  checkNumber("cors.maxAgeSeconds", maxAgeSeconds, 0, Number.MAX_SAFE_INTEGER);
}

function checkNumber(name: string, value: number, least: number, most: number): void {
  if (typeof value === "number" && value >= least && value <= most) return;
  throw rangeError(`Cannot serve: ${name} is ${value}, expected ${least} to ${most}`, {
    expected: most,
    actual: value,
  });
}
