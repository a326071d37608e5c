/**
 * JSON Schema of the schemas that validate requests and answers: as much of the validator's language as these use. A test
 * holds it against the validator's own converter, which would be a tenth of what a Worker loads.
 */
// deno-lint-ignore no-import-prefix -- no import map applies to whoever imports this by URL
import type * as v from "npm:valibot@1.5.0";

type Json = Record<string, unknown>;

/** What the parts of schemas hold that are read here. */
interface Part {
  readonly type: string;
  readonly requirement?: unknown;
  readonly description?: string;
  readonly wrapped?: Part;
  readonly default?: unknown;
  readonly item?: Part;
  readonly entries?: Readonly<Record<string, Part>>;
  readonly options?: readonly unknown[];
  readonly literal?: unknown;
  readonly pipe?: readonly Part[];
}

/**
 * Schemas by name, each as JSON Schema (draft 2020-12). Where one is part of another, it is referred to.
 *
 * @param refTo the reference to a name.
 * @throws {Error} for a part that this does not know.
 */
export function jsonSchemas(
  definitions: Readonly<Record<string, v.GenericSchema>>,
  refTo: (name: string) => string,
): Record<string, Json> {
  const names = new Map(
    Object.entries(definitions).map(([name, schema]) => [schema as Part, name]),
  );
  const convert = (part: Part): Json => {
    const name = names.get(part);
    return name === undefined ? whole(part) : { $ref: refTo(name) };
  };
  const whole = (part: Part): Json => {
    if (!part.pipe) return base(part);
    const [first, ...actions] = part.pipe;
    const json = convert(first);
    return actions.reduce((all, action) => ({ ...all, ...constraint(action, all) }), json);
  };
  const base = (part: Part): Json => {
    switch (part.type) {
      case "string":
      case "number":
      case "boolean":
        return { type: part.type };
      case "literal":
        return { const: part.literal };
      case "picklist":
        return { type: typeof part.options![0], enum: part.options };
      case "array":
        return { type: "array", items: convert(part.item!) };
      case "union":
        return { anyOf: part.options!.map((option) => convert(option as Part)) };
      case "optional": {
        const json = convert(part.wrapped!);
        return part.default === undefined ? json : { ...json, default: part.default };
      }
      case "strict_object": {
        const entries = Object.entries(part.entries!);
        return {
          type: "object",
          properties: Object.fromEntries(entries.map(([key, entry]) => [key, convert(entry)])),
          required: entries.filter(([, entry]) => entry.type !== "optional").map(([key]) => key),
          additionalProperties: false,
        };
      }
      case "unknown":
        return {};
      default:
        throw unknownPart(part);
    }
  };
  return Object.fromEntries(
    Object.entries(definitions).map(([name, schema]) => [name, whole(schema as Part)]),
  );
}

/** What an action of a pipe adds. */
function constraint(action: Part, { type }: Json): Json {
  const { requirement } = action;
  switch (action.type) {
    case "integer":
      return { type: "integer" };
    case "min_value":
      return { minimum: requirement };
    case "max_value":
      return { maximum: requirement };
    case "min_length":
      return { [type === "array" ? "minItems" : "minLength"]: requirement };
    case "max_length":
      return { [type === "array" ? "maxItems" : "maxLength"]: requirement };
    case "regex":
      return { pattern: (requirement as RegExp).source };
    case "description":
      return { description: action.description };
    default:
      throw unknownPart(action);
  }
}

function unknownPart({ type }: Part): Error {
  return new Error(`There is no JSON Schema for "${type}"`);
}
