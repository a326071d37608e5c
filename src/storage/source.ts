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

/** What an index can be opened from. Strings and URLs are fetched with one GET (`file:` too, in Deno). */
export type IndexSource =
  | string
  | URL
  | Request
  | Response
  | Blob
  | ArrayBuffer
  | Uint8Array
  | ReadableStream<Uint8Array>
  | ByteSource;

/** An opened source: bytes in order, and how many, where that is known. */
export interface OpenedSource {
  chunks: AsyncIterable<Uint8Array>;
  byteLength?: number;
}

/**
 * Opens a source for one pass.
 *
 * @throws {StorageError} if it cannot be fetched. Messages carry the address without user and query.
 * @throws {TypeError} if the source is of no known kind.
 */
export async function openSource(
  source: IndexSource,
  options: { signal?: AbortSignal; fetch?: typeof fetch },
): Promise<OpenedSource> {
  if (source instanceof ArrayBuffer) return memory(new Uint8Array(source));
  if (source instanceof Uint8Array) return memory(source);
  if (source instanceof ReadableStream) return { chunks: read(source) };
  if (source instanceof Blob) return { chunks: read(source.stream()), byteLength: source.size };
  if (source instanceof Response) return fromResponse(source);
  if (typeof source === "string" || source instanceof URL || source instanceof Request) {
    return await fromNetwork(source, options);
  }
  if (typeof (source as ByteSource | undefined)?.read === "function") {
    return {
      chunks: read(await source.read(undefined, options.signal)),
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
 * garbage as large as the index piles up.
 */
async function* read(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = stream.getReader({ mode: "byob" });
  } catch {
    yield* stream; // not a byte stream
    return;
  }
  let buffer = new ArrayBuffer(READ_BYTES);
  let isDone = false;
  try {
    while (true) {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      isDone = done;
      if (done) return;
      yield value;
      buffer = value.buffer;
    }
  } finally {
    if (!isDone) await reader.cancel().catch(() => {});
    reader.releaseLock();
  }
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
    throw new StorageError(
      "fetch-failed",
      `Cannot fetch ${url}: no answer; check the address, and that this process may reach it`,
      { url },
      { cause },
    );
  }
  return fromResponse(response, url);
}

function fromResponse(response: Response, url = withoutSecrets(response.url)): OpenedSource {
  if (!response.ok || !response.body) {
    response.body?.cancel();
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
  return { chunks: read(response.body), byteLength: length === null ? undefined : Number(length) };
}

/** An address for messages: no user, password, query or fragment. */
function withoutSecrets(address: string): string {
  if (!URL.canParse(address)) return "";
  const { protocol, host, pathname } = new URL(address);
  return `${protocol}//${host}${pathname}`;
}
