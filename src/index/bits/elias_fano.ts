/**
 * Elias–Fano code: an ascending list of n numbers below u in about n · (2 + log2(u / n)) bits, each of which can
 * be read alone. The low bits of each number are packed; of the high ones a bit vector holds, in unary, by how much
 * each exceeds that of the number before.
 *
 * Source: P. Elias, Efficient Storage and Retrieval by Content and Address of Static Files, JACM 21 (1974).
 */
import {
  type BitVector,
  forEachOne,
  getBits,
  isZeroFrom,
  putBits,
  selectOne,
} from "./bit_vector.ts";
import { bitVectorSections, packedSections, type SectionSize } from "./sections.ts";

/** Sizes of a list, which follow from how many numbers there are and what bounds them. */
export interface EliasFanoShape {
  /** Numbers in the list. */
  count: number;
  /** Bits of each that are packed. */
  lowBits: number;
  /** Bits of the bit vector. */
  highBits: number;
}

/** Shape of a list of `count` numbers in [0, universe). */
export function eliasFanoShape(count: number, universe: number): EliasFanoShape {
  if (count <= 0) return { count, lowBits: 0, highBits: 0 };
  let lowBits = 0;
  while (universe >= count * 2 ** (lowBits + 1)) lowBits++;
  return { count, lowBits, highBits: count + Math.floor((universe - 1) / 2 ** lowBits) + 1 };
}

/**
 * Sections of a list, `name.low` and `name.high`.
 *
 * @param isSampled whether single numbers are to be read; all in their order need no samples.
 */
export function eliasFanoSections(
  name: string,
  { count, lowBits, highBits }: EliasFanoShape,
  isSampled: boolean,
): SectionSize[] {
  if (count === 0) return [];
  const high = bitVectorSections(`${name}.high`, highBits, count);
  return [
    ...packedSections(`${name}.low`, count, lowBits),
    ...(isSampled ? high : high.slice(0, 1)),
  ];
}

/** Appends the numbers of a list, ascending, to sections that are zero. */
export class EliasFanoWriter {
  #shape: EliasFanoShape;
  #low: Uint32Array;
  #high: Uint32Array;
  #next = 0;

  constructor(shape: EliasFanoShape, low: Uint32Array, high: Uint32Array) {
    this.#shape = shape;
    this.#low = low;
    this.#high = high;
  }

  push(value: number): void {
    const { lowBits } = this.#shape;
    const high = Math.floor(value / 2 ** lowBits);
    const at = high + this.#next;
    this.#high[at >>> 5] |= 1 << (at & 31);
    putBits(this.#low, this.#next * lowBits, lowBits, value - high * 2 ** lowBits);
    this.#next++;
  }
}

/** The sections of a list. */
export interface EliasFano {
  shape: EliasFanoShape;
  low: Uint32Array;
  high: Uint32Array;
}

/** Number i of a list with samples. Where they are damaged it may be any integer. */
export function eliasFanoAt(
  { shape: { lowBits }, low }: Pick<EliasFano, "shape" | "low">,
  high: BitVector,
  i: number,
): number {
  return (selectOne(high, i) - i) * 2 ** lowBits + getBits(low, i * lowBits, lowBits);
}

/** Visits all numbers of a list in their order; where the words are damaged some number of some integers. */
export function forEachValue(
  { shape: { lowBits }, low, high }: EliasFano,
  visit: (value: number) => void,
): void {
  forEachOne(high, (position, i) => {
    visit((position - i) * 2 ** lowBits + getBits(low, i * lowBits, lowBits));
  });
}

/** Whether there are as many numbers as there should be, ascending, below `universe`, and nothing else. */
export function isSoundEliasFano(
  list: EliasFano,
  universe: number,
  isStrict: boolean,
): boolean {
  const { shape: { count, lowBits, highBits }, low, high } = list;
  let isAscending = true;
  let least = 0;
  let found = 0;
  forEachValue(list, (value) => {
    isAscending &&= value >= least && value < universe;
    least = isStrict ? value + 1 : value;
    found++;
  });
  return isAscending && found === count && isZeroFrom(high, highBits) &&
    isZeroFrom(low, count * lowBits);
}
