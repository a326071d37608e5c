/** Bytes of an object in order, over as many requests as it takes. */
import { EspalierError, IndexChangedError, StorageError } from "../../errors.ts";
import { orAborted } from "../abort.ts";
import { StreamReader } from "./stream_reader.ts";
import { Backoff } from "../retry.ts";
import type { OpenedSource } from "../source.ts";
import type { ByteRange, Part } from "../stored_object.ts";

/** What the readers of one object share. */
export interface ReaderContext {
  readonly source: OpenedSource;
  /** Ends everything at once. */
  readonly signal: AbortSignal;
  /** Attempts after the first, where nothing comes in between. */
  readonly retries: number;
  /** Longest wait for an answer, or for more of it, milliseconds. */
  readonly stallMs: number;
  /** When all must be over, as `performance.now` counts. */
  readonly deadline?: number;
  readonly fetch?: typeof fetch;
  /** What the first answer said; later ones must agree. */
  readonly pinned: ObjectVersion;
}

/** Which version of an object is being read, as far as the store says. */
export interface ObjectVersion {
  version?: string;
  total?: number;
}

/** So many bytes after a failure, the next failure is the first again. */
const PROGRESS_BYTES = 2 ** 16;

/** Reads on from a position, and goes on after streams that break off. Dispose of it. */
export class ObjectReader implements AsyncDisposable {
  /** Byte of the object that comes next. */
  position: number;
  /** Where to stop asking, exclusive; undefined for the end of the object, and if the store does no ranges. */
  end?: number;
  readonly #context: ReaderContext;
  readonly #backoff: Backoff;
  #stream: StreamReader | undefined;
  /** Whether `#stream` is no answer of the object's, but a copy of its start. */
  #isCopy: boolean;
  #sinceFailure = 0;
  /** Whether streams are read as they come: one has seemed to stall that may not have. */
  #isPatient = false;
  /** Answers of the object's that bytes came from. */
  answers = 0;

  /** @param copy a stream of the same bytes, at the same position, to begin with. */
  constructor(context: ReaderContext, range: ByteRange, copy?: StreamReader) {
    this.#context = context;
    this.position = range.start;
    this.end = range.end;
    this.#stream = copy;
    this.#isCopy = copy !== undefined;
    this.#backoff = new Backoff(context.retries, context.signal, context.deadline);
  }

  /** Whether the bytes that come now are a copy's. */
  get isCopy(): boolean {
    return this.#isCopy;
  }

  /** Whether what comes now ends where the object does, and nowhere else. */
  get endsWithObject(): boolean {
    return this.end === undefined && this.#stream?.trustEnd === true;
  }

  /**
   * Asks for the object unless it is still a version.
   *
   * @returns whether there is something to read: false if it is that version.
   */
  async openUnless(version: string | undefined): Promise<boolean> {
    return await this.#connect(version);
  }

  /**
   * The next bytes, valid until the call after; undefined where there are no more.
   *
   * @throws {StorageError} after retries, where those make sense. @throws {IndexChangedError} if the store says
   * that the object is another by now.
   */
  async next(): Promise<Uint8Array | undefined> {
    while (true) {
      if (!this.#stream) await this.#connect();
      const stream = this.#stream!;
      try {
        const chunk = await stream.next();
        if (chunk !== undefined) {
          const skip = this.position - (stream.position - chunk.length);
          if (skip >= chunk.length) continue; // the store does not do ranges
          const bytes = skip > 0 ? chunk.subarray(skip) : chunk;
          this.position += bytes.length;
          this.#sinceFailure += bytes.length;
          if (this.#sinceFailure >= PROGRESS_BYTES) this.#backoff.progress();
          return bytes;
        }
        if (this.#isAtEnd(stream)) return undefined;
        if (this.position < (stream.end ?? Infinity)) throw this.#brokenOff();
        await this.#close();
      } catch (error) {
        await this.#recover(error);
      }
    }
  }

  /** Gives back the last part of what came: it comes next. */
  keep(rest: Uint8Array): void {
    this.#stream!.keep(rest);
    this.position -= rest.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }

  async #close(): Promise<void> {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#isCopy = false;
    await stream?.[Symbol.asyncDispose]();
  }

  /** Whether nothing can follow the end of a stream. */
  #isAtEnd(stream: StreamReader): boolean {
    if (this.#isCopy) return false;
    const { total = Infinity } = this.#context.pinned;
    return stream.trustEnd || this.position >= Math.min(total, this.end ?? Infinity);
  }

  #brokenOff(): StorageError {
    const { source } = this.#context;
    const name = "object" in source ? source.object.name : "";
    return new StorageError(
      "read-failed",
      `Cannot read ${name || "the stream"}: it ended after ${this.position} bytes; try again`,
      { url: name, offset: this.position },
    );
  }

  /** Makes ready to go on after a failure. @throws the error where there is no sense in that. */
  async #recover(error: unknown): Promise<void> {
    const wasCopy = this.#isCopy;
    const isStall = error instanceof StorageError && error.code === "stalled";
    const isUnsure = isStall && this.#stream?.mayHaveBrought === true;
    await this.#close();
    if ("once" in this.#context.source) throw error;
    if (wasCopy && !this.#context.signal.aborted) return;
    // It is no failure of the store's yet. What may have come is asked for again, and this time seen.
    if (isUnsure && !this.#context.signal.aborted) {
      this.#isPatient = true;
      return;
    }
    this.#sinceFailure = 0;
    await this.#backoff.after(error);
  }

  /** @returns whether there is something to read. */
  async #connect(unless?: string): Promise<boolean> {
    const { source, pinned, signal, stallMs } = this.#context;
    while (true) {
      try {
        const part = "once" in source ? source.once : await this.#ask(unless);
        if (!part) return false;
        const name = "object" in source ? source.object.name : "";
        // How long the caller's own streams may take is the caller's business.
        const limit = "object" in source ? stallMs : undefined;
        this.#stream = new StreamReader(part, {
          name,
          signal,
          stallMs: limit,
          isPatient: this.#isPatient,
        });
        this.#check(part, pinned, name);
        if (part.end === undefined) this.end = undefined;
        this.answers++;
        return true;
      } catch (error) {
        if (error instanceof StorageError && error.actual === 416) {
          // An object without any byte has no range; others are shorter than they were.
          if (this.position > 0) throw changed(error.url ?? "", pinned.total, error.byteLength);
          if (this.end !== undefined) {
            this.end = undefined;
            continue;
          }
        }
        // Browsers ask the store whether it takes such a condition; there are stores that do not answer that.
        if (error instanceof EspalierError && error.code === "fetch-failed") unless = undefined;
        await this.#recover(error);
      }
    }
  }

  #check({ version, total }: Part, pinned: ObjectVersion, name: string): void {
    if (version !== undefined && pinned.version !== undefined && version !== pinned.version) {
      throw changed(name, pinned.version, version);
    }
    if (total !== undefined && pinned.total !== undefined && total !== pinned.total) {
      throw changed(name, pinned.total, total);
    }
    pinned.version ??= version;
    pinned.total ??= total;
  }

  async #ask(unless: string | undefined): Promise<Part | undefined> {
    const { source, signal, stallMs, fetch } = this.#context;
    if (!("object" in source)) return undefined;
    const { object } = source;
    const { position: start, end } = this;
    const range = start > 0 || end !== undefined ? { start, end } : undefined;
    const request = new AbortController();
    const either = AbortSignal.any([signal, request.signal]);
    const timer = setTimeout(() =>
      request.abort(
        new StorageError(
          "stalled",
          `Cannot read ${object.name || "the source"}: no answer within ${stallMs} ms; try again`,
          { url: object.name, offset: start },
        ),
      ), stallMs);
    try {
      const answer = object.get(range, { signal: either, unless, fetch });
      return await orAborted(answer, either, (part) => part?.stream.cancel());
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The error for an object that is not what it was. */
export function changed(name: string, expected?: unknown, actual?: unknown): IndexChangedError {
  return new IndexChangedError(
    "changed",
    `Cannot open the index: ${name || "the object"} changed while it was read; open it again`,
    { url: name, expected, actual },
  );
}
