/** Where index bytes come from, and how they become a stream of chunks. */
import { StorageError, typeError } from "../errors.ts";

/** Anything with ranges: implement it to read from a store of your own. */
export interface ByteSource {
  /** Size of the whole, if known. */
  readonly byteLength?: number;
  /** Streams a range of bytes, `end` exclusive, or everything. */
  read(
    range?: { start: number; end?: number },
    signal?: AbortSignal,
  ): Promise<ReadableStream<Uint8Array>>;
}

/** What an index can be opened from; open files of Deno have a `readable`. Strings and URLs are fetched with one GET (`file:` too, in Deno). */
export type IndexSource =
  | string
  | URL
  | Request
  | Response
  | Blob
  | ArrayBuffer
  | Uint8Array
  | ReadableStream<Uint8Array>
  | { readonly readable: ReadableStream<Uint8Array> }
  | ByteSource;

/** An opened source: bytes in order, and how many, where that is known. */
export interface OpenedSource {
  chunks: AsyncIterable<Uint8Array>;
  byteLength?: number;
}

/**
 * Opens a source for one pass.
 *
 * @throws {StorageError} if it cannot be fetched, or breaks off. Messages carry the address without user and query.
 * @throws {TypeError} if the source is of no known kind.
 */
export async function openSource(
  source: IndexSource,
  options: { signal?: AbortSignal; fetch?: typeof fetch },
): Promise<OpenedSource> {
  const { signal } = options;
  if (source instanceof ArrayBuffer) return memory(new Uint8Array(source));
  if (source instanceof Uint8Array) return memory(source);
  if (source instanceof ReadableStream) return { chunks: read(source, signal) };
  if (source instanceof Blob) {
    return { chunks: read(source.stream(), signal), byteLength: source.size };
  }
  if (source instanceof Response) return fromResponse(source, signal);
  if (typeof source === "string" || source instanceof URL || source instanceof Request) {
    return await fromNetwork(source, options);
  }
  // An open file has a `read` of its own, which is another.
  if (typeof source === "object" && source && "readable" in source) {
    return { chunks: read(source.readable, signal) };
  }
  if (typeof (source as ByteSource | undefined)?.read === "function") {
    return {
      chunks: read(await orAborted(source.read(undefined, signal), signal), signal),
      byteLength: source.byteLength,
    };
  }
  throw typeError(
    "Cannot open an index from this: expected a URL, Request, Response, Blob, bytes, ReadableStream or ByteSource",
    { actual: Object.prototype.toString.call(source) },
  );
}

/** Bytes that a byte stream is asked for at a time. */
const READ_BYTES = 2 ** 18;

/**
 * Reads a stream. A byte stream fills one buffer over and over: chunks are valid until the next, and no
 * garbage as large as the index piles up. Ends at once when the signal is aborted.
 */
async function* read(
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal | undefined,
  url?: string,
): AsyncGenerator<Uint8Array> {
  const { reader, next } = openReader(stream);
  // Cancelling ends the read that is pending.
  const cancel = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener("abort", cancel, { once: true });
  let offset = 0;
  let isDone = false;
  try {
    while (true) {
      signal?.throwIfAborted();
      let chunk: Uint8Array | undefined;
      try {
        chunk = await next();
      } catch (cause) {
        isDone = true;
        signal?.throwIfAborted();
        throw new StorageError(
          "read-failed",
          `Cannot read ${url || "the stream"}: it broke off after ${offset} bytes; try again`,
          { url, offset },
          { cause },
        );
      }
      signal?.throwIfAborted();
      if (chunk === undefined) {
        isDone = true;
        return;
      }
      if (!(chunk instanceof Uint8Array)) {
        throw typeError("Cannot read the stream: its chunks are no Uint8Arrays", {
          expected: "Uint8Array",
          actual: Object.prototype.toString.call(chunk),
          offset,
        });
      }
      offset += chunk.length;
      yield chunk;
    }
  } finally {
    signal?.removeEventListener("abort", cancel);
    if (!isDone) await reader.cancel().catch(() => {});
    reader.releaseLock();
  }
}

function openReader(
  stream: ReadableStream<Uint8Array>,
): {
  reader: ReadableStreamBYOBReader | ReadableStreamDefaultReader<Uint8Array>;
  next: () => Promise<Uint8Array | undefined>;
} {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = stream.getReader({ mode: "byob" });
  } catch {
    const reader = stream.getReader(); // not a byte stream
    return { reader, next: async () => (await reader.read()).value };
  }
  // A source that closes without answering the buffer it was given leaves the read pending for ever: the
  // reader knows that the stream has ended all the same.
  let end: (() => void) | undefined;
  reader.closed.then(() => end?.(), () => {});
  let buffer = new ArrayBuffer(READ_BYTES);
  const next = () =>
    new Promise<Uint8Array | undefined>((resolve, reject) => {
      end = () => resolve(undefined);
      reader.read(new Uint8Array(buffer)).then(({ done, value }) => {
        if (value) buffer = value.buffer;
        resolve(done ? undefined : value);
      }, reject);
    });
  return { reader, next };
}

/** Waits for a promise, or for the signal: sources may not know it. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

function memory(bytes: Uint8Array): OpenedSource {
  return {
    chunks: (async function* () {
      yield await Promise.resolve(bytes);
    })(),
    byteLength: bytes.length,
  };
}

async function fromNetwork(
  source: string | URL | Request,
  { signal, fetch = globalThis.fetch }: { signal?: AbortSignal; fetch?: typeof globalThis.fetch },
): Promise<OpenedSource> {
  const address = source instanceof Request ? source.url : String(source);
  if (!URL.canParse(address)) {
    throw typeError(
      `Cannot open "${address}": it is not an absolute URL; for a file use new URL(path, import.meta.url)`,
      { actual: address },
    );
  }
  const url = withoutSecrets(address);
  let response: Response;
  try {
    response = await fetch(source, { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    // Messages about the network may hold the whole address; those about files hold a path.
    const why = url.startsWith("file:") && cause instanceof Error
      ? cause.message
      : "no answer; check the address, and that this process may reach it";
    throw new StorageError("fetch-failed", `Cannot fetch ${url}: ${why}`, { url }, { cause });
  }
  return fromResponse(response, signal, url);
}

function fromResponse(
  response: Response,
  signal: AbortSignal | undefined,
  url = withoutSecrets(response.url),
): OpenedSource {
  if (!response.ok || !response.body) {
    response.body?.cancel().catch(() => {});
    throw new StorageError(
      "http-status",
      `Cannot fetch ${url || "the index"}: expected status 200 with a body, got ${response.status}`,
      { url, expected: 200, actual: response.status },
    );
  }
  // The length says nothing where the body was compressed on the way.
  const length = response.headers.has("content-encoding")
    ? null
    : response.headers.get("content-length");
  return {
    chunks: read(response.body, signal, url),
    byteLength: length === null ? undefined : Number(length),
  };
}

/** An address for messages: no user, password, query or fragment. */
function withoutSecrets(address: string): string {
  if (!URL.canParse(address)) return "";
  const { protocol, host, pathname } = new URL(address);
  return `${protocol}//${host}${pathname}`;
}
