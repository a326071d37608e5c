/** Item ids as the builder is given them: compared, and appended to their sections. */
import { BuildInputError, typeError } from "../errors.ts";
import { putBits } from "../index/bits/bit_vector.ts";
import { EliasFanoWriter } from "../index/bits/elias_fano.ts";
import {
  endsShape,
  idBits,
  type IntegerItems,
  isIdRange,
  type ItemsShape,
  type StringItems,
} from "../index/format/item_shape.ts";
import type { Progress } from "./progress.ts";
import { type Sections, sectionView, writeSamples } from "../index/section_views.ts";

/** One id per input row: integers of 64 bits, signed or unsigned, or strings. */
export type ItemIds =
  | BigInt64Array
  | BigUint64Array
  | ArrayLike<number | bigint>
  | readonly string[];

/** Appends ids to their sections. */
export interface IdWriter {
  push(row: number): void;
  finish(): void;
}

/** Ids of one type, by input row. */
export interface IdSource {
  readonly length: number;
  /** Below 0 where the id of a row stands before that of the other: integers as numbers, strings by UTF-8; 0 if equal. */
  compare(row: number, other: number): number;
  /** What the header is to say of these rows. */
  shape(rows: Uint32Array): ItemsShape;
  writer(shape: ItemsShape, sections: Sections): IdWriter;
}

/**
 * Reads all ids once.
 *
 * @throws {BuildInputError} naming the row of an id that is none, or of another type than the first.
 */
export async function readIds(ids: ItemIds, progress: Progress): Promise<IdSource> {
  const source = typeof ids[0] === "string"
    ? new StringIds(ids as ArrayLike<unknown>)
    : new IntegerIds(ids as ArrayLike<unknown>);
  await progress.over("read ids", ids.length, (from, to) => source.read(from, to));
  return source;
}

/** @throws {TypeError} if this cannot hold one id per row. */
export function checkItems(items: ItemIds | undefined): void {
  if (items === undefined) return;
  if (typeof items !== "object" || !Number.isInteger(items?.length)) {
    throw typeError("Cannot build: items is no array, expected one id per input row", {
      actual: items,
    });
  }
}

function badItem(row: number, id: unknown, expected: string): BuildInputError {
  const text = typeof id === "string" ? JSON.stringify(id) : String(id);
  const shown = text.length > 60 ? `${text.slice(0, 59)}…` : text;
  return new BuildInputError(
    "bad-item",
    `Cannot build: item id ${shown} in row ${row}, expected ${expected}; mend the row`,
    { row, expected, actual: typeof id === "bigint" ? String(id) : id },
  );
}

class IntegerIds implements IdSource {
  readonly length: number;
  #ids: ArrayLike<unknown>;
  /** Low and high half of each id modulo 2^64. */
  #halves: Uint32Array;
  #min: bigint | number = Infinity;
  #max: bigint | number = -Infinity;
  /** Halves of the smallest modulo 2^64. */
  #minLow = 0;
  #minHigh = 0;

  constructor(ids: ArrayLike<unknown>) {
    this.length = ids.length;
    this.#ids = ids;
    this.#halves = isBigArray(ids)
      ? new Uint32Array(ids.buffer, ids.byteOffset, 2 * ids.length)
      : new Uint32Array(2 * ids.length);
  }

  read(from: number, to: number): void {
    const ids = this.#ids;
    const isConverted = !isBigArray(ids);
    for (let row = from; row < to; row++) {
      const id = ids[row];
      if (typeof id !== "number" && typeof id !== "bigint") {
        throw badItem(row, id, row === 0 ? "an integer or a string" : "an integer, like the first");
      }
      if (typeof id === "number" && !Number.isSafeInteger(id)) {
        throw badItem(row, id, "a safe integer; larger ones as bigint");
      }
      if (id < this.#min || id > this.#max) this.#extend(row, id);
      if (!isConverted) continue;
      const low = typeof id === "number" ? id : Number(BigInt.asUintN(32, id));
      const high = typeof id === "number" ? Math.floor(id / 2 ** 32) : Number(id >> 32n);
      this.#halves[2 * row] = low;
      this.#halves[2 * row + 1] = high;
    }
  }

  #extend(row: number, id: number | bigint): void {
    if (id < this.#min) this.#min = id;
    if (id > this.#max) this.#max = id;
    const [min, max] = [BigInt(this.#min), BigInt(this.#max)];
    this.#minLow = Number(BigInt.asUintN(32, min));
    this.#minHigh = Number(BigInt.asUintN(32, min >> 32n));
    if (isIdRange(min, max)) return;
    const expected = "64-bit integers, the largest less than 2^64 above the smallest";
    throw badItem(row, id, expected);
  }

  compare(row: number, other: number): number {
    const high = this.#high(row) - this.#high(other);
    return high || this.#low(row) - this.#low(other);
  }

  /** Low half of an id relative to the smallest. */
  #low(row: number): number {
    return (this.#halves[2 * row] - this.#minLow) >>> 0;
  }

  #high(row: number): number {
    const borrow = this.#halves[2 * row] < this.#minLow ? 1 : 0;
    return (this.#halves[2 * row + 1] - this.#minHigh - borrow) >>> 0;
  }

  shape({ length }: Uint32Array): IntegerItems {
    return { type: "integer", count: length, min: String(this.#min), max: String(this.#max) };
  }

  writer(shape: IntegerItems, sections: Sections): IdWriter {
    const words = sectionView(sections, "items.ids");
    const bits = idBits(shape);
    const [lowBits, highBits] = [Math.min(32, bits), Math.max(0, bits - 32)];
    let at = 0;
    return {
      push: (row) => {
        putBits(words, at, lowBits, this.#low(row));
        putBits(words, at + 32, highBits, this.#high(row));
        at += bits;
      },
      finish() {},
    };
  }
}

function isBigArray(ids: ArrayLike<unknown>): ids is BigInt64Array | BigUint64Array {
  return ids instanceof BigInt64Array || ids instanceof BigUint64Array;
}

/** Characters that are encoded at once. */
const BATCH = 2 ** 11;

class StringIds implements IdSource {
  readonly length: number;
  #ids: ArrayLike<string>;
  /** Bytes of each as UTF-8. */
  #sizes: Uint32Array;

  constructor(ids: ArrayLike<unknown>) {
    this.length = ids.length;
    this.#ids = ids as ArrayLike<string>;
    this.#sizes = new Uint32Array(ids.length);
  }

  read(from: number, to: number): void {
    for (let row = from; row < to; row++) {
      const id: unknown = this.#ids[row];
      if (typeof id !== "string") throw badItem(row, id, "a string, like the first");
      if (!id.isWellFormed()) throw badItem(row, id, "a string without lone surrogates");
      this.#sizes[row] = utf8Length(id);
    }
  }

  compare(row: number, other: number): number {
    const [a, b] = [this.#ids[row], this.#ids[other]];
    if (a === b) return 0;
    const end = Math.min(a.length, b.length);
    for (let i = 0; i < end; i++) {
      const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
      if (x !== y) return place(x) - place(y);
    }
    return a.length - b.length;
  }

  shape(rows: Uint32Array): StringItems {
    const byteLength = rows.reduce((sum, row) => sum + this.#sizes[row], 0);
    return { type: "string", count: rows.length, byteLength };
  }

  writer(shape: StringItems, sections: Sections): IdWriter {
    const ids = this.#ids;
    const sizes = this.#sizes;
    const { buffer, byteOffset } = sectionView(sections, "items.text");
    const text = new Uint8Array(buffer, byteOffset, shape.byteLength);
    const ends = new EliasFanoWriter(
      endsShape(shape),
      sectionView(sections, "items.ends.low"),
      sectionView(sections, "items.ends.high"),
    );
    const encoder = new TextEncoder();
    let batch = "";
    let written = 0;
    let end = 0;
    const flush = () => {
      written += encoder.encodeInto(batch, text.subarray(written)).written;
      batch = "";
    };
    return {
      push(row) {
        batch += ids[row];
        ends.push(end += sizes[row]);
        if (batch.length >= BATCH) flush();
      },
      finish() {
        flush();
        writeSamples(sections, "items.ends.high", endsShape(shape).highBits);
      },
    };
  }
}

/** Bytes of a well-formed string as UTF-8. */
function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    // Each half of a surrogate pair takes two bytes.
    if (unit >= 0x80) bytes += unit < 0x800 || (unit & 0xf800) === 0xd800 ? 1 : 2;
  }
  return bytes;
}

/** Puts halves of surrogate pairs behind all other characters, where UTF-8 has them. */
function place(unit: number): number {
  return (unit & 0xf800) === 0xd800 ? unit + 0x10000 : unit;
}
