/**
 * Loads a safetensors file: header in flight, data straight to its place, digests on the way. What broke off is
 * continued, what is damaged is fetched again, what changed is begun anew: see {@linkcode load}.
 */
import {
  EspalierError,
  IndexChangedError,
  IndexFormatError,
  IndexIntegrityError,
  rangeError,
  StorageError,
} from "../errors.ts";
import { CachedCopy } from "./cached_copy.ts";
import { type Destination, Filling } from "./filling.ts";
import { HeaderReader } from "./header_reader.ts";
import { changed, ObjectReader, type Pin, type ReaderContext } from "./object_reader.ts";
import { FIRST_BYTES, planSegments, type Segment } from "./ranges.ts";
import { Reading } from "./reading.ts";
import { type Header, parseHeader } from "./safetensors.ts";
import { type IndexSource, type OpenedSource, openSource } from "./source.ts";

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
  /** Stops the loading; it rejects with the signal's reason. */
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
 * - Memory: the destination, a header, and one buffer of 256 KiB per request.
 *
 * @throws {IndexFormatError} if it is no index file.
 * @throws {IndexIntegrityError} if bytes are missing, too many, or do not match their digest.
 * @throws {IndexChangedError} if the object changed again, or when it was too late to begin anew.
 * @throws {StorageError} if it cannot be read, after retries, or not within the deadline.
 */
export async function load(source: IndexSource, options: LoadOptions): Promise<Loaded> {
  const { signal, timeoutMs, cache, canRestart = () => true } = options;
  checkOptions(options);
  const opened = openSource(source);
  const stop = new AbortController();
  const abort = () => stop.abort(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  const timer = timeoutMs === undefined
    ? undefined
    : setTimeout(() => stop.abort(tooLate(timeoutMs)), timeoutMs);
  const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  let copy: CachedCopy | undefined;
  try {
    copy = cache && await CachedCopy.find(cache, opened);
    for (let isFirst = true;; isFirst = false) {
      const attempt = new Attempt(opened, options, copy, stop.signal, deadline);
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
    signal?.removeEventListener("abort", abort);
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

/** Most headers fit. */
const HEADER_BYTES = 2 ** 16;

class Attempt {
  readonly #options: LoadOptions;
  readonly #copy?: CachedCopy;
  readonly #outer: AbortSignal;
  /** Ends this attempt; the first error is the reason. */
  readonly #stop = new AbortController();
  readonly #context: ReaderContext;
  readonly #pin: Pin = {};
  readonly #repaired = new Set<number>();
  #filling!: Filling;
  #segments: Segment[] = [];
  /** Whether the copy served to the end. */
  #isCopySound = false;

  constructor(
    source: OpenedSource,
    options: LoadOptions,
    copy: CachedCopy | undefined,
    outer: AbortSignal,
    deadline: number | undefined,
  ) {
    const { retries = 5, stallTimeoutMs: stallMs = 10_000, fetch } = options;
    this.#options = options;
    this.#copy = copy;
    this.#outer = outer;
    const { signal } = this.#stop;
    this.#context = { source, signal, retries, stallMs, deadline, fetch, pin: this.#pin };
  }

  async run(): Promise<Loaded> {
    const abort = () => this.#stop.abort(this.#outer.reason);
    this.#outer.addEventListener("abort", abort, { once: true });
    if (this.#outer.aborted) abort();
    try {
      this.#stop.signal.throwIfAborted();
      const { header, destination, reader } = await this.#begin();
      this.#filling = this.#fillingOf(header, destination);
      await this.#fillAll(reader);
      this.#stop.signal.throwIfAborted();
      return { header, cached: this.#keepCopy(destination) };
    } catch (error) {
      this.#stop.abort(error);
      throw this.#stop.signal.reason;
    } finally {
      this.#outer.removeEventListener("abort", abort);
    }
  }

  /** Reads the header and finds out where the data will come from. */
  async #begin(): Promise<{ header: Header; destination: Destination; reader: ObjectReader }> {
    const copiedDigest = this.#copy?.digest;
    let reader = await this.#open();
    const startedAsCopy = reader.isCopy;
    try {
      const header = await this.#header(reader);
      if (startedAsCopy && header.digest !== copiedDigest) throw damagedCopy();
      if (!startedAsCopy && header.digest === copiedDigest) {
        // The copy is current, though the store could not say so.
        await reader[Symbol.asyncDispose]();
        reader = this.#readCopy(header.bytes.length);
      }
      const destination = await this.#options.prepare(header, this.#pin.total);
      this.#stop.signal.throwIfAborted();
      const total = header.bytes.length + header.dataByteLength;
      this.#options.onProgress?.(header.bytes.length, total);
      return { header, destination, reader };
    } catch (error) {
      await reader[Symbol.asyncDispose]();
      if (!startedAsCopy || !isAboutBytes(error)) throw error;
      await this.#copy!.drop();
      return await this.#begin();
    }
  }

  async #header(reader: ObjectReader): Promise<Header> {
    const { digests = true, checkMetadata, isHeaderOnly } = this.#options;
    const bytes = await readHeader(reader);
    const header = await parseHeader(bytes, checkMetadata, digests);
    if (!isHeaderOnly) checkTotal(this.#pin.total, header.bytes.length + header.dataByteLength);
    return header;
  }

  async #open(): Promise<ObjectReader> {
    const { parallel = 1, isHeaderOnly } = this.#options;
    const end = isHeaderOnly ? HEADER_BYTES : parallel > 1 ? FIRST_BYTES : undefined;
    const isRanged = "object" in this.#context.source;
    const reader = new ObjectReader(this.#context, { start: 0, end: isRanged ? end : undefined });
    if (this.#copy?.digest === undefined) return reader;
    if (await reader.openUnless(this.#copy.version)) return reader;
    this.#pin.version = this.#copy.version;
    return this.#readCopy(0);
  }

  #readCopy(start: number): ObjectReader {
    const stream = this.#copy?.take();
    return new ObjectReader(
      this.#context,
      { start },
      stream && new Reading({ stream, start: 0 }, this.#context),
    );
  }

  #fillingOf(header: Header, destination: Destination): Filling {
    return new Filling(header, destination, this.#options.digests ?? true, {
      damaged: (chunk, digest) => this.#repair(chunk, digest),
      failed: (error) => this.#stop.abort(error),
    });
  }

  async #fillAll(first: ObjectReader): Promise<void> {
    const { header } = this.#filling;
    const { parallel = 1 } = this.#options;
    const length = header.dataByteLength;
    // Without an end, or from a store that does no ranges, the first answer brings everything.
    this.#segments = first.end === undefined
      ? [{ start: 0, end: length }]
      : planSegments(length, parallel, first.end - header.bytes.length);
    const workers = [this.#work(first)];
    for (let i = 1; i < Math.min(parallel, this.#segments.length + 1); i++) {
      workers.push(this.#work());
    }
    try {
      await Promise.all(workers);
    } catch (error) {
      this.#stop.abort(error);
      throw error;
    } finally {
      // Nothing is written any more once this has ended.
      await Promise.allSettled(workers);
      await this.#filling.allChecked();
    }
  }

  /** Fills segments until all chunks are sound. */
  async #work(reader?: ObjectReader): Promise<void> {
    while (true) {
      this.#stop.signal.throwIfAborted();
      const segment = this.#segments.shift();
      if (segment) await this.#fill(segment, reader);
      else if (this.#filling.isChecking) await this.#filling.oneChecked(); // repairs may come of it
      else return;
      reader = undefined;
    }
  }

  async #fill({ start, end }: Segment, first?: ObjectReader): Promise<void> {
    const { header } = this.#filling;
    const base = header.bytes.length;
    await using reader = first ??
      new ObjectReader(this.#context, { start: base + start, end: base + end });
    let at = start;
    while (at < end) {
      const bytes = await reader.next();
      this.#stop.signal.throwIfAborted();
      if (bytes === undefined) {
        // A first answer may end in the middle of a chunk: another request goes on from there.
        if (reader.end !== undefined && base + at === reader.end) break;
        throw truncated(base + header.dataByteLength, base + at);
      }
      const part = bytes.subarray(0, end - at);
      const isCrowded = this.#filling.put(at, part);
      at += part.length;
      this.#report();
      if (part.length < bytes.length) reader.keep(bytes.subarray(part.length));
      if (isCrowded) await isCrowded;
    }
    if (at < end) return await this.#fill({ start: at, end });
    if ("once" in this.#context.source) await refuseMore(reader, header);
    this.#isCopySound = reader.isCopy && this.#repaired.size === 0;
  }

  /** Fetches a chunk again that does not match, if the header that says so is still the object's. */
  async #repair(chunk: number, digest: string): Promise<void> {
    const { header } = this.#filling;
    const { source } = this.#context;
    const { start, length } = this.#filling.range(chunk);
    if ("once" in source || this.#repaired.has(chunk)) {
      throw damaged(header, start, length, digest, chunk);
    }
    this.#repaired.add(chunk);
    await using reader = new ObjectReader(this.#context, { start: 0, end: header.bytes.length });
    const bytes = await readHeader(reader);
    if (!isEqual(bytes, header.bytes)) throw changed(source.object.name, header.digest, undefined);
    this.#segments.push({ start, end: start + length });
  }

  #report(): void {
    const { header, placed } = this.#filling;
    const base = header.bytes.length;
    this.#options.onProgress?.(base + placed, base + header.dataByteLength);
  }

  async #keepCopy(destination: Destination): Promise<void> {
    if (!this.#copy || this.#isCopySound) return;
    const { header } = this.#filling;
    await this.#copy.store(header, streamFile(header, destination.view), this.#pin.version);
  }
}

/** Header and data in chunks of at most 1 MiB, each copied when it is asked for. */
export function streamFile(
  header: Header,
  view: Destination["view"],
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let next = -1;
  return new ReadableStream({
    pull(controller) {
      if (next < 0) {
        controller.enqueue(header.bytes.slice() as Uint8Array<ArrayBuffer>);
        next = 0;
        return;
      }
      const length = Math.min(2 ** 20, header.dataByteLength - next);
      if (length === 0) return controller.close();
      controller.enqueue(view(next, length).slice());
      next += length;
    },
  });
}

async function readHeader(reader: ObjectReader): Promise<Uint8Array<ArrayBuffer>> {
  const start = new HeaderReader();
  while (true) {
    const chunk = await reader.next();
    if (chunk === undefined) {
      const isCutShort = reader.end !== undefined && reader.position === reader.end;
      if (!isCutShort) throw truncated(start.expected, start.length);
      reader.end = start.expected;
      continue;
    }
    const rest = start.take(chunk);
    const bytes = start.complete();
    if (!bytes) continue;
    if (rest.length > 0) reader.keep(rest);
    return bytes;
  }
}

/** A stream that was given whole must end where its header says. */
async function refuseMore(reader: ObjectReader, header: Header): Promise<void> {
  let more: Uint8Array | undefined;
  do more = await reader.next(); while (more?.length === 0);
  const expected = header.bytes.length + header.dataByteLength;
  if (more) throw tooLong(expected, expected + more.length);
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Whether beginning anew may help: the object changed under way, or its header was read in two versions. */
function mayHaveChanged(error: unknown): boolean {
  return error instanceof IndexChangedError ||
    error instanceof EspalierError && error.code === "header-digest";
}

/** Whether an error says that bytes are not what they should be. */
function isAboutBytes(error: unknown): boolean {
  return error instanceof IndexFormatError || error instanceof IndexIntegrityError;
}

function damagedCopy(): IndexIntegrityError {
  return new IndexIntegrityError("header-digest", "The copy in the cache is of another index");
}

function checkOptions({ parallel, retries, stallTimeoutMs, timeoutMs }: TransferOptions): void {
  const check = (name: string, value: number | undefined, least: number, most: number) => {
    if (value === undefined || value >= least && value <= most) return;
    throw rangeError(`Cannot open the index: ${name} is ${value}, expected ${least} to ${most}`, {
      expected: most,
      actual: value,
    });
  };
  if (parallel !== undefined && !Number.isInteger(parallel)) check("parallel", NaN, 1, 32);
  check("parallel", parallel, 1, 32);
  check("retries", retries, 0, 1000);
  check("stallTimeoutMs", stallTimeoutMs, 1, 2 ** 31 - 1);
  check("timeoutMs", timeoutMs, 0, 2 ** 31 - 1);
}

function checkTotal(total: number | undefined, expected: number): void {
  if (total === undefined || total === expected) return;
  throw total < expected ? truncated(expected, total) : tooLong(expected, total);
}

function tooLate(timeoutMs: number): StorageError {
  return new StorageError(
    "timeout",
    `Cannot open the index: it was not there within ${timeoutMs} ms; allow more, or look at the network`,
    { expected: timeoutMs },
  );
}

function damaged(
  header: Header,
  start: number,
  length: number,
  actual: string,
  chunk: number,
): IndexIntegrityError {
  const offset = header.bytes.length + start;
  return new IndexIntegrityError(
    "chunk-digest",
    `Cannot open the index: ${length} bytes from ${offset} on do not match their SHA-256; upload the file again or rebuild it`,
    { expected: header.chunkDigests[chunk], actual, offset },
  );
}

function truncated(expected: number, actual: number): IndexIntegrityError {
  return new IndexIntegrityError(
    "truncated",
    `Cannot open the index: expected ${expected} bytes, got ${actual}; fetch the file again`,
    { expected, actual, offset: actual },
  );
}

function tooLong(expected: number, actual: number): IndexIntegrityError {
  return new IndexIntegrityError(
    "trailing-bytes",
    `Cannot open the index: expected ${expected} bytes, got at least ${actual}; the file is not what its header says, fetch it again`,
    { expected, actual, offset: expected },
  );
}
