/** Filters of requests: named filters of the index combined, compiled once and kept for a while. */
import { type ConstraintIndex, storageOf } from "../index/constraint_index.ts";
import { filterBitsOf, type ItemFilter } from "../index/filter.ts";
import { namedFilterBits } from "../index/named_filters.ts";
import { Refusal } from "./problem.ts";

/**
 * A filter in a request: the name of one that is stored in the index, or several combined.
 *
 * @example
 * ```ts
 * import type { FilterExpression } from "@espalier/espalier/edge";
 *
 * const shown: FilterExpression = { all: ["fresh", { not: "adult" }, { any: ["de", "fr"] }] };
 * ```
 */
export type FilterExpression =
  | string
  | { all: FilterExpression[] }
  | { any: FilterExpression[] }
  | { not: FilterExpression };

/** Names in an expression. */
export function termsOf(expression: FilterExpression): number {
  if (typeof expression === "string") return 1;
  if ("not" in expression) return termsOf(expression.not);
  const parts = "all" in expression ? expression.all : expression.any;
  return parts.reduce((sum, part) => sum + termsOf(part), 0);
}

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
    else filter = this.#index.filter({ bits: this.#bits(expression, field) });
    this.#filters.set(key, filter);
    return filter;
  }

  /**
   * Compiled filters of the rows of one request.
   *
   * @param most bytes that they may take together.
   * @throws {Refusal} 422 if they take more, and for names that the index does not have.
   */
  forRows(
    rows: readonly { filter?: FilterExpression; field: string }[],
    most: number,
    checkTime: () => void,
  ): (ItemFilter | undefined)[] {
    const storage = storageOf(this.#index);
    const distinct = new Set<ItemFilter>();
    let bytes = 0;
    return rows.map(({ filter, field }) => {
      if (filter === undefined) return undefined;
      checkTime();
      const compiled = this.get(filter, field);
      if (!distinct.has(compiled)) bytes += filterBitsOf(compiled, storage).byteLength;
      distinct.add(compiled);
      if (bytes <= most) return compiled;
      throw new Refusal(
        422,
        "filters-too-large",
        "The filters of the request take too much memory together; ask for fewer at a time",
        { field, expected: most, actual: bytes },
      );
    });
  }

  /** Gives back the oldest, until the rest fit the room. */
  trim(): void {
    const storage = storageOf(this.#index);
    let left = this.#room;
    for (const [key, filter] of [...this.#filters].reverse()) {
      left -= filterBitsOf(filter, storage).byteLength;
      if (left >= 0) continue;
      this.#filters.delete(key);
      filter[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    for (const filter of this.#filters.values()) filter[Symbol.dispose]();
    this.#filters.clear();
  }

  /** A bit per sequence: combined like this, whatever is asked for is compiled once. */
  #bits(expression: FilterExpression, field: string): Uint8Array<ArrayBuffer> {
    if (typeof expression === "string") {
      const { filterNames } = this.#index;
      if (filterNames.includes(expression)) {
        return namedFilterBits(storageOf(this.#index), expression);
      }
      throw new Refusal(422, "unknown-filter", "The index has no filter of this name", {
        field,
        expected: filterNames,
        actual: expression,
      });
    }
    if ("not" in expression) {
      const bits = this.#bits(expression.not, `${field}/not`);
      for (let i = 0; i < bits.length; i++) bits[i] = ~bits[i];
      return bits;
    }
    const isAll = "all" in expression;
    const parts = isAll ? expression.all : expression.any;
    const at = (i: number) => `${field}/${isAll ? "all" : "any"}/${i}`;
    const bits = this.#bits(parts[0], at(0));
    for (let part = 1; part < parts.length; part++) {
      const other = this.#bits(parts[part], at(part));
      if (isAll) { for (let i = 0; i < bits.length; i++) bits[i] &= other[i]; }
      else for (let i = 0; i < bits.length; i++) bits[i] |= other[i];
    }
    return bits;
  }
}
