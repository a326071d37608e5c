/** `GET /healthz`, `/readyz`, `/metrics`, `/openapi.json`. */
import { openapiDocument } from "../openapi.ts";
import { json, type Route } from "../request_context.ts";

/** The process answers. */
export const healthRoute: Route = {
  method: "GET",
  isOpen: () => true,
  answer: () => json({ ok: true }),
};

/** Whether there is an index, and which. Has it loaded if nobody does. */
export const readyRoute: Route = {
  method: "GET",
  isOpen: () => true,
  answer({ index, settings: { now } }, context) {
    index.look(context.background);
    const { current, failure } = index;
    const seconds = (since: number) => Math.max(0, now() - since) / 1000;
    context.digest = current?.index.digest;
    const status = {
      ready: current !== undefined,
      index: current && {
        digest: current.index.digest,
        size: current.index.size,
        byteLength: current.index.byteLength,
        vocabSize: current.index.vocabSize,
        maxLength: current.index.maxLength,
        filters: current.index.filterNames,
        items: current.index.items,
        ageSeconds: seconds(current.loadedAt),
        checkedSecondsAgo: seconds(index.checkedAt),
      },
      backend: current?.decoder.backend,
      reason: current?.reason,
      lastError: failure && {
        code: failure.code,
        attempts: failure.attempts,
        secondsAgo: seconds(failure.at),
        retryInSeconds: Math.max(0, failure.nextAt - now()) / 1000,
        digest: failure.digest,
      },
    };
    const response = json(status, current ? 200 : 503);
    if (!current) response.headers.set("retry-after", "1");
    return response;
  },
};

/** Counts for Prometheus. */
export const metricsRoute: Route = {
  method: "GET",
  isOpen: ({ openMetrics }) => openMetrics === true,
  answer({ index, admission, metrics, settings: { now } }) {
    const { current } = index;
    const text = metrics.text({
      running: admission.running,
      waiting: admission.waiting,
      reading: admission.reading,
      rejected: admission.rejected,
      index: current && {
        digest: current.index.digest,
        backend: current.decoder.backend,
        size: current.index.size,
        ageMs: now() - current.loadedAt,
      },
    });
    return new Response(text, {
      headers: {
        "content-type": "text/plain; version=0.0.4; charset=utf-8",
        "cache-control": "no-store",
      },
    });
  },
};

/** What the others take and give. */
export const openapiRoute: Route = {
  method: "GET",
  answer(server) {
    const text = server.openapi ??= JSON.stringify(
      openapiDocument(server.schemas, server.settings),
    );
    return new Response(text, { headers: { "content-type": "application/json" } });
  },
};
