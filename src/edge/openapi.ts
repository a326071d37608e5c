/** The OpenAPI document, with the schemas that validate. */
import type { Settings } from "./options.ts";
import type { RequestSchemas } from "./schemas.ts";
import { object, type Schema } from "./validate.ts";

const text: Schema = { type: "string" };
const number: Schema = { type: "number" };
const count: Schema = { type: "integer", minimum: 0 };
const digest: Schema = {
  type: "string",
  pattern: "^[0-9a-f]{64}$",
  description: "Digest of the index",
};
const backend: Schema = { type: "string", enum: ["wasm", "webgpu"] };
const list = (items: Schema, description?: string): Schema => ({
  type: "array",
  items,
  description,
});

/** Schemas of answers. */
const ANSWERS: Record<string, Schema> = {
  DecodeAnswer: object({
    index: digest,
    backend,
    results: list(
      list(object({
        ordinal: { ...count, description: "Number of the sequence in this index" },
        score: { ...number, description: "Sum of natural log-probabilities" },
        sequence: list(count),
        "items?": list(
          text,
          "Ids of its items that passed filter and exclusions, where the index has ids",
        ),
      })),
      "For each prompt what was found, best first",
    ),
  }),
  MaskAnswer: object({
    index: digest,
    results: list(
      object({
        allowed: list(count, "Tokens that may follow, ascending"),
        canEnd: { type: "boolean", description: "Whether the prefix is a whole sequence" },
      }),
      "For each prefix",
    ),
  }),
  Health: object({ ok: { const: true } }),
  Ready: object({
    ready: { type: "boolean" },
    "index?": object({
      digest,
      size: count,
      byteLength: count,
      vocabSize: count,
      maxLength: count,
      filters: list(text),
      "items?": object({ type: { type: "string", enum: ["integer", "string"] }, count }),
      ageSeconds: number,
      checkedSecondsAgo: number,
    }),
    "backend?": backend,
    "reason?": text,
    "lastError?": object({
      code: text,
      attempts: count,
      secondsAgo: number,
      retryInSeconds: number,
      "digest?": digest,
    }),
  }),
  Problem: object({
    type: text,
    title: text,
    status: count,
    detail: text,
    code: { ...text, description: "Stable word to switch on" },
    "field?": { ...text, description: "JSON pointer into the body" },
    "expected?": {},
    "actual?": {},
  }),
};

/** Statuses of problems that any request to the index may meet. */
const PROBLEMS: Record<string, string> = {
  400: "The body does not fit the schema",
  401: "A bearer token is missing or wrong",
  408: "The body did not come in time",
  412: "The request is about another index than the one that is served",
  413: "The body is too large",
  415: "The body is not JSON",
  422: "The body fits the schema, but not the index",
  500: "The server failed",
  503: "Too busy, or no index: see Retry-After",
  504: "There was no answer in time",
};

/** All schemas of the document, by name; where one is part of another, it is referred to. */
function allSchemas({ decode, mask, filters }: RequestSchemas): Record<string, Schema> {
  const nested = filters.slice(1, -1).map((filter, i) => [`Filter${i + 1}`, filter]);
  const schemas: Record<string, Schema> = {
    ...ANSWERS,
    DecodeRequest: decode,
    MaskRequest: mask,
    Filter: filters.at(-1)!,
    ...Object.fromEntries(nested),
  };
  const names = new Map(Object.entries(schemas).map(([name, schema]) => [schema, name]));
  const referring = (schema: Schema): Schema =>
    JSON.parse(JSON.stringify(schema, (_, part) => {
      const name = part === schema ? undefined : names.get(part);
      return name === undefined ? part : { $ref: refTo(name) };
    }));
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => [name, referring(schema)]),
  );
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
      schemas: allSchemas(schemas),
      ...bearerTokens ? { securitySchemes: { bearer: { type: "http", scheme: "bearer" } } } : {},
    },
  };
}

/** Reference to a schema of the document. */
const refTo = (name: string) => `#/components/schemas/${name}`;

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
