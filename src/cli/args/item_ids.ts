/** Item ids as arguments: text, which is an integer where the ids of the index are. */
import { type ConstraintIndex, loadedIndexOf } from "../../index/constraint_index.ts";
import { UsageError } from "../errors.ts";

/**
 * Ids as the index has them.
 *
 * @param flag that gives them, for messages.
 * @throws {UsageError} for what is no integer where its ids are integers, and where it has no ids.
 * @throws {EspalierError} with code `"no-item-lookup"` where ids do not lead back.
 */
export function itemIds(
  index: ConstraintIndex,
  flag: string,
  texts: readonly string[],
): (bigint | string)[] {
  if (!index.items) throw new UsageError(`Expected an index with item ids for ${flag}, found none`);
  const ids = texts.map((text) => {
    if (index.items!.type === "string") return text;
    if (/^-?\d{1,1000}$/.test(text)) return BigInt(text);
    throw new UsageError(
      `Expected ${flag} as an integer, as the ids of the index are, found "${text}"`,
    );
  });
  // Ids that are unknown are no error: an index that cannot look is.
  if (loadedIndexOf(index).shape.items?.lookup === undefined) index.ordinalsOfItem(ids[0]);
  return ids;
}
