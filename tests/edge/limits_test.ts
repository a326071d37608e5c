/** The HTTP handler: how much and how long. */

import assert from "node:assert/strict";
import type { Model } from "../../mod.ts";
import type { Handler } from "../../src/edge/mod.ts";
import {
  BASE,
  catalogue,
  Clock,
  get,
  latch,
  model,
  post,
  problem,
  serve,
  success,
  until,
} from "../support/edge.ts";

const bytes = await catalogue(2, 500);
const body = { prompts: [[1]], beams: 2 };

/** A body that comes in pieces. */
function streamed(
  pull: (controller: ReadableStreamDefaultController<Uint8Array>) => void | Promise<void>,
) {
  let isCancelled = false;
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull,
    cancel() {
      isCancelled = true;
    },
  }, { highWaterMark: 0 });
  const request = new Request(`${BASE}/v1/decode`, {
    method: "POST",
    body: stream,
    headers: { "content-type": "application/json" },
  });
  return { request, isCancelled: () => isCancelled };
}

Deno.test("bodies are counted as they come", async () => {
  await using handler = serve({ index: bytes, limits: { bodyBytes: 1000 } });
  let sent = 0;
  const endless = streamed((controller) => {
    sent += 64;
    controller.enqueue(new Uint8Array(64).fill(0x20));
  });
  const said = await problem(await handler(endless.request), 413, "body-too-large");
  assert.equal(said.expected, 1000);
  assert(sent <= 1000 + 2 * 64, `${sent} bytes were read`);
  assert(endless.isCancelled());
  const declared = post("/v1/decode", body, { headers: { "content-length": "1001" } });
  await problem(await handler(declared), 413, "body-too-large");
  const text = JSON.stringify(body);
  await success(await handler(post("/v1/decode", text.padEnd(1000))));
  await problem(await handler(post("/v1/decode", text.padEnd(1001))), 413, "body-too-large");
});

Deno.test("bodies that break off, and none at all", async () => {
  await using handler = serve({ index: bytes });
  const broken = streamed((controller) => controller.error(new Error("reset")));
  await problem(await handler(broken.request), 400, "body-broken");
  const none = new Request(`${BASE}/v1/decode`, {
    method: "POST",
    headers: { "content-type": "application/json" },
  });
  await problem(await handler(none), 400, "not-json");
});

Deno.test("a body that comes slowly is not waited for longer than the deadline", async () => {
  await using handler = serve({ index: bytes, limits: { deadlineMs: 30 } });
  const slow = streamed(async (controller) => {
    await new Promise((resolve) => setTimeout(resolve, 10));
    controller.enqueue(new Uint8Array([0x20]));
  });
  await problem(await handler(slow.request), 408, "body-late");
  assert(slow.isCancelled());
  const silent = streamed(() => new Promise(() => {}));
  await problem(await handler(silent.request), 408, "body-late");
});

Deno.test("limits are the caller's", async () => {
  await using handler = serve({
    index: bytes,
    limits: { prompts: 1, beams: 2, promptTokens: 3, prefixes: 1 },
  });
  await success(await handler(post("/v1/decode", { prompts: [[1, 2, 3]], beams: 2 })));
  await success(await handler(post("/v1/decode", { prompts: [[1, 2, 3]] })));
  for (
    const wrong of [{ prompts: [[1], [2]] }, { prompts: [[1]], beams: 3 }, {
      prompts: [[1, 2, 3, 4]],
    }]
  ) {
    await problem(await handler(post("/v1/decode", wrong)), 400, "invalid-request");
  }
  await problem(await handler(post("/v1/mask", { prefixes: [[], []] })), 400, "invalid-request");
});

Deno.test("a full queue sends away, and the others have their turn in order", async () => {
  const gate = latch();
  const order: number[] = [];
  let running = 0;
  let most = 0;
  await using handler = serve({
    index: bytes,
    limits: { concurrency: 2, queue: 3 },
    model: async (prompts) => {
      order.push(prompts[0][0]);
      most = Math.max(most, ++running);
      await gate.promise;
      running--;
      return model(prompts);
    },
  });
  const ask = (i: number) => handler(post("/v1/decode", { prompts: [[i]], beams: 1 }));
  const metric = async (name: string) => {
    const text = await (await handler(get("/metrics"))).text();
    return Number(text.match(new RegExp(`^espalier_${name} (\\d+)$`, "m"))![1]);
  };
  const answers = [ask(0), ask(1)];
  await until(() => running === 2);
  answers.push(ask(2), ask(3), ask(4));
  await until(async () => await metric("queue_depth") === 3);
  assert.equal(await metric("requests_running"), 2);
  const refused = await ask(5);
  assert.equal(refused.headers.get("retry-after"), "1");
  await problem(refused, 503, "too-busy");
  assert.equal(await metric("rejected_total"), 1);
  assert.equal((await handler(get("/healthz"))).status, 200);
  gate.resolve();
  for (const answer of answers) await success(await answer);
  assert.deepEqual(order, [0, 1, 2, 3, 4]);
  assert.equal(most, 2);
  assert.equal(await metric("queue_depth"), 0);
  assert.equal(await metric("requests_running"), 0);
});

Deno.test("deadlines end the search, of models that wait and of models that do not", async () => {
  let calls = 0;
  const endings: unknown[] = [];
  const waiting: Model = async ({ out }) => {
    calls++;
    await new Promise((resolve) => setTimeout(resolve, 40));
    return out.fill(1); // long sequences are best
  };
  await using handler = serve({
    index: bytes,
    limits: { deadlineMs: 60 },
    model: (_prompts, { signal }) => {
      signal.addEventListener("abort", () => endings.push(signal.reason.code));
      return waiting;
    },
  });
  const long = { ...body, normalize: "none" };
  const said = await problem(await handler(post("/v1/decode", long)), 504, "deadline");
  assert.equal(said.expected, 60);
  assert.deepEqual(endings, ["deadline"]);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert(calls <= 3, `${calls} steps`); // of 4

  let steps = 0;
  const busy: Model = ({ rows, vocabSize }) => {
    steps++;
    const end = performance.now() + 30;
    while (performance.now() < end);
    return new Float32Array(rows * vocabSize).fill(1);
  };
  await using blocked = serve({ index: bytes, limits: { deadlineMs: 40 }, model: () => busy });
  await problem(await blocked(post("/v1/decode", long)), 504, "deadline");
  assert(steps <= 3, `${steps} steps`);
});

Deno.test("a model that never ends gives its place back in the end", async () => {
  const clock = new Clock();
  let isHanging = true;
  await using handler = serve({
    index: bytes,
    limits: { concurrency: 1, queue: 0, deadlineMs: 200 },
    now: clock.now,
    model: (prompts) => isHanging ? new Promise(() => {}) : model(prompts),
  });
  await success(await handler(post("/v1/mask", { prefixes: [[]] })));
  await problem(await handler(post("/v1/decode", body)), 504, "deadline");
  isHanging = false;
  await problem(await handler(post("/v1/decode", body)), 503, "too-busy");
  clock.skip(400);
  await success(await handler(post("/v1/decode", body)));
});

Deno.test("a client that leaves stops its search", async () => {
  const client = new AbortController();
  let calls = 0;
  const told: unknown[] = [];
  await using handler = serve({
    index: bytes,
    onError: (error) => told.push(error),
    model: () => async ({ out }) => {
      if (++calls === 2) client.abort();
      await new Promise((resolve) => setTimeout(resolve, 1));
      return out.fill(0);
    },
  });
  const request = post("/v1/decode", body, { signal: client.signal });
  await problem(await handler(request), 499, "client-gone");
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(calls, 2);
  assert.deepEqual(told, []);
  const gone = post("/v1/decode", body, { signal: AbortSignal.abort() });
  await problem(await handler(gone), 499, "client-gone");
});

Deno.test("a connection that closes stops its search", async () => {
  const ended = latch();
  const began = latch();
  let steps = 0;
  await using handler = serve({
    index: bytes,
    model: (_prompts, { signal }) => {
      signal.addEventListener("abort", () => ended.resolve());
      return async ({ out, step }) => {
        steps++;
        began.resolve();
        if (step === 1) await ended.promise;
        return out.fill(0);
      };
    },
  });
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, handler);
  const client = new AbortController();
  const asked = fetch(`http://127.0.0.1:${server.addr.port}/v1/decode`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: client.signal,
  }).catch((error) => error.name);
  await began.promise;
  client.abort();
  assert.equal(await asked, "AbortError");
  await ended.promise;
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(steps, 2);
});

Deno.test("nothing is left on the signal of a request that has been answered", async () => {
  const request = post("/v1/mask", { prefixes: [[]] });
  const { signal } = request;
  const left = new Set<unknown>();
  let added = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (type: string, listener: EventListener) => {
    added++;
    left.add(listener);
    add(type, listener);
  };
  signal.removeEventListener = (type: string, listener: EventListener) => {
    left.delete(listener);
    remove(type, listener);
  };
  await using handler = serve({ index: bytes });
  await success(await handler(request));
  assert(added > 0);
  assert.equal(left.size, 0);
});

/** A request whose body comes when the controller says so. */
function piecemeal() {
  let controller!: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (own) => void (controller = own),
  });
  const headers = { "content-type": "application/json" };
  const request = new Request(`${BASE}/v1/decode`, { method: "POST", body: stream, headers });
  return { request, controller };
}

Deno.test("only so many bodies are on their way at a time", async () => {
  await using handler = serve({ index: bytes, limits: { bodies: 3, deadlineMs: 60_000 } });
  const slow = Array.from({ length: 3 }, () => piecemeal());
  const answers = slow.map(({ request }) => handler(request));
  for (const { controller } of slow) controller.enqueue(new TextEncoder().encode("{"));
  await until(async () => /bodies_on_their_way 3/.test(await metricsOf(handler)));
  const refused = await handler(post("/v1/decode", body));
  assert.equal(refused.headers.get("retry-after"), "1");
  await problem(refused, 503, "too-busy");
  slow[0].controller.error(new Error("gone"));
  await problem(await answers[0], 400, "body-broken");
  await success(await handler(post("/v1/decode", body)));
  for (const { controller } of slow.slice(1)) {
    controller.enqueue(new TextEncoder().encode(JSON.stringify(body).slice(1)));
    controller.close();
  }
  await Promise.all(answers.slice(1).map(async (answer) => await success(await answer)));
  assert.match(await metricsOf(handler), /bodies_on_their_way 0/);
});

Deno.test("a request without an address is the client's fault, and counted", async () => {
  await using handler = serve({ index: bytes, openMetrics: true });
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, handler);
  try {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: server.addr.port });
    const request = "GET /healthz HTTP/1.1\r\nHost: a<b>c\r\nConnection: close\r\n\r\n";
    await connection.write(new TextEncoder().encode(request));
    const answer = await new Response(connection.readable).text();
    assert.match(answer, /^HTTP\/1\.1 400 /);
    assert.match(answer, /"code":"bad-address"/);
    assert.match(await metricsOf(handler), /requests_total\{route="other",status="400"\} 1/);
  } finally {
    await server.shutdown();
  }
});

async function metricsOf(handler: Handler): Promise<string> {
  return await (await handler(get("/metrics"))).text();
}
