/**
 * The safetensors container: u64 header length, JSON header, raw tensors without holes. Knows names, shapes
 * and digests, nothing of tries.
 *
 * Two promises on top of the format, both in `__metadata__`: `chunkSha256` holds the SHA-256 of every 1 MiB
 * of the data, hex, one after the other; `headerSha256` covers the length word and the header, with its own 64
 * characters as zeros, so it is the identity of the whole file.
 */
import { IndexFormatError, IndexIntegrityError, shortFact } from "../errors.ts";

/** Bytes of data under one digest. */
export const CHUNK_BYTES = 2 ** 20;
/** Data starts on a multiple of so many bytes. */
const DATA_ALIGNMENT = 256;
/** Longest header that is read: many times that of an index of 4 GiB. */
const MAX_HEADER_BYTES = 2 ** 24;

/** A tensor of u32 words. */
export interface Tensor {
  name: string;
  /** Byte offset in the data. */
  offset: number;
  byteLength: number;
}

/** A parsed header. */
export interface Header {
  tensors: Tensor[];
  metadata: Record<string, string>;
  /** SHA-256 of the header, hex: identity of the file. */
  digest: string;
  /** Length word, header and padding, as they stand in the file. */
  bytes: Uint8Array;
  /** Bytes of data that follow. */
  dataByteLength: number;
  /** SHA-256 per chunk of data, hex. */
  chunkDigests: string[];
}

export function toHex(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** SHA-256, hex. The bytes are read before the promise is returned. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return toHex(await crypto.subtle.digest("SHA-256", bytes));
}

/** Digests of all chunks of the data. */
export async function digestChunks(
  data: (offset: number, length: number) => Uint8Array<ArrayBuffer>,
  byteLength: number,
): Promise<string[]> {
  const digests: string[] = [];
  for (let at = 0; at < byteLength; at += CHUNK_BYTES) {
    digests.push(await sha256(data(at, Math.min(CHUNK_BYTES, byteLength - at))));
  }
  return digests;
}

/** Writes a header: tensors must be contiguous and start at 0. */
export async function encodeHeader(
  tensors: readonly Tensor[],
  metadata: Record<string, string>,
  chunkDigests: readonly string[],
): Promise<Header> {
  const own = { ...metadata, chunkSha256: chunkDigests.join(""), headerSha256: "0".repeat(64) };
  const json: Record<string, unknown> = { __metadata__: own };
  for (const { name, offset, byteLength } of tensors) {
    json[name] = {
      dtype: "U32",
      shape: [byteLength / 4],
      data_offsets: [offset, offset + byteLength],
    };
  }
  const text = new TextEncoder().encode(JSON.stringify(json));
  const total = Math.ceil((8 + text.length) / DATA_ALIGNMENT) * DATA_ALIGNMENT;
  const bytes = new Uint8Array(total).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(total - 8), true);
  bytes.set(text, 8);
  const digest = await sha256(bytes);
  bytes.set(new TextEncoder().encode(digest), digestPosition(bytes));
  const last = tensors.at(-1);
  return {
    tensors: [...tensors],
    metadata: { ...own, headerSha256: digest },
    digest,
    bytes,
    dataByteLength: last ? last.offset + last.byteLength : 0,
    chunkDigests: [...chunkDigests],
  };
}

/** Where the 64 characters of the digest stand. */
function digestPosition(bytes: Uint8Array): number {
  const key = new TextEncoder().encode('"headerSha256":"');
  const first = indexOf(bytes, key, 8);
  if (first < 0 || indexOf(bytes, key, first + 1) >= 0) {
    throw new IndexFormatError(
      "bad-header",
      'Cannot read the index: the header does not have "headerSha256" exactly once; it was not written by Espalier',
    );
  }
  return first + key.length;
}

function indexOf(bytes: Uint8Array, key: Uint8Array, from: number): number {
  for (let i = bytes.indexOf(key[0], from); i >= 0; i = bytes.indexOf(key[0], i + 1)) {
    if (key.every((byte, k) => bytes[i + k] === byte)) return i;
  }
  return -1;
}

/**
 * Length of the header, from the first 8 bytes of a file.
 *
 * @throws {IndexFormatError} if this cannot be a safetensors file.
 */
export function headerByteLength(start: Uint8Array): number {
  const length = new DataView(start.buffer, start.byteOffset, 8).getBigUint64(0, true);
  if (length < 2n || length > MAX_HEADER_BYTES) {
    throw notSafetensors(Number(length));
  }
  return 8 + Number(length);
}

/** The error for a file that does not start as safetensors files do. */
export function notSafetensors(actual: number): IndexFormatError {
  return new IndexFormatError(
    "not-safetensors",
    `Cannot read the index: a safetensors file starts with the length of its header (2 … ${MAX_HEADER_BYTES}) and "{", found ${actual}; is this an index file, uncompressed?`,
    { expected: MAX_HEADER_BYTES, actual, offset: 0 },
  );
}

/**
 * Parses and checks a header.
 *
 * @param bytes length word, header and padding.
 * @param checkMetadata throws if this is another kind of file, before anything else is asked of it.
 * @param checkDigest false to skip the digest, not the rest.
 * @throws {IndexFormatError} if it is no header that Espalier writes.
 * @throws {IndexIntegrityError} if its digest does not fit.
 */
export async function parseHeader(
  bytes: Uint8Array<ArrayBuffer>,
  checkMetadata: (metadata: Record<string, unknown>) => void,
  checkDigest = true,
): Promise<Header> {
  let json: Record<string, unknown>;
  try {
    json = record(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8))));
  } catch {
    // The parser's own message quotes the text, whatever stands there.
    throw malformed("the header is not JSON", { offset: 8 });
  }
  const metadata = record(json.__metadata__ ?? {}) as Record<string, string>;
  checkMetadata(metadata);
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string") throw malformed(`metadata "${shortFact(key)}" is not a string`);
  }
  const digest = metadata.headerSha256;
  if (!/^[0-9a-f]{64}$/.test(digest ?? "")) throw malformed('metadata has no "headerSha256"');
  const position = digestPosition(bytes);
  if (checkDigest) {
    const unsigned = bytes.slice();
    unsigned.fill(0x30, position, position + 64);
    const actual = await sha256(unsigned);
    if (actual !== digest) {
      throw new IndexIntegrityError(
        "header-digest",
        "Cannot open the index: the header does not match its SHA-256; fetch the file again or rebuild it",
        { expected: digest, actual, offset: 0 },
      );
    }
  }
  if (bytes.length % DATA_ALIGNMENT !== 0) {
    throw malformed(`the data does not start on a multiple of ${DATA_ALIGNMENT} bytes`, {
      actual: bytes.length,
    });
  }
  const { tensors, end } = parseTensors(json);
  const chunks = Math.ceil(end / CHUNK_BYTES);
  const { chunkSha256 = "" } = metadata;
  if (chunkSha256.length !== 64 * chunks || /[^0-9a-f]/.test(chunkSha256)) {
    throw malformed("there is not one SHA-256 per MiB of data", {
      expected: chunks,
      actual: chunkSha256.length / 64,
    });
  }
  const chunkDigests = chunkSha256.match(/.{64}/g) ?? [];
  return { tensors, metadata, digest, bytes, dataByteLength: end, chunkDigests };
}

function parseTensors(json: Record<string, unknown>): { tensors: Tensor[]; end: number } {
  const tensors: Tensor[] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: offsets } = record(value);
    const [start, stop] = Array.isArray(offsets) ? offsets : [];
    if (
      dtype !== "U32" || !Array.isArray(shape) || shape.length !== 1 ||
      ![start, stop, shape[0]].every(Number.isSafeInteger) || start < 0 || stop < start ||
      stop - start !== shape[0] * 4
    ) {
      const section = shortFact(name) as string;
      throw malformed(`tensor "${section}" is not a vector of U32`, { section });
    }
    tensors.push({ name, offset: start, byteLength: stop - start });
  }
  tensors.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  let end = 0;
  for (const { name, offset, byteLength } of tensors) {
    if (offset !== end) {
      const section = shortFact(name) as string;
      throw malformed(`tensor "${section}" does not start where the one before it ends`, {
        section,
        expected: end,
        actual: offset,
      });
    }
    end = offset + byteLength;
  }
  return { tensors, end };
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw malformed("an object is missing from the header");
  }
  return value as Record<string, unknown>;
}

function malformed(
  what: string,
  facts: ConstructorParameters<typeof IndexFormatError>[2] = {},
): IndexFormatError {
  return new IndexFormatError(
    "bad-header",
    `Cannot read the index: ${what}; the file is damaged or was not written by Espalier`,
    facts,
  );
}

/** Header and data in chunks of at most 1 MiB, each copied when it is asked for. */
export function streamFile(
  header: Header,
  view: (offset: number, length: number) => Uint8Array<ArrayBuffer>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let next = -1;
  return new ReadableStream({
    pull(controller) {
      if (next < 0) {
        controller.enqueue(header.bytes.slice() as Uint8Array<ArrayBuffer>);
        next = 0;
        return;
      }
      const length = Math.min(CHUNK_BYTES, header.dataByteLength - next);
      if (length === 0) return controller.close();
      controller.enqueue(view(next, length).slice());
      next += length;
    },
  });
}
