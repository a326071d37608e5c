/** The OpenAPI document, made from the schemas that validate. Loaded only where it is asked for. */
// deno-lint-ignore no-import-prefix -- no import map applies to whoever imports this by URL
import * as v from "npm:valibot@1.5.0";
import { jsonSchemas } from "./json_schema.ts";
import type { Settings } from "./options.ts";
import type { RequestSchemas } from "./schemas.ts";

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/), v.description("Digest of the index"));

/** Schemas of answers. */
const ANSWERS = {
  DecodeAnswer: v.strictObject({
    index: digest,
    backend: v.picklist(["wasm", "webgpu"]),
    results: v.pipe(
      v.array(v.array(v.strictObject({
        ordinal: v.pipe(count, v.description("Number of the sequence in this index")),
        score: v.pipe(v.number(), v.description("Sum of natural log-probabilities")),
        sequence: v.array(count),
        items: v.optional(
          v.pipe(
            v.array(v.string()),
            v.description("Ids of its items that passed the filter, where the index has ids"),
          ),
        ),
      }))),
      v.description("For each prompt what was found, best first"),
    ),
  }),
  MaskAnswer: v.strictObject({
    index: digest,
    results: v.pipe(
      v.array(v.strictObject({
        allowed: v.pipe(v.array(count), v.description("Tokens that may follow, ascending")),
        canEnd: v.pipe(v.boolean(), v.description("Whether the prefix is a whole sequence")),
      })),
      v.description("For each prefix"),
    ),
  }),
  Health: v.strictObject({ ok: v.literal(true) }),
  Ready: v.strictObject({
    ready: v.boolean(),
    index: v.optional(v.strictObject({
      digest,
      size: count,
      byteLength: count,
      vocabSize: count,
      maxLength: count,
      filters: v.array(v.string()),
      items: v.optional(
        v.strictObject({ type: v.picklist(["integer", "string"]), count }),
      ),
      ageSeconds: v.number(),
      checkedSecondsAgo: v.number(),
    })),
    backend: v.optional(v.picklist(["wasm", "webgpu"])),
    reason: v.optional(v.string()),
    lastError: v.optional(v.strictObject({
      code: v.string(),
      attempts: count,
      secondsAgo: v.number(),
      retryInSeconds: v.number(),
      digest: v.optional(digest),
    })),
  }),
  Problem: v.strictObject({
    type: v.string(),
    title: v.string(),
    status: count,
    detail: v.string(),
    code: v.pipe(v.string(), v.description("Stable word to switch on")),
    field: v.optional(v.pipe(v.string(), v.description("JSON pointer into the body"))),
    expected: v.optional(v.unknown()),
    actual: v.optional(v.unknown()),
  }),
};

/** Statuses of problems that any request to the index may meet. */
const PROBLEMS: Record<string, string> = {
  400: "The body does not fit the schema",
  401: "A bearer token is missing or wrong",
  408: "The body did not come in time",
  413: "The body is too large",
  415: "The body is not JSON",
  422: "The body fits the schema, but not the index",
  500: "The server failed",
  503: "Too busy, or no index: see Retry-After",
  504: "There was no answer in time",
};

/** All schemas of the document, by name. */
export function schemaDefinitions(
  { decode, mask, filters }: RequestSchemas,
): Record<string, v.GenericSchema> {
  const nested = filters.slice(1, -1).map((filter, i) => [`Filter${i + 1}`, filter]);
  return {
    ...ANSWERS,
    DecodeRequest: decode,
    MaskRequest: mask,
    Filter: filters.at(-1)!,
    ...Object.fromEntries(nested),
  };
}

/** The document for a handler. */
export function openapiDocument(
  schemas: RequestSchemas,
  { model, bearerTokens, openMetrics }: Settings,
): Record<string, unknown> {
  const security = bearerTokens ? [{ bearer: [] }] : [];
  return {
    openapi: "3.1.0",
    info: {
      title: "Espalier",
      version: "1",
      description: "Keeps a generative model inside a set of allowed token sequences.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    security,
    paths: {
      "/v1/decode": {
        post: operation("decode", "The best sequences for each prompt", "DecodeAnswer", {
          ...PROBLEMS,
          ...model ? {} : { 501: "This server has no model" },
        }, "DecodeRequest"),
      },
      "/v1/mask": {
        post: operation("mask", "Which tokens may follow", "MaskAnswer", PROBLEMS, "MaskRequest"),
      },
      "/healthz": {
        get: { ...operation("health", "Whether the process answers", "Health"), security: [] },
      },
      "/readyz": {
        get: {
          ...operation("ready", "Whether there is an index, and which", "Ready", {
            503: "There is none yet",
          }),
          security: [],
        },
      },
      "/metrics": {
        get: {
          ...operation("metrics", "Counts for Prometheus"),
          ...openMetrics ? { security: [] } : {},
        },
      },
      "/openapi.json": { get: operation("openapi", "This document") },
    },
    components: {
      schemas: jsonSchemas(schemaDefinitions(schemas), refTo),
      ...bearerTokens ? { securitySchemes: { bearer: { type: "http", scheme: "bearer" } } } : {},
    },
  };
}

/** Reference to a schema of the document. */
export const refTo = (name: string) => `#/components/schemas/${name}`;

function operation(
  operationId: string,
  summary: string,
  answer?: string,
  problems: Record<string, string> = {},
  request?: string,
): Record<string, unknown> {
  const content = (type: string, name: string) => ({
    content: { [type]: { schema: { $ref: refTo(name) } } },
  });
  const other = operationId === "metrics" ? "text/plain" : "application/json";
  const responses: Record<string, unknown> = {
    200: {
      description: "OK",
      ...answer
        ? content("application/json", answer)
        : { content: { [other]: { schema: other === "text/plain" ? { type: "string" } : {} } } },
    },
  };
  for (const [status, description] of Object.entries(problems)) {
    responses[status] = {
      description,
      ...operationId === "ready"
        ? content("application/json", "Ready")
        : content("application/problem+json", "Problem"),
    };
  }
  return {
    operationId,
    summary,
    ...request ? { requestBody: { required: true, ...content("application/json", request) } } : {},
    responses,
  };
}
