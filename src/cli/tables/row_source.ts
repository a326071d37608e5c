/** Rows of tokens on their way from a table to the builder, whatever the table's format. */

import { MAX_LENGTH, MAX_VOCAB } from "../../index/format/layout.ts";
import { checkRows } from "../../build/check_rows.ts";
import type { RowBatch } from "../../build/row_cursor.ts";
import type { ValueColumns } from "./value_columns.ts";
import { badRow, badToken, type RowPlace } from "./row_errors.ts";

/** Rows that are read together, and what stands beside them. */
export interface Piece {
  readonly batch: RowBatch;
  /** Line of each row in a text file, from 1. */
  readonly lines?: ArrayLike<number>;
  /** Bytes of the file that have been read. */
  readonly bytes?: number;
}

/** A file that rows are read from, once or more often. */
export interface RowSource {
  /** Path, as messages show it. */
  readonly name: string;
  /** Where known before the rows are read. */
  readonly rows?: number;
  /** Rows that come of each row of the file; 1 unless said. */
  readonly rowsEach?: number;
  /** Tokens of all rows, where known before. */
  readonly tokens?: number;
  /** Rows and tokens are certainly no more, where only that is known before. */
  readonly most?: { readonly rows: number; readonly tokens: number };
  /** Most tokens of a row, where known before. */
  readonly mostTokens?: number;
  /** Tokens are certainly below it, where that is known before. */
  readonly tokenLimit?: number;
  /** Bytes of the file; undefined for what can be read once only. */
  readonly byteLength?: number;
  /**
   * Reads all rows in order. Tokens are integers, of which the caller checks the range.
   *
   * @param values takes ids and filters of the same rows.
   */
  read(values?: ValueColumns): AsyncIterable<Piece>;
}

/** Collects rows of any length into batches. */
export class BatchWriter {
  #data = new Uint32Array(2 ** 16);
  #ends = new Uint32Array(2 ** 12);
  #length = 0;
  /** Rows since the last batch. */
  count = 0;

  push(token: number): void {
    if (this.#length === this.#data.length) this.#data = doubled(this.#data);
    this.#data[this.#length++] = token;
  }

  /** Tokens of the row at hand. */
  get rowLength(): number {
    return this.#length - (this.count > 0 ? this.#ends[this.count - 1] : 0);
  }

  endRow(): void {
    if (this.count === this.#ends.length) this.#ends = doubled(this.#ends);
    this.#ends[this.count++] = this.#length;
  }

  /** Hands out the rows so far, as narrow as they are, and starts anew. */
  take(): RowBatch {
    const wide = this.#data.subarray(0, this.#length);
    let bits = 0;
    for (let i = 0; i < wide.length; i++) bits |= wide[i];
    const data = bits >>> 0 < 2 ** 8
      ? new Uint8Array(wide)
      : bits >>> 0 < 2 ** 16
      ? new Uint16Array(wide)
      : wide.slice();
    const ends = this.#ends.slice(0, this.count);
    this.#length = this.count = 0;
    return { data, ends };
  }
}

function doubled(values: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(2 * values.length);
  larger.set(values);
  return larger;
}

/**
 * Appends a token.
 *
 * @param place of its row, for messages.
 * @throws {BuildInputError} if no vocabulary holds it.
 */
export function pushToken(
  writer: BatchWriter,
  token: number,
  place: () => RowPlace,
): void {
  if (token >= 0 && token < MAX_VOCAB) return writer.push(token);
  throw badToken(place(), writer.rowLength, token, MAX_VOCAB);
}

/**
 * Makes sure that all rows are sequences of tokens, and says where they are not.
 *
 * @param first number of the piece's first row in its file.
 * @param vocabSize undefined where it is to be inferred.
 * @returns the largest token.
 * @throws {BuildInputError} naming file, row and position.
 */
export function checkPiece(
  { batch, lines }: Piece,
  file: string,
  first: number,
  vocabSize: number | undefined,
): number {
  const limit = vocabSize ?? MAX_VOCAB;
  const { fault, largest } = checkRows(batch, limit);
  if (!fault) return largest;
  const { row, length, column } = fault;
  const place = { file, row: first + row, line: lines?.[row] };
  if (column === undefined) {
    const facts = { expected: MAX_LENGTH, actual: length };
    throw badRow(place, `found ${length} tokens`, { code: "bad-length", facts });
  }
  throw badToken(place, column, batch.data[batch.ends[row] - length + column], limit);
}
