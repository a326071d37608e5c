/**
 * The HTTP handler on a store that accepts connections and then stalls: 60 requests, or 300 in a long run. Connections and
 * memory stay bounded, the failure is seen, and all is well as soon as the store works again.
 */

import assert from "node:assert/strict";
import { ConstraintIndex } from "../../mod.ts";
import type { HandlerOptions } from "../../src/edge/mod.ts";
import { catalogue, Clock, get, post, problem, serve, success, until } from "../support/edge.ts";
import { LONG, runs } from "../support/long.ts";
import { type Mood, StallingStore } from "../support/stalling_store.ts";

const REQUESTS = runs(60, 300);
const WAVES = runs(4, 10);
/** Far longer than a loaded machine takes to answer itself. */
const TAKE_OVER_MS = 300;
/** Longer than any pause. */
const LONG_PAUSE_MS = 600_000;
const STALLS: Mood[] = ["says nothing", "stops after the header", "trickles"];

const [first, second] = await Promise.all([catalogue(30, 60_000), catalogue(31, 60_000)]);
const digestOf = async (bytes: Uint8Array) => {
  using index = await ConstraintIndex.open(bytes);
  return index.digest;
};
const [A, B] = await Promise.all([first, second].map(digestOf));
const mask = () => post("/v1/mask", { prefixes: [[]] });
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A handler with its store. */
function stalling(mood: Mood, options: Partial<HandlerOptions> = {}) {
  const store = new StallingStore(first);
  store.mood = mood;
  const clock = new Clock();
  const told: string[] = [];
  const handler = serve({
    index: store.url,
    revalidateAfterMs: 1000,
    takeOverMs: TAKE_OVER_MS,
    limits: { concurrency: 64, queue: 300, bodies: 300 },
    now: clock.now,
    onError: (error, during) => told.push(`${during}: ${(error as { code: string }).code}`),
    ...options,
  });
  const digest = async (): Promise<string> => (await success(await handler(mask()))).index;
  const lastError = async () => (await (await handler(get("/readyz"))).json()).lastError;
  const failed = async () => {
    const text = await (await handler(get("/metrics"))).text();
    return Number(text.match(/index_loads_total\{result="failed"\} (\d+)/)![1]);
  };
  const dispose = async () => {
    await handler.close();
    await store[Symbol.asyncDispose]();
  };
  return { store, clock, told, handler, digest, lastError, failed, [Symbol.asyncDispose]: dispose };
}

/** Counts the WASM memories that are made while `run` runs. */
async function countingMemories(run: (made: WebAssembly.Memory[]) => Promise<void>): Promise<void> {
  const made: WebAssembly.Memory[] = [];
  const { Memory } = WebAssembly;
  WebAssembly.Memory = class extends Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor);
      made.push(this);
    }
  };
  try {
    await run(made);
  } finally {
    WebAssembly.Memory = Memory;
  }
}

for (const mood of STALLS) {
  Deno.test(`a store that ${mood}: connections and memory stay bounded, and the failure is seen`, () =>
    countingMemories(async (memories) => {
      await using server = stalling(mood);
      const { store, clock, told, handler } = server;
      await using http = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, handler);
      const ask = () => {
        const { method, headers, body } = mask();
        const { port } = http.addr;
        return fetch(`http://127.0.0.1:${port}/v1/mask`, { method, headers, body });
      };
      const before = Deno.memoryUsage().rss;
      for (let wave = 1; wave <= WAVES; wave++) {
        const answers = Array.from({ length: REQUESTS / WAVES }, async (_, i) => {
          await pause(i % 5);
          const response = await ask();
          assert.equal(response.headers.get("retry-after"), "1");
          const said = await problem(response, 503, "index-unavailable");
          assert.equal(said.actual, "stalled");
        });
        await Promise.all(answers);
        // During the pause nobody waits, and the store is left alone.
        const { connections } = store;
        await problem(await handler(mask()), 503, "index-unavailable");
        assert.equal(store.connections, connections);
        const { code, attempts, retryInSeconds } = await server.lastError();
        assert.deepEqual([code, attempts], ["stalled", wave]);
        assert(retryInSeconds > 0 && retryInSeconds <= 10);
        assert.equal(await server.failed(), wave);
        clock.skip(LONG_PAUSE_MS);
      }
      assert(store.mostOpen <= 2, `${store.mostOpen} connections at a time`);
      assert(store.connections <= WAVES, `${store.connections} connections`);
      assert.deepEqual(told, Array.from({ length: WAVES }, () => "loading the index: stalled"));
      assert(memories.length <= 1, `${memories.length} memories`);
      if (LONG) {
        const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
        console.log(
          `${REQUESTS} requests, ${store.connections} connections, ${store.mostOpen} at most at a ` +
            `time; memory of the process ${megabytes(before)} MB before, ` +
            `${megabytes(Deno.memoryUsage().rss)} MB after`,
        );
      }
      store.mood = "works";
      assert.equal(await server.digest(), A);
      assert.equal(await server.lastError(), undefined);
      assert(memories.length <= 1, `${memories.length} memories`);
      await until(() => store.open === 0);
    }));

  Deno.test(`closing ends all loads from a store that ${mood}, and waits for them`, async () => {
    await using server = stalling(mood);
    const { store, clock, handler } = server;
    await problem(await handler(mask()), 503, "index-unavailable");
    clock.skip(LONG_PAUSE_MS);
    const waiting = [handler(mask()), handler(mask())];
    await until(() => store.connections === 2);
    await handler.close();
    for (const answer of waiting) await problem(await answer, 503, "closed");
    await until(() => store.open === 0);
    assert.equal(await server.failed(), 1);
  });

  Deno.test(`a new index from a store that ${mood} leaves the old one in its place`, () =>
    countingMemories(async (memories) => {
      await using server = stalling("works");
      const { store, clock } = server;
      assert.equal(await server.digest(), A);
      store.bytes = second;
      store.mood = mood;
      for (let wave = 1; wave <= WAVES; wave++) {
        clock.skip(LONG_PAUSE_MS);
        // The first asks the look before to end, a later one begins the next.
        await until(async () => {
          assert.equal(await server.digest(), A);
          return await server.failed() === wave;
        });
      }
      assert(store.mostOpen <= 2, `${store.mostOpen} connections at a time`);
      // One for the header, one for all.
      assert(store.connections <= 2 * WAVES + 1, `${store.connections} connections`);
      assert.equal((await server.lastError()).code, "stalled");
      assert(memories.length <= 2, `${memories.length} memories`);
      store.mood = "works";
      clock.skip(LONG_PAUSE_MS);
      await until(async () => await server.digest() === B);
      assert(memories.length <= 2, `${memories.length} memories`);
    }));
}

Deno.test("a function that makes the source is given a signal, and is not waited for without end", async () => {
  const signals: AbortSignal[] = [];
  const server = stalling("works", {
    index: (signal) => {
      signals.push(signal);
      return new Promise(() => {});
    },
  });
  await problem(await server.handler(mask()), 503, "index-unavailable");
  assert.equal((await server.lastError()).code, "stalled");
  assert(!signals[0].aborted);
  server.clock.skip(LONG_PAUSE_MS);
  await problem(await server.handler(mask()), 503, "index-unavailable");
  assert.deepEqual(signals.map(({ aborted }) => aborted), [true, false]);
  await server[Symbol.asyncDispose]();
  assert(signals[1].aborted);
});
