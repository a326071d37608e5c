/** The proxy passes requests on, and spoils responses in the ways that it lists. */
import assert from "node:assert/strict";
import { type Fault, type FaultProxy, startProxy } from "./faults.ts";

const DATA = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7 >> 3);

/** An origin with two objects, `/a` and `/b`, ranges and ETags; `/chunked` has no length. */
function startOrigin() {
  const onListen = () => {};
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen }, ({ url, headers }) => {
    const { pathname } = new URL(url);
    const data = pathname.endsWith("/b") ? DATA.toReversed() : DATA;
    if (pathname === "/chunked") return new Response(new Blob([data]).stream());
    const fields = { etag: `"${pathname}"`, "content-length": `${data.length}` };
    const range = headers.get("range")?.match(/^bytes=(\d+)-(\d+)$/);
    if (!range) return new Response(data, { headers: fields });
    const [start, last] = range.slice(1).map(Number);
    return new Response(data.slice(start, last + 1), {
      status: 206,
      headers: {
        ...fields,
        "content-length": `${last + 1 - start}`,
        "content-range": `bytes ${start}-${last}/${data.length}`,
      },
    });
  });
}

/** As much of a response as comes, and whether it failed then. */
async function receive(url: string, headers: Record<string, string> = {}, enough = Infinity) {
  const start = performance.now();
  let body = new Uint8Array();
  let failed = false;
  let response: Response | undefined;
  try {
    response = await fetch(url, { headers });
    for await (const bytes of response.body!) {
      body = new Uint8Array([...body, ...bytes]);
      if (body.length >= enough) break;
    }
  } catch {
    failed = true;
  }
  const field = (name: string) => response?.headers.get(name);
  return { status: response?.status, field, body, failed, ms: performance.now() - start };
}

const range = { range: "bytes=1000-20999" };
const PART = DATA.slice(1000, 21000);

/** Runs with a proxy in front of an origin. */
async function proxied(use: (proxy: FaultProxy, url: string) => Promise<void>): Promise<void> {
  await using origin = startOrigin();
  await using proxy = await startProxy(`http://127.0.0.1:${origin.addr.port}`);
  await use(proxy, `${proxy.url}/a`);
}

Deno.test("The proxy passes on what it is not told to spoil", () =>
  proxied(async (proxy, url) => {
    const part = await receive(url, range);
    assert.deepEqual(part.body, PART);
    assert.deepEqual([part.status, part.field("etag")], [206, '"/a"']);
    assert.equal(part.field("content-range"), `bytes 1000-20999/${DATA.length}`);
    assert.deepEqual((await receive(url)).body, DATA);
    assert.deepEqual((await receive(`${proxy.url}/chunked?query`)).body, DATA);
    const head = await fetch(url, { method: "HEAD" });
    assert.equal(head.headers.get("content-length"), `${DATA.length}`);
    await proxy.idle();
    assert.deepEqual(
      proxy.requests.map(({ method, path, range, status, bytesSent, outcome }) =>
        [method, path, range, status, bytesSent, outcome].join(" ")
      ),
      [
        "GET /a bytes=1000-20999 206 20000 sent",
        `GET /a  200 ${DATA.length} sent`,
        `GET /chunked?query  200 ${DATA.length} sent`,
        "HEAD /a  200 0 sent",
      ],
    );
    assert.equal(proxy.requests[0].headers.get("range"), range.range);
  }));

Deno.test("Faults that end a response", () =>
  proxied(async (proxy, url) => {
    proxy.next({ kind: "cut", after: 777 }, { kind: "cut", after: 0 }, { kind: "reset" });
    proxy.next({ kind: "cut", after: 16384, reset: true });
    for (const length of [777, 0, 0]) {
      const { body, failed } = await receive(url, range);
      assert.ok(failed);
      assert.deepEqual(body, PART.slice(0, length));
    }
    assert.ok((await receive(url, range)).failed);
    // Nobody can tell that this is not all of it.
    proxy.next([{ kind: "no-length" }, { kind: "cut", after: 777 }]);
    const short = await receive(url);
    assert.deepEqual([short.failed, short.body.length], [false, 777]);
    proxy.next([{ kind: "no-length", chunked: true }, { kind: "cut", after: 777 }]);
    assert.ok((await receive(url)).failed);

    proxy.next({ kind: "stall", after: 777 });
    const response = await fetch(url);
    const reader = response.body!.getReader();
    assert.equal((await reader.read()).value?.length, 777);
    const more = reader.read();
    const timer = Promise.withResolvers<string>();
    const id = setTimeout(timer.resolve, 100, "stalled");
    assert.equal(await Promise.race([more, timer.promise]), "stalled");
    clearTimeout(id);
    await reader.cancel();
    await proxy.idle();
    const { outcome, bytesSent } = proxy.requests.at(-1)!;
    assert.deepEqual([outcome, bytesSent], ["left", 777]);
    assert.ok(proxy.requests.slice(0, -1).every(({ outcome }) => outcome === "fault"));
  }));

Deno.test("Faults that tell lies", () =>
  proxied(async (proxy, url) => {
    const spoilt = (...faults: Fault[]) => {
      proxy.next(faults);
      return receive(url, range);
    };
    const long = await spoilt({ kind: "wrong-length", by: 5 });
    assert.deepEqual([long.field("content-length"), long.failed], ["20005", true]);
    assert.deepEqual(long.body, PART);
    const short = await spoilt({ kind: "wrong-length", by: -5 });
    assert.deepEqual([short.field("content-length"), short.failed], ["19995", false]);
    assert.deepEqual(short.body, PART.slice(0, -5));

    for (const chunked of [false, true]) {
      const { field, body, failed } = await spoilt({ kind: "no-length", chunked });
      assert.deepEqual([field("content-length"), failed], [null, false]);
      assert.deepEqual(body, PART);
    }
    const wrong = await spoilt({ kind: "wrong-bytes", at: 17000 }, { kind: "wrong-bytes", at: 0 });
    assert.deepEqual(wrong.body, PART.map((byte, i) => i === 0 || i === 17000 ? ~byte : byte));

    const whole = await spoilt({ kind: "whole" });
    assert.deepEqual([whole.status, whole.body.length], [200, DATA.length]);
    const other = await spoilt({ kind: "wrong-range", by: 3 });
    assert.equal(other.field("content-range"), `bytes 1003-21002/${DATA.length}`);
    assert.deepEqual(other.body, DATA.slice(1003, 21003));

    assert.equal((await spoilt({ kind: "hide-etag" })).field("etag"), null);
    assert.equal((await spoilt({ kind: "weak-etag" })).field("etag"), 'W/"/a"');

    const busy = await spoilt({ kind: "status", status: 503, retryAfter: 2 });
    assert.deepEqual([busy.status, busy.field("retry-after")], [503, "2"]);
    const gone = await spoilt({ kind: "status", status: 404, body: "gone" });
    assert.deepEqual([gone.status, new TextDecoder().decode(gone.body)], [404, "gone"]);
    assert.equal(gone.field("retry-after"), null);
  }));

Deno.test("Faults that take time, and objects that change meanwhile", () =>
  proxied(async (proxy, url) => {
    const assertTakes = async (least: number, times = 1) => {
      const start = performance.now();
      for (
        const { body } of await Promise.all(
          Array(times).fill(url).map((url) => receive(url, range)),
        )
      ) {
        assert.deepEqual(body, PART);
      }
      const ms = performance.now() - start;
      assert.ok(ms > least - 2, `Took ${ms} ms, wanted at least ${least}`);
    };
    proxy.next({ kind: "slow-first-byte", ms: 200 });
    await assertTakes(200);
    proxy.next({ kind: "trickle", bytes: 1000, everyMs: 10 });
    await assertTakes(200);
    proxy.latencyMs = 200;
    await assertTakes(200);
    proxy.latencyMs = 0;
    // All share the link; timers that were late are made up for.
    proxy.bytesPerSecond = 200_000;
    await assertTakes(100 - 20);
    await assertTakes(300 - 20, 3);
    proxy.bytesPerSecond = Infinity;

    const { target } = proxy;
    let sent = NaN;
    const change = () => {
      sent = proxy.requests.at(-1)!.bytesSent;
      proxy.target = `${target}/other`;
    };
    proxy.inject((_, n) => n === 7 ? { kind: "change", at: 777, change } : undefined);
    assert.deepEqual((await receive(url)).body, DATA);
    assert.equal(sent, 777);
    assert.equal((await receive(url)).field("etag"), '"/other/a"');
  }));

Deno.test("Disposing of the proxy closes what is open", async () => {
  await using origin = startOrigin();
  const proxy = await startProxy(`http://127.0.0.1:${origin.addr.port}`);
  proxy.next({ kind: "stall", after: 5 }, { kind: "slow-first-byte", ms: Infinity });
  const response = await fetch(`${proxy.url}/a`);
  const body = assert.rejects(response.bytes());
  const waiting = assert.rejects(fetch(`${proxy.url}/a`));
  while (proxy.requests.length < 2) await new Promise((done) => setTimeout(done, 5));
  await proxy[Symbol.asyncDispose]();
  await Promise.all([body, waiting]);
  assert.deepEqual(proxy.requests.map(({ outcome }) => outcome), ["left", "left"]);
  await assert.rejects(fetch(`${proxy.url}/a`));
});
