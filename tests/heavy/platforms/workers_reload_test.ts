/** Cloudflare Workers: the index changes in R2 while requests run, clients leave, and memory stays within its limit. */
import assert from "node:assert/strict";
import { createHandler, type ModelFactory } from "../../../src/edge/mod.ts";
import { LONG } from "../../support/long.ts";
import { withServer } from "../storage/servers/programs.ts";
import { r2Missing } from "../storage/servers/r2.ts";
import { StallingStore } from "../../support/stalling_store.ts";
import { sidFile } from "../../support/index_files.ts";
import { KEY, MODEL, startWorker, type Worker } from "./support/worker_under_test.ts";

/** What an isolate of Workers may hold, bytes. */
const LIMIT = 128e6;
const CLIENTS = 6;
/** Few: an index that has gone is counted until V8 collects it, which it does late. */
const ROUNDS = 6;

/** Requests and, by digest, what Deno answers. */
const ASKED: [path: string, body: unknown][] = [
  ["/v1/decode", { prompts: [[7]], beams: 10 }],
  ["/v1/decode", { prompts: [[1], [2], [3]], beams: 20 }],
  ["/v1/mask", { prefixes: [[], [5]] }],
];

type Wanted = Map<string, { index: string }[]>;

async function answersOf(files: Uint8Array[]): Promise<Wanted> {
  const model: ModelFactory = (0, eval)(MODEL);
  const answers: Wanted = new Map();
  for (const index of files) {
    await using handler = createHandler({ index, model, decoder: { backend: "wasm" } });
    const all = await Promise.all(ASKED.map(async ([path, body]) => {
      const request = new Request(`http://deno.test${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      return await (await handler(request)).json();
    }));
    answers.set(all[0].index, all);
  }
  return answers;
}

/** Asks, and gives the digest that the answer names; it must be that index's answer. */
async function ask(worker: Worker, i: number, wanted: Wanted): Promise<string> {
  const response = await worker.post(...ASKED[i]);
  const text = await response.text();
  assert.equal(response.status, 200, text);
  const { index } = JSON.parse(text);
  assert.deepEqual(JSON.parse(text), wanted.get(index)?.[i]);
  return index;
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

await withServer("Workers", r2Missing(), () => {
  Deno.test("workerd changes to a new index of a million items while requests run", async () => {
    const files = await Promise.all([0, 1, 2].map((flip) => sidFile(1_000_000, flip)));
    const wanted = await answersOf(files);
    const digests = [...wanted.keys()];
    await using worker = await startWorker({ options: "revalidateAfterMs: 20" });
    await worker.r2.bucket.put(KEY, files[0]);
    let isOver = false;
    let served = "";
    let most = { wasmBytes: 0, heapBytes: 0 };
    const clients = Array.from({ length: CLIENTS }, async (_, client) => {
      for (let turn = client; !isOver; turn++) served = await ask(worker, turn % 3, wanted);
    });
    const swaps = async () => {
      for (let round = 1; round <= ROUNDS; round++) {
        await worker.r2.bucket.put(KEY, files[round % 3]);
        while (served !== digests[round % 3]) await pause(20);
        const { wasmBytes } = await worker.state();
        const heapBytes = await worker.heapBytes();
        if (wasmBytes + heapBytes > most.wasmBytes + most.heapBytes) {
          most = { wasmBytes, heapBytes };
        }
      }
    };
    // A client that fails must not leave the swaps waiting.
    await Promise.all([
      Promise.race([swaps(), ...clients]).finally(() => isOver = true),
      ...clients,
    ]);
    assert.deepEqual((await worker.state()).errors, []);
    const { wasmBytes, heapBytes } = most;
    console.log(
      `workerd, at most: ${(wasmBytes / 1e6).toFixed(1)} MB of WASM memory, ` +
        `${(heapBytes / 1e6).toFixed(1)} MB of heap and array buffers`,
    );
    assert(wasmBytes >= files[0].length);
    assert(wasmBytes + heapBytes < LIMIT);
  });

  Deno.test("in workerd an index that leaves no room for another gives it its memory", async () => {
    const rows = LONG ? 10_000_000 : 1_000_000;
    const files = [await sidFile(rows), await sidFile(rows, 1)];
    const wanted = await answersOf(files);
    const [{ length }] = files;
    await using worker = await startWorker({
      options: `revalidateAfterMs: 20, memoryBytes: ${Math.ceil(length * 1.5)}`,
    });
    let isOver = false;
    let served = "";
    let wasmBytes = 0;
    await worker.r2.bucket.put(KEY, files[0]);
    const clients = Array.from({ length: CLIENTS }, async (_, client) => {
      for (let turn = client; !isOver; turn++) served = await ask(worker, turn % 3, wanted);
    });
    const swaps = async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const digest = [...wanted.keys()][round % 2];
        await worker.r2.bucket.put(KEY, files[round % 2]);
        while (served !== digest) await pause(20);
        wasmBytes = Math.max(wasmBytes, (await worker.state()).wasmBytes);
      }
    };
    await Promise.all([
      Promise.race([swaps(), ...clients]).finally(() => isOver = true),
      ...clients,
    ]);
    assert.deepEqual((await worker.state()).errors, []);
    console.log(
      `workerd, at most: ${(wasmBytes / 1e6).toFixed(1)} MB of WASM memory for an index of ` +
        `${(length / 1e6).toFixed(1)} MB`,
    );
    assert(wasmBytes >= length && wasmBytes < length + 24e6);
  });

  for (
    const [context, name, reads, errors] of [
      ["env, context", "goes on behind it", 1, /^$/],
      ["{}", "is taken over where it cannot", 2, /^loading the index: .*has gone: another does$/],
    ] as const
  ) {
    Deno.test(`in workerd the load of a client that leaves ${name}`, async () => {
      const file = await sidFile(100_000);
      const wanted = await answersOf([file]);
      await using worker = await startWorker({
        source: "reads === 1 ? sleep(1000).then(() => stored) : stored",
        options: "takeOverMs: 1500",
        context,
      });
      await worker.r2.bucket.put(KEY, file);
      const first = worker.post(...ASKED[0], 200);
      while ((await worker.state()).reads === 0) await pause(5);
      const others = Array.from({ length: CLIENTS }, (_, i) => ask(worker, i % 3, wanted));
      const { status, body } = await first;
      await body?.cancel();
      assert.equal(status, 499);
      await Promise.all(others);
      const state = await worker.state();
      assert.equal(state.reads, reads);
      assert.match(state.errors.join("; "), errors);
    });

    Deno.test(`in workerd a store that stalls is asked again after the pause, where a load ${name}`, async () => {
      const file = await sidFile(100_000);
      const wanted = await answersOf([file]);
      await using store = new StallingStore(file);
      store.mood = "stops after the header";
      await using worker = await startWorker({
        source: `"${store.url}"`,
        options: "takeOverMs: 300",
        context,
      });
      const refused = async () => {
        const response = await worker.post(...ASKED[0]);
        const { code, actual } = await response.json();
        assert.deepEqual([code, actual], ["index-unavailable", "stalled"]);
      };
      for (let load = 1; load <= 2; load++) {
        await Promise.all([refused(), refused(), refused()]);
        await refused();
        assert.equal(store.connections, load);
        await pause(1000 * load);
      }
      store.mood = "works";
      await Promise.all(
        Array.from({ length: CLIENTS }, (_, i) => ask(worker, i % 3, wanted)),
      );
      assert.equal(store.connections, 3);
      assert(store.mostOpen <= 2, `${store.mostOpen} connections at a time`);
      while (store.open > 0) await pause(5);
      const { errors } = await worker.state();
      assert.match(errors[0], /^loading the index: .*too little for 300 ms/);
    });
  }

  Deno.test("in workerd an index gives way while its copy for a cache is still being made", async () => {
    const files = await Promise.all([0, 1].map((flip) => sidFile(100_000, flip)));
    const wanted = await answersOf(files);
    let version = 0;
    await using store = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      () => new Response(files[version]),
    );
    const cache = `{
      match: () => Promise.resolve(),
      put: (_, response) => response.arrayBuffer().then(() => new Promise(() => {})),
    }`;
    await using worker = await startWorker({
      source: `"http://127.0.0.1:${store.addr.port}/${KEY}"`,
      options: `revalidateAfterMs: 20, open: { cache: ${cache} }`,
    });
    for (const [next, digest] of [...wanted.keys()].entries()) {
      version = next;
      while (await ask(worker, 0, wanted) !== digest) await pause(20);
    }
    assert.deepEqual((await worker.state()).errors, []);
  });
});
