/**
 * Checks JSON against schemas in the words of JSON Schema (draft 2020-12): as much of it as the service's own schemas use,
 * which are also what its OpenAPI document shows. Lengths are checked before elements, and nothing is looked at that no
 * schema has: a body that is refused costs little, however long or deep it is.
 */
import { Refusal } from "./error_response.ts";

/** A schema. */
export interface Schema {
  readonly type?: "object" | "array" | "string" | "number" | "integer" | "boolean";
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  /** Of different kinds, or objects with different fields: what a value was meant to be is told by that. */
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: false;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
}

/** An object of just these fields; those whose names end with "?" may be missing. */
export function object(fields: Readonly<Record<string, Schema>>, description?: string): Schema {
  const entries = Object.entries(fields);
  return {
    type: "object",
    properties: Object.fromEntries(entries.map(([key, schema]) => [key.replace("?", ""), schema])),
    required: entries.map(([key]) => key).filter((key) => !key.endsWith("?")),
    additionalProperties: false,
    ...description ? { description } : {},
  };
}

/**
 * Makes sure that a body fits a schema.
 *
 * @throws {Refusal} 400, naming the first field that does not.
 */
export function check(schema: Schema, value: unknown, field = ""): void {
  const { type, anyOf } = schema;
  if (anyOf) {
    return check(meant(anyOf, value) ?? misfit(field, kindsOf(anyOf), value), value, field);
  }
  if (schema.enum && !schema.enum.includes(value)) {
    misfit(field, schema.enum.map((one) => JSON.stringify(one)).join(", "), value);
  }
  if (type && !isOf(type, value)) misfit(field, KINDS[type], value);
  if (typeof value === "number") {
    const { minimum = -Infinity, maximum = Infinity } = schema;
    if (value < minimum) misfit(field, `at least ${minimum}`, value);
    if (value > maximum) misfit(field, `at most ${maximum}`, value);
  } else if (typeof value === "string") {
    if (schema.pattern && !new RegExp(schema.pattern).test(value)) {
      misfit(field, `a string that fits ${schema.pattern}`, value);
    }
  } else if (Array.isArray(value)) {
    const { items, minItems = 0, maxItems = Infinity } = schema;
    const found = `${value.length} of them`;
    if (value.length < minItems) misfit(field, `at least ${minItems} elements`, value, found);
    if (value.length > maxItems) misfit(field, `at most ${maxItems} elements`, value, found);
    if (items) value.forEach((item, i) => check(items, item, `${field}/${i}`));
  } else if (schema.properties) {
    checkFields(schema.properties, schema.required ?? [], value as object, field);
  }
}

function checkFields(
  properties: Readonly<Record<string, Schema>>,
  required: readonly string[],
  value: object,
  field: string,
): void {
  for (const [key, own] of Object.entries(value)) {
    const at = `${field}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    if (!Object.hasOwn(properties, key)) misfit(at, UNKNOWN, own);
    check(properties[key], own, at);
  }
  for (const key of required) {
    if (!Object.hasOwn(value, key)) misfit(`${field}/${key}`, "", undefined);
  }
}

const KINDS = {
  object: "an object",
  array: "an array",
  string: "a string",
  number: "a number",
  integer: "a whole number",
  boolean: "true or false",
};

/** What is expected where a field is that no schema has. */
const UNKNOWN = "no such field";

function isOf(type: keyof typeof KINDS, value: unknown): boolean {
  if (type === "integer") return Number.isInteger(value);
  return type === kindOf(value);
}

function kindOf(value: unknown): string {
  return Array.isArray(value) ? "array" : value === null ? "null" : typeof value;
}

/** Of several schemas the one whose kind, and fields, a value has. */
function meant(schemas: readonly Schema[], value: unknown): Schema | undefined {
  return schemas.find(({ type, required = [] }) =>
    type && isOf(type, value) &&
    (type !== "object" || schemas.filter((one) => one.type === "object").length === 1 ||
      required.some((key) => Object.hasOwn(value as object, key)))
  );
}

function kindsOf(schemas: readonly Schema[]): string {
  return schemas.map(({ type, required }) =>
    type === "object" ? `{ ${required!.join(", ")} }` : KINDS[type!]
  ).join(" or ");
}

function misfit(field: string, expected: string, actual: unknown, found = kindOf(actual)): never {
  const isMissing = actual === undefined;
  let what = `expected ${expected}, got ${typeof actual === "number" ? actual : found}`;
  if (isMissing) what = "it is missing";
  else if (expected === UNKNOWN) what = "there is no such field";
  throw new Refusal(400, "invalid-request", `${field || "The body"}: ${what}`, {
    field,
    expected: isMissing ? undefined : expected,
    actual,
  });
}
