/**
 * An HTTP service for an index and a model, as one function from `Request` to `Response`: for `Deno.serve`, `deno serve`,
 * Workers, and what else speaks `fetch`.
 *
 * @module
 */
import { orAborted } from "../storage/abort.ts";
import { Auth } from "./auth.ts";
import { corsHeaders, type CorsOptions, isPreflight, preflight } from "./cors.ts";
import type { RequestContext, Route, Server } from "./request_context.ts";
import type { FilterExpression } from "../index/filter_expression.ts";
import { AdmissionQueue } from "./admission.ts";
import { Metrics } from "./metrics.ts";
import {
  DEFAULT_LIMITS,
  type HandlerOptions,
  type IndexChange,
  type Limits,
  type LogEntry,
  type ModelFactory,
  type ServedModel,
  settingsOf,
} from "./options.ts";
import { problemResponse, Refusal, refusalOf } from "./error_response.ts";
import { type Background, LeasedIndex } from "./index_reloader.ts";
import { decodeRoute } from "./routes/decode.ts";
import { maskRoute } from "./routes/mask.ts";
import { healthRoute, metricsRoute, openapiRoute, readyRoute } from "./routes/status.ts";
import { type Path, routeName } from "./route_names.ts";
import { requestSchemas } from "./schemas.ts";
import { Trace } from "./trace.ts";

export {
  type CorsOptions,
  DEFAULT_LIMITS,
  type FilterExpression,
  type HandlerOptions,
  type IndexChange,
  type Limits,
  type LogEntry,
  type ModelFactory,
  type ServedModel,
};

/**
 * Answers requests. `context` is whatever the platform passes behind the request; the first that has `waitUntil` is
 * told of work that should outlast the answer. Never rejects.
 */
export interface Handler extends AsyncDisposable {
  /** Answers a request. */
  (request: Request, context?: unknown, workerContext?: unknown): Promise<Response>;
  /**
   * Loads the index if that has not been done, without a request that metrics would count.
   *
   * @param signal ends the waiting, not the load.
   * @throws {EspalierError} if it cannot be loaded; `onError` is told why. @throws the signal's reason.
   */
  ready(signal?: AbortSignal): Promise<void>;
  /** Serves no more (503), and frees the index when the requests that use it have ended. */
  close(): Promise<void>;
}

const ROUTES: Record<Path, Route> = {
  "/v1/decode": decodeRoute,
  "/v1/mask": maskRoute,
  "/healthz": healthRoute,
  "/readyz": readyRoute,
  "/metrics": metricsRoute,
  "/openapi.json": openapiRoute,
};

/**
 * Makes a handler. Nothing is loaded before the first request, which waits for it.
 *
 * A handler uses one core. `deno serve --parallel` runs the module that exports it in several threads on one port: as many
 * as there are cores, or `DENO_JOBS`. Each has a handler, an index and a model of its own, so that memory is multiplied;
 * limits, `/readyz` and `/metrics` are those of the thread that has the connection. A signal ends it without waiting for
 * requests. A thread that fails is not replaced. The command `serve --workers` is the same with one state and one end.
 *
 * | route | |
 * |---|---|
 * | `POST /v1/decode` | prompts in, the best sequences of each out: ordinal, score, tokens, item ids |
 * | `POST /v1/mask` | prefixes in, the tokens that may follow each out, and whether it may end |
 * | `GET /healthz` | the process answers |
 * | `GET /readyz` | the index that is served, the backend and why, the last error; 503 until there is one |
 * | `GET /metrics` | for Prometheus |
 * | `GET /openapi.json` | the two above in full |
 *
 * Errors are `application/problem+json` with a `code`, and the `field` at fault. Every answer names the index that it
 * comes from, alone, by its digest. When the stored index changes, requests are answered from the old one until the new
 * one is there; one that cannot be read is not taken.
 *
 * @throws {TypeError} or {RangeError} if an option makes no sense.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { buildIndex } from "@espalier/espalier/build";
 * import { createHandler } from "@espalier/espalier/edge";
 *
 * using index = await buildIndex([[1, 2], [1, 3], [2, 0]], { vocabSize: 4 });
 * await using handler = createHandler({
 *   index: index.toBytes(), // or a URL, or () => r2Source(env.INDEXES, key)
 *   model: () => ({ out }) => out.fill(0), // or (prompts) => onnx.withPrompts(prompts)
 * });
 * // Deno.serve(handler), or export default { fetch: handler }
 * const response = await handler(
 *   new Request("http://localhost/v1/decode", {
 *     method: "POST",
 *     headers: { "content-type": "application/json" },
 *     body: JSON.stringify({ prompts: [[0]], beams: 2 }),
 *   }),
 * );
 * const { results } = await response.json();
 * assert.deepEqual(results[0][0].sequence, [1, 2]);
 * ```
 */
export function createHandler(options: HandlerOptions): Handler {
  const settings = settingsOf(options);
  const { limits, now, cors, bearerTokens, onError, log } = settings;
  const metrics = new Metrics();
  const index = new LeasedIndex(settings, (result) => metrics.load(result));
  const admission = new AdmissionQueue(limits, now);
  const server: Server = { settings, schemas: requestSchemas(limits), index, admission, metrics };
  const auth = bearerTokens && new Auth(bearerTokens);

  async function answer(route: Route | undefined, context: RequestContext): Promise<Response> {
    const { request, signal } = context;
    try {
      if (!URL.canParse(request.url)) {
        throw new Refusal(
          400,
          "bad-address",
          "The address of the request is malformed: look at Host",
        );
      }
      if (!route) throw new Refusal(404, "no-such-route", "There is nothing at this path");
      const methods = route.method === "GET" ? "GET, HEAD" : route.method;
      if (cors && isPreflight(request)) return preflight(request, cors, methods);
      if (!methods.split(", ").includes(request.method)) throw wrongMethod(request.method, methods);
      if (auth && !route.isOpen?.(settings)) await auth.check(request);
      return await orAborted(Promise.resolve(route.answer(server, context)), signal);
    } catch (error) {
      if (!(error instanceof Refusal)) onError(error, context.during);
      return problemResponse(refusalOf(error));
    }
  }

  async function handle(
    request: Request,
    platformContext?: unknown,
    workerContext?: unknown,
  ): Promise<Response> {
    const start = now();
    const began = performance.now();
    const name = routeName(request.url);
    const route = name === "other" ? undefined : ROUTES[name];
    const trace = new Trace(now);
    // Deno has a word to say about whoever looks at the signal: where there is no work to stop, nobody does.
    const client = route?.method === "POST" ? request.signal : undefined;
    using end = endOf(client, limits.deadlineMs, () => context.isReading === true);
    const context: RequestContext = {
      request,
      signal: end.signal,
      trace,
      background: backgroundOf(platformContext, workerContext),
      checkTime() {
        // As the timer counts, whatever `now` says.
        if (performance.now() - began >= limits.deadlineMs) throw tooLate(limits.deadlineMs);
      },
      during: "answering",
    };
    let response = await trace.whole(name, () => answer(route, context));
    if (request.method === "HEAD") response = new Response(null, response);
    const timing = trace.header();
    if (timing) response.headers.set("server-timing", timing);
    if (cors) {
      for (const [key, value] of Object.entries(corsHeaders(request, cors))) {
        response.headers.set(key, value);
      }
    }
    const durationMs = now() - start;
    const { status } = response;
    metrics.request(name, status, durationMs);
    log?.({ method: request.method, route: name, status, durationMs, index: context.digest });
    return response;
  }

  async function ready(signal = new AbortController().signal): Promise<void> {
    using _ = await index.acquire(now() + limits.deadlineMs, signal, () => {});
  }

  const close = () => index.close();
  return Object.assign(handle, { ready, close, [Symbol.asyncDispose]: close });
}

function wrongMethod(actual: string, allow: string): Refusal {
  const message = `This path takes ${allow}`;
  const facts = { expected: allow, actual };
  return new Refusal(405, "wrong-method", message, facts, { allow });
}

function tooLate(deadlineMs: number): Refusal {
  const message = `There was no answer within ${deadlineMs} ms`;
  return new Refusal(504, "deadline", message, { expected: deadlineMs });
}

/** A signal for the end of a request: its client has gone, or its time is over. */
function endOf(
  client: AbortSignal | undefined,
  deadlineMs: number,
  isReading: () => boolean,
): { signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const leave = () => controller.abort(new Refusal(499, "client-gone", "The client has gone"));
  const timer = setTimeout(() => {
    const expected = deadlineMs;
    controller.abort(
      isReading()
        ? new Refusal(408, "body-late", `The body did not come within ${deadlineMs} ms`, {
          expected,
        })
        : tooLate(deadlineMs),
    );
  }, deadlineMs);
  client?.addEventListener("abort", leave, { once: true });
  if (client?.aborted) leave();
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      client?.removeEventListener("abort", leave);
    },
  };
}

/** Work goes on behind an answer by itself, but in Workers. It never rejects. */
function backgroundOf(...contexts: unknown[]): Background {
  const holder = contexts.find((context): context is { waitUntil: Background } =>
    typeof (context as { waitUntil?: unknown } | null | undefined)?.waitUntil === "function"
  );
  return (promise) => holder?.waitUntil(promise);
}
