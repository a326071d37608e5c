/** The check that every row passes before it is built, for rows that come in batches. */
import { MAX_LENGTH } from "../index/format/layout.ts";
import type { RowBatch } from "./row_cursor.ts";

/** What is wrong with a row: its length, or the token at `column`. */
export interface RowFault {
  /** Number of the row in its batch. */
  row: number;
  length: number;
  /** Place of the bad token; undefined if the length is wrong. */
  column?: number;
}

/**
 * Finds the first row that has not 1 to 1024 tokens, or a token outside [0, limit). One pass over the tokens; a second
 * one only where something is wrong.
 *
 * @returns the fault, if there is one, and the largest token.
 */
export function checkRows(
  { data, ends }: RowBatch,
  limit: number,
): { fault?: RowFault; largest: number } {
  let largest = 0;
  let smallest = 0;
  for (let i = 0; i < data.length; i++) {
    const token = data[i];
    if (token > largest) largest = token;
    if (token < smallest) smallest = token;
  }
  const isSure = smallest === 0 && largest < limit;
  let start = 0;
  for (let row = 0; row < ends.length; row++) {
    const end = ends[row];
    const length = end - start;
    if (length < 1 || length > MAX_LENGTH) return { fault: { row, length }, largest };
    for (let at = start; !isSure && at < end; at++) {
      if (data[at] >= 0 && data[at] < limit) continue;
      return { fault: { row, length, column: at - start }, largest };
    }
    start = end;
  }
  return { largest };
}
