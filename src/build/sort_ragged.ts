/** Sorts rows of mixed lengths in WASM: keys on a heap, records that point to them. */
import { WasmHeap } from "../wasm/heap.ts";
import type { Progress } from "./progress.ts";
import type { RowCursor } from "./row_cursor.ts";
import { codeBits, packRow } from "./row_keys.ts";
import { BUCKET_BITS, BUCKETS, CHUNK_BYTES, toStarts } from "./sort_matrix.ts";

/** Words of a record: 3 of key, 1 address (asm/kernels/sort.ts). */
const HEAP_RECORD_WORDS = 4;

/** Collects rows of mixed lengths as keys in WASM memory, then sorts them. */
export class RowHeap {
  #heap: WasmHeap;
  #bits: number;
  #start: number;
  #end: number;
  /** Next free word, as an index into `#words`. */
  #next: number;
  #words: Uint32Array;
  #counts = new Uint32Array(BUCKETS);
  count = 0;

  private constructor(heap: WasmHeap, bits: number) {
    this.#heap = heap;
    this.#bits = bits;
    this.#start = heap.allocate(CHUNK_BYTES);
    this.#end = this.#start + CHUNK_BYTES;
    this.#next = this.#start / 4;
    this.#words = heap.u32(0, this.#end / 4);
  }

  static async create(vocabSize: number, wasm?: WebAssembly.Module): Promise<RowHeap> {
    return new RowHeap(await WasmHeap.create(2 * CHUNK_BYTES, wasm), codeBits(vocabSize));
  }

  /** Adds the row `tokens[0, length)`, whose tokens have been checked. */
  push(tokens: Uint32Array, length: number): void {
    const size = Math.ceil((length + 1) * this.#bits / 32);
    while ((this.#next + size + 1) * 4 > this.#end) {
      const address = this.#heap.allocate(CHUNK_BYTES);
      if (address !== this.#end) throw new Error("The row heap is not contiguous");
      this.#end += CHUNK_BYTES;
      this.#words = this.#heap.u32(0, this.#end / 4);
    }
    const words = this.#words;
    const first = this.#next;
    words[first] = size;
    const end = first + 1 + size;
    words.fill(0, packRow(tokens, 0, length, this.#bits, words, first + 1), end);
    this.#next = end;
    this.#counts[words[first + 1] >>> (32 - BUCKET_BITS)]++;
    this.count++;
  }

  /** Sorts all rows. */
  async sort(keepRows: boolean, progress: Progress): Promise<RowCursor> {
    const heap = this.#heap;
    const recordWords = HEAP_RECORD_WORDS + (keepRows ? 1 : 0);
    const records = heap.allocate(this.count * recordWords * 4);
    const cursors = heap.allocate(BUCKETS * 4);
    const room = heap.allocate(recordWords * 4);
    heap.u32(cursors, BUCKETS).set(this.#counts);
    const starts = toStarts(heap.u32(cursors, BUCKETS));
    let from = this.#start;
    const slice = 2 ** 16;
    for (let row = 0; row < this.count; row += slice) {
      const rows = Math.min(slice, this.count - row);
      from = heap.exports.dealHeap(
        from,
        rows,
        32 - BUCKET_BITS,
        cursors,
        records,
        recordWords,
        row,
      ) >>> 0;
      await progress.tick("deal", row + rows, this.count);
    }
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const first = starts[bucket];
      const count = starts[bucket + 1] - first;
      heap.exports.sortHeap(records + first * recordWords * 4, count, recordWords, room);
      await progress.tick("sort", starts[bucket + 1], this.count);
    }
    return new HeapCursor(
      heap.u32(0, heap.memory.buffer.byteLength / 4),
      records / 4,
      this.count,
      recordWords,
      this.#bits,
    );
  }
}

/** Reads rows from a sorted heap. */
class HeapCursor implements RowCursor {
  tokens = new Uint32Array(1024);
  length = 0;
  shared = 0;
  row = -1;
  #next = 0;

  constructor(
    readonly words: Uint32Array,
    readonly records: number,
    readonly count: number,
    readonly recordWords: number,
    readonly bits: number,
  ) {}

  rewind(): void {
    this.#next = 0;
    this.length = 0;
  }

  next(): boolean {
    if (this.#next >= this.count) return false;
    const record = this.records + this.#next * this.recordWords;
    const { words, bits, tokens } = this;
    let word = words[record + 3] / 4 + 1;
    let used = 0;
    let shared = 0;
    let length = 0;
    for (;; length++) {
      const end = used + bits;
      let code = end <= 32
        ? words[word] >>> (32 - end)
        : (words[word] << (end - 32)) | (words[word + 1] >>> (64 - end));
      code &= 2 ** bits - 1;
      used = end;
      if (used >= 32) {
        used -= 32;
        word++;
      }
      if (code === 0) break;
      if (shared === length && length < this.length && tokens[length] === code - 1) shared++;
      else tokens[length] = code - 1;
    }
    this.row = this.recordWords > HEAP_RECORD_WORDS ? words[record + 4] : this.#next;
    this.#next++;
    this.shared = shared;
    this.length = length;
    return true;
  }
}
