/** Reads one stream to its end: abortable at once, never stalled for long, with one buffer where the stream fills it. */
import { StorageError, typeError } from "../../errors.ts";
import { redactCause } from "../redact.ts";
import type { Part } from "../stored_object.ts";

/** Bytes that a byte stream is asked for at a time; more of one that has brought so many. */
const READ_BYTES = 2 ** 18;
const MOST_BYTES = 2 ** 20;
/** A stream that is cut may take what it was asked for with it: beyond READ_BYTES at most an eighth of it all. */
const LONG_BYTES = 8 * MOST_BYTES;
/** A stream that brings what is asked for in this time is asked for more at once. */
const QUICK_MS = 4;

/** How a stream is read. */
export interface StreamReaderOptions {
  /** For messages. */
  name?: string;
  /** Its reason is thrown as soon as it is aborted. */
  signal?: AbortSignal;
  /** Longest wait for the next bytes, milliseconds. */
  stallMs?: number;
  /** Whether to take what there is each time, and never to wait for more of it. */
  isPatient?: boolean;
}

/** A stream that is being read. Dispose of it, or read it to its end. */
export class StreamReader implements AsyncDisposable {
  /** Byte of the object that the next chunk starts at. */
  position: number;
  /** Where the stream ends, exclusive, if that is known. */
  readonly end?: number;
  /** Whether a stream that ends has ended, rather than been cut. */
  readonly trustEnd: boolean;
  readonly #name: string;
  readonly #source: PartReader;
  /** Where the stream will have ended, as far as is known. */
  readonly #limit: number;
  readonly #signal?: AbortSignal;
  readonly #guard?: StallGuard;
  #kept: Uint8Array | undefined;
  #failure: { error: unknown } | undefined;
  #isDone = false;

  /** @throws {TypeError} if the stream is locked. */
  constructor(
    { stream, start, end, total, trustEnd = false }: Part,
    { name = "", signal, stallMs, isPatient = false }: StreamReaderOptions = {},
  ) {
    this.#source = openReader(stream, isPatient);
    this.position = start;
    this.end = end;
    // Where nothing is known, every byte may be the last. Sources of the caller's own end where the object does.
    this.#limit = Math.min(end ?? Infinity, total ?? (trustEnd ? 0 : Infinity));
    if (this.#limit === Infinity) this.#limit = 0;
    this.trustEnd = trustEnd;
    this.#name = name;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort, { once: true });
    if (signal?.aborted) this.#abort();
    if (stallMs === undefined) return;
    this.#guard = new StallGuard(stallMs, () =>
      this.#stop(
        new StorageError(
          "stalled",
          `Cannot read ${
            name || "the stream"
          }: too little came for ${stallMs} ms, after ${this.position} bytes; try again`,
          { url: name, offset: this.position },
        ),
      ));
  }

  /**
   * The next bytes, valid until the call after; undefined at the end.
   *
   * @throws {StorageError} if the stream breaks off or stalls; the signal's reason.
   */
  async next(): Promise<Uint8Array | undefined> {
    if (this.#kept) {
      const kept = this.#kept;
      this.#kept = undefined;
      this.position += kept.length;
      return kept;
    }
    let chunk: Uint8Array | undefined;
    try {
      this.#throwFailure();
      this.#guard?.start();
      chunk = await this.#source.next(Math.max(1, this.#limit - this.position));
    } catch (cause) {
      this.#isDone = true;
      this.#throwFailure();
      throw new StorageError(
        "read-failed",
        `Cannot read ${
          this.#name || "the stream"
        }: it broke off after ${this.position} bytes; try again`,
        { url: this.#name, offset: this.position },
        { cause: redactCause(cause) },
      );
    } finally {
      this.#guard?.stop();
    }
    this.#throwFailure();
    if (chunk === undefined) {
      this.#isDone = true;
      return undefined;
    }
    if (!(chunk instanceof Uint8Array)) {
      throw typeError("Cannot read the stream: its chunks are no Uint8Arrays", {
        expected: "Uint8Array",
        actual: Object.prototype.toString.call(chunk),
        offset: this.position,
      });
    }
    this.position += chunk.length;
    return chunk;
  }

  /** Whether a read that was given up waited for more than a byte: some may have come, and are lost. */
  get mayHaveBrought(): boolean {
    return this.#source.asked > 1;
  }

  /** Gives back the last part of a chunk: it comes next. */
  keep(rest: Uint8Array): void {
    this.#kept = rest.length > 0 ? rest : undefined;
    this.position -= rest.length;
  }

  /** Lets the stream go. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#guard?.end();
    // What is left of it is of no interest, nor is when it has ended.
    if (!this.#isDone) this.#source.reader.cancel().catch(() => {});
    this.#isDone = true;
    await Promise.resolve();
    this.#source.reader.releaseLock();
  }

  #abort = () => this.#stop(this.#signal!.reason);

  /** Ends the read that is pending. */
  #stop(error: unknown): void {
    this.#failure ??= { error };
    this.#source.reader.cancel(error).catch(() => {});
  }

  #throwFailure(): void {
    if (!this.#failure) return;
    this.#isDone = true;
    throw this.#failure.error;
  }
}

/** Notices when a wait takes too long. One timer serves many waits. */
class StallGuard {
  #since: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #limit: number;
  readonly #stalled: () => void;

  constructor(limit: number, stalled: () => void) {
    this.#limit = limit;
    this.#stalled = stalled;
  }

  start(): void {
    this.#since = performance.now();
    this.#timer ??= setTimeout(this.#look, this.#limit);
  }

  stop(): void {
    this.#since = undefined;
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #look = () => {
    this.#timer = undefined;
    if (this.#since === undefined) return;
    const left = this.#since + this.#limit - performance.now();
    if (left <= 0) this.#stalled();
    else this.#timer = setTimeout(this.#look, Math.ceil(left));
  };
}

/** What a stream is read with. */
interface PartReader {
  readonly reader: ReadableStreamBYOBReader | ReadableStreamDefaultReader<Uint8Array>;
  /** The next bytes, at most so many; undefined at the end. */
  next(most: number): Promise<Uint8Array | undefined>;
  /** Bytes that the last read waits for, or waited for. */
  readonly asked: number;
}

function openReader(stream: ReadableStream<Uint8Array>, isPatient: boolean): PartReader {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = stream.getReader({ mode: "byob" });
  } catch {
    const reader = stream.getReader(); // not a byte stream
    return { reader, next: async () => (await reader.read()).value, asked: 1 };
  }
  // A source that closes without answering the buffer it was given leaves the read pending for ever: the
  // reader knows that the stream has ended all the same. Chromium says so before it answers the last read.
  let end: (() => void) | undefined;
  reader.closed.then(() => setTimeout(() => end?.()), () => {});
  // One buffer, over and over: no garbage as large as the object piles up.
  let buffer = new ArrayBuffer(READ_BYTES);
  let brought = 0;
  // Every answer costs a turn of the event loop: a fast stream need not give one for every packet.
  let quick = 1;
  let asked = 1;
  const next = (most: number) =>
    new Promise<Uint8Array | undefined>((resolve, reject) => {
      end = () => resolve(undefined);
      const start = performance.now();
      // Not more than there will be, or the end would come in place of the rest. Platforms that do not know
      // `min` answer with what there is.
      asked = Math.min(quick, most);
      if (asked > buffer.byteLength) buffer = new ArrayBuffer(MOST_BYTES);
      reader.read(new Uint8Array(buffer), { min: asked }).then(({ done, value }) => {
        if (value) buffer = value.buffer;
        brought += value?.length ?? 0;
        const atMost = brought >= LONG_BYTES ? MOST_BYTES : READ_BYTES;
        const isQuick = !isPatient && performance.now() - start < QUICK_MS;
        quick = isQuick ? Math.min(4 * quick, atMost) : 1;
        resolve(done && !value?.length ? undefined : value);
      }, reject);
    });
  return {
    reader,
    next,
    get asked() {
      return asked;
    },
  };
}
