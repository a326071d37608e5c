/** Sets of sequences as bits, for the commands that count and compare what named filters allow. */
import { type ConstraintIndex, storageOf } from "../index/constraint_index.ts";
import { namedFilterBits } from "../index/named_filters.ts";

/** A bit for each ordinal, in words. */
export type OrdinalBits = Uint32Array<ArrayBuffer>;

/**
 * What all of some named filters allow.
 *
 * @throws {EspalierError} with code `"unknown-filter"`.
 */
export function allowedByAll(index: ConstraintIndex, names: readonly string[]): OrdinalBits {
  const words = new Uint32Array(Math.ceil(index.size / 32)).fill(0xffffffff);
  const bytes = new Uint8Array(words.buffer);
  for (const name of names) {
    namedFilterBits(storageOf(index), name).forEach((byte, i) => bytes[i] &= byte);
  }
  return words;
}

/** Whether the bit of an ordinal is set. */
export function hasBit(bits: OrdinalBits, ordinal: number): boolean {
  return (bits[ordinal >>> 5] >>> (ordinal & 31) & 1) === 1;
}
