/** Filter expressions: named filters of an index, combined by all, any and not. */
import { typeError } from "../errors.ts";

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
  if (typeof expression === "string") return 1;
  if ("not" in expression) return termsOf(expression.not);
  const parts = "all" in expression ? expression.all : expression.any;
  return parts.reduce((sum, part) => sum + termsOf(part), 0);
}

/**
 * Evaluates an expression, one bit per sequence. However many names it combines, what it gives is compiled once.
 *
 * @param bitsOf gives the bits of a name in a new array, which is written over. `path` is a JSON pointer to the name,
 * such as `/all/1/not`.
 * @returns bits behind the last sequence may be set.
 */
export function evaluate(
  expression: FilterExpression,
  bitsOf: (name: string, path: string) => Uint8Array<ArrayBuffer>,
  path = "",
): Uint8Array<ArrayBuffer> {
  if (typeof expression === "string") return bitsOf(expression, path);
  if ("not" in expression) {
    const bits = evaluate(expression.not, bitsOf, `${path}/not`);
    for (let i = 0; i < bits.length; i++) bits[i] = ~bits[i];
    return bits;
  }
  const isAll = "all" in expression;
  const parts = isAll ? expression.all : expression.any;
  const at = (i: number) => `${path}/${isAll ? "all" : "any"}/${i}`;
  const bits = evaluate(parts[0], bitsOf, at(0));
  for (let part = 1; part < parts.length; part++) {
    const other = evaluate(parts[part], bitsOf, at(part));
    if (isAll) { for (let i = 0; i < bits.length; i++) bits[i] &= other[i]; }
    else for (let i = 0; i < bits.length; i++) bits[i] |= other[i];
  }
  return bits;
}
