/** Filters of requests: named filters of the index combined, compiled once and kept for a while. */
import { type ConstraintIndex, loadedIndexOf } from "../index/constraint_index.ts";
import { type FilterExpression, forEachName } from "../index/filter_expression.ts";
import { filterBitsOf, type ItemFilter } from "../index/item_filter.ts";
import { Refusal } from "./error_response.ts";

/** Compiled filters of one index, the latest last. */
export class FilterCache implements Disposable {
  readonly #index: ConstraintIndex;
  readonly #room: number;
  readonly #filters = new Map<string, ItemFilter>();

  /** @param room bytes that {@linkcode trim} leaves. */
  constructor(index: ConstraintIndex, room: number) {
    this.#index = index;
    this.#room = room;
  }

  /**
   * The compiled filter, which stays the cache's, until it is trimmed. A search that has begun with it may end with it.
   * Costs what `index.filter` costs, and a pass over a bit per sequence for each name, where it is not at hand.
   *
   * @param field where the expression stands in the request.
   * @throws {Refusal} 422 for a name that the index does not have.
   */
  get(expression: FilterExpression, field: string): ItemFilter {
    const key = JSON.stringify(expression);
    let filter = this.#filters.get(key);
    if (filter) this.#filters.delete(key); // it is the latest now
    else {
      checkNames(expression, this.#index.filterNames, field);
      filter = this.#index.filter(expression);
    }
    this.#filters.set(key, filter);
    return filter;
  }

  /** Gives back the oldest, until the rest fit the room. */
  trim(): void {
    const loaded = loadedIndexOf(this.#index);
    let left = this.#room;
    for (const [key, filter] of [...this.#filters].reverse()) {
      left -= filterBitsOf(filter, loaded).heldBytes;
      if (left >= 0) continue;
      this.#filters.delete(key);
      filter[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    for (const filter of this.#filters.values()) filter[Symbol.dispose]();
    this.#filters.clear();
  }
}

/** @throws {Refusal} 422 for a name that the index does not have. */
function checkNames(
  expression: FilterExpression,
  names: readonly string[],
  field: string,
): void {
  forEachName(expression, (name, path) => {
    if (names.includes(name)) return;
    throw new Refusal(422, "unknown-filter", "The index has no filter of this name", {
      field: field + path,
      expected: names,
      actual: name,
    });
  });
}
