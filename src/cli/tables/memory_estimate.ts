/** What rows take: to decide whether they are sorted in memory, and to make one matrix of them. */
import type { RowBatch, SequenceMatrix } from "../../build/row_cursor.ts";

/** The runtime and the code, before any row. */
const BASE_BYTES = 96e6;

/** What is known of rows, read or yet to be read. */
export class RowStatistics {
  rows = 0;
  tokens = 0;
  shortest = Infinity;
  longest = 0;
  largestToken = 0;
  add({ data, ends }: RowBatch, largestToken: number): void {
    let start = 0;
    for (let i = 0; i < ends.length; i++) {
      const length = ends[i] - start;
      start = ends[i];
      if (length < this.shortest) this.shortest = length;
      if (length > this.longest) this.longest = length;
    }
    this.rows += ends.length;
    this.tokens += data.length;
    if (largestToken > this.largestToken) this.largestToken = largestToken;
  }
}

/** Rows that are to be sorted. */
export interface RowsToSort {
  readonly rows: number;
  readonly tokens: number;
  readonly vocabSize: number;
  /** Whether all rows are equally long. */
  readonly isFixed: boolean;
  /** Whether ordinals, ids or filters are asked for. */
  readonly isNumbered: boolean;
}

/** Bytes of the process while it builds from rows that it sorts itself, about. */
export function memoryFor(
  { rows, tokens, vocabSize, isFixed, isNumbered }: RowsToSort,
  valueBytes: number,
): number {
  const bits = 32 - Math.clz32(vocabSize);
  const index = tokens * bits / 8 + 2 * rows;
  const data = tokens * (vocabSize <= 2 ** 16 ? 2 : 4) + 4 * rows;
  // A fixed row has one record, a ragged one a key and a record that points to it.
  const records = index + (isFixed ? 4 : 24) * rows + (isNumbered ? 8 * rows : 0);
  const input = isFixed ? data : 0;
  return BASE_BYTES + valueBytes + Math.max(2 * data, input + records + index);
}

/** Bytes of the process while it builds from sorted rows that come one by one, about. */
export function memoryForSorted(
  { tokens, rows, vocabSize, isNumbered }: RowsToSort,
  valueBytes: number,
): number {
  const coded = tokens * (32 - Math.clz32(vocabSize)) / 8 + 2 * rows;
  return BASE_BYTES + valueBytes + coded + (isNumbered ? 4 * rows : 0);
}

/** Makes a matrix of batches of rows that are equally long. Takes them out of the array as it goes. */
export function matrixOf(batches: RowBatch[], { rows, longest }: RowStatistics): SequenceMatrix {
  const widest = Math.max(...batches.map(({ data }) => data.BYTES_PER_ELEMENT), 1);
  const isSigned = batches.some(({ data }) => data instanceof Int32Array);
  const count = rows * longest;
  const data = widest === 1
    ? new Uint8Array(count)
    : widest === 2
    ? new Uint16Array(count)
    : isSigned
    ? new Int32Array(count)
    : new Uint32Array(count);
  let at = 0;
  batches.reverse();
  for (let batch = batches.pop(); batch; batch = batches.pop()) {
    data.set(batch.data, at);
    at += batch.data.length;
  }
  return { data, rows, length: longest };
}
