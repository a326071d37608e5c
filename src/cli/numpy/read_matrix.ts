/**
 * Reads NumPy's array files that hold matrices of integers.
 *
 * Source of the format: NumPy Enhancement Proposal 1, versions 1 to 3.
 */
import { type BuildInputError, LimitError } from "../../errors.ts";
import { MAX_VOCAB } from "../../index/format/layout.ts";
import type { SequenceMatrix } from "../../build/row_cursor.ts";
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

/** Values that have to be converted go through a buffer of so many bytes. */
const BUFFER_BYTES = 2 ** 20;

const DTYPES = {
  kinds: "iu",
  expected: "integers of 1, 2, 4 or 8 bytes",
  remedy: "array.astype(np.uint32)",
};

/** What is known of a matrix before its values are read. */
export interface Matrix extends NpyHeader {
  rows: number;
  length: number;
}

/** A file of which any part can be read. */
export interface SeekableFile extends NpyFile {
  seek(offset: number, whence: Deno.SeekMode): Promise<number>;
}

/** Bytes of a block of rows, about. */
const BLOCK_BYTES = 2 ** 22;

/**
 * Opens a matrix of integers of 1 to 8 bytes, C or Fortran order, either byte order.
 *
 * @param name of the file, for messages.
 * @throws {BuildInputError} naming the file, for other files, dtypes and shapes, missing or surplus bytes.
 */
export async function openNpy(
  file: NpyFile,
  name: string,
  { byteLength }: NpyOptions = {},
): Promise<Matrix> {
  const header = asMatrix(await readNpyHeader(file, name, DTYPES), name);
  const { size, rows, length } = header;
  if (byteLength !== undefined) {
    checkSize(name, header, rows * length * size, byteLength - header.byteLength);
  }
  return header;
}

/**
 * Reads an opened matrix in blocks of rows. Memory: a block, as narrow as it came (values of 8 bytes become 4).
 * Negative 32-bit values are left for others to refuse. In Fortran order every block lies all over the file: where that
 * has no size, because it can be read once only, there is one block.
 *
 * @param blockBytes at most so many at a time, but at least one row.
 * @throws {BuildInputError} naming the file, for missing or surplus bytes; and the row and column of a value that can
 * be no token.
 */
export async function* readNpyBlocks(
  file: SeekableFile,
  header: Matrix,
  name: string,
  { byteLength, signal }: NpyOptions = {},
  blockBytes = BLOCK_BYTES,
): AsyncGenerator<SequenceMatrix, void, void> {
  const { kind, size, rows, length, isFortran } = header;
  const isWhole = isFortran && byteLength === undefined;
  const perBlock = isWhole ? rows : Math.max(1, Math.floor(blockBytes / (length * size)));
  const dataBytes = rows * length * size;
  for (let first = 0; first < rows; first += perBlock) {
    const block = { ...header, rows: Math.min(perBlock, rows - first) };
    const source = isFortran && !isWhole ? new ColumnRuns(file, header, first, block.rows) : file;
    const data = allocate(block, name);
    const got = await readBlock(source, data, block, name, first, signal);
    const expected = block.rows * length * size;
    if (got < expected) checkSize(name, header, dataBytes, first * length * size + got);
    if (kind === "i" && size < 4) {
      // Read as unsigned: what was negative is in the upper half.
      const bad = data.findIndex((value) => value >= 2 ** (8 * size - 1));
      if (bad >= 0) throw noToken(name, header, first * length + bad, data[bad] - 2 ** (8 * size));
    }
    yield { data, rows: block.rows, length };
  }
  if (await readFully(file, new Uint8Array(1))) checkSize(name, header, dataBytes, dataBytes + 1);
}

/** Fills `data`; returns the bytes that came. */
async function readBlock(
  file: NpyFile,
  data: SequenceMatrix["data"],
  header: Matrix,
  name: string,
  firstRow: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { size, rows, length, isBigEndian, isFortran } = header;
  if (size < 8 && !isBigEndian && !isFortran) {
    return await readFully(file, new Uint8Array(data.buffer), signal);
  }
  const dataBytes = rows * length * size;
  const buffer = new Uint8Array(Math.min(BUFFER_BYTES, dataBytes));
  let got = 0;
  while (got < dataBytes) {
    const bytes = buffer.subarray(0, Math.min(BUFFER_BYTES, dataBytes - got));
    const came = await readFully(file, bytes, signal);
    if (came === bytes.length) place(bytes, got / size, data, header, name, firstRow);
    got += came;
    if (came < bytes.length) break;
  }
  return got;
}

/** Some rows of a matrix in Fortran order: a run of each column, one behind the other. */
class ColumnRuns implements NpyFile {
  #at = 0;

  constructor(
    readonly file: SeekableFile,
    readonly header: Matrix,
    readonly first: number,
    readonly count: number,
  ) {}

  async read(into: Uint8Array): Promise<number | null> {
    const { size, rows, length, byteLength } = this.header;
    const runBytes = this.count * size;
    const column = Math.floor(this.#at / runBytes);
    if (column >= length) return null;
    const inRun = this.#at % runBytes;
    const offset = byteLength + (column * rows + this.first) * size + inRun;
    await this.file.seek(offset, Deno.SeekMode.Start);
    const came = await this.file.read(into.subarray(0, runBytes - inRun));
    this.#at += came ?? 0;
    return came;
  }
}

function asMatrix(header: NpyHeader, name: string): Matrix {
  const { shape, size } = header;
  const [rows, length] = shape;
  if (shape.length !== 2) {
    throw refused(
      "npy-shape",
      name,
      `expected a matrix, one sequence per row, found shape (${shape.join(", ")})`,
      "give it two dimensions: array.reshape(-1, tokens_per_sequence)",
      { expected: 2, actual: shape },
    );
  }
  if (!Number.isSafeInteger(rows * length * size)) {
    throw refused("npy-shape", name, `found shape (${rows}, ${length})`, "split the array", {
      actual: shape,
    });
  }
  return { ...header, rows, length };
}

function allocate({ size, kind, rows, length }: Matrix, file: string) {
  const count = rows * length;
  try {
    if (size === 1) return new Uint8Array(count);
    if (size === 2) return new Uint16Array(count);
    return size === 4 && kind === "i" ? new Int32Array(count) : new Uint32Array(count);
  } catch (cause) {
    throw new LimitError(
      "out-of-memory",
      `${file}: a matrix of ${rows} × ${length} values does not fit into memory; split the array`,
      { file, actual: count * size },
      { cause },
    );
  }
}

/** Converts a run of values of the file and puts them where they belong, `first` counted in the file's order. */
function place(
  bytes: Uint8Array<ArrayBuffer>,
  first: number,
  data: SequenceMatrix["data"],
  header: Matrix,
  name: string,
  firstRow: number,
): void {
  const { size, kind, isBigEndian, isFortran, rows, length } = header;
  const count = bytes.length / size;
  const at = (i: number) => isFortran ? i % rows * length + Math.floor(i / rows) : i;
  if (isBigEndian) swapBytes(bytes, size);
  const { buffer, byteOffset } = bytes;
  if (size === 8) {
    const halves = new Uint32Array(buffer, byteOffset, 2 * count);
    for (let i = 0; i < count; i++) {
      if (halves[2 * i + 1] !== 0) {
        const view = new DataView(buffer, byteOffset + 8 * i, 8);
        const value = kind === "i" ? view.getBigInt64(0, true) : view.getBigUint64(0, true);
        throw noToken(name, header, firstRow * length + at(first + i), value);
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

function noToken(
  name: string,
  { length }: Matrix,
  position: number,
  value: number | bigint,
): BuildInputError {
  const row = Math.floor(position / length);
  const column = position % length;
  return refused(
    "token-out-of-range",
    name,
    `token ${value} in row ${row} (counted from 0), position ${column}, is not an integer in [0, ${MAX_VOCAB})`,
    value < 0 ? "remove padding by storing the rows as JSON lines" : "mend the row",
    { row, column, expected: MAX_VOCAB, actual: Number(value), token: Number(value) },
  );
}
