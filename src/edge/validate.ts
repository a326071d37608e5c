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
 * @param parent field that the value is a part of, with the key that it has there: they are put together where there is
 * something to say, not for each of a million tokens.
 * @throws {Refusal} 400, naming the first field that does not.
 */
export function check(schema: Schema, value: unknown, parent = "", key?: string | number): void {
  const { type, anyOf } = schema;
  const field = () => key === undefined ? parent : `${parent}/${key}`;
  const wrong = (expected: string, found?: string) => misfit(field(), expected, value, found);
  if (anyOf) return check(meant(anyOf, value) ?? wrong(kindsOf(anyOf)), value, parent, key);
  if (schema.enum && !schema.enum.includes(value)) {
    wrong(schema.enum.map((one) => JSON.stringify(one)).join(", "));
  }
  if (type && !isOf(type, value)) wrong(KINDS[type]);
  if (typeof value === "number") {
    const { minimum = -Infinity, maximum = Infinity } = schema;
    if (value < minimum) wrong(`at least ${minimum}`);
    if (value > maximum) wrong(`at most ${maximum}`);
  } else if (typeof value === "string") {
    if (schema.pattern && !new RegExp(schema.pattern).test(value)) {
      wrong(`a string that fits ${schema.pattern}`);
    }
  } else if (Array.isArray(value)) {
    const { items, minItems = 0, maxItems = Infinity } = schema;
    const found = `${value.length} of them`;
    if (value.length < minItems) wrong(`at least ${minItems} elements`, found);
    if (value.length > maxItems) wrong(`at most ${maxItems} elements`, found);
    const own = field();
    for (let i = 0; items && i < value.length; i++) check(items, value[i], own, i);
  } else if (schema.properties) {
    checkFields(schema.properties, schema.required ?? [], value as object, field());
  }
}

function checkFields(
  properties: Readonly<Record<string, Schema>>,
  required: readonly string[],
  value: object,
  field: string,
): void {
  for (const key in value) {
    const isKnown = Object.hasOwn(properties, key);
    const name = isKnown ? key : key.replaceAll("~", "~0").replaceAll("/", "~1");
    const own: unknown = Reflect.get(value, key);
    if (!isKnown) misfit(`${field}/${name}`, UNKNOWN, own);
    check(properties[key], own, field, name);
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
  const shown = field.length > 200 ? `${field.slice(0, 200)}…` : field;
  throw new Refusal(400, "invalid-request", `${shown || "The body"}: ${what}`, {
    field: shown,
    expected: isMissing ? undefined : expected,
    actual,
  });
}
