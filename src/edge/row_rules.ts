/** What the rows of a request may come to: filters and exclusions, of the request and their own. */
import { loadedIndexOf } from "../index/constraint_index.ts";
import { type FilterExpression, termsOf } from "../index/filter_expression.ts";
import { filterBitsOf, type ItemFilter } from "../index/item_filter.ts";
import { Refusal } from "./error_response.ts";
import type { Limits } from "./options.ts";
import type { Row, Rules } from "./schemas.ts";
import type { Lease } from "./served_index.ts";

/** A list, and where it stands in the request. */
interface Listed<T> {
  readonly list: readonly T[];
  readonly field: string;
}

/** A row of a request, with what the request says of all rows. */
export interface RuledRow {
  readonly tokens: number[];
  readonly filter: FilterExpression | undefined;
  /** Where the filter stands. */
  readonly field: string;
  readonly exclude: readonly Listed<number>[];
  readonly excludeItems: readonly Listed<string>[];
  readonly onlyItems: Listed<string> | undefined;
}

/**
 * Rows of a request, all written the same way.
 *
 * @param name of their field.
 * @throws {Refusal} 400 where ordinals come without the digest of their index; 422 where there are too many.
 */
export function rowsOf(
  name: string,
  rows: Row[],
  common: Rules & { index?: string },
  { filterTerms, exclusions }: Limits,
): RuledRow[] {
  const own = rows.map((row): { tokens: number[] } & Rules =>
    Array.isArray(row) ? { tokens: row } : row
  );
  const all = [common, ...own];
  const terms = all.reduce(
    (sum, { filter }) => sum + (filter === undefined ? 0 : termsOf(filter)),
    0,
  );
  if (terms > filterTerms) {
    throw new Refusal(422, "too-many-filter-terms", `All filters together have ${terms} names`, {
      field: "",
      expected: filterTerms,
      actual: terms,
    });
  }
  if (common.index === undefined && all.some(({ exclude }) => exclude?.length)) {
    throw new Refusal(
      400,
      "index-missing",
      "Ordinals are those of one index: the field index must say which, by its digest",
      { field: "/index" },
    );
  }
  return own.map((row, i) => {
    const at = `/${name}/${i}`;
    const listed = <T>(key: keyof Rules) => {
      const lists: Listed<T>[] = [];
      if (common[key]) lists.push({ list: common[key] as T[], field: `/${key}` });
      if (row[key]) lists.push({ list: row[key] as T[], field: `${at}/${key}` });
      return lists;
    };
    const [exclude, excludeItems] = [listed<number>("exclude"), listed<string>("excludeItems")];
    for (const lists of [exclude, excludeItems]) {
      const count = lists.reduce((sum, { list }) => sum + list.length, 0);
      if (count <= exclusions) continue;
      throw new Refusal(
        422,
        "too-many-exclusions",
        `A row excludes ${count}, its own and those of all`,
        {
          field: lists.at(-1)!.field,
          expected: exclusions,
          actual: count,
        },
      );
    }
    return {
      tokens: row.tokens,
      filter: row.filter ?? common.filter,
      field: row.filter === undefined ? "/filter" : `${at}/filter`,
      exclude,
      excludeItems,
      onlyItems: listed<string>("onlyItems").at(-1),
    };
  });
}

/** @throws {Refusal} 412 where a request is about another index than the one that is served. */
export function checkDigest(asked: string | undefined, { index }: Lease): void {
  if (asked === undefined || asked === index.digest) return;
  throw new Refusal(
    412,
    "index-changed",
    "Another index than that of the request is served now",
    {
      field: "/index",
      expected: index.digest,
      actual: asked,
    },
  );
}

/** No index has it: it takes more than 64 bits. */
const NO_ITEM = 2n ** 65n;

/** Compiles the rules of rows on one index. Disposing of it gives back what the request alone needed. */
export class RequestRules implements Disposable {
  readonly #lease: Lease;
  readonly #checkTime: () => void;
  /** Bytes that the filters of a request may take together. */
  readonly #most: number;
  /** Compiled allow lists, by the filter that they are combined with. */
  readonly #lists = new Map<readonly string[], Map<string | undefined, ItemFilter>>();
  readonly #made: ItemFilter[] = [];
  readonly #counted = new Set<ItemFilter>();
  #bytes = 0;

  constructor(lease: Lease, { requestFilterBytes }: Limits, checkTime: () => void) {
    this.#lease = lease;
    this.#most = requestFilterBytes;
    this.#checkTime = checkTime;
  }

  /** @throws {Refusal} 422 where the index does not have what they name. */
  of(row: RuledRow): {
    filter: ItemFilter | undefined;
    exclude: number[] | undefined;
    excludeItems: (bigint | string)[] | undefined;
  } {
    this.#checkTime();
    const { exclude, excludeItems } = row;
    const all = <T, R>(lists: readonly Listed<T>[], read: (listed: Listed<T>) => readonly R[]) =>
      lists.length > 0 ? lists.flatMap(read) : undefined;
    return {
      filter: this.#filterOf(row),
      exclude: all(exclude, (listed) => this.#ordinalsOf(listed)),
      excludeItems: all(excludeItems, (listed) => this.#idsOf(listed)),
    };
  }

  /** As {@linkcode of}, for rows that are searched together: their filters are all there at once. */
  ofAll(rows: readonly RuledRow[]) {
    const rules = rows.map((row) => {
      const rule = this.of(row);
      if (rule.filter) this.#count(rule.filter, row.field);
      return rule;
    });
    return {
      filter: rules.map(({ filter }) => filter),
      exclude: rules.map(({ exclude }) => exclude),
      excludeItems: rules.map(({ excludeItems }) => excludeItems),
    };
  }

  /** @throws {Refusal} 422 if filters take too much. */
  #count(filter: ItemFilter, field: string): void {
    if (this.#counted.has(filter)) return;
    this.#counted.add(filter);
    this.#bytes += filterBitsOf(filter, loadedIndexOf(this.#lease.index)).heldBytes;
    if (this.#bytes <= this.#most) return;
    throw new Refusal(
      422,
      "filters-too-large",
      "The filters of the request take too much memory together; ask for fewer at a time",
      { field, expected: this.#most, actual: this.#bytes },
    );
  }

  #filterOf({ filter, field, onlyItems }: RuledRow): ItemFilter | undefined {
    const { index, filters } = this.#lease;
    const named = filter === undefined ? undefined : filters.get(filter, field);
    if (!onlyItems) return named;
    const { list } = onlyItems;
    const combined = this.#lists.get(list) ?? new Map<string | undefined, ItemFilter>();
    this.#lists.set(list, combined);
    const make = (key: string | undefined, compile: () => ItemFilter): ItemFilter => {
      let made = combined.get(key);
      if (made) return made;
      made = compile();
      this.#made.push(made);
      combined.set(key, made);
      this.#count(made, onlyItems.field);
      return made;
    };
    const listed = make(undefined, () => index.filter({ items: this.#idsOf(onlyItems) }));
    return named ? make(JSON.stringify(filter), () => named.and(listed)) : listed;
  }

  #ordinalsOf({ list, field }: Listed<number>): readonly number[] {
    const { size } = this.#lease.index;
    const wrong = list.findIndex((ordinal) => ordinal >= size);
    if (wrong < 0) return list;
    throw new Refusal(422, "no-such-ordinal", `The index has ordinals below ${size}`, {
      field: `${field}/${wrong}`,
      expected: size - 1,
      actual: list[wrong],
    });
  }

  /** Ids as the index has them. Integers of more digits than 64 bits hold are of no item. */
  #idsOf({ list, field }: Listed<string>): (bigint | string)[] {
    const { items } = loadedIndexOf(this.#lease.index).shape;
    if (!items?.lookup) {
      const code = items ? "no-item-lookup" : "no-items";
      const message = items
        ? "The items of the index cannot be found by their ids"
        : "The index has no item ids";
      throw new Refusal(422, code, message, { field });
    }
    if (items.type === "string") return list as string[];
    return list.map((id, i) => {
      if (/^-?\d+$/.test(id)) return id.length > 21 ? NO_ITEM : BigInt(id);
      throw new Refusal(422, "wrong-item-id", "The ids of the index are integers of 64 bits", {
        field: `${field}/${i}`,
        expected: "an integer, as a string",
        actual: id,
      });
    });
  }

  [Symbol.dispose](): void {
    for (const filter of this.#made.splice(0)) filter[Symbol.dispose]();
  }
}
