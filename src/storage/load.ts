/** One pass over a safetensors file: header in flight, data straight to its place, digests on the way. */
import { IndexIntegrityError } from "../errors.ts";
import {
  CHUNK_BYTES,
  type Header,
  headerByteLength,
  notSafetensors,
  parseHeader,
  sha256,
} from "./safetensors.ts";
import type { OpenedSource } from "./source.ts";

/** Digests under way at once. */
const DIGESTS_IN_FLIGHT = 4;

/** How to load. */
export interface LoadOptions {
  /** False to skip the digests. */
  digests?: boolean;
  /** Throws if the metadata is that of another kind of file. */
  checkMetadata: (metadata: Record<string, unknown>) => void;
  signal?: AbortSignal;
  onProgress?: (bytes: number, total?: number) => void;
}

/** Memory that the data goes to: a view of a range, valid at once. */
export type DataPlace = (offset: number, length: number) => Uint8Array<ArrayBuffer>;

/**
 * Reads a file into place.
 *
 * @param prepare is called once with the checked header and returns where the data goes.
 * @throws {IndexFormatError} if it is no index file.
 * @throws {IndexIntegrityError} if bytes are missing, too many, or do not match their digest.
 */
export async function load(
  source: OpenedSource,
  prepare: (header: Header) => Promise<DataPlace>,
  { digests = true, checkMetadata, signal, onProgress }: LoadOptions,
): Promise<Header> {
  const start = new HeaderReader();
  let header: Header | undefined;
  let view: DataPlace | undefined;
  let filled = 0;
  const pending: Promise<void>[] = [];
  try {
    for await (const chunk of source.chunks) {
      signal?.throwIfAborted();
      let rest = chunk;
      if (!header || !view) {
        rest = start.take(chunk);
        const bytes = start.complete();
        if (!bytes) continue;
        header = await parseHeader(bytes, checkMetadata, digests);
        checkLength(source.byteLength, header);
        view = await prepare(header);
        onProgress?.(header.bytes.length, header.bytes.length + header.dataByteLength);
      }
      if (filled + rest.length > header.dataByteLength) {
        throw tooLong(header, header.bytes.length + filled + rest.length);
      }
      while (rest.length > 0) {
        const room = CHUNK_BYTES - filled % CHUNK_BYTES;
        const part = rest.subarray(0, room);
        view(filled, part.length).set(part);
        filled += part.length;
        rest = rest.subarray(part.length);
        if (digests && (filled % CHUNK_BYTES === 0 || filled === header.dataByteLength)) {
          const first = filled - ((filled - 1) % CHUNK_BYTES + 1);
          const check = checkChunk(header, first, view(first, filled - first));
          check.catch(() => {}); // awaited below; must not count as unhandled until then
          pending.push(check);
          if (pending.length >= DIGESTS_IN_FLIGHT) await pending.shift();
        }
        onProgress?.(header.bytes.length + filled, header.bytes.length + header.dataByteLength);
      }
    }
    await Promise.all(pending);
  } catch (error) {
    await Promise.allSettled(pending);
    throw error;
  }
  signal?.throwIfAborted();
  if (!header || filled < header.dataByteLength) {
    const expected = header ? header.bytes.length + header.dataByteLength : start.expected;
    throw truncated(expected, (header?.bytes.length ?? start.length) + filled);
  }
  return header;
}

const OPENING_BRACE = 0x7b;

/** Collects the length word and the header from chunks of any size. */
export class HeaderReader {
  #bytes = new Uint8Array(8);
  /** Bytes taken. */
  length = 0;

  /** Bytes needed, as far as known. */
  get expected(): number {
    return this.#bytes.length;
  }

  /** Takes what belongs to the header; returns the rest. */
  take(chunk: Uint8Array): Uint8Array {
    while (chunk.length > 0 && this.length < this.#bytes.length) {
      const part = chunk.subarray(0, this.#bytes.length - this.length);
      this.#bytes.set(part, this.length);
      this.length += part.length;
      chunk = chunk.subarray(part.length);
      if (this.length > 8 && this.#bytes[8] !== OPENING_BRACE) throw notSafetensors(this.#bytes[8]);
      if (this.length === 8 && this.#bytes.length === 8) {
        const whole = new Uint8Array(headerByteLength(this.#bytes));
        whole.set(this.#bytes);
        this.#bytes = whole;
      }
    }
    return chunk;
  }

  /** The header once it is whole. */
  complete(): Uint8Array<ArrayBuffer> | undefined {
    return this.length > 8 && this.length === this.#bytes.length ? this.#bytes : undefined;
  }
}

async function checkChunk(
  header: Header,
  offset: number,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const expected = header.chunkDigests[offset / CHUNK_BYTES];
  const actual = await sha256(bytes);
  if (actual === expected) return;
  throw new IndexIntegrityError(
    "chunk-digest",
    `Cannot open the index: ${bytes.length} bytes from ${
      header.bytes.length + offset
    } on do not match their SHA-256; fetch the file again or rebuild it`,
    { expected, actual, offset: header.bytes.length + offset },
  );
}

function checkLength(byteLength: number | undefined, header: Header): void {
  const expected = header.bytes.length + header.dataByteLength;
  if (byteLength === undefined || byteLength === expected) return;
  throw byteLength < expected ? truncated(expected, byteLength) : tooLong(header, byteLength);
}

function truncated(expected: number, actual: number): IndexIntegrityError {
  return new IndexIntegrityError(
    "truncated",
    `Cannot open the index: expected ${expected} bytes, got ${actual}; fetch the file again`,
    { expected, actual, offset: actual },
  );
}

function tooLong(header: Header, actual: number): IndexIntegrityError {
  const expected = header.bytes.length + header.dataByteLength;
  return new IndexIntegrityError(
    "trailing-bytes",
    `Cannot open the index: expected ${expected} bytes, got at least ${actual}; the file is not what its header says, fetch it again`,
    { expected, actual, offset: expected },
  );
}
