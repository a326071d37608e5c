/**
 * Loads a safetensors file: header in flight, data straight to its place, digests on the way. What broke off is
 * continued, what is damaged is fetched again, what changed is begun anew: see {@linkcode load}.
 */
import { EspalierError, IndexChangedError, StorageError } from "../../errors.ts";
import { IndexLoader } from "./loader.ts";
import { CachedCopy } from "./cached_copy.ts";

import type { Header } from "../safetensors.ts";
import { type IndexSource, openSource } from "../source.ts";
import { checkOptions, type Loaded, type LoadOptions } from "./options.ts";

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
      const loader = new IndexLoader(opened, options, copy, signal, deadline);
      try {
        return await loader.run();
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

function tooLate(timeoutMs: number): StorageError {
  return new StorageError(
    "timeout",
    `Cannot open the index: it was not there within ${timeoutMs} ms; allow more, or look at the network`,
    { expected: timeoutMs },
  );
}
