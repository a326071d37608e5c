/**
 * What comes before the values of NumPy's array files.
 *
 * Source of the format: NumPy Enhancement Proposal 1, versions 1 to 3.
 */
import { BuildInputError, type ErrorFacts } from "../../errors.ts";
import { kindOf, readFully } from "../io/files.ts";

const MAGIC = "\x93NUMPY";
/** Longest header that is read. NumPy itself refuses more than 10 000 unless told otherwise. */
const MAX_HEADER_BYTES = 2 ** 16;

/** What is read from: a file, or anything that fills arrays. */
export interface NpyFile {
  read(into: Uint8Array): Promise<number | null>;
}

/** How to read. */
export interface NpyOptions {
  /** Bytes of the file, where known: a short file is then refused before memory is taken. */
  byteLength?: number;
  signal?: AbortSignal;
  onProgress?: (bytes: number, total: number) => void;
}

/** What a file's header says. */
export interface NpyHeader {
  /** b for booleans, i and u for integers with and without sign. */
  kind: "b" | "i" | "u";
  /** Bytes per value: 1, 2, 4 or 8. */
  size: number;
  isBigEndian: boolean;
  isFortran: boolean;
  shape: number[];
  /** Bytes before the data. */
  byteLength: number;
}

/**
 * Reads a header, and nothing of the values.
 *
 * @param dtypes what the values may be, and how to get them there: the message for others.
 * @throws {BuildInputError} naming the file, for other files and dtypes.
 */
export async function readNpyHeader(
  file: NpyFile,
  name: string,
  dtypes: { kinds: string; expected: string; remedy: string },
): Promise<NpyHeader> {
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
  const header = parseHeader(latin1(text), name);
  const dtype = /^([<>|=])([biu])([1248])$/.exec(header.dtype);
  if (!dtype || !dtypes.kinds.includes(dtype[2]) || dtype[2] === "b" && dtype[3] !== "1") {
    throw refused(
      "npy-dtype",
      name,
      `expected ${dtypes.expected}, found dtype ${header.dtype}`,
      `convert them first: np.save(file, ${dtypes.remedy})`,
      { expected: dtypes.expected, actual: header.dtype },
    );
  }
  const size = Number(dtype[3]);
  return {
    kind: dtype[2] as NpyHeader["kind"],
    size,
    isBigEndian: dtype[1] === ">" && size > 1,
    isFortran: header.isFortran,
    shape: header.shape,
    byteLength: (version > 1 ? 12 : 10) + headerBytes,
  };
}

/** Reads Python's dictionary, as far as it describes an array. */
function parseHeader(text: string, name: string) {
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
  return {
    dtype: dtype[1] ?? "a structured dtype",
    isFortran: order[1] === "True",
    shape: shape[1].split(",").filter((part) => part.trim() !== "").map(parseFloat),
  };
}

/**
 * Makes sure that as many bytes of values are there as the header promises.
 *
 * @throws {BuildInputError} if there are not.
 */
export function checkSize(name: string, header: NpyHeader, expected: number, actual: number): void {
  if (actual === expected) return;
  const { shape, size } = header;
  const found = actual < expected ? `found ${actual}` : "found more";
  throw refused(
    actual < expected ? "truncated" : "trailing-bytes",
    name,
    `expected ${shape.join(" × ")} values of ${size} bytes, ${expected} in all, ${found}`,
    actual < expected ? "copy the file again" : "store one array per file",
    { expected, actual, offset: header.byteLength + Math.min(expected, actual) },
  );
}

/** Turns the bytes of each value round, in place. */
export function swapBytes(bytes: Uint8Array, size: number): void {
  for (let i = 0; i < bytes.length; i += size) {
    for (let low = i, high = i + size - 1; low < high; low++, high--) {
      const byte = bytes[low];
      bytes[low] = bytes[high];
      bytes[high] = byte;
    }
  }
}

/** The error for a file that cannot be used. */
export function refused(
  code: string,
  file: string,
  what: string,
  wayOut: string,
  facts: ErrorFacts,
) {
  return new BuildInputError(code, `${file}: ${what}; ${wayOut}`, { ...facts, file });
}

/** Latin-1, which TextDecoder has only under a name that means something else. */
function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}
