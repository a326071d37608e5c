/** NumPy's array files of any shape, in C order. */
import { LimitError } from "../../errors.ts";
import { readFully } from "../io/files.ts";
import {
  checkSize,
  type NpyFile,
  type NpyHeader,
  type NpyOptions,
  readNpyHeader,
  refused,
  swapBytes,
} from "./read_header.ts";

/** Values of an array, as wide as they came; booleans are 0 and 1. */
export type NpyValues =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array;

/** What an array may hold. */
const DTYPES = {
  integers: {
    kinds: "iu",
    expected: "integers of 1, 2, 4 or 8 bytes",
    remedy: "array.astype(np.int64)",
  },
  flags: {
    kinds: "biu",
    expected: "booleans, or integers of 1, 2, 4 or 8 bytes",
    remedy: "array.astype(bool)",
  },
} as const;

/**
 * Reads an array of integers of 1 to 8 bytes, or of booleans, in either byte order. Memory: the array.
 *
 * @param name of the file, for messages.
 * @param what booleans are flags only.
 * @param checkShape throws for a shape that is not wanted, before memory is taken.
 * @returns the values, row-major.
 * @throws {BuildInputError} naming the file, for other files and dtypes, Fortran order, missing or surplus bytes.
 * @throws {LimitError} if it does not fit into memory.
 */
export async function readNpyArray(
  file: NpyFile,
  name: string,
  what: keyof typeof DTYPES,
  { byteLength, signal, onProgress }: NpyOptions = {},
  checkShape: (shape: readonly number[]) => void,
): Promise<{ values: NpyValues; shape: number[] }> {
  const header = await readNpyHeader(file, name, DTYPES[what]);
  const { shape, size, isBigEndian, isFortran } = header;
  checkShape(shape);
  if (isFortran && shape.length > 1) {
    throw refused(
      "npy-order",
      name,
      "expected C order, found Fortran order",
      "convert it first: np.ascontiguousarray(array)",
      { expected: "C", actual: "Fortran" },
    );
  }
  const dataBytes = countOf(shape) * size;
  if (byteLength !== undefined) checkSize(name, header, dataBytes, byteLength - header.byteLength);
  const values = allocate(header, name);
  const bytes = new Uint8Array(values.buffer);
  const got = await readFully(file, bytes, signal, (done) => onProgress?.(done, dataBytes));
  checkSize(name, header, dataBytes, got);
  if (await readFully(file, new Uint8Array(1))) checkSize(name, header, dataBytes, dataBytes + 1);
  if (isBigEndian) swapBytes(bytes, size);
  return { values, shape };
}

/** Values in an array of a shape. */
function countOf(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

function allocate({ kind, size, shape }: NpyHeader, file: string): NpyValues {
  const count = countOf(shape);
  const isSigned = kind === "i";
  try {
    if (size === 1) return isSigned ? new Int8Array(count) : new Uint8Array(count);
    if (size === 2) return isSigned ? new Int16Array(count) : new Uint16Array(count);
    if (size === 4) return isSigned ? new Int32Array(count) : new Uint32Array(count);
    return isSigned ? new BigInt64Array(count) : new BigUint64Array(count);
  } catch (cause) {
    throw new LimitError(
      "out-of-memory",
      `${file}: an array of ${count} values does not fit into memory; split the set`,
      { file, actual: count * size },
      { cause },
    );
  }
}
