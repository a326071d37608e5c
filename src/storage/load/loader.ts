/** One attempt at loading a file: one header, and the data that it describes. */
import { IndexFormatError, IndexIntegrityError } from "../../errors.ts";
import { orAborted } from "../abort.ts";
import type { CachedCopy } from "./cached_copy.ts";
import { ChunkWriter, type Destination } from "./chunk_writer.ts";
import { HeaderReader } from "./header_reader.ts";
import type { Loaded, LoadOptions } from "./options.ts";
import { changed, ObjectReader, type ObjectVersion, type ReaderContext } from "./object_reader.ts";
import { FIRST_BYTES, planSegments, type Segment } from "./segments.ts";
import { StreamReader } from "./stream_reader.ts";
import { CHUNK_BYTES, type Header, parseHeader, streamFile } from "../safetensors.ts";
import type { OpenedSource } from "../source.ts";

/** Most headers fit. */
const HEADER_BYTES = 2 ** 16;

/** Loads once; what it was told to do stays as it is. */
export class IndexLoader {
  readonly #options: LoadOptions;
  readonly #copy?: CachedCopy;
  readonly #copiedVersion?: string;
  readonly #outer: AbortSignal;
  /** Ends this attempt; the first error is the reason. */
  readonly #stop = new AbortController();
  readonly #context: ReaderContext;
  readonly #version: ObjectVersion = {};
  readonly #repaired = new Set<number>();
  #writer!: ChunkWriter;
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
    this.#copiedVersion = copy?.version;
    this.#outer = outer;
    const { signal } = this.#stop;
    this.#context = { source, signal, retries, stallMs, deadline, fetch, pinned: this.#version };
  }

  async run(): Promise<Loaded> {
    const abort = () => this.#stop.abort(this.#outer.reason);
    this.#outer.addEventListener("abort", abort, { once: true });
    if (this.#outer.aborted) abort();
    try {
      this.#stop.signal.throwIfAborted();
      const { header, destination, reader } = await this.#begin();
      this.#writer = this.#fillingOf(header, destination);
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
      const header = await this.#header(reader, startedAsCopy ? copiedDigest : undefined);
      if (!startedAsCopy && header.digest === copiedDigest) {
        // The copy is current, though the store could not say so.
        await reader[Symbol.asyncDispose]();
        reader = this.#readCopy(header.bytes.length);
      }
      const destination = await this.#options.prepare(header, this.#version.total);
      this.#stop.signal.throwIfAborted();
      const total = header.bytes.length + header.dataByteLength;
      this.#options.onProgress?.(header.bytes.length, total);
      return { header, destination, reader };
    } catch (error) {
      await reader[Symbol.asyncDispose]();
      if (!isAboutBytes(error)) throw error;
      if (startedAsCopy) {
        await orAborted(this.#copy!.drop(), this.#stop.signal);
        this.#version.version = this.#version.total = undefined;
        return await this.#begin();
      }
      // The beginning of one version and the end of another make no header.
      const { source } = this.#context;
      if ("object" in source && reader.answers > 1) throw changed(source.object.name);
      throw error;
    }
  }

  async #header(reader: ObjectReader, expectedDigest?: string): Promise<Header> {
    const { digests = true, checkMetadata, isHeaderOnly } = this.#options;
    const bytes = await readHeader(reader);
    const header = await parseHeader(bytes, checkMetadata, digests);
    if (expectedDigest !== undefined && header.digest !== expectedDigest) throw damagedCopy();
    if (isHeaderOnly) return header;
    const total = header.bytes.length + header.dataByteLength;
    checkTotal(this.#version.total, total);
    // Later answers that say another size are of another version.
    this.#version.total = total;
    return header;
  }

  async #open(): Promise<ObjectReader> {
    const { parallel = 1, isHeaderOnly } = this.#options;
    const end = isHeaderOnly ? HEADER_BYTES : parallel > 1 ? FIRST_BYTES : undefined;
    const isRanged = "object" in this.#context.source;
    const reader = new ObjectReader(this.#context, { start: 0, end: isRanged ? end : undefined });
    if (this.#copy?.digest === undefined) return reader;
    if (await reader.openUnless(this.#copy.version)) return reader;
    this.#version.version = this.#copy.version;
    return this.#readCopy(0);
  }

  #readCopy(start: number): ObjectReader {
    const stream = this.#copy?.take();
    return new ObjectReader(
      this.#context,
      { start },
      stream && new StreamReader({ stream, start: 0 }, this.#context),
    );
  }

  #fillingOf(header: Header, destination: Destination): ChunkWriter {
    return new ChunkWriter(header, destination, this.#options.digests ?? true, {
      damaged: (chunk, digest) => this.#repair(chunk, digest),
      failed: (error) => this.#stop.abort(error),
    });
  }

  async #fillAll(first: ObjectReader): Promise<void> {
    await using _ = first;
    const { header } = this.#writer;
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
      await this.#writer.allChecked();
    }
  }

  /** Fills segments until all chunks are sound. */
  async #work(reader?: ObjectReader): Promise<void> {
    while (true) {
      this.#stop.signal.throwIfAborted();
      const segment = this.#segments.shift();
      if (segment) await this.#fill(segment, reader);
      else if (this.#writer.isChecking) await this.#writer.oneChecked(); // repairs may come of it
      else return;
      reader = undefined;
    }
  }

  async #fill({ start, end }: Segment, first?: ObjectReader): Promise<void> {
    const { header } = this.#writer;
    const base = header.bytes.length;
    await using reader = first ??
      new ObjectReader(this.#context, { start: base + start, end: base + end });
    let at = start;
    while (at < end) {
      const bytes = await reader.next();
      if (bytes === undefined) {
        // A first answer may end in the middle of a chunk: another request goes on from there.
        if (reader.end !== undefined && base + at === reader.end) break;
        throw truncated(base + header.dataByteLength, base + at);
      }
      while (this.#writer.isCrowded) await this.#writer.oneChecked();
      this.#stop.signal.throwIfAborted();
      const part = bytes.subarray(0, Math.min(end - at, CHUNK_BYTES));
      this.#writer.put(at, part);
      at += part.length;
      this.#report();
      if (part.length < bytes.length) reader.keep(bytes.subarray(part.length));
    }
    if (at < end) return await this.#fill({ start: at, end });
    if (reader.endsWithObject) await refuseMore(reader, header);
    this.#isCopySound = reader.isCopy && this.#repaired.size === 0;
  }

  /** Fetches a chunk again that does not match, if the header that says so is still the object's. */
  async #repair(chunk: number, digest: string): Promise<void> {
    const { header } = this.#writer;
    const { source } = this.#context;
    const { start, length } = this.#writer.range(chunk);
    if ("once" in source || this.#repaired.has(chunk)) {
      throw damaged(header, start, length, digest, chunk);
    }
    this.#repaired.add(chunk);
    await using reader = new ObjectReader(this.#context, { start: 0, end: header.bytes.length });
    const bytes = await readHeader(reader);
    if (!isEqual(bytes, header.bytes)) throw changed(source.object.name, header.digest);
    this.#segments.push({ start, end: start + length });
  }

  #report(): void {
    const { header, placed } = this.#writer;
    const base = header.bytes.length;
    this.#options.onProgress?.(base + placed, base + header.dataByteLength);
  }

  async #keepCopy(destination: Destination): Promise<void> {
    if (!this.#copy) return;
    const { version = this.#copiedVersion } = this.#version;
    // The same bytes under another ETag would be asked for in vain every time.
    if (this.#isCopySound && version === this.#copiedVersion) return;
    const { header } = this.#writer;
    await this.#copy.store(header, streamFile(header, destination.view), this.#version.version);
  }
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

/** An object whose end is seen must end where its header says. */
async function refuseMore(reader: ObjectReader, header: Header): Promise<void> {
  let more: Uint8Array | undefined;
  do more = await reader.next(); while (more?.length === 0);
  const expected = header.bytes.length + header.dataByteLength;
  if (more) throw tooLong(expected, expected + more.length);
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Whether an error says that bytes are not what they should be. */
function isAboutBytes(error: unknown): boolean {
  return error instanceof IndexFormatError || error instanceof IndexIntegrityError;
}

function damagedCopy(): IndexIntegrityError {
  return new IndexIntegrityError("header-digest", "The copy in the cache is of another index");
}

function checkTotal(total: number | undefined, expected: number): void {
  if (total === undefined || total === expected) return;
  throw total < expected ? truncated(expected, total) : tooLong(expected, total);
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
