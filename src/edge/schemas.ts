/** What requests may hold. The same schemas validate and make the OpenAPI document. */
// deno-lint-ignore no-import-prefix -- no import map applies to whoever imports this by URL
import * as v from "npm:valibot@1.5.0";
import type { FilterExpression } from "../index/filter_expression.ts";
import type { Limits } from "./options.ts";
import { Refusal } from "./error_response.ts";

/** Tokens and ordinals are below this. */
const MAX_TOKEN = 2 ** 31 - 1;
const MAX_ORDINAL = 2 ** 32 - 2;
/** Deepest nesting of filters. Written out level by level, so that no request makes the validator recurse without end. */
const FILTER_DEPTH = 4;

const integer = (least: number, most: number) =>
  v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));

type FilterSchema = v.GenericSchema<FilterExpression>;

/** Schemas of requests, for given limits. */
export function requestSchemas(limits: Limits) {
  const { prompts, prefixes, promptTokens, promptVocabulary, beams, exclusions, filterTerms } =
    limits;
  const name: FilterSchema = v.pipe(
    v.string(),
    v.description("Name of a filter that is stored in the index"),
  );
  const filters = [name];
  for (let depth = 1; depth <= FILTER_DEPTH; depth++) {
    const part = filters[depth - 1];
    const parts = v.pipe(v.array(part), v.minLength(1), v.maxLength(filterTerms));
    filters.push(v.union([
      name,
      v.strictObject({ all: parts }),
      v.strictObject({ any: parts }),
      v.strictObject({ not: part }),
    ]));
  }
  const filter = filters[FILTER_DEPTH] = v.pipe(
    filters[FILTER_DEPTH],
    v.description("Which sequences may be found. A row's own takes the place of the request's"),
  );
  const tokens = v.pipe(
    v.array(integer(0, promptVocabulary - 1)),
    v.maxLength(promptTokens),
    v.description("Tokens"),
  );
  const prompt = v.union([
    tokens,
    v.strictObject({
      tokens,
      filter: v.optional(filter),
      exclude: v.optional(v.pipe(
        v.array(integer(0, MAX_ORDINAL)),
        v.maxLength(exclusions),
        v.description("Ordinals that must not be found"),
      )),
    }),
  ]);
  const prefix = v.union([
    tokens,
    v.strictObject({
      tokens,
      filter: v.optional(filter),
    }),
  ]);
  const decode = v.strictObject({
    prompts: v.pipe(
      v.array(prompt),
      v.minLength(1),
      v.maxLength(prompts),
      v.description("One search each, all in one batch"),
    ),
    beams: v.optional(
      v.pipe(
        integer(1, beams),
        v.description("Sequences to find for each prompt; the width of the search"),
      ),
      Math.min(10, beams),
    ),
    normalize: v.optional(v.pipe(
      v.picklist(["vocab", "allowed", "none"]),
      v.description("What a row of logits is made log-probabilities over"),
    )),
    lengthPenalty: v.optional(v.pipe(
      v.number(),
      v.minValue(-8),
      v.maxValue(8),
      v.description("Beams rank by score / length^lengthPenalty"),
    )),
    tokensPerBeam: v.optional(v.pipe(
      integer(1, MAX_TOKEN),
      v.description("Consider only the best so many tokens of each beam"),
    )),
    endToken: v.optional(v.pipe(
      integer(0, MAX_TOKEN),
      v.description("Token whose log-probability it costs to end a sequence"),
    )),
    filter: v.optional(filter),
  });
  const mask = v.strictObject({
    prefixes: v.pipe(v.array(prefix), v.minLength(1), v.maxLength(prefixes)),
    filter: v.optional(filter),
  });
  return { decode, mask, filters };
}

/** A schema. */
export type Schema = v.GenericSchema;
/** What fits it. */
export type OutputOf<S extends Schema> = v.InferOutput<S>;
/** Schemas of requests. */
export type RequestSchemas = ReturnType<typeof requestSchemas>;
/** A valid body of `/v1/decode`. */
export type DecodeRequest = v.InferOutput<RequestSchemas["decode"]>;
/** A valid body of `/v1/mask`. */
export type MaskRequest = v.InferOutput<RequestSchemas["mask"]>;

/**
 * A body that fits a schema.
 *
 * @throws {Refusal} 400, naming the first field that does not.
 */
export function validated<S extends Schema>(schema: S, body: unknown): OutputOf<S> {
  if (Array.isArray(body)) throw misfit("", "Object", "Array", body);
  const { success, output, issues } = v.safeParse(schema, body, { abortEarly: true });
  if (success) return output;
  const { issue, path } = innermost(issues[0]);
  const field = path.map((key) => `/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
  throw misfit(field, wantedBy(issue), issue.received, issue.input);
}

function misfit(field: string, expected: string, received: string, actual: unknown): Refusal {
  const isMissing = actual === undefined;
  const found = received.length > 100 ? `${received.slice(0, 100)}…` : received;
  let what = `expected ${expected}, got ${found}`;
  if (isMissing) what = "it is missing";
  else if (expected === UNKNOWN) what = "there is no such field";
  return new Refusal(400, "invalid-request", `${field || "The body"}: ${what}`, {
    field,
    expected: isMissing ? undefined : expected,
    actual,
  });
}

/** What is expected where a field is that no schema has. */
const UNKNOWN = "no such field";

type Issue = v.BaseIssue<unknown>;

function wantedBy({ expected, type, requirement }: Issue): string {
  if (expected === "never") return UNKNOWN;
  switch (type) {
    case "integer":
      return "a whole number";
    case "min_length":
      return `at least ${requirement} elements`;
    case "max_length":
      return `at most ${requirement} elements`;
    case "min_value":
      return `at least ${requirement}`;
    case "max_value":
      return `at most ${requirement}`;
    default:
      return expected ?? type;
  }
}

/** Of the alternatives of a union, the issue of the one that was meant: which fits the kind of the value. */
function innermost(issue: Issue): { issue: Issue; path: string[] } {
  const path = issue.path?.map(({ key }) => String(key)) ?? [];
  const inner = (issue.issues ?? []).filter((one) =>
    one.path?.length && (one.path[0].type === "array") === Array.isArray(issue.input)
  );
  const present = inner.filter((one) => one.received !== "undefined");
  const meant = (present.length > 0 ? present : inner.length === 1 ? inner : []).map(innermost)
    .sort((a, b) => b.path.length - a.path.length)[0];
  return meant ? { issue: meant.issue, path: [...path, ...meant.path] } : { issue, path };
}
