/** NumPy's array files that hold one value per row. */
import { LimitError } from "../errors.ts";
import { readFully } from "./input.ts";
import {
  checkSize,
  type NpyFile,
  type NpyHeader,
  type NpyOptions,
  readNpyHeader,
  refused,
  swapBytes,
} from "./npy_header.ts";

/** Values of a vector, as wide as they came; booleans are 0 and 1. */
export type NpyVector =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array;

/** What a vector may hold. */
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
 * Reads a vector of integers of 1 to 8 bytes, or of booleans, in either byte order. Memory: the vector.
 *
 * @param name of the file, for messages.
 * @param what booleans are flags only.
 * @throws {BuildInputError} naming the file, for other files, dtypes and shapes, missing or surplus bytes.
 * @throws {LimitError} if it does not fit into memory.
 */
export async function readNpyVector(
  file: NpyFile,
  name: string,
  what: keyof typeof DTYPES,
  { byteLength, signal, onProgress }: NpyOptions = {},
): Promise<NpyVector> {
  const header = await readNpyHeader(file, name, DTYPES[what]);
  const { shape, size, isBigEndian } = header;
  if (shape.length !== 1) {
    throw refused(
      "npy-shape",
      name,
      `expected a vector, one value per row, found shape (${shape.join(", ")})`,
      "give it one dimension: array.reshape(-1)",
      { expected: 1, actual: shape },
    );
  }
  const dataBytes = shape[0] * size;
  if (byteLength !== undefined) checkSize(name, header, dataBytes, byteLength - header.byteLength);
  const values = allocate(header, name);
  const bytes = new Uint8Array(values.buffer);
  const got = await readFully(file, bytes, signal, (done) => onProgress?.(done, dataBytes));
  checkSize(name, header, dataBytes, got);
  if (await readFully(file, new Uint8Array(1))) checkSize(name, header, dataBytes, dataBytes + 1);
  if (isBigEndian) swapBytes(bytes, size);
  return values;
}

function allocate({ kind, size, shape: [count] }: NpyHeader, file: string): NpyVector {
  const isSigned = kind === "i";
  try {
    if (size === 1) return isSigned ? new Int8Array(count) : new Uint8Array(count);
    if (size === 2) return isSigned ? new Int16Array(count) : new Uint16Array(count);
    if (size === 4) return isSigned ? new Int32Array(count) : new Uint32Array(count);
    return isSigned ? new BigInt64Array(count) : new BigUint64Array(count);
  } catch (cause) {
    throw new LimitError(
      "out-of-memory",
      `${file}: a vector of ${count} values does not fit into memory; split the set`,
      { file, actual: count * size },
      { cause },
    );
  }
}
