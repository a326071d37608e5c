/** Rows in ascending order, as the builder reads them: twice, once to plan and once to write. */
import { BuildInputError } from "../errors.ts";

/**
 * A cursor over sorted rows. Prefixes come before what continues them; duplicates come one after the other.
 */
export interface RowCursor {
  /** Rows in all, duplicates included. */
  readonly count: number;
  /** Tokens of the row at hand, in the first `length` places. */
  readonly tokens: Uint32Array;
  /** Tokens in the row at hand; 0 before the first. */
  length: number;
  /** Tokens that the row shares with the one before. A duplicate shares all of both. */
  shared: number;
  /** Number of the row in the input. */
  row: number;
  /** Goes to the next row; false at the end. */
  next(): boolean;
  /** Goes back to the start. */
  rewind(): void;
}

/** A matrix of tokens, row-major: all sequences equally long. */
export interface SequenceMatrix {
  /** [rows, length] */
  data: Uint8Array | Uint16Array | Uint32Array | Int32Array;
  /** How many sequences. */
  rows: number;
  /** Tokens in each, 1 … 1024. */
  length: number;
}

/** Rows that come together. */
export interface RowBatch {
  /** Tokens of the rows, one row behind the other. */
  data: SequenceMatrix["data"];
  /** Where each row ends in `data`; the next one starts there. */
  ends: Uint32Array;
  /**
   * Number of each row in the input, where they come in another order, as from a sort elsewhere: that by which
   * ordinals are reported, and by which items and filters are found. Each number from 0 occurs once in all.
   */
  numbers?: Uint32Array;
}

/** Reads a matrix that is sorted already, and checks that it is. */
export class MatrixCursor implements RowCursor {
  readonly count: number;
  readonly tokens: Uint32Array;
  length = 0;
  shared = 0;
  row = -1;
  #data: SequenceMatrix["data"];
  #width: number;
  #vocabSize: number;

  constructor({ data, rows, length }: SequenceMatrix, vocabSize: number) {
    this.#vocabSize = vocabSize;
    this.count = rows;
    this.tokens = new Uint32Array(length);
    this.#data = data;
    this.#width = length;
  }

  rewind(): void {
    this.row = -1;
    this.length = 0;
  }

  next(): boolean {
    if (this.row + 1 >= this.count) return false;
    const start = ++this.row * this.#width;
    let shared = 0;
    for (let i = 0; i < this.#width; i++) {
      const token = this.#data[start + i];
      if (token < 0 || token >= this.#vocabSize) {
        throw badToken(this.row, i, token, this.#vocabSize);
      }
      if (shared === i && this.length > 0) {
        if (token === this.tokens[i]) shared++;
        else if (token < this.tokens[i]) throw unsorted(this.row, i, this.tokens[i], token);
      }
      this.tokens[i] = token;
    }
    this.length = this.#width;
    this.shared = shared;
    return true;
  }
}

/** The error for a row that does not come after the one before; no `actual` token where it ends too early. */
export function unsorted(row: number, column: number, expected: number, actual?: number) {
  const how = actual === undefined
    ? `it is a prefix of row ${row - 1} and must stand before it`
    : `token ${actual} after ${expected} at position ${column}`;
  return new BuildInputError(
    "unsorted",
    `Cannot build from rows declared sorted: row ${row} comes before row ${
      row - 1
    } (${how}); sort them, or leave out "sorted"`,
    { row, column, expected, actual },
  );
}

/** The error for a value that is no token. */
export function badToken(
  row: number,
  column: number,
  actual: unknown,
  vocabSize: number,
): BuildInputError {
  const isLarge = Number.isInteger(actual) && (actual as number) >= vocabSize;
  const remedy = isLarge ? "mend the row or raise vocabSize" : "mend the row, or leave padding out";
  return new BuildInputError(
    "token-out-of-range",
    `Cannot build: token ${
      String(actual)
    } in row ${row}, position ${column}, is not an integer in [0, ${vocabSize}); ${remedy}`,
    {
      row,
      column,
      expected: vocabSize,
      actual,
      token: typeof actual === "number" ? actual : undefined,
    },
  );
}

const SEGMENT_WORDS = 2 ** 18;

/**
 * Sorted rows of any length, front-coded: for each how many tokens it shares with the one before, how many
 * follow, and those. About as large as the index that comes of it.
 */
export class FrontCodedRows implements RowCursor {
  count = 0;
  tokens = new Uint32Array(16);
  length = 0;
  shared = 0;
  row = -1;
  #segments: Uint32Array[] = [];
  /** Numbers of the rows, where they are not in the order of the input. */
  #numbers: Uint32Array[] = [];
  #tokenBits: number;
  #lengthBits: number;
  /** Bits written, bits read. */
  #end = 0;
  #at = 0;
  #next = 0;

  constructor(tokenBits: number, maxLength: number) {
    this.#tokenBits = tokenBits;
    this.#lengthBits = 32 - Math.clz32(maxLength);
  }

  /**
   * Appends a row that stands in `tokens[0, length)`; the caller says what it shares with the last.
   *
   * @param number of the row in the input, if it is to be kept; for all rows or for none.
   */
  push(shared: number, length: number, number?: number): void {
    if (number !== undefined) {
      const segment = this.#numbers[Math.floor(this.count / SEGMENT_WORDS)] ??= new Uint32Array(
        SEGMENT_WORDS,
      );
      segment[this.count % SEGMENT_WORDS] = number;
    }
    this.#write(shared, this.#lengthBits);
    this.#write(length - shared, this.#lengthBits);
    for (let i = shared; i < length; i++) this.#write(this.tokens[i], this.#tokenBits);
    this.length = length;
    this.count++;
  }

  /** Makes room for a row. */
  reserve(length: number): void {
    if (length <= this.tokens.length) return;
    const larger = new Uint32Array(2 * length);
    larger.set(this.tokens);
    this.tokens = larger;
  }

  rewind(): void {
    this.#at = 0;
    this.#next = 0;
    this.row = -1;
    this.length = 0;
  }

  next(): boolean {
    if (this.#next >= this.count) return false;
    const at = this.#next++;
    const numbers = this.#numbers[Math.floor(at / SEGMENT_WORDS)];
    this.row = numbers ? numbers[at % SEGMENT_WORDS] : at;
    this.shared = this.#read(this.#lengthBits);
    this.length = this.shared + this.#read(this.#lengthBits);
    for (let i = this.shared; i < this.length; i++) this.tokens[i] = this.#read(this.#tokenBits);
    return true;
  }

  #write(value: number, bits: number): void {
    const word = Math.floor(this.#end / 32);
    const shift = this.#end % 32;
    const segment = this.#segment(word);
    segment[word % SEGMENT_WORDS] |= value << shift;
    if (shift + bits > 32) {
      this.#segment(word + 1)[(word + 1) % SEGMENT_WORDS] = value >>> (32 - shift);
    }
    this.#end += bits;
  }

  #segment(word: number): Uint32Array {
    const i = Math.floor(word / SEGMENT_WORDS);
    return this.#segments[i] ??= new Uint32Array(SEGMENT_WORDS);
  }

  #read(bits: number): number {
    const word = Math.floor(this.#at / 32);
    const shift = this.#at % 32;
    let value = this.#segment(word)[word % SEGMENT_WORDS] >>> shift;
    if (shift + bits > 32) {
      value |= this.#segment(word + 1)[(word + 1) % SEGMENT_WORDS] << (32 - shift);
    }
    this.#at += bits;
    return value & (2 ** bits - 1);
  }
}
