/** The HTTP handler: random requests never make it fail or hang. */

import assert from "node:assert/strict";
import { ConstraintIndex } from "../../mod.ts";
import { catalogue, get, model, post, serve, success } from "../support/edge.ts";
import { randomRequest } from "../support/edge_requests.ts";
import { runs } from "../support/long.ts";
import { mix, Random } from "../support/models.ts";

const bytes = await catalogue(4, 2000);
using opened = await ConstraintIndex.open(bytes);
const limits = {
  prompts: 4,
  prefixes: 8,
  promptTokens: 8,
  beams: 12,
  exclusions: 8,
  filterTerms: 6,
};
const bounds = { ...limits, indexes: [opened.digest] };
const STATUSES = [200, 400, 404, 405, 408, 412, 413, 415, 422, 499, 503];

/** Damages the text of a body. */
function mangled(random: Random, text: string): string {
  const at = random.below(text.length + 1);
  const junk = random.pick([
    "{",
    "}",
    "[",
    "]",
    '"',
    ",",
    "\\u0000",
    "\u0000",
    "9".repeat(400),
    "-",
    "e9",
    "null",
  ]);
  return text.slice(0, at) + junk + text.slice(at + random.below(3));
}

function randomAsk(random: Random): Request {
  const { path, body } = randomRequest(random, bounds);
  const text = JSON.stringify(body);
  const headers: Record<string, string> = { "content-type": "application/json" };
  const signal = random.below(30) === 0 ? AbortSignal.timeout(random.below(4)) : undefined;
  switch (random.below(12)) {
    case 0:
      return post(path, mangled(random, text), { headers, signal });
    case 1:
      return post(path, text.padEnd(random.below(6000)), { headers, signal });
    case 2:
      headers["content-type"] = random.pick([
        "",
        "text/json",
        "application/json;",
        "application/json; charset=x",
      ]);
      return post(path, text, { headers, signal });
    case 3:
      return get(
        random.pick([
          "/readyz",
          "/metrics",
          "/healthz",
          "/openapi.json",
          path,
          "//",
          "/%00",
          "/v1/decode?x",
        ]),
        {
          method: random.pick(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]),
        },
      );
    case 4: {
      const chunks = new TextEncoder().encode(text);
      let at = 0;
      const breaks = random.below(3) === 0;
      const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
        pull(controller) {
          const size = random.between(1, 40);
          if (breaks && at > 20) return controller.error(new Error("reset"));
          if (at >= chunks.length) return controller.close();
          controller.enqueue(chunks.slice(at, at += size));
        },
      });
      return new Request(`http://edge.test${path}`, {
        method: "POST",
        body: stream,
        headers,
        signal,
      });
    }
    default:
      return post(path, text, { headers, signal });
  }
}

Deno.test("random requests", async () => {
  const told: unknown[] = [];
  await using handler = serve({
    index: bytes,
    limits: { ...limits, bodyBytes: 4000, concurrency: 3, queue: 40 },
    search: { vocabSize: 66 },
    model: (prompts) => {
      const inner = model(prompts);
      const delay = mix(prompts.flat().length) % 5;
      return delay === 0
        ? async (input) => {
          await new Promise((resolve) => setTimeout(resolve, 0));
          return inner(input);
        }
        : inner;
    },
    onError: (error) => told.push(error),
  });
  const total = runs(5000, 100_000);
  const counts = new Map<number, number>();
  let next = 0;
  const worker = async () => {
    while (next < total) {
      const seed = next++;
      const response = await handler(randomAsk(new Random(seed)));
      const text = await response.text();
      assert(
        STATUSES.includes(response.status),
        `seed ${seed}: ${response.status} ${text}`,
      );
      counts.set(response.status, (counts.get(response.status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  assert.deepEqual(told, []);
  assert(
    [200, 400, 412, 413, 415, 422, 499].every((status) => counts.get(status)! > 10),
    String([...counts]),
  );
  // Nothing is left behind.
  const text = await (await handler(get("/metrics"))).text();
  assert.match(text, /^espalier_requests_running 0$/m);
  assert.match(text, /^espalier_queue_depth 0$/m);
  await success(await handler(post("/v1/decode", { prompts: [[1]] })));
});
