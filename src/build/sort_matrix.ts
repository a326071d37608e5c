/** Sorts a matrix in WASM, by packed keys. */
import { BuildInputError, LimitError } from "../errors.ts";
import { WasmHeap } from "../wasm/heap.ts";
import type { Progress } from "./progress.ts";
import { sortInPieces } from "./sort_records.ts";
import { badToken, type RowCursor, type SequenceMatrix } from "./row_cursor.ts";

/** Rows go through WASM memory in chunks of about so many bytes. */
export const CHUNK_BYTES = 2 ** 20;
/** Keys are dealt into buckets by so many top bits. */
export const BUCKET_BITS = 11;
export const BUCKETS = 2 ** BUCKET_BITS;
interface SortOptions {
  vocabSize: number;
  /** Whether to remember which input row a record came from. */
  keepRows: boolean;
  wasm?: WebAssembly.Module;
  progress: Progress;
}

/**
 * Sorts a matrix. Memory beside the matrix: one record per row, which holds ceil(log2(range)) bits per column.
 *
 * @throws {BuildInputError} for a token outside the vocabulary.
 * @throws {LimitError} if the records exceed 4 GiB.
 */
export async function sortMatrix(
  { data, rows, length }: SequenceMatrix,
  { vocabSize, keepRows, wasm, progress }: SortOptions,
): Promise<RowCursor> {
  const size = data.BYTES_PER_ELEMENT;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, rows * length * size);
  const chunkRows = Math.max(1, Math.floor(CHUNK_BYTES / (length * size)));
  const heap = await WasmHeap.create(4 * CHUNK_BYTES, wasm);
  const chunk = heap.allocate(chunkRows * length * size);
  const columns = heap.allocate(length * 8);

  /** Copies chunk after chunk into the memory. */
  const forEachChunk = async (stage: string, visit: (count: number, firstRow: number) => void) => {
    for (let row = 0; row < rows; row += chunkRows) {
      const count = Math.min(chunkRows, rows - row);
      const from = row * length * size;
      heap.u8(chunk, count * length * size).set(
        bytes.subarray(from, from + count * length * size),
      );
      visit(count, row);
      await progress.tick(stage, row + count, rows);
    }
  };

  const bounds = heap.u32(columns, length * 2);
  for (let column = 0; column < length; column++) bounds[2 * column] = 0xffffffff;
  await forEachChunk("scan", (count, firstRow) => {
    heap.exports.scanColumns(chunk, count, length, size, columns);
    const limits = heap.u32(columns, length * 2);
    for (let column = 0; column < length; column++) {
      if (limits[2 * column + 1] >= vocabSize) {
        throw findBadToken(data, length, firstRow, vocabSize);
      }
    }
  });

  const layout = keyLayout(heap.u32(columns, length * 2), length);
  heap.u32(columns, length * 2).set(layout.columns);
  const { keyWords } = layout;
  const words = keyWords + (keepRows ? 1 : 0);
  if (rows * words * 4 > 2 ** 32 - 16 * CHUNK_BYTES) throw tooManyRows(rows * words * 4);
  const key = heap.allocate((words + 1) * 4);
  const cursors = heap.allocate(BUCKETS * 4);
  const ends = heap.allocate(BUCKETS * 4);
  const records = heap.allocate(rows * words * 4);
  const shift = 32 - BUCKET_BITS;
  heap.u32(cursors, BUCKETS).fill(0);
  heap.u32(key, words + 1).fill(0);
  await forEachChunk("count", (count) => {
    heap.exports.countBuckets(chunk, count, length, size, columns, key, shift, cursors);
  });
  const starts = toStarts(heap.u32(cursors, BUCKETS));
  heap.u32(ends, BUCKETS).set(starts.subarray(1));
  await forEachChunk("deal", (count, row) => {
    const isDealt = heap.exports.dealRows(
      chunk,
      count,
      length,
      size,
      columns,
      key,
      shift,
      cursors,
      ends,
      records,
      words,
      keyWords,
      row,
    );
    if (!isDealt) throw inputChanged();
  });
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    const count = starts[bucket + 1] - starts[bucket];
    const all = { heap, address: records, words, keyWords, room: key };
    await sortInPieces(all, starts[bucket], count, (done) => progress.tick("sort", done, rows));
  }
  return new KeyCursor(heap.u32(records, rows * words), rows, words, layout);
}

/** Turns counts into first records, in place; returns a copy with the total behind. */
export function toStarts(counts: Uint32Array): Float64Array {
  const starts = new Float64Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) {
    starts[i + 1] = starts[i] + counts[i];
    counts[i] = starts[i];
  }
  return starts;
}

interface KeyLayout {
  /** { smallest token, bits } per column. */
  columns: Uint32Array;
  /** Bit at which each column starts. */
  offsets: Uint32Array;
  keyWords: number;
}

function keyLayout(bounds: Uint32Array, length: number): KeyLayout {
  const columns = new Uint32Array(length * 2);
  const offsets = new Uint32Array(length + 1);
  for (let column = 0; column < length; column++) {
    const least = bounds[2 * column];
    const bits = 32 - Math.clz32(bounds[2 * column + 1] - least);
    columns.set([least, bits], 2 * column);
    offsets[column + 1] = offsets[column] + bits;
  }
  return { columns, offsets, keyWords: Math.max(1, Math.ceil(offsets[length] / 32)) };
}

/** Reads sorted keys back as tokens. */
class KeyCursor implements RowCursor {
  readonly count: number;
  readonly tokens: Uint32Array;
  length = 0;
  shared = 0;
  row = -1;
  #next = 0;
  #records: Uint32Array;
  #words: number;
  #keyWords: number;
  #least: Uint32Array;
  #bits: Uint32Array;
  #offsets: Uint32Array;
  /** Column in which each bit of the key stands. */
  #columnOf: Uint16Array;

  constructor(records: Uint32Array, count: number, words: number, layout: KeyLayout) {
    const length = layout.offsets.length - 1;
    this.count = count;
    this.tokens = new Uint32Array(length);
    this.#records = records;
    this.#words = words;
    this.#keyWords = layout.keyWords;
    this.#least = layout.columns.filter((_, i) => i % 2 === 0);
    this.#bits = layout.columns.filter((_, i) => i % 2 === 1);
    this.#offsets = layout.offsets;
    this.#columnOf = new Uint16Array(layout.keyWords * 32 + 1).fill(length);
    for (let column = length - 1; column >= 0; column--) {
      this.#columnOf.fill(column, layout.offsets[column], layout.offsets[column + 1]);
    }
  }

  rewind(): void {
    this.#next = 0;
    this.length = 0;
  }

  next(): boolean {
    const n = this.#next;
    if (n >= this.count) return false;
    const records = this.#records;
    const at = n * this.#words;
    let shared = 0;
    if (n > 0) {
      let word = 0;
      let difference = 0;
      while (word < this.#keyWords) {
        difference = records[at + word] ^ records[at - this.#words + word];
        if (difference !== 0) break;
        word++;
      }
      shared = this.#columnOf[word * 32 + (difference === 0 ? 0 : Math.clz32(difference))];
    }
    const length = this.tokens.length;
    for (let column = shared; column < length; column++) {
      const bits = this.#bits[column];
      const offset = this.#offsets[column];
      const word = at + (offset >>> 5);
      const end = (offset & 31) + bits;
      let value = 0;
      if (bits > 0) {
        value = end <= 32
          ? records[word] >>> (32 - end)
          : (records[word] << (end - 32)) | (records[word + 1] >>> (64 - end));
        value &= (1 << bits) - 1;
      }
      this.tokens[column] = value + this.#least[column];
    }
    this.row = this.#words > this.#keyWords ? records[at + this.#keyWords] : n;
    this.shared = shared;
    this.length = length;
    this.#next = n + 1;
    return true;
  }
}

/** Finds the token that a scan has noticed. */
function findBadToken(
  data: SequenceMatrix["data"],
  length: number,
  firstRow: number,
  vocabSize: number,
): BuildInputError {
  const at = data.findIndex((token, i) =>
    i >= firstRow * length && (token < 0 || token >= vocabSize)
  );
  return badToken(Math.floor(at / length), at % length, data[at], vocabSize);
}

/** The error for a matrix that is not the same at every look. */
export function inputChanged(): BuildInputError {
  return new BuildInputError(
    "input-changed",
    "Cannot build: the matrix changed while it was read; leave it alone until the build has ended, or pass a copy",
  );
}

function tooManyRows(bytes: number): LimitError {
  return new LimitError(
    "too-many-rows",
    `Cannot sort so many rows: their keys take ${bytes} bytes, at most 4 GiB fit; sort them elsewhere and pass "sorted: true"`,
    { expected: 2 ** 32, actual: bytes },
  );
}
