/** The HTTP handler: what one request may take, what must not take the index down, options that would open a door. */
import assert from "node:assert/strict";
import { ConstraintIndex, EspalierError, type ItemFilter } from "../../mod.ts";
import type { HandlerOptions } from "../../src/edge/mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import {
  catalogue,
  Clock,
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

const bytes = await catalogue(20);
const NAMES = ["fresh", "adult", "de"];
const FILTERS = NAMES.flatMap((a) => NAMES.map((b) => ({ all: [a, { not: b }] })));

/** Keeps the main thread busy. */
function spin(milliseconds: number): void {
  for (const end = performance.now() + milliseconds; performance.now() < end;);
}

/** Replaces a method of indexes while `run` runs. */
async function withMethod<K extends "filter" | "allowedTokens">(
  name: K,
  make: (original: ConstraintIndex[K]) => ConstraintIndex[K],
  run: () => Promise<void>,
): Promise<void> {
  const original = ConstraintIndex.prototype[name];
  ConstraintIndex.prototype[name] = make(original);
  try {
    await run();
  } finally {
    ConstraintIndex.prototype[name] = original;
  }
}

function isDisposed(filter: ItemFilter): boolean {
  try {
    filter.has(0);
    return false;
  } catch (error) {
    assert(error instanceof EspalierError && error.code === "disposed");
    return true;
  }
}

async function small(rows: number[][]): Promise<Uint8Array> {
  using index = await buildIndex(rows, { vocabSize: 16 });
  return index.toBytes();
}

Deno.test("where memory is short, an index that may not fit the model does not end the one before it", async () => {
  const [old, fits, contains] = await Promise.all(
    [[[1, 2], [3, 4]], [[1, 2], [5, 6]], [[1, 2], [9, 4]]].map(small),
  );
  for (const [memoryBytes, code] of [[0, "memory-short"], [2 ** 30, "model-misfit"]] as const) {
    const store = new Store(old);
    const clock = new Clock();
    await using handler = serve({
      index: store,
      revalidateAfterMs: 1000,
      memoryBytes,
      search: { endToken: 9 },
      now: clock.now,
      open: { retries: 0 },
    });
    const digest = async () =>
      (await success(await handler(post("/v1/mask", { prefixes: [[]] })))).index;
    const first = await digest();
    const failure = async () => (await (await handler(get("/readyz"))).json()).lastError;
    store.bytes = contains;
    clock.skip(1000);
    assert.equal(await digest(), first);
    await until(async () => (await failure())?.code === code);
    for (let i = 0; i < 3; i++) assert.equal(await digest(), first);
    store.bytes = fits;
    clock.skip(600_000);
    await until(async () => await digest() !== first);
  }
});

Deno.test("filters of a mask request are given back one by one", async () => {
  const made: ItemFilter[] = [];
  await withMethod("filter", (original) =>
    function (this: ConstraintIndex, allowed) {
      assert(made.every(isDisposed), "more than one filter at a time");
      made.push(original.call(this, allowed));
      return made.at(-1)!;
    }, async () => {
    await using handler = serve({ index: new Store(bytes), limits: { filterBytes: 0 } });
    const prefixes = FILTERS.map((filter) => ({ tokens: [], filter }));
    await success(await handler(post("/v1/mask", { prefixes })));
    assert.equal(made.length, FILTERS.length);
    assert(made.every(isDisposed));
  });
});

Deno.test("compiled filters are kept where there is room, and used again", async () => {
  for (const [filterBytes, compiled] of [[2 ** 24, 9], [0, 18]] as const) {
    const made: ItemFilter[] = [];
    await withMethod("filter", (original) =>
      function (this: ConstraintIndex, allowed) {
        made.push(original.call(this, allowed));
        return made.at(-1)!;
      }, async () => {
      await using handler = serve({ index: new Store(bytes), limits: { filterBytes } });
      const prompts = FILTERS.map((filter) => ({ tokens: [1], filter }));
      for (let i = 0; i < 2; i++) {
        await success(await handler(post("/v1/decode", { prompts, beams: 2 })));
      }
      assert.equal(made.length, compiled);
      assert.equal(made.every(isDisposed), filterBytes === 0);
    });
    assert(made.every(isDisposed), "closing gives them back");
  }
});

Deno.test("filters that take too much together are refused", async () => {
  await using handler = serve({ index: new Store(bytes), limits: { requestFilterBytes: 1 } });
  const request = { prompts: [{ tokens: [1], filter: "fresh" }], beams: 2 };
  const said = await problem(await handler(post("/v1/decode", request)), 422, "filters-too-large");
  assert.equal(said.field, "/prompts/0/filter");
});

Deno.test("deadlines hold where nothing leaves a turn to timers", async () => {
  const spinning: HandlerOptions["model"] = (prompts) => {
    const answer = model(prompts);
    return (input) => {
      spin(130);
      return answer(input);
    };
  };
  // As in Workers: a clock that stands still.
  await using still = serve({
    index: new Store(bytes),
    model: spinning,
    now: () => 0,
    limits: { deadlineMs: 100 },
  });
  await problem(await still(post("/v1/decode", { prompts: [[1]], beams: 2 })), 504, "deadline");

  await withMethod("allowedTokens", (original) =>
    function (this: ConstraintIndex, ...given) {
      spin(60);
      return original.apply(this, given);
    }, async () => {
    await using handler = serve({ index: new Store(bytes), limits: { deadlineMs: 100 } });
    const prefixes = Array.from({ length: 5 }, () => []);
    await problem(await handler(post("/v1/mask", { prefixes })), 504, "deadline");
  });
});

Deno.test("the body of a request that is sent away is not read", async () => {
  const gate = latch();
  await using handler = serve({
    index: new Store(bytes),
    limits: { concurrency: 1, queue: 0 },
    model: async (prompts) => {
      await gate.promise;
      return model(prompts);
    },
  });
  const held = handler(post("/v1/decode", { prompts: [[1]], beams: 2 }));
  await until(async () => /running\S* 1\b/.test(await (await handler(get("/metrics"))).text()));
  let isRead = false;
  const body = new ReadableStream({
    pull(controller) {
      isRead = true;
      controller.close();
    },
  }, { highWaterMark: 0 });
  const request = new Request("http://edge.test/v1/mask", {
    method: "POST",
    body,
    headers: { "content-type": "application/json" },
  });
  await problem(await handler(request), 503, "too-busy");
  assert(!isRead);
  gate.resolve();
  await success(await held);
});

Deno.test("a model that fails to go away does not take the answer with it", async () => {
  const told: unknown[] = [];
  await using handler = serve({
    index: new Store(bytes),
    onError: (error) => told.push(error),
    model: (prompts) =>
      Object.assign(model(prompts), {
        [Symbol.dispose]() {
          throw new Error("stuck");
        },
      }),
  });
  await success(await handler(post("/v1/decode", { prompts: [[1]], beams: 2 })));
  assert.match(String(told[0]), /stuck/);
});

Deno.test("options that would open a door, or close all, are refused", () => {
  const index = new Store(bytes);
  for (const origins of ["https://shop.example.com", undefined, [1]]) {
    const cors = { origins } as unknown as HandlerOptions["cors"];
    assert.throws(() => serve({ index, cors }), TypeError);
  }
  assert.throws(() => serve({ index, cors: { origins: [], maxAgeSeconds: -1 } }), RangeError);
  assert.throws(() => serve({ index, limits: { beams: 1.5 } }), /limits.beams is 1.5/);
});

Deno.test("what fails is printed unless somebody is told", async () => {
  const printed: unknown[][] = [];
  const { error } = console;
  console.error = (...values) => printed.push(values);
  try {
    await using handler = serve({
      index: new Store(bytes),
      model: () => {
        throw new Error("no such model");
      },
      onError: undefined,
    });
    const refused = await handler(post("/v1/decode", { prompts: [[1]], beams: 2 }));
    assert(!(await refused.text()).includes("no such model"));
  } finally {
    console.error = error;
  }
  assert.equal(printed.length, 1);
  assert.match(String(printed[0]), /while making the model.*no such model/);
});
