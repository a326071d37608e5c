/** Filter expressions: named filters of an index, combined by all, any and not. */
import { typeError } from "../errors.ts";
import type { EntrySet } from "./entry_set.ts";

/**
 * A filter: the name of one that is stored in the index, or several combined.
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

/**
 * Whether a value is meant as an expression: a string, or an object of `all`, `any` or `not`.
 *
 * @throws {TypeError} if it is meant as one, and is none.
 */
export function isExpression(value: unknown): value is FilterExpression {
  if (typeof value === "string") return true;
  if (typeof value !== "object" || value === null) return false;
  if (!OPERATIONS.some((operation) => operation in value)) return false;
  checkExpression(value, "");
  return true;
}

const OPERATIONS = ["all", "any", "not"] as const;

/** @throws {TypeError} if it is none. */
function checkExpression(value: unknown, path: string): void {
  if (typeof value === "string") return;
  const isObject = typeof value === "object" && value !== null;
  const keys = isObject ? Object.keys(value) : [];
  const [operation] = keys;
  if (isObject && keys.length === 1) {
    const operand: unknown = Object.values(value)[0];
    if (operation === "not") return checkExpression(operand, `${path}/not`);
    if (/^(?:all|any)$/.test(operation) && Array.isArray(operand) && operand.length > 0) {
      return operand.forEach((part, i) => checkExpression(part, `${path}/${operation}/${i}`));
    }
  }
  const expected = "a name, { all: […] }, { any: […] } or { not: … }";
  throw typeError(
    `Cannot make a filter: expected ${expected}${path && ` at ${path}`}, found ${
      isObject ? `an object with ${keys.join(", ") || "no keys"}` : typeof value
    }`,
    { expected, actual: isObject ? keys : typeof value },
  );
}

/** Names in an expression. */
export function termsOf(expression: FilterExpression): number {
  let terms = 0;
  forEachName(expression, () => terms++);
  return terms;
}

/** Visits the names in an expression. `path` is a JSON pointer to the name, such as `/all/1/not`. */
export function forEachName(
  expression: FilterExpression,
  visit: (name: string, path: string) => void,
  path = "",
): void {
  if (typeof expression === "string") return visit(expression, path);
  if ("not" in expression) return forEachName(expression.not, visit, `${path}/not`);
  const operation = "all" in expression ? "all" : "any";
  const parts = "all" in expression ? expression.all : expression.any;
  parts.forEach((part, i) => forEachName(part, visit, `${path}/${operation}/${i}`));
}

/**
 * Evaluates an expression over entries. However many names it combines, what it gives is compiled once.
 *
 * @param setOf gives the entries of a name in a new set, which is written over.
 */
export function evaluate(
  expression: FilterExpression,
  setOf: (name: string) => EntrySet,
): EntrySet {
  if (typeof expression === "string") return setOf(expression);
  if ("not" in expression) return evaluate(expression.not, setOf).not();
  const isAll = "all" in expression;
  const [first, ...others] = isAll ? expression.all : expression.any;
  const set = evaluate(first, setOf);
  for (const other of others) {
    if (isAll) set.and(evaluate(other, setOf));
    else set.or(evaluate(other, setOf));
  }
  return set;
}
