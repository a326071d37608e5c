/** Sets of sequences as bits, for the commands that count and compare what named filters allow. */
import { type ConstraintIndex, loadedIndexOf } from "./constraint_index.ts";
import { evaluate, type FilterExpression } from "./filter_expression.ts";
import { namedFilterBits } from "./named_filters.ts";

/** A bit for each ordinal, in words. */
export type OrdinalBits = Uint32Array<ArrayBuffer>;

/**
 * What a filter expression allows.
 *
 * @throws {EspalierError} with code `"unknown-filter"`.
 */
export function allowedBy(index: ConstraintIndex, expression: FilterExpression): OrdinalBits {
  const words = new Uint32Array(Math.ceil(index.size / 32));
  const bits = evaluate(expression, (name) => namedFilterBits(loadedIndexOf(index), name));
  new Uint8Array(words.buffer).set(bits);
  return words;
}

/** Whether the bit of an ordinal is set. */
export function hasBit(bits: OrdinalBits, ordinal: number): boolean {
  return (bits[ordinal >>> 5] >>> (ordinal & 31) & 1) === 1;
}
