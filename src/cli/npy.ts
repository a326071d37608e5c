/**
 * NumPy's array files: reads matrices of integers, writes vectors of u32.
 *
 * Source of the format: NumPy Enhancement Proposal 1, versions 1 to 3.
 */
import { BuildInputError, type ErrorFacts, LimitError } from "../errors.ts";
import { MAX_VOCAB } from "../index/layout.ts";
import type { SequenceMatrix } from "../index/rows.ts";
import { kindOf, readFully } from "./input.ts";

const MAGIC = "\x93NUMPY";
/** Longest header that is read. NumPy itself refuses more than 10 000 unless told otherwise. */
const MAX_HEADER_BYTES = 2 ** 16;
/** Values that have to be converted go through a buffer of so many bytes. */
const BUFFER_BYTES = 2 ** 20;

/** What is read from: a file, or anything that fills arrays. */
export interface NpyFile {
  read(into: Uint8Array): Promise<number | null>;
}

/** What a file's header says. */
interface NpyHeader {
  /** Bytes per value: 1, 2, 4 or 8. */
  size: number;
  isSigned: boolean;
  isBigEndian: boolean;
  isFortran: boolean;
  rows: number;
  length: number;
  /** Bytes before the data. */
  byteLength: number;
}

/** How to read. */
export interface NpyOptions {
  /** Bytes of the file, where known: a short file is then refused before memory is taken. */
  byteLength?: number;
  signal?: AbortSignal;
  onProgress?: (bytes: number, total: number) => void;
}

/**
 * Reads a matrix of integers of 1 to 8 bytes, C or Fortran order, either byte order. Memory: the matrix, as narrow as
 * it came (values of 8 bytes become 4). Negative 32-bit values are left for the builder to refuse.
 *
 * @param name of the file, for messages.
 * @returns [rows, length], row-major.
 * @throws {BuildInputError} naming the file, for other files, dtypes and shapes, missing or surplus bytes; and the
 * row and column of a value that can be no token.
 */
export async function readNpy(
  file: NpyFile,
  name: string,
  { byteLength, signal, onProgress }: NpyOptions = {},
): Promise<SequenceMatrix> {
  const header = await readHeader(file, name);
  const { size, isSigned, isBigEndian, isFortran, rows, length } = header;
  const dataBytes = rows * length * size;
  if (byteLength !== undefined) checkSize(name, header, dataBytes, byteLength - header.byteLength);
  const data = allocate(header, name);
  let got = 0;
  if (size < 8 && !isBigEndian && !isFortran) {
    const bytes = new Uint8Array(data.buffer);
    got = await readFully(file, bytes, signal, (bytes) => onProgress?.(bytes, dataBytes));
  } else {
    const buffer = new Uint8Array(Math.min(BUFFER_BYTES, dataBytes));
    while (got < dataBytes) {
      const bytes = buffer.subarray(0, Math.min(BUFFER_BYTES, dataBytes - got));
      const came = await readFully(file, bytes, signal);
      if (came === bytes.length) place(bytes, got / size, data, header, name);
      got += came;
      onProgress?.(got, dataBytes);
      if (came < bytes.length) break;
    }
  }
  if (got < dataBytes) checkSize(name, header, dataBytes, got);
  if (await readFully(file, new Uint8Array(1))) checkSize(name, header, dataBytes, dataBytes + 1);
  if (isSigned && size < 4) {
    // Read as unsigned: what was negative is in the upper half.
    const bad = data.findIndex((value) => value >= 2 ** (8 * size - 1));
    if (bad >= 0) throw noToken(name, header, bad, data[bad] - 2 ** (8 * size));
  }
  return { data, rows, length };
}

function allocate({ size, isSigned, rows, length }: NpyHeader, file: string) {
  const count = rows * length;
  try {
    if (size === 1) return new Uint8Array(count);
    if (size === 2) return new Uint16Array(count);
    return size === 4 && isSigned ? new Int32Array(count) : new Uint32Array(count);
  } catch (cause) {
    throw new LimitError(
      "out-of-memory",
      `${file}: a matrix of ${rows} × ${length} values does not fit into memory; sort the rows elsewhere and pass them as JSON lines with --sorted`,
      { file, actual: count * size },
      { cause },
    );
  }
}

async function readHeader(file: NpyFile, name: string): Promise<NpyHeader> {
  const start = new Uint8Array(12);
  const came = await readFully(file, start.subarray(0, 10));
  if (came < 10 || !latin1(start).startsWith(MAGIC)) {
    const found = came === 0 ? "an empty file" : kindOf(start.subarray(0, came)) ?? "another file";
    throw refused("not-npy", name, `expected a NumPy array, found ${found}`, "use np.save", {
      expected: "\\x93NUMPY",
      actual: found,
      offset: 0,
    });
  }
  const version = start[6];
  if (version < 1 || version > 3) {
    throw refused(
      "unknown-version",
      name,
      `expected version 1, 2 or 3 of the .npy format, found ${version}`,
      "save the array with another version of NumPy",
      { expected: "1, 2, 3", actual: version, offset: 6 },
    );
  }
  const view = new DataView(start.buffer);
  if (version > 1) await readFully(file, start.subarray(10));
  const headerBytes = version > 1 ? view.getUint32(8, true) : view.getUint16(8, true);
  const text = new Uint8Array(Math.min(headerBytes, MAX_HEADER_BYTES));
  const got = await readFully(file, text);
  if (got < headerBytes) {
    throw refused(
      "bad-npy-header",
      name,
      `expected a header of ${headerBytes} bytes, found ${got}`,
      "the file is cut off or holds no plain array; save it again",
      { expected: headerBytes, actual: got },
    );
  }
  return parseHeader(latin1(text), name, (version > 1 ? 12 : 10) + headerBytes);
}

/** Reads Python's dictionary, as far as it describes a matrix of integers. */
function parseHeader(text: string, name: string, byteLength: number): NpyHeader {
  const dtype = /'descr':\s*(?:'([^']*)'|(\[))/.exec(text);
  const order = /'fortran_order':\s*(True|False)/.exec(text);
  const shape = /'shape':\s*\(([\dL,\s]*)\)/.exec(text);
  if (!dtype || !order || !shape) {
    throw refused(
      "bad-npy-header",
      name,
      `expected a header with descr, fortran_order and shape, found ${text.trim().slice(0, 80)}`,
      "save the array again",
      { actual: text.trim() },
    );
  }
  const integer = /^([<>|=])([iu])([1248])$/.exec(dtype[1] ?? "");
  if (!integer) {
    const found = dtype[1] ?? "a structured dtype";
    throw refused(
      "npy-dtype",
      name,
      `expected integers of 1, 2, 4 or 8 bytes, found dtype ${found}`,
      "convert them first: np.save(file, array.astype(np.uint32))",
      { expected: "u1 u2 u4 u8 i1 i2 i4 i8", actual: found },
    );
  }
  const dimensions = shape[1].split(",").filter((part) => part.trim() !== "").map(parseFloat);
  const [rows, length] = dimensions;
  if (dimensions.length !== 2) {
    throw refused(
      "npy-shape",
      name,
      `expected a matrix, one sequence per row, found shape (${dimensions.join(", ")})`,
      "give it two dimensions: array.reshape(-1, tokens_per_sequence)",
      { expected: 2, actual: dimensions },
    );
  }
  const size = Number(integer[3]);
  if (!Number.isSafeInteger(rows * length * size)) {
    throw refused("npy-shape", name, `found shape (${rows}, ${length})`, "split the array", {
      actual: dimensions,
    });
  }
  return {
    size,
    isSigned: integer[2] === "i",
    isBigEndian: integer[1] === ">" && size > 1,
    isFortran: order[1] === "True",
    rows,
    length,
    byteLength,
  };
}

/** Converts a run of values of the file and puts them where they belong, `first` counted in the file's order. */
function place(
  bytes: Uint8Array<ArrayBuffer>,
  first: number,
  data: SequenceMatrix["data"],
  header: NpyHeader,
  name: string,
): void {
  const { size, isSigned, isBigEndian, isFortran, rows, length } = header;
  const count = bytes.length / size;
  const at = (i: number) => isFortran ? i % rows * length + Math.floor(i / rows) : i;
  if (isBigEndian) {
    for (let i = 0; i < bytes.length; i += size) {
      for (let low = i, high = i + size - 1; low < high; low++, high--) {
        const byte = bytes[low];
        bytes[low] = bytes[high];
        bytes[high] = byte;
      }
    }
  }
  const { buffer, byteOffset } = bytes;
  if (size === 8) {
    const halves = new Uint32Array(buffer, byteOffset, 2 * count);
    for (let i = 0; i < count; i++) {
      if (halves[2 * i + 1] !== 0) {
        const view = new DataView(buffer, byteOffset + 8 * i, 8);
        const value = isSigned ? view.getBigInt64(0, true) : view.getBigUint64(0, true);
        throw noToken(name, header, at(first + i), value);
      }
      data[at(first + i)] = halves[2 * i];
    }
    return;
  }
  const values = size === 1
    ? bytes
    : size === 2
    ? new Uint16Array(buffer, byteOffset, count)
    : new Uint32Array(buffer, byteOffset, count);
  if (!isFortran) data.set(values, first);
  else for (let i = 0; i < count; i++) data[at(first + i)] = values[i];
}

function checkSize(name: string, header: NpyHeader, expected: number, actual: number): void {
  if (actual === expected) return;
  const { rows, length, size } = header;
  const found = actual < expected ? `found ${actual}` : "found more";
  throw refused(
    actual < expected ? "truncated" : "trailing-bytes",
    name,
    `expected ${rows} × ${length} values of ${size} bytes, ${expected} in all, ${found}`,
    actual < expected ? "copy the file again" : "store one array per file",
    { expected, actual, offset: header.byteLength + Math.min(expected, actual) },
  );
}

function noToken(
  name: string,
  { length }: NpyHeader,
  position: number,
  value: number | bigint,
): BuildInputError {
  const row = Math.floor(position / length);
  const column = position % length;
  return refused(
    "token-out-of-range",
    name,
    `token ${value} in row ${row}, position ${column}, is not an integer in [0, ${MAX_VOCAB})`,
    value < 0 ? "remove padding by storing the rows as JSON lines" : "mend the row",
    { row, column, expected: MAX_VOCAB, actual: Number(value), token: Number(value) },
  );
}

function refused(code: string, file: string, what: string, wayOut: string, facts: ErrorFacts) {
  return new BuildInputError(code, `${file}: ${what}; ${wayOut}`, { ...facts, file });
}

/** Latin-1, which TextDecoder has only under a name that means something else. */
function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

/** A vector of u32 as a `.npy` file: header, then a view of the values. */
export function encodeNpy(values: Uint32Array<ArrayBuffer>): Uint8Array[] {
  const dictionary = `{'descr': '<u4', 'fortran_order': False, 'shape': (${values.length},), }`;
  // The data starts on a multiple of 64 bytes, after a line feed, as NumPy writes it.
  const total = Math.ceil((10 + dictionary.length + 1) / 64) * 64;
  const header = new Uint8Array(total).fill(0x20);
  const text = `${MAGIC}\x01\x00\x00\x00${dictionary}`;
  for (let i = 0; i < text.length; i++) header[i] = text.charCodeAt(i);
  new DataView(header.buffer).setUint16(8, total - 10, true);
  header[total - 1] = 0x0a;
  return [header, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)];
}
