/**
 * Building an index, offline: from a matrix, or from any iterable of sequences.
 *
 * @module
 */
import { BuildInputError, rangeError, typeError } from "../errors.ts";
import { digestChunks, encodeHeader } from "../storage/safetensors.ts";
import { ConstraintIndex, indexFrom } from "./constraint_index.ts";
import { encodeShape } from "./header.ts";
import { MAX_LENGTH, MAX_VOCAB, planSections } from "./layout.ts";
import { Pace } from "./pace.ts";
import { planIndex } from "./plan.ts";
import {
  badToken,
  FrontCodedRows,
  MatrixCursor,
  type RowCursor,
  type SequenceMatrix,
  unsorted,
} from "./rows.ts";
import { RowHeap } from "./sort_heap.ts";
import { sortMatrix } from "./sort_matrix.ts";
import { reserve } from "./storage.ts";
import { writeIndex } from "./write.ts";

export type { SequenceMatrix };
export { BuildInputError, ConstraintIndex };
export type { LevelInfo, OpenOptions } from "./constraint_index.ts";
export type { IndexSource } from "../storage/source.ts";

/** How to build. */
export interface BuildOptions {
  /** Tokens are integers in [0, vocabSize); 2 … 2^20. */
  vocabSize: number;
  /** The rows are in ascending order, prefixes first. Saves the sort and its memory; checked. */
  sorted?: boolean;
  /** Called once with the ordinal of each input row, duplicates included. Costs 4 to 8 bytes a row. */
  reportOrdinals?: (ordinals: Uint32Array) => void;
  /** The compiled kernels (`src/wasm/module.gen.wasm`), on platforms that refuse to compile from bytes. */
  wasm?: WebAssembly.Module;
  /** Stops the build; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Called from time to time: rows done of all; no total while a stream is read. */
  onProgress?: (done: number, total?: number) => void;
}

/**
 * Builds the index of a set of token sequences, 1 … 1024 tokens each. Duplicates are merged; a sequence may
 * be the prefix of another.
 *
 * Cost: 10 million rows of 8 tokens take a few seconds on one core. Memory beside the input and the index:
 * for an unsorted matrix about one packed key per row (12 bytes for 8 tokens of 11 bits); for iterables
 * about 30 bytes per unsorted row; for sorted ones about the size of the index.
 *
 * @param sequences a matrix, or rows in any order (in ascending order with `sorted`). Not kept; a matrix must
 * not change until the promise settles, it is read more than once.
 * @throws {BuildInputError} naming row and position, if a row is no sequence of tokens, or there is none.
 * @throws {RangeError} if `vocabSize` is out of range.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { buildIndex } from "@espalier/espalier/build";
 *
 * const data = Uint16Array.of(7, 1, 7, 2, 3, 3);
 * using index = await buildIndex({ data, rows: 3, length: 2 }, { vocabSize: 8 });
 * assert(index.size === 3);
 * assert(index.sequenceAt(0).join() === "3,3");
 * ```
 */
export async function buildIndex(
  sequences: SequenceMatrix | Iterable<ArrayLike<number>> | AsyncIterable<ArrayLike<number>>,
  options: BuildOptions,
): Promise<ConstraintIndex> {
  if (typeof options !== "object" || options === null) {
    throw typeError("Cannot build without options: expected at least { vocabSize }", {
      actual: options,
    });
  }
  const { vocabSize, reportOrdinals, wasm, signal } = options;
  if (!Number.isInteger(vocabSize) || vocabSize < 2 || vocabSize > MAX_VOCAB) {
    throw rangeError(
      `Cannot build: vocabSize is ${vocabSize}, expected an integer in [2, ${MAX_VOCAB}]`,
      { expected: MAX_VOCAB, actual: vocabSize },
    );
  }
  signal?.throwIfAborted();
  const pace = new Pace(options);
  const rows = await readRows(sequences, options, pace);
  if (rows.count === 0) {
    throw new BuildInputError(
      "empty-set",
      "Cannot build an index of no sequences: pass at least one row",
      { expected: 1, actual: 0 },
    );
  }
  const shape = await planIndex(rows, vocabSize, pace);
  const memory = await reserve(shape, wasm);
  const ordinals = reportOrdinals && new Uint32Array(rows.count);
  await writeIndex(rows, memory, pace, ordinals);
  const { heap, data, dataByteLength } = memory;
  const { sections } = planSections(shape.levels);
  const digests = await digestChunks(
    (offset, length) => heap.u8(data + offset, length),
    dataByteLength,
  );
  const header = await encodeHeader(sections, encodeShape(shape), digests);
  const index = indexFrom({ ...memory, header });
  if (ordinals) reportOrdinals(ordinals);
  return index;
}

async function readRows(
  sequences: SequenceMatrix | Iterable<ArrayLike<number>> | AsyncIterable<ArrayLike<number>>,
  options: BuildOptions,
  pace: Pace,
): Promise<RowCursor> {
  const { vocabSize, sorted = false, wasm, reportOrdinals } = options;
  const keepRows = reportOrdinals !== undefined;
  if (typeof sequences !== "object" || sequences === null) throw notSequences(sequences);
  if (isMatrix(sequences)) {
    checkMatrix(sequences);
    if (sequences.rows === 0) return new MatrixCursor(sequences, vocabSize);
    pace.passes = sorted ? 2 : 6;
    if (sorted) return new MatrixCursor(sequences, vocabSize);
    return await sortMatrix(sequences, { vocabSize, keepRows, wasm, pace });
  }
  pace.passes = sorted ? 2 : 4;
  if (sorted) return await readSorted(sequences, options, pace);
  const heap = await RowHeap.create(vocabSize, wasm);
  await forEachRow(sequences, options, pace, (tokens, length) => heap.push(tokens, length));
  if (heap.count === 0) return new FrontCodedRows(1, 1);
  return await heap.sort(keepRows, pace);
}

async function readSorted(
  sequences: Iterable<ArrayLike<number>> | AsyncIterable<ArrayLike<number>>,
  options: BuildOptions,
  pace: Pace,
): Promise<RowCursor> {
  const rows = new FrontCodedRows(32 - Math.clz32(options.vocabSize - 1), MAX_LENGTH);
  await forEachRow(sequences, options, pace, (tokens, length) => {
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
    rows.push(shared, length);
  });
  return rows;
}

/** Checks every row and hands it on in a buffer that the next row overwrites. */
async function forEachRow(
  sequences: Iterable<ArrayLike<number>> | AsyncIterable<ArrayLike<number>>,
  { vocabSize, signal }: BuildOptions,
  pace: Pace,
  visit: (tokens: Uint32Array, length: number) => void,
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
  if (Symbol.asyncIterator in sequences) {
    for await (const sequence of untilAborted(sequences, signal)) {
      take(sequence);
      if (pace.isDue) await pace.tick("read", row);
    }
  } else if (typeof sequences[Symbol.iterator] === "function") {
    for (const sequence of sequences) {
      take(sequence);
      // Looking at the clock costs about as much as a short row.
      if (row % 16 === 0 && pace.isDue) await pace.tick("read", row);
    }
  } else {
    throw notSequences(sequences);
  }
  await pace.tick("read", row);
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

function isMatrix(sequences: object): sequences is SequenceMatrix {
  return "data" in sequences && "rows" in sequences;
}

function checkMatrix({ data, rows, length }: SequenceMatrix): void {
  const isTyped = data instanceof Uint8Array || data instanceof Uint16Array ||
    data instanceof Uint32Array || data instanceof Int32Array;
  if (!isTyped) {
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
