/** From what the builder is given to rows in ascending order. */
import { BuildInputError, typeError } from "../errors.ts";
import { MAX_LENGTH } from "../index/format/layout.ts";
import { checkRows } from "./check_rows.ts";
import type { Progress } from "./progress.ts";
import {
  badToken,
  FrontCodedRows,
  MatrixCursor,
  type RowBatch,
  type RowCursor,
  type SequenceMatrix,
  unsorted,
} from "./row_cursor.ts";
import { RowHeap } from "./sort_ragged.ts";
import { sortMatrix } from "./sort_matrix.ts";

/** Sequences as the builder is given them. Batches save most of the time that single rows take to arrive. */
export type Sequences =
  | SequenceMatrix
  | Iterable<ArrayLike<number>>
  | AsyncIterable<ArrayLike<number> | RowBatch>;

/** How to read them. */
export interface ReadOptions {
  vocabSize: number;
  sorted?: boolean;
  /** Whether to remember which input row is which. */
  keepRows: boolean;
  /** Called with the number of rows as soon as it is known, unless there are none. */
  counted(rows: number): void;
  wasm?: WebAssembly.Module;
  signal?: AbortSignal;
  progress: Progress;
}

/**
 * Reads, checks and sorts all rows.
 *
 * @throws {BuildInputError} for rows that are no sequences of tokens.
 * @throws {TypeError} for what is no set of sequences at all.
 */
export async function readRows(sequences: Sequences, options: ReadOptions): Promise<RowCursor> {
  const { vocabSize, sorted = false, keepRows, counted, wasm, progress } = options;
  if (typeof sequences !== "object" || sequences === null) throw notSequences(sequences);
  if (isMatrix(sequences)) {
    checkMatrix(sequences);
    if (sequences.rows === 0) return new MatrixCursor(sequences, vocabSize);
    counted(sequences.rows);
    progress.passes += sorted ? 0 : 4;
    if (sorted) return new MatrixCursor(sequences, vocabSize);
    return await sortMatrix(sequences, { vocabSize, keepRows, wasm, progress });
  }
  progress.passes += sorted ? 0 : 2;
  if (sorted) {
    const rows = await readSorted(sequences, options);
    if (rows.count > 0) counted(rows.count);
    return rows;
  }
  const heap = await RowHeap.create(vocabSize, wasm);
  await forEachRow(sequences, options, (tokens, length) => heap.push(tokens, length));
  if (heap.count === 0) return new FrontCodedRows(1, 1);
  counted(heap.count);
  return await heap.sort(keepRows, progress);
}

async function readSorted(
  sequences: Exclude<Sequences, SequenceMatrix>,
  options: ReadOptions,
): Promise<RowCursor> {
  const seen = new NumberSet();
  const rows = new FrontCodedRows(32 - Math.clz32(options.vocabSize - 1), MAX_LENGTH);
  await forEachRow(sequences, options, (tokens, length, number) => {
    if (number !== undefined) seen.add(number);
    rows.reserve(length);
    const last = rows.tokens;
    const common = Math.min(length, rows.length);
    let shared = 0;
    while (shared < common && tokens[shared] === last[shared]) shared++;
    if (shared < common ? tokens[shared] < last[shared] : length < rows.length) {
      throw unsorted(
        rows.count,
        shared,
        last[shared],
        shared < length ? tokens[shared] : undefined,
      );
    }
    for (let i = shared; i < length; i++) last[i] = tokens[i];
    rows.push(shared, length, options.keepRows ? number : undefined);
  });
  seen.check(rows.count);
  return rows;
}

/** The numbers of rows that have come. */
class NumberSet {
  #bits = new Uint32Array(0);
  #count = 0;

  add(number: number): void {
    const word = number >>> 5;
    if (word >= this.#bits.length) {
      const larger = new Uint32Array(Math.max(2 * this.#bits.length, word + 1024));
      larger.set(this.#bits);
      this.#bits = larger;
    }
    if (this.#bits[word] >>> (number & 31) & 1) throw badNumber(number, "it came before");
    this.#bits[word] |= 1 << (number & 31);
    this.#count++;
  }

  /** Makes sure that the numbers are those of all rows, or of none. */
  check(rows: number): void {
    if (this.#count === 0) return;
    if (this.#count !== rows) throw badNumber(undefined, `${rows - this.#count} rows have none`);
    for (let number = 0; number < rows; number++) {
      if ((this.#bits[number >>> 5] >>> (number & 31) & 1) === 0) {
        throw badNumber(number, "it is missing");
      }
    }
  }
}

function badNumber(row: number | undefined, what: string): BuildInputError {
  return new BuildInputError(
    "bad-row-number",
    `Cannot build: expected every row number from 0 once${
      row === undefined ? "" : `, found ${row}`
    }: ${what}; number the rows of a batch as they stand in the input, or leave numbers out`,
    { row },
  );
}

/**
 * Checks every row and hands it on in a buffer that the next row overwrites, with its number if it is not in the
 * order of the input.
 */
async function forEachRow(
  sequences: Exclude<Sequences, SequenceMatrix>,
  { vocabSize, sorted, signal, progress }: ReadOptions,
  visit: (tokens: Uint32Array, length: number, number?: number) => void,
): Promise<void> {
  const tokens = new Uint32Array(MAX_LENGTH);
  let row = 0;
  const take = (sequence: ArrayLike<number>) => {
    const length = sequence?.length;
    if (!(Number.isInteger(length) && length >= 1 && length <= MAX_LENGTH)) {
      throw new BuildInputError(
        "bad-length",
        typeof sequence === "object"
          ? `Cannot build: row ${row} has ${length} tokens, expected an array of 1 … ${MAX_LENGTH}; remove or shorten it`
          : `Cannot build: row ${row} is a ${typeof sequence}, expected an array of 1 … ${MAX_LENGTH} tokens; one sequence alone is [sequence]`,
        { row, expected: MAX_LENGTH, actual: length },
      );
    }
    for (let i = 0; i < length; i++) {
      const token = sequence[i];
      if (!(Number.isInteger(token) && token >= 0 && token < vocabSize)) {
        throw badToken(row, i, token, vocabSize);
      }
      tokens[i] = token;
    }
    visit(tokens, length);
    row++;
  };
  const takeBatch = (batch: RowBatch) => {
    const { data, ends, numbers } = batch;
    if (numbers && !sorted) {
      throw typeError(
        "Cannot build: expected rows in ascending order, with sorted, where they are numbered",
      );
    }
    const { fault } = checkRows(batch, vocabSize);
    const sound = fault ? fault.row : ends.length;
    let start = 0;
    for (let i = 0; i < sound; i++) {
      const length = ends[i] - start;
      for (let t = 0; t < length; t++) tokens[t] = data[start + t];
      visit(tokens, length, numbers?.[i]);
      start = ends[i];
      row++;
    }
    // A row by itself is refused in the same words.
    if (fault) take(data.subarray(start, ends[sound]));
  };
  if (Symbol.asyncIterator in sequences) {
    for await (const sequence of untilAborted(sequences, signal)) {
      if (isBatch(sequence)) takeBatch(sequence);
      else take(sequence);
      if (progress.isDue) await progress.tick("read", row);
    }
  } else if (typeof sequences[Symbol.iterator] === "function") {
    for (const sequence of sequences) {
      take(sequence);
      // Looking at the clock costs about as much as a short row.
      if (row % 16 === 0 && progress.isDue) await progress.tick("read", row);
    }
  } else {
    throw notSequences(sequences);
  }
  await progress.tick("read", row);
}

/** Rows as they come, or the reason of the signal as soon as it is aborted, whatever the source does. */
async function* untilAborted<T>(
  rows: AsyncIterable<T>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T> {
  const iterator = rows[Symbol.asyncIterator]();
  let interrupt: ((reason: unknown) => void) | undefined;
  const abort = () => interrupt?.(signal?.reason);
  signal?.addEventListener("abort", abort);
  let isDone = false;
  try {
    while (true) {
      signal?.throwIfAborted();
      const { done, value } = await new Promise<IteratorResult<T>>((resolve, reject) => {
        interrupt = reject;
        iterator.next().then(resolve, (error) => {
          isDone = true;
          reject(error);
        });
      });
      if (done) {
        isDone = true;
        return;
      }
      yield value;
    }
  } finally {
    signal?.removeEventListener("abort", abort);
    // Not awaited: a source that hangs would hang here.
    if (!isDone) void Promise.resolve(iterator.return?.()).catch(() => {});
  }
}

function notSequences(actual: unknown): TypeError {
  return typeError(
    "Cannot build: expected a matrix { data, rows, length }, or an iterable of arrays of tokens",
    { actual: typeof actual },
  );
}

function isBatch(item: ArrayLike<number> | RowBatch): item is RowBatch {
  return typeof item === "object" && item !== null && "ends" in item &&
    "data" in item && isTokenArray(item.data);
}

function isMatrix(sequences: object): sequences is SequenceMatrix {
  return "data" in sequences && "rows" in sequences;
}

function isTokenArray(data: unknown): data is SequenceMatrix["data"] {
  return data instanceof Uint8Array || data instanceof Uint16Array ||
    data instanceof Uint32Array || data instanceof Int32Array;
}

function checkMatrix({ data, rows, length }: SequenceMatrix): void {
  if (!isTokenArray(data)) {
    throw typeError(
      "Cannot build: data is not a Uint8Array, Uint16Array, Uint32Array or Int32Array; convert it, or pass rows",
      { actual: Object.prototype.toString.call(data) },
    );
  }
  if (!Number.isInteger(length) || length < 1 || length > MAX_LENGTH) {
    throw new BuildInputError(
      "bad-length",
      `Cannot build: the matrix has ${length} columns, expected 1 … ${MAX_LENGTH}`,
      { expected: MAX_LENGTH, actual: length },
    );
  }
  if (!Number.isInteger(rows) || rows < 0 || data.length !== rows * length) {
    throw new BuildInputError(
      "ragged-matrix",
      `Cannot build: ${rows} rows of ${length} tokens are ${
        rows * length
      } values, the data has ${data.length}`,
      { expected: rows * length, actual: data.length },
    );
  }
}
