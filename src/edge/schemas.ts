/** What requests may hold. The same schemas validate and stand in the OpenAPI document. */
import type { FilterExpression } from "../index/filter_expression.ts";
import type { Duplicates } from "../decode/found_items.ts";
import type { Normalize } from "../decode/types.ts";
import type { Limits } from "./options.ts";
import { object, type Schema } from "./validate.ts";

/** Tokens and ordinals are below this. */
const MAX_TOKEN = 2 ** 31 - 1;
const MAX_ORDINAL = 2 ** 32 - 2;
/** Deepest nesting of filters: no request makes anything recurse without end. */
const FILTER_DEPTH = 4;

const integer = (minimum: number, maximum: number, description?: string): Schema => ({
  type: "integer",
  minimum,
  maximum,
  description,
});

/** What bodies of requests must fit. */
export interface RequestSchemas {
  decode: Schema;
  mask: Schema;
  /** By how deep they are nested. */
  filters: Schema[];
}

/** What may be said of a row, or of all rows of a request. */
export interface Rules {
  filter?: FilterExpression;
  exclude?: number[];
  excludeItems?: string[];
  onlyItems?: string[];
}

/** Tokens in a request, alone or with what belongs to them. */
export type Row = number[] | { tokens: number[] } & Rules;

/** A valid body of `/v1/decode`. */
export interface DecodeRequest extends Rules {
  prompts: Row[];
  index?: string;
  beams?: number;
  limit?: number;
  normalize?: Normalize;
  lengthPenalty?: number;
  tokensPerBeam?: number;
  endToken?: number;
  duplicates?: Duplicates;
}

/** A valid body of `/v1/mask`. */
export interface MaskRequest extends Rules {
  prefixes: Row[];
  index?: string;
}

/** Beams where a request does not say. */
export const defaultBeams = ({ beams }: Limits): number => Math.min(10, beams);

/** Schemas of requests, for given limits. */
export function requestSchemas(limits: Limits): RequestSchemas {
  const { beams, exclusions, filterTerms, promptTokens, promptVocabulary } = limits;
  const name: Schema = {
    type: "string",
    description: "Name of a filter that is stored in the index",
  };
  const filters = [name];
  while (filters.length <= FILTER_DEPTH) {
    const part = filters.at(-1)!;
    const parts: Schema = { type: "array", items: part, minItems: 1, maxItems: filterTerms };
    filters.push({
      anyOf: [name, object({ all: parts }), object({ any: parts }), object({ not: part })],
    });
  }
  const filter = filters[FILTER_DEPTH] = {
    ...filters[FILTER_DEPTH],
    description: "What may be found. A row's own takes the place of the request's",
  };
  const ids = (maxItems: number, description: string): Schema => ({
    type: "array",
    items: { type: "string" },
    maxItems,
    description,
  });
  const rules = {
    "filter?": filter,
    "exclude?": {
      type: "array",
      items: integer(0, MAX_ORDINAL),
      maxItems: exclusions,
      description: "Ordinals of sequences that must not be found. They need the field index",
    },
    "excludeItems?": ids(
      exclusions,
      "Ids of items that must not be found. Unknown ones are ignored",
    ),
    "onlyItems?": ids(
      limits.onlyItems,
      "Ids of items of which alone some may be found. A row's own take the place of the request's",
    ),
  } satisfies Record<string, Schema>;
  const tokens: Schema = {
    type: "array",
    items: integer(0, promptVocabulary - 1),
    maxItems: promptTokens,
    description: "Tokens",
  };
  const rows = (maxItems: number, description: string): Schema => ({
    type: "array",
    items: { anyOf: [tokens, object({ tokens, ...rules })] },
    minItems: 1,
    maxItems,
    description,
  });
  const index: Schema = {
    type: "string",
    pattern: "^[0-9a-f]{64}$",
    description: "Digest of the index that the request is about; with another one it is refused",
  };
  return {
    decode: object({
      prompts: rows(limits.prompts, "One search each, all in one batch"),
      "index?": index,
      "beams?": {
        ...integer(1, beams, "Sequences to find for each prompt; the width of the search"),
        default: defaultBeams(limits),
      },
      "limit?": integer(
        1,
        beams,
        "Results for each prompt, by default as many as there are; a search stops when its first ones are settled",
      ),
      "normalize?": {
        type: "string",
        enum: ["vocab", "allowed", "none"],
        description: "What a row of logits is made log-probabilities over",
      },
      "lengthPenalty?": {
        type: "number",
        minimum: -8,
        maximum: 8,
        description: "Beams rank by score / length^lengthPenalty",
      },
      "tokensPerBeam?": integer(1, MAX_TOKEN, "Consider only the best so many tokens of each beam"),
      "endToken?": integer(
        0,
        MAX_TOKEN,
        "Token whose log-probability it costs to end a sequence",
      ),
      "duplicates?": {
        type: "string",
        enum: ["best", "sum", "keep"],
        description:
          "What becomes of an item that several sequences lead to: one place, by the best sequence (default) or by their sum, or a place for each",
      },
      ...rules,
    }),
    mask: object({
      prefixes: rows(limits.prefixes, "Each is looked up alone"),
      "index?": index,
      ...rules,
    }),
    filters,
  };
}
