/** JSON of values that nobody has checked: facts of errors, and rows of a user's file. */

/** Levels of arrays and objects that are shown. */
const MAX_DEPTH = 16;
/** Values that are shown in all. */
const MAX_VALUES = 10_000;
/** Stands for what is left out. */
const LEFT_OUT = "…";

// Not in TypeScript's library yet.
const { rawJSON } = JSON as JSON & { rawJSON(text: string): unknown };

/** An integer of any size as JSON, with all its digits. */
export function rawInteger(value: bigint): unknown {
  return rawJSON(String(value));
}

/**
 * Any value as JSON on one line; never throws. Values that JSON does not have become strings or null. Values that are
 * nested too deeply, that hold themselves or that are too many become "…".
 *
 * @param integers how to write a bigint: as a number with all its digits, or as a string.
 */
export function safeJson(value: unknown, integers: "numbers" | "strings" = "numbers"): string {
  return JSON.stringify(new Copier(integers).copy(value, 0)) ?? "null";
}

/** The fields of an object of its own, as `{ ...value }`; never throws. */
export function fieldsOf(value: object): Record<string, unknown> {
  return Object.fromEntries(Object.keys(value).map((name) => [name, fieldOf(value, name)]));
}

/** Makes copies that `JSON.stringify` can write. */
class Copier {
  #integers: "numbers" | "strings";
  #left = MAX_VALUES;
  /** Objects around the value at hand. */
  #around = new Set<object>();

  constructor(integers: "numbers" | "strings") {
    this.#integers = integers;
  }

  copy(value: unknown, depth: number): unknown {
    if (typeof value === "bigint") {
      return this.#integers === "numbers" ? rawInteger(value) : String(value);
    }
    if (typeof value === "symbol" || typeof value === "function") return String(value);
    if (typeof value !== "object" || value === null) return value;
    if (depth === MAX_DEPTH || this.#around.has(value)) return LEFT_OUT;
    this.#around.add(value);
    try {
      return this.#copyObject(value, depth + 1);
    } catch {
      // A getter, a proxy or a `toJSON` that fails.
      return LEFT_OUT;
    } finally {
      this.#around.delete(value);
    }
  }

  #copyObject(value: object, depth: number): unknown {
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === "function") return this.copy(toJSON.call(value), depth);
    if (value instanceof Error) return `${value.name}: ${value.message}`;
    if (Array.isArray(value) || ArrayBuffer.isView(value) && !(value instanceof DataView)) {
      return this.#copyList(value as ArrayLike<unknown>, depth);
    }
    // Without a prototype, a field may have any name.
    const fields: Record<string, unknown> = Object.create(null);
    for (const name of Object.keys(value)) {
      if (this.#left-- <= 0) {
        fields[LEFT_OUT] = LEFT_OUT;
        break;
      }
      fields[name] = this.copy(fieldOf(value, name), depth);
    }
    return fields;
  }

  #copyList(values: ArrayLike<unknown>, depth: number): unknown[] {
    const list: unknown[] = [];
    for (let i = 0; i < values.length; i++) {
      if (this.#left-- <= 0) {
        list.push(LEFT_OUT);
        break;
      }
      list.push(this.copy(values[i], depth));
    }
    return list;
  }
}

/** A field, or "…" if its getter fails. */
function fieldOf(value: object, name: string): unknown {
  try {
    return (value as Record<string, unknown>)[name];
  } catch {
    return LEFT_OUT;
  }
}
