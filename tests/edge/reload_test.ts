/** The HTTP handler: indexes that come, change, fail and go. */

import assert from "node:assert/strict";
import { ConstraintIndex } from "../../mod.ts";
import { ServedIndex } from "../../src/edge/served_index.ts";
import type { HandlerOptions } from "../../src/edge/mod.ts";
import { settingsOf } from "../../src/edge/options.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { Random } from "../support/models.ts";
import {
  catalogue,
  Clock,
  expected,
  get,
  latch,
  model,
  post,
  problem,
  serve,
  Store,
  success,
  until,
} from "../support/edge.ts";

const [first, second, third] = await Promise.all([catalogue(10), catalogue(11), catalogue(12)]);
const digestOf = async (bytes: Uint8Array) => {
  using index = await ConstraintIndex.open(bytes);
  return index.digest;
};
const [A, B, C] = await Promise.all([first, second, third].map(digestOf));
const mask = () => post("/v1/mask", { prefixes: [[]] });

/** A handler whose index is in a store, and looked at when the clock is put forward by a second. */
function served(store: Store, options: Partial<HandlerOptions> = {}) {
  const clock = new Clock();
  const handler = serve({
    index: store,
    revalidateAfterMs: 1000,
    now: clock.now,
    open: { retries: 0 },
    ...options,
  });
  const digest = async (): Promise<string> => (await success(await handler(mask()))).index;
  const ready = async () => await (await handler(get("/readyz"))).json();
  const loads = async () => {
    const text = await (await handler(get("/metrics"))).text();
    const count = (result: string) =>
      Number(text.match(new RegExp(`index_loads_total\\{result="${result}"\\} (\\d+)`))![1]);
    return { loaded: count("loaded"), unchanged: count("unchanged"), failed: count("failed") };
  };
  return { handler, clock, digest, ready, loads, [Symbol.asyncDispose]: handler.close };
}

function damaged(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy[copy.length - 300] ^= 1;
  return copy;
}

Deno.test("an index that has not changed is kept after a look at its header", async () => {
  const store = new Store(first);
  await using server = served(store);
  assert.equal(await server.digest(), A);
  const { reads } = store;
  assert.equal(await server.digest(), A);
  assert.equal(store.reads, reads);
  let asked: unknown;
  store.before = (_, range) => void (asked = range);
  server.clock.skip(1000);
  assert.equal(await server.digest(), A);
  await until(async () => (await server.loads()).unchanged === 1);
  assert.equal(store.reads, reads + 1);
  assert((asked as { end: number }).end <= 2 ** 16);
  assert((await server.ready()).index.checkedSecondsAgo < 1);
  await server.digest();
  assert.equal(store.reads, reads + 1);
});

Deno.test("ready loads the index without a request, and each index that is loaded is told", async () => {
  const store = new Store(first);
  const told: unknown[] = [];
  await using server = served(store, {
    onIndex: (change) => {
      told.push(change);
      throw new Error("a hook that fails changes nothing");
    },
  });
  const { handler } = server;
  await Promise.all([handler.ready(), handler.ready()]);
  await handler.ready();
  const text = await (await handler(get("/metrics"))).text();
  assert.doesNotMatch(text, /requests_total\{/);
  assert.match(text, /index_ready 1\n/);
  using index = await ConstraintIndex.open(first);
  const { size, vocabSize, byteLength } = index;
  assert.deepEqual(told, [{ digest: A, previous: undefined, size, vocabSize, byteLength }]);
  store.bytes = second;
  server.clock.skip(1000);
  await until(async () => await server.digest() === B);
  assert.deepEqual(told.length, 2);
  const { digest, previous } = told[1] as Record<string, unknown>;
  assert.deepEqual([digest, previous], [B, A]);
});

Deno.test("ready says that there is no index, can be given up, and ends with the handler", async () => {
  const store = new Store(damaged(first));
  const errors: unknown[] = [];
  await using server = served(store, { onError: (error) => void errors.push(error) });
  await assert.rejects(server.handler.ready(), { code: "index-unavailable" });
  assert.equal(errors.length, 1);
  store.bytes = first;
  const gate = latch();
  store.before = () => gate.promise;
  const reason = new Error("given up");
  const abort = new AbortController();
  const waiting = server.handler.ready(abort.signal);
  abort.abort(reason);
  await assert.rejects(waiting, reason);
  const other = server.handler.ready();
  const closing = server.handler.close();
  await assert.rejects(other, { code: "closed" });
  gate.resolve();
  await closing;
});

Deno.test("requests are served on the old index until the new one is there", async () => {
  const store = new Store(first);
  await using server = served(store);
  assert.equal(await server.digest(), A);
  const gate = latch();
  store.bytes = second;
  store.before = () => gate.promise;
  server.clock.skip(1000);
  for (let i = 0; i < 5; i++) assert.equal(await server.digest(), A);
  gate.resolve();
  await until(async () => await server.digest() === B);
  assert.deepEqual(await server.loads(), { loaded: 2, unchanged: 0, failed: 0 });
});

Deno.test("an index is freed with the last request that uses it", async () => {
  const clock = new Clock();
  const settings = settingsOf({ index: first, now: clock.now });
  const open = async () => {
    const index = await ConstraintIndex.open(first);
    const generation = await ServedIndex.of(index, settings);
    const isFree = () => {
      try {
        index.has([1]);
        return false;
      } catch (error) {
        assert.equal((error as { code: string }).code, "disposed");
        return true;
      }
    };
    return { generation, isFree };
  };
  const { generation, isFree } = await open();
  const leases = [generation.lease(Infinity), generation.lease(Infinity)];
  leases[0][Symbol.dispose]();
  generation.retire();
  assert(!isFree() && !generation.collect());
  leases[1][Symbol.dispose]();
  assert(isFree() && generation.collect());
  leases[1][Symbol.dispose]();
  // A request that was stopped without an end.
  const other = await open();
  other.generation.lease(clock.now() + 100);
  other.generation.retire();
  assert(!other.generation.collect());
  clock.skip(100);
  assert(other.generation.collect() && other.isFree());
  const unused = await open();
  unused.generation.retire();
  assert(unused.isFree());
});

Deno.test("a search ends on the index that it began with", async () => {
  const store = new Store(first);
  const gate = latch();
  let isHeld = true;
  await using server = served(store, {
    model: async (prompts) => {
      if (isHeld) {
        isHeld = false;
        await gate.promise;
      }
      return model(prompts);
    },
  });
  const prompts = [[5, 6]];
  const ask = () => server.handler(post("/v1/decode", { prompts, beams: 9, filter: "fresh" }));
  const held = ask();
  await until(() => !isHeld);
  store.bytes = second;
  server.clock.skip(1000);
  await until(async () => await server.digest() === B);
  const later = await success(await ask());
  assert.equal(later.index, B);
  gate.resolve();
  const { index, results } = await success(await held);
  assert.equal(index, A);
  using old = await ConstraintIndex.open(first);
  for (const { ordinal, sequence } of results[0]) {
    assert.deepEqual(sequence, [...old.sequenceAt(ordinal)]);
  }
});

Deno.test("under load each answer comes from exactly one index", async () => {
  const versions = [first, second, third];
  const prompts = [[9], [8, 7]];
  const wanted = new Map<string, number[][]>();
  for (const bytes of versions) {
    const { index, ordinals } = await expected(bytes, prompts, 5);
    wanted.set(index, ordinals);
  }
  for (const memoryBytes of [2 ** 30, 0]) {
    const store = new Store(first);
    const random = new Random(3);
    await using server = served(store, {
      revalidateAfterMs: 0,
      memoryBytes,
      limits: { queue: 1000, concurrency: 8 },
      model: async (prompts) => {
        await new Promise((resolve) => setTimeout(resolve, random.below(4)));
        return model(prompts);
      },
    });
    const seen = new Set<string>();
    for (let round = 0; round < 12; round++) {
      store.bytes = versions[round % 3];
      await Promise.all(Array.from({ length: 12 }, async () => {
        await new Promise((resolve) => setTimeout(resolve, random.below(8)));
        const { index, results } = await success(
          await server.handler(post("/v1/decode", { prompts, beams: 5 })),
        );
        seen.add(index);
        assert.deepEqual(
          results.map((found: { ordinal: number }[]) => found.map(({ ordinal }) => ordinal)),
          wanted.get(index),
        );
      }));
    }
    assert(seen.size > 1);
    assert.equal((await server.loads()).failed, 0);
  }
});

Deno.test("a bad new index is refused, shown, and tried again with pauses", async () => {
  const small = await buildIndex([[1, 2]], { vocabSize: 100 });
  const bads: [Uint8Array, string, string | undefined][] = [
    [damaged(second), "chunk-digest", B],
    [second.slice(0, -256), "truncated", B],
    [new Uint8Array(2000), "not-safetensors", undefined],
    [small.toBytes(), "model-misfit", small.digest],
  ];
  small[Symbol.dispose]();
  for (const memoryBytes of [2 ** 30, 0]) {
    for (const [bad, code, digest] of bads) {
      const told: unknown[] = [];
      const store = new Store(first);
      await using server = served(store, {
        memoryBytes,
        search: { vocabSize: 64 },
        onError: (error) => told.push(error),
      });
      assert.equal(await server.digest(), A);
      store.bytes = bad;
      server.clock.skip(1000);
      await server.digest();
      await until(async () => (await server.loads()).failed === 1);
      assert.equal(await server.digest(), A);
      const status = await server.ready();
      assert.equal(status.ready, true);
      assert.equal(status.index.digest, A);
      assert.deepEqual(
        { ...status.lastError, secondsAgo: 0, retryInSeconds: 0 },
        { code, attempts: 1, secondsAgo: 0, retryInSeconds: 0, ...digest && { digest } },
      );
      assert.equal(told.length, 1);
      // Not before the pause is over.
      const { reads } = store;
      await server.digest();
      assert.equal(store.reads, reads);
      server.clock.skip(1001);
      await server.digest();
      await until(async () => (await server.loads()).failed === 2);
      server.clock.skip(1001);
      await server.digest();
      assert.equal((await server.loads()).failed, 2);
      store.bytes = third;
      server.clock.skip(1001);
      await until(async () => await server.digest() === C);
      assert.equal((await server.ready()).lastError, undefined);
    }
  }
});

Deno.test("where memory is short the new index is verified, then takes the place of the old", async () => {
  const store = new Store(first);
  const gate = latch();
  let isSearching = false;
  await using server = served(store, {
    memoryBytes: 1000,
    model: async (prompts) => {
      isSearching = true;
      await gate.promise;
      return model(prompts);
    },
  });
  assert.equal(await server.digest(), A);
  const held = server.handler(post("/v1/decode", { prompts: [[1]] }));
  await until(() => isSearching);
  store.bytes = second;
  const { reads } = store;
  server.clock.skip(1000);
  await server.digest();
  // Verified, and waiting for the search that goes on: there is no index to give out.
  await until(() => store.reads === reads + 2);
  await until(async () => !(await server.ready()).ready);
  const waiting = [server.digest(), server.digest()];
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(store.reads, reads + 2);
  gate.resolve();
  assert.equal((await success(await held)).index, A);
  assert.deepEqual(await Promise.all(waiting), [B, B]);
  assert.equal(store.reads, reads + 3);
});

Deno.test("a load that fails is answered with 503, and tried again by the next request", async () => {
  const store = new Store(first);
  const gate = latch();
  store.before = async () => {
    await gate.promise;
    throw new Error("the bucket's secret name");
  };
  await using server = served(store);
  const waiting = Array.from({ length: 4 }, () => server.handler(mask()));
  await until(() => store.reads === 1);
  gate.resolve();
  for (const response of await Promise.all(waiting)) {
    assert.equal(response.headers.get("retry-after"), "1");
    const said = await problem(response, 503, "index-unavailable");
    assert.equal(said.actual, "source-failed");
    assert(!JSON.stringify(said).includes("secret"));
  }
  assert.equal(store.reads, 1);
  const status = await server.ready();
  assert.equal(status.ready, false);
  assert(!JSON.stringify(status).includes("secret"));
  store.before = () => {};
  assert.equal(await server.digest(), A);
});

Deno.test("all requests of a cold start share one load", async () => {
  const store = new Store(first);
  await using server = served(store);
  const digests = await Promise.all(Array.from({ length: 10 }, () => server.digest()));
  assert.deepEqual(new Set(digests), new Set([A]));
  assert.equal(store.reads, 1);
});

Deno.test("a load that stands still has failed; the first request after the pause begins anew", async () => {
  const store = new Store(first);
  store.before = (read) => read === 1 ? new Promise(() => {}) : undefined;
  const told: unknown[] = [];
  await using server = served(store, {
    takeOverMs: 60_000,
    onError: (error, during) => told.push((error as { code: string }).code, during),
  });
  const waiting = [server.handler(mask()), server.handler(mask())];
  await until(() => store.reads === 1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  server.clock.skip(60_000);
  for (const answer of waiting) {
    const said = await problem(await answer, 503, "index-unavailable");
    assert.equal(said.actual, "stalled");
  }
  assert.deepEqual(told, ["stalled", "loading the index"]);
  assert.equal((await server.ready()).lastError.code, "stalled");
  await problem(await server.handler(mask()), 503, "index-unavailable");
  assert.equal(store.reads, 1);
  server.clock.skip(1000);
  assert.equal(await server.digest(), A);
  assert.equal(store.reads, 2);
  assert.deepEqual(await server.loads(), { loaded: 1, unchanged: 0, failed: 1 });
});

Deno.test("a load that was only slow goes on in the pause", async () => {
  const store = new Store(first);
  const gate = latch();
  store.before = () => gate.promise;
  await using server = served(store, { takeOverMs: 60_000 });
  const waiting = server.handler(mask());
  await until(() => store.reads === 1);
  server.clock.skip(60_000);
  await problem(await waiting, 503, "index-unavailable");
  gate.resolve();
  await until(async () => (await server.ready()).ready);
  assert.equal(await server.digest(), A);
  assert.equal(store.reads, 1);
  assert.deepEqual(await server.loads(), { loaded: 1, unchanged: 0, failed: 1 });
});

Deno.test("a load whose request has gone without an end is taken over by those who wait", async () => {
  const store = new Store(first);
  const gate = latch();
  store.before = (read) => read === 1 ? gate.promise : undefined;
  const told: unknown[] = [];
  await using server = served(store, {
    takeOverMs: 60_000,
    onError: (error) => told.push((error as { code: string }).code),
  });
  // As in Workers: its timers have gone with it.
  const { setInterval } = globalThis;
  globalThis.setInterval = (() => 0) as unknown as typeof setInterval;
  const gone = server.handler(mask());
  await until(() => store.reads === 1);
  globalThis.setInterval = setInterval;
  const next = server.digest();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(store.reads, 1);
  server.clock.skip(60_000);
  assert.equal(await next, A);
  assert.equal((await success(await gone)).index, A);
  assert.equal(store.reads, 2);
  assert.deepEqual(told, ["taken-over"]);
  // It had not gone after all: nobody wants what it brings.
  gate.resolve();
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.deepEqual(await server.loads(), { loaded: 1, unchanged: 0, failed: 1 });
});

Deno.test("a look that stands still is taken over, too", async () => {
  const store = new Store(first);
  await using server = served(store, { takeOverMs: 60_000 });
  await server.digest();
  store.bytes = second;
  const { reads } = store;
  store.before = (read) => read === reads + 1 ? new Promise(() => {}) : undefined;
  server.clock.skip(1000);
  await server.digest();
  await until(() => store.reads === reads + 1);
  server.clock.skip(60_000);
  await until(async () => await server.digest() === B);
});

Deno.test("a cold start that takes too long is 504, and goes on for those who come later", async () => {
  const store = new Store(first);
  const gate = latch();
  store.before = () => gate.promise;
  const kept: Promise<unknown>[] = [];
  await using server = served(store, { limits: { deadlineMs: 200 } });
  const context = { waitUntil: (promise: Promise<unknown>) => void kept.push(promise) };
  await problem(await server.handler(mask(), {}, context), 504, "deadline");
  assert(kept.length > 0);
  gate.resolve();
  await Promise.all(kept);
  assert.equal(await server.digest(), A);
  assert.equal(store.reads, 1);
});

Deno.test("a search that never ends holds its index no longer than its time", async () => {
  const store = new Store(first);
  let isHanging = true;
  await using server = served(store, {
    memoryBytes: 0,
    revalidateAfterMs: 10,
    limits: { deadlineMs: 500 },
    model: () => {
      isHanging = true;
      return new Promise(() => {});
    },
  });
  assert.equal(await server.digest(), A);
  isHanging = false;
  const held = server.handler(post("/v1/decode", { prompts: [[1]] }));
  await until(() => isHanging);
  store.bytes = second;
  server.clock.skip(10);
  await server.digest();
  await until(async () => !(await server.ready()).ready);
  await problem(await held, 504, "deadline");
  const next = server.digest();
  server.clock.skip(1000);
  assert.equal(await next, B);
});

for (
  const [name, expected] of [
    ["takes the memory of the old", 1],
    ["takes the memory of the old, though it had to be fetched again", 1],
    ["leaves the old its memory while a search may still use that", 2],
  ] as const
) {
  Deno.test(`where memory is short the new index ${name}`, async () => {
    const memories: WebAssembly.Memory[] = [];
    const { Memory } = WebAssembly;
    WebAssembly.Memory = class extends Memory {
      constructor(descriptor: WebAssembly.MemoryDescriptor) {
        super(descriptor);
        memories.push(this);
      }
    };
    try {
      const isHung = expected === 2;
      const store = new Store(first);
      let out: Float32Array | undefined;
      await using server = served(store, {
        memoryBytes: 0,
        limits: { deadlineMs: isHung ? 200 : 60_000 },
        model: () => (input) => {
          out = input.out;
          return isHung ? new Promise(() => {}) : out.fill(0);
        },
      });
      assert.equal(await server.digest(), A);
      const search = server.handler(post("/v1/decode", { prompts: [[1]], beams: 2 }));
      await until(() => out !== undefined);
      await (await search).body?.cancel();
      if (name.endsWith("again")) {
        // After the header and the bytes that are only looked at.
        const broken = store.reads + 3;
        store.before = (read) => {
          if (read === broken) throw new TypeError("broken off");
        };
      }
      for (const [bytes, digest] of [[second, B], [third, C]] as const) {
        store.bytes = bytes;
        server.clock.skip(1000);
        await until(async () => {
          const response = await server.handler(mask());
          return (await response.json()).index === digest;
        });
      }
      assert.equal(memories.length, expected);
      // What a model kept of the memory reaches it no more.
      assert.equal(out!.length > 0, isHung);
    } finally {
      WebAssembly.Memory = Memory;
    }
  });
}

Deno.test("closing ends a load, and waits for searches", async () => {
  const store = new Store(first);
  store.before = () => new Promise(() => {});
  const server = served(store);
  const waiting = server.handler(mask());
  await until(() => store.reads === 1);
  await server.handler.close();
  await problem(await waiting, 503, "closed");

  const gate = latch();
  let isSearching = false;
  const other = served(new Store(first), {
    model: async (prompts) => {
      isSearching = true;
      await gate.promise;
      return model(prompts);
    },
  });
  const held = other.handler(post("/v1/decode", { prompts: [[1]] }));
  await until(() => isSearching);
  let isClosed = false;
  const closing = other.handler.close().then(() => isClosed = true);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert(!isClosed);
  gate.resolve();
  await success(await held);
  await closing;
});
