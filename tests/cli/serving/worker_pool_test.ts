/** Workers of `serve`: who gets which request, and what becomes of those that die. */
import assert from "node:assert/strict";
import { startWorkers } from "../../../src/cli/serving/worker_pool.ts";
import { metricsOf, readyOf } from "../../../src/cli/serving/worker_answers.ts";
import type { ServiceOptions } from "../../../src/cli/serving/service.ts";

const ECHO = new URL("./echo_worker.ts", import.meta.url);

/** Starts stand-ins, and notes what they tell. */
async function start(count: number, argument = "", signal = new AbortController().signal) {
  const errors: [string, string, number | undefined][] = [];
  const logged: [string, number][] = [];
  const options: ServiceOptions = {
    argument,
    s3: {},
    model: undefined,
    files: undefined,
    handler: { search: {}, limits: {}, cors: undefined, memoryBytes: 0, revalidateAfterMs: 0 },
    tokens: undefined,
  };
  const pool = await startWorkers(count, options, {
    signal,
    onProgress() {},
    onError: (error, during, worker) => errors.push([(error as Error).message, during, worker]),
    onIndex() {},
    log: ({ route, status }) => logged.push([route, status]),
  }, ECHO);
  const ask = async (path: string, init?: RequestInit) => {
    const response = await pool.answer(new Request(`http://localhost${path}`, init));
    return { status: response.status, text: await response.text() };
  };
  return { pool, ask, errors, logged };
}

Deno.test("Requests go to the worker that has the fewest, and bodies with them", async () => {
  const { pool, ask } = await start(3);
  await using _ = pool;
  const names = new Set<string>();
  for (let i = 0; i < 3; i++) names.add((await ask("/v1/mask")).text);
  assert.deepEqual([...names].sort(), ["serve 1", "serve 2", "serve 3"]);
  const client = new AbortController();
  const wait = { method: "POST", body: "", signal: client.signal };
  const slow = [ask("/wait", wait), ask("/wait", wait)];
  const others = new Set<string>();
  for (let i = 0; i < 4; i++) others.add((await ask("/v1/mask")).text);
  assert.equal(others.size, 1, "Two of three have something to do");
  assert.deepEqual(await ask("/v1/mask", { method: "POST", body: "as it is" }), {
    status: 200,
    text: "as it is",
  });
  client.abort();
  for (const { status } of await Promise.all(slow)) assert.equal(status, 499);
});

Deno.test("A worker that dies is told, its requests are refused, and another takes its place", async () => {
  const { pool, ask, errors, logged } = await start(2);
  await using _ = pool;
  const lost = await ask("/die");
  assert.deepEqual([lost.status, JSON.parse(lost.text).code], [503, "worker-lost"]);
  assert.equal(errors.length, 1);
  const [[message, during, worker]] = errors;
  assert.match(message, /^Worker \d has died: .*asked to die/);
  assert.equal(during, "answering");
  const other = (await ask("/v1/mask")).text;
  assert.equal(other, `serve ${3 - worker!}`);
  await ask("/die");
  const none = await ask("/v1/mask?a");
  assert.deepEqual([none.status, JSON.parse(none.text).code], [503, "no-worker"]);
  assert.deepEqual(logged, [["/v1/mask", 503]]);
  const seen = new Set<string>();
  while (seen.size < 2) {
    const { status, text } = await ask("/v1/mask");
    if (status === 200) seen.add(text);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(errors.length, 2);
});

Deno.test("A worker that dies at start ends the start, and an end of the start all workers", async () => {
  await assert.rejects(start(2, "dies at start"), {
    name: "EspalierError",
    code: "worker-lost",
    message: /Worker 2 has died/,
  });
  const reason = new Error("no more");
  await assert.rejects(start(2, "", AbortSignal.abort(reason)), reason);
});

Deno.test("What all workers are asked is joined, and a refusal stands for all", async () => {
  const counts = { all: 3, ready: 2, lost: 1 };
  const part = (worker: number, text: string, status = 200) => ({
    worker,
    response: new Response(text, { status }),
  });
  const head = "# HELP espalier_a Of a.\n# TYPE espalier_a counter\n";
  const metrics = await metricsOf(
    [part(1, `${head}espalier_a 4\n`), part(3, `${head}espalier_a{b="c d"} 5e-7\n`)],
    counts,
  );
  const text = await metrics.text();
  assert.ok(
    text.startsWith(`${head}espalier_a{worker="1"} 4\nespalier_a{worker="3",b="c d"} 5e-7\n`),
    text,
  );
  assert.match(text, /^espalier_workers 3$[^]*^espalier_workers_lost_total 1$/m);
  const refused = await metricsOf([part(1, "who?", 401), part(2, "who?", 401)], counts);
  assert.deepEqual([refused.status, await refused.text()], [401, "who?"]);

  const ready = (isReady: boolean) => JSON.stringify({ ready: isReady });
  const some = await readyOf([part(1, ready(false), 503), part(2, ready(true))], counts);
  assert.deepEqual([some.status, await some.json()], [
    200,
    { ready: true, workers: { all: 3, ready: 1 } },
  ]);
  const none = await readyOf([part(1, ready(false), 503)], counts);
  assert.deepEqual([none.status, (await none.json()).workers.ready], [503, 0]);
});
