/** What filter expressions allow, for the commands that count and compare it. */
import { type ConstraintIndex, loadedIndexOf } from "./constraint_index.ts";
import type { SharedBits } from "./entry_set.ts";
import { evaluate, type FilterExpression } from "./filter_expression.ts";
import { itemsAt } from "./item_lookup.ts";
import { namedFilterSet } from "./named_filters.ts";

/** Allowed sequences, and which of their items. */
export interface Allowed {
  /** A bit for each ordinal. */
  readonly words: Uint32Array<ArrayBuffer>;
  /** A bit for each shared entry; undefined if all items of the allowed sequences are allowed. */
  readonly shared: SharedBits | undefined;
}

/**
 * What a filter expression allows.
 *
 * @throws {EspalierError} with code `"unknown-filter"`.
 */
export function allowedBy(index: ConstraintIndex, expression: FilterExpression): Allowed {
  const loaded = loadedIndexOf(index);
  const { ordinals, shared } = evaluate(expression, (name) => namedFilterSet(loaded, name));
  const words = new Uint32Array(Math.ceil(index.size / 32));
  new Uint8Array(words.buffer).set(ordinals);
  return { words, shared };
}

/** Whether a sequence is allowed. */
export function isAllowed({ words }: Allowed, ordinal: number): boolean {
  return (words[ordinal >>> 5] >>> (ordinal & 31) & 1) === 1;
}

/** The allowed items of a sequence: none if it is not allowed; undefined in an index without items. */
export function allowedItems(
  index: ConstraintIndex,
  allowed: Allowed | undefined,
  ordinal: number,
): (bigint | string)[] | undefined {
  if (!index.items) return undefined;
  if (!allowed) return itemsAt(loadedIndexOf(index), ordinal);
  if (!isAllowed(allowed, ordinal)) return [];
  return itemsAt(loadedIndexOf(index), ordinal, Infinity, allowed.shared);
}
