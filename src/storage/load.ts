/**
 * Loads a safetensors file: header in flight, data straight to its place, digests on the way. What broke off is
 * continued, what is damaged is fetched again, what changed is begun anew: see {@linkcode load}.
 */
import { EspalierError, IndexChangedError, rangeError, StorageError } from "../errors.ts";
import { Attempt } from "./attempt.ts";
import { CachedCopy } from "./cached_copy.ts";
import type { Destination } from "./filling.ts";
import type { Header } from "./safetensors.ts";
import { type IndexSource, openSource } from "./source.ts";

/** How to reach a source. */
export interface TransferOptions {
  /**
   * Requests at a time, 1 … 32. Default 1: one streaming GET. More are faster where a store limits the rate of a
   * connection, and need a store that does ranges; others are read with one.
   */
  parallel?: number;
  /** Stands in for the global `fetch`, for addresses and requests. */
  fetch?: typeof fetch;
  /**
   * Keeps a copy, by URL: as long as the store says that it is current (strong ETag, or an equal header), it
   * is read in place of the object. Its digests are checked like any others; what is damaged comes from the store.
   */
  cache?: Cache;
  /**
   * Attempts after the first, where nothing comes in between (default 5, which is about 3 s). Only what may
   * succeed later is retried: no answer, 429, 5xx, streams that break off or stall.
   */
  retries?: number;
  /** Longest wait for an answer, or for more of it, before the next attempt, milliseconds. Default 10 000. */
  stallTimeoutMs?: number;
  /** Deadline for the whole index, milliseconds from the call. Default none. */
  timeoutMs?: number;
  /** Stops the loading, as the signal of a `Request` does; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Called as bytes arrive. A restart begins at 0. */
  onProgress?: (bytes: number, total?: number) => void;
}

/** How to load. */
export interface LoadOptions extends TransferOptions {
  /** False to skip the digests. */
  digests?: boolean;
  /** Throws if the metadata is that of another kind of file. */
  checkMetadata: (metadata: Record<string, unknown>) => void;
  /**
   * Called with the checked header and the size of the object, where the store says; answers where the data goes. Called
   * again if the object has changed.
   */
  prepare: (header: Header, total?: number) => Promise<Destination>;
  /** Ask for no more than the header at first, and accept it whatever comes behind. */
  isHeaderOnly?: boolean;
  /** Whether the loading may still begin anew with another version. Default: yes. */
  canRestart?: () => boolean;
}

/** A file that is in its place. */
export interface Loaded {
  header: Header;
  /** Settles when the cache has its copy, or has failed to take one. Never rejects. */
  cached: Promise<void>;
}

/**
 * Reads a file into place.
 *
 * - One request streams the whole, or `parallel` at a time its parts. All parts are of one version: strong ETags and
 *   sizes must agree, and whatever they say, each MiB must match the digest that the one header gives it.
 * - A chunk that does not match is fetched once more, if the header is still the same.
 * - An object that has changed is begun anew, once.
 * - Memory: the destination, a header, a buffer of 256 KiB per request (1 MiB behind 8 MiB of one), and the copies that
 *   WebCrypto makes of what it digests: 4 MiB at most. Buffers of requests that have ended wait for the collector.
 *
 * @throws {IndexFormatError} if it is no index file.
 * @throws {IndexIntegrityError} if bytes are missing, too many, or do not match their digest.
 * @throws {IndexChangedError} if the object changed again, or when it was too late to begin anew.
 * @throws {StorageError} if it cannot be read, after retries, or not within the deadline.
 */
export async function load(source: IndexSource, options: LoadOptions): Promise<Loaded> {
  const { timeoutMs, cache, canRestart = () => true } = options;
  checkOptions(options);
  const opened = openSource(source);
  const late = new AbortController();
  const own = source instanceof Request ? source.signal : undefined;
  const signals = [late.signal, options.signal, own].filter((signal) => signal !== undefined);
  const signal = AbortSignal.any(signals);
  const timer = timeoutMs === undefined
    ? undefined
    : setTimeout(() => late.abort(tooLate(timeoutMs)), timeoutMs);
  const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  let copy: CachedCopy | undefined;
  try {
    copy = cache && await CachedCopy.find(cache, opened, signal);
    for (let isFirst = true;; isFirst = false) {
      const attempt = new Attempt(opened, options, copy, signal, deadline);
      try {
        return await attempt.run();
      } catch (error) {
        if (!isFirst || !("object" in opened) || !mayHaveChanged(error) || !canRestart()) {
          throw error;
        }
      }
    }
  } finally {
    copy?.release();
    clearTimeout(timer);
  }
}

/** Reads the header of a file, and hardly more. @throws as {@linkcode load} does. */
export async function loadHeader(
  source: IndexSource,
  options: Omit<LoadOptions, "prepare" | "isHeaderOnly">,
): Promise<{ header: Header; total?: number }> {
  const enough = new Error("The header is there");
  let found: { header: Header; total?: number } | undefined;
  const prepare = (header: Header, total?: number) => {
    found = { header, total };
    return Promise.reject(enough);
  };
  await load(source, { ...options, isHeaderOnly: true, prepare }).catch((error) => {
    if (error !== enough) throw error;
  });
  return found!;
}

/** Whether beginning anew may help: the object changed under way, or its header was read in two versions. */
function mayHaveChanged(error: unknown): boolean {
  return error instanceof IndexChangedError ||
    error instanceof EspalierError && error.code === "header-digest";
}

function checkOptions({ parallel, retries, stallTimeoutMs, timeoutMs }: TransferOptions): void {
  const check = (name: string, value: number | undefined, least: number, most: number) => {
    if (value === undefined || value >= least && value <= most) return;
    throw rangeError(`Cannot open the index: ${name} is ${value}, expected ${least} to ${most}`, {
      expected: most,
      actual: value,
    });
  };
  if (parallel !== undefined && !Number.isInteger(parallel)) {
    throw rangeError(`Cannot open the index: parallel is ${parallel}, expected a whole number`, {
      expected: "a whole number",
      actual: parallel,
    });
  }
  check("parallel", parallel, 1, 32);
  check("retries", retries, 0, 1000);
  check("stallTimeoutMs", stallTimeoutMs, 1, 2 ** 31 - 1);
  check("timeoutMs", timeoutMs, 0, 2 ** 31 - 1);
}

function tooLate(timeoutMs: number): StorageError {
  return new StorageError(
    "timeout",
    `Cannot open the index: it was not there within ${timeoutMs} ms; allow more, or look at the network`,
    { expected: timeoutMs },
  );
}
