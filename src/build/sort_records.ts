/** Sorts records in WASM, in calls that do not take long. */
import type { WasmHeap } from "../wasm/heap.ts";

/** Most records that one call sorts. */
const PIECE_RECORDS = 2 ** 17;

/** Records of words in a heap. */
export interface Records {
  heap: WasmHeap;
  address: number;
  /** Words of each. */
  words: number;
  /** Of these, the first ones: what they are sorted by. */
  keyWords: number;
  /** Address of room for one record. */
  room: number;
}

/**
 * Sorts `count` records from number `from` on: many are split before they are sorted.
 *
 * @param tick called after each piece, with the records before which all are sorted.
 */
export async function sortInPieces(
  { heap, address, words, keyWords, room }: Records,
  from: number,
  count: number,
  tick: (done: number) => Promise<void>,
): Promise<void> {
  const pieces = [{ from, count }];
  for (let piece = pieces.pop(); piece; piece = pieces.pop()) {
    const { from, count } = piece;
    const first = address + from * words * 4;
    if (count > PIECE_RECORDS) {
      const lesser = heap.exports.splitRecords(first, count, words, keyWords, room);
      pieces.push({ from: from + lesser, count: count - lesser }, { from, count: lesser });
    } else {
      heap.exports.sortRecords(first, count, words, keyWords, room);
    }
    await tick(count > PIECE_RECORDS ? from : from + count);
  }
}
