/** Item ids and filters that are columns of the table itself, collected as its rows are read. */
import { BuildInputError } from "../../errors.ts";
import type { FilterValues, ItemIds } from "../../build/mod.ts";
import { badCell, type CellPlace } from "./row_errors.ts";

/** Takes ids and filters of rows as they come. */
export class ValueColumns {
  #items: ItemColumn | undefined;
  #filters: Map<string, FilterColumn>;

  constructor(hasItems: boolean, filters: Iterable<string>) {
    this.#items = hasItems ? new ItemColumn() : undefined;
    this.#filters = new Map(Array.from(filters, (name) => [name, new FilterColumn()]));
  }

  addItem(value: unknown, place: CellPlace): void {
    this.#items?.push(value, place);
  }

  addFlag(filter: string, value: unknown, place: CellPlace): void {
    this.#filters.get(filter)?.push(value, place);
  }

  /** Bytes held. */
  get byteLength(): number {
    let sum = this.#items?.byteLength ?? 0;
    for (const filter of this.#filters.values()) sum += filter.byteLength;
    return sum;
  }

  /** All ids, if they were asked for. */
  items(): ItemIds | undefined {
    return this.#items?.values();
  }

  /** All filters, by name. */
  filters(): [name: string, values: FilterValues][] {
    return Array.from(this.#filters, ([name, column]) => [name, column.values()]);
  }
}

/** Integers of 64 bits, or strings. Text of which every value is an integer, as in CSV, becomes integers. */
class ItemColumn {
  #integers = new BigInt64Array(2 ** 12);
  #strings: string[] | undefined;
  #count = 0;
  #hasNegative = false;
  #hasLarge = false;
  /** Whether ids came as numbers: others may not follow as text. */
  #areNumbers = false;

  get byteLength(): number {
    return this.#integers.byteLength + 40 * (this.#strings?.length ?? 0);
  }

  push(value: unknown, place: CellPlace): void {
    const isText = typeof value === "string";
    const id = isText ? integerOf(value) : value;
    const isInteger = typeof id === "bigint" ? isWord(id) : Number.isSafeInteger(id);
    if (isInteger && !this.#strings) {
      this.#pushInteger(BigInt(id as number | bigint));
      this.#areNumbers ||= !isText;
      return;
    }
    // An empty cell of CSV would make strings of all integers.
    if (!isText || value === "" || this.#areNumbers) {
      const expected = this.#strings
        ? "a string, like those before"
        : this.#areNumbers
        ? "an integer of 64 bits, like those before"
        : "a string or an integer of 64 bits";
      const large = typeof id === "number" && Number.isInteger(id) ? " (quote large integers)" : "";
      throw badCell("bad-item", value, expected + large, place);
    }
    this.#strings ??= Array.from(this.#integers.subarray(0, this.#count), String);
    this.#strings.push(value);
  }

  #pushInteger(id: bigint): void {
    if (this.#count === this.#integers.length) {
      const larger = new BigInt64Array(2 * this.#count);
      larger.set(this.#integers);
      this.#integers = larger;
    }
    this.#hasNegative ||= id < 0n;
    this.#hasLarge ||= id >= 2n ** 63n;
    this.#integers[this.#count++] = BigInt.asIntN(64, id);
  }

  values(): ItemIds {
    if (this.#strings) return this.#strings;
    const integers = this.#integers.subarray(0, this.#count);
    if (!this.#hasLarge) return integers;
    if (!this.#hasNegative) return new BigUint64Array(integers.buffer, 0, this.#count);
    throw new BuildInputError(
      "bad-item",
      "Cannot build: some item ids are negative and some are 2^63 or more, expected integers of 64 bits; make them strings",
      { expected: "integers of 64 bits" },
    );
  }
}

/** An integer as it is usually written: what reads "007" is no number. */
function integerOf(text: string): string | bigint {
  if (text.length > 20 || !/^(?:0|-?[1-9]\d*)$/.test(text)) return text;
  const id = BigInt(text);
  return isWord(id) ? id : text;
}

function isWord(id: bigint): boolean {
  return id >= -(2n ** 63n) && id < 2n ** 64n;
}

const FLAGS = new Map<unknown, number>([
  [true, 1],
  [false, 0],
  [1, 1],
  [0, 0],
  [1n, 1],
  [0n, 0],
  ["1", 1],
  ["0", 0],
  ["true", 1],
  ["false", 0],
]);

class FilterColumn {
  #flags = new Uint8Array(2 ** 12);
  #count = 0;

  get byteLength(): number {
    return this.#flags.byteLength;
  }

  push(value: unknown, place: CellPlace): void {
    const flag = FLAGS.get(typeof value === "string" ? value.trim().toLowerCase() : value);
    if (flag === undefined) {
      // A count, as of a stock.
      const advice = Number.isFinite(Number(value ?? NaN)) && value !== ""
        ? `make a column of 0 and 1 of it first, as df["${place.column}"].gt(0) of pandas does`
        : undefined;
      throw badCell("bad-filter-value", value, "0, 1, true or false", place, undefined, advice);
    }
    if (this.#count === this.#flags.length) {
      const larger = new Uint8Array(2 * this.#count);
      larger.set(this.#flags);
      this.#flags = larger;
    }
    this.#flags[this.#count++] = flag;
  }

  values(): FilterValues {
    return this.#flags.subarray(0, this.#count);
  }
}
