/** One request on its way through the handler, as routes see it. */
import { parseJson, readBody } from "./body.ts";
import type { AdmissionQueue } from "./admission.ts";
import type { Lease } from "./served_index.ts";
import type { Metrics } from "./metrics.ts";
import type { Settings } from "./options.ts";
import type { Background, LeasedIndex } from "./index_reloader.ts";
import type { RequestSchemas } from "./schemas.ts";
import type { Trace } from "./trace.ts";
import { check, type Schema } from "./validate.ts";

/** What all requests of a handler share. */
export interface Server {
  settings: Settings;
  schemas: RequestSchemas;
  index: LeasedIndex;
  admission: AdmissionQueue;
  metrics: Metrics;
  /** The OpenAPI document, once it has been asked for. */
  openapi?: string;
}

/** A request. */
export interface RequestContext {
  request: Request;
  /** Nobody wants the answer any more: the client has gone, or it is too late. */
  signal: AbortSignal;
  background: Background;
  trace: Trace;
  /** For work that leaves no turn to timers. @throws {Refusal} 504 if it is too late for an answer. */
  checkTime: () => void;
  /** Whether the body is still coming. */
  isReading?: boolean;
  /** What is being done, for whoever is told of errors. */
  during: string;
  /** Digest of the index that the answer comes from. */
  digest?: string;
}

/** A path that is answered. */
export interface Route {
  method: "GET" | "POST";
  /** Whether it is answered without a token. */
  isOpen?: (settings: Settings) => boolean;
  answer: (server: Server, context: RequestContext) => Response | Promise<Response>;
}

/** A JSON answer. */
export function json(body: unknown, status = 200): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
  });
}

/**
 * The body of a request.
 *
 * @template T what fits the schema.
 * @throws {Refusal} if it does not.
 */
export async function bodyOf<T>(
  schema: Schema,
  { settings: { limits }, admission }: Server,
  context: RequestContext,
): Promise<T> {
  const bytes = await context.trace.phase("body", async () => {
    using _ = admission.enterBody();
    context.isReading = true;
    return await readBody(context.request, limits.bodyBytes, context.signal);
  });
  context.isReading = false;
  const body = await context.trace.phase("parse", () => {
    const body = parseJson(bytes);
    check(schema, body);
    return body as T;
  });
  context.checkTime();
  return body;
}

/**
 * Runs something on the index when its turn has come, and gives back what it takes when that has ended, which may be
 * after the request: models need not heed the signal.
 */
export async function onIndex<T>(
  { admission, index, settings }: Server,
  context: RequestContext,
  run: (lease: Lease) => T | Promise<T>,
): Promise<T> {
  const { trace, signal, background } = context;
  using _ = await trace.phase("queue", () => admission.enter(signal));
  const until = settings.now() + 2 * settings.limits.deadlineMs;
  using lease = await trace.phase("index", () => index.acquire(until, signal, background));
  context.digest = lease.index.digest;
  trace.note("index", lease.index.digest);
  return await run(lease);
}
