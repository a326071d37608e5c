/**
 * The HTTP handler under load while its index changes: 6 seconds, or ten minutes in a long run. No request
 * fails, and each answer is, byte for byte, that of the index whose digest it names. And under clients that send their
 * bodies byte by byte: 100 of them for 3 seconds, or 1 000 for two minutes.
 */

import assert from "node:assert/strict";
import type { Handler } from "../../src/edge/mod.ts";
import { catalogue, get, serve, Store } from "../support/edge.ts";
import { LONG, runs } from "../support/long.ts";
import { Random } from "../support/models.ts";

const SECONDS = runs(6, 600);
/** How often the index changes. */
const SWAP_MS = runs(300, 1000);
const CLIENTS = 6;
/** Memory that slow clients may take, bytes: a process that has just begun grows by 50 MB whatever it does. */
const MOST_GROWTH = 150e6;
const FILTERS = [undefined, "fresh", { not: "adult" }, {
  all: ["de", { any: ["fresh", "adult"] }],
}];

const versions = await Promise.all([20, 21, 22].map((seed) => catalogue(seed)));

/** A request, as often as it is sent. */
interface Asked {
  path: string;
  body: string;
}

function someRequests(random: Random): Asked[] {
  const tokens = (most: number) =>
    Array.from({ length: random.below(most) }, () => random.below(60));
  return Array.from({ length: 40 }, (_, i) => {
    const filter = random.pick(FILTERS);
    const rows = Array.from({ length: random.between(1, 3) }, () => tokens(4));
    return i % 4 === 0 ? { path: "/v1/mask", body: JSON.stringify({ prefixes: rows, filter }) } : {
      path: "/v1/decode",
      body: JSON.stringify({ prompts: rows, beams: random.between(1, 20), filter }),
    };
  });
}

/** A handler on loopback. */
function listen(handler: Handler) {
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, handler);
  const ask = async ({ path, body }: Asked) => {
    const response = await fetch(`http://127.0.0.1:${server.addr.port}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    return { status: response.status, text: await response.text() };
  };
  const dispose = async () => {
    await server.shutdown();
    await handler.close();
  };
  return { ask, port: server.addr.port, [Symbol.asyncDispose]: dispose };
}

const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);

const indexOf = (text: string): string => JSON.parse(text).index;

/** What each version answers, by digest, where nothing changes. */
async function answersOf(requests: Asked[]): Promise<Map<string, string[]>> {
  const answers = new Map<string, string[]>();
  for (const bytes of versions) {
    await using still = listen(serve({ index: bytes }));
    const texts: string[] = [];
    for (const request of requests) texts.push((await still.ask(request)).text);
    answers.set(indexOf(texts[0]), texts);
  }
  assert.equal(answers.size, versions.length);
  return answers;
}

for (
  const [room, memoryBytes] of [
    ["room for two", 2 ** 30],
    ["room for one", 0],
  ] as const
) {
  Deno.test(`no request fails while the index changes again and again, with ${room}`, async () => {
    const random = new Random(memoryBytes + 5);
    const requests = someRequests(random);
    const wanted = await answersOf(requests);
    const store = new Store(versions[0]);
    const errors: unknown[] = [];
    const handler = serve({
      index: store,
      memoryBytes,
      revalidateAfterMs: 100,
      limits: { filterBytes: 2000 },
      onError: (error) => errors.push(error),
    });
    await using server = listen(handler);
    const end = performance.now() + (SECONDS / 2) * 1000;
    let swaps = 0;
    const swapping = setInterval(() => store.bytes = versions[++swaps % versions.length], SWAP_MS);
    const seen = new Map<string, number>();
    const before = Deno.memoryUsage().rss;
    try {
      await Promise.all(Array.from({ length: CLIENTS }, async () => {
        while (performance.now() < end) {
          const i = random.below(requests.length);
          const { status, text } = await server.ask(requests[i]);
          assert.equal(status, 200, text);
          const digest = indexOf(text);
          assert.equal(text, wanted.get(digest)?.[i], `request ${i}`);
          seen.set(digest, (seen.get(digest) ?? 0) + 1);
        }
      }));
    } finally {
      clearInterval(swapping);
    }
    assert.deepEqual(errors, []);
    assert.equal(seen.size, versions.length, "each version has been served");
    const metrics = await (await handler(get("/metrics"))).text();
    const loaded = Number(metrics.match(/index_loads_total\{result="loaded"\} (\d+)/)![1]);
    assert(loaded >= versions.length);
    if (LONG) {
      const total = [...seen.values()].reduce((sum, count) => sum + count, 0);
      console.log(
        `${total} requests, ${swaps} swaps, ${loaded} loads; memory of the process ` +
          `${megabytes(before)} MB before, ${megabytes(Deno.memoryUsage().rss)} MB after`,
      );
    }
  });
}

Deno.test("clients that send a byte now and then take little memory, and are sent away in the end", async () => {
  const clients = runs(100, 1000);
  const handler = serve({
    index: versions[0],
    limits: { deadlineMs: runs(1000, 10_000) },
  });
  await using server = listen(handler);
  const metric = async (name: string) => {
    const text = await (await handler(get("/metrics"))).text();
    return Number(text.match(new RegExp(`^espalier_${name} (\\d+)$`, "m"))![1]);
  };
  const decode = { path: "/v1/decode", body: JSON.stringify({ prompts: [[1]], beams: 2 }) };
  assert.equal((await server.ask(decode)).status, 200);
  const before = Deno.memoryUsage().rss;
  const program = new URL("./slow_clients.ts", import.meta.url).pathname;
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", program, `${server.port}`, `${clients}`, `${runs(50, 1000)}`],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  let most = before;
  let reading = 0;
  let served = 0;
  let asked = 0;
  const end = performance.now() + runs(3, 120) * 1000;
  while (performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    most = Math.max(most, Deno.memoryUsage().rss);
    reading = Math.max(reading, await metric("bodies_on_their_way"));
    const { status } = await server.ask(decode);
    assert(status === 200 || status === 503);
    asked++;
    if (status === 200) served++;
  }
  await child.stdin.close();
  const statuses = JSON.parse(await new Response(child.stdout).text());
  assert.equal(reading, 32);
  assert(statuses[408] > 0 && statuses[503] > 0, JSON.stringify(statuses));
  const grown = most - before;
  assert(grown < MOST_GROWTH, `${megabytes(grown)} MB more`);
  while (await metric("bodies_on_their_way") > 0) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal((await server.ask(decode)).status, 200);
  if (LONG) {
    console.log(
      `${clients} slow clients, answered ${
        JSON.stringify(statuses)
      }; of ${asked} others ${served} ` +
        `were served; memory of the process ${megabytes(before)} MB before, at most ` +
        `${megabytes(most)} MB, ${megabytes(Deno.memoryUsage().rss)} MB after`,
    );
  }
});
