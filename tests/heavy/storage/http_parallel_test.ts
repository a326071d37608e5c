/** Loading by several requests at a time; deadlines, signals and secrets, however many they are. */
import assert from "node:assert/strict";
import {
  type ByteRange,
  type ByteSource,
  ConstraintIndex,
  type OpenOptions,
} from "../../../mod.ts";
import type { Fault, Faults, ProxiedRequest } from "./servers/faults.ts";
import { nginxMissing } from "./servers/nginx.ts";
import { withServer } from "./servers/programs.ts";
import { CHUNK, headerOnlyFile, largeFile, sidFile, smallFile } from "../../support/index_files.ts";
import { asked, fails, failure, opensAs, served } from "./support/loading.ts";
import { assertNoSecret } from "../../support/secrets.ts";

const FILE = await largeFile();

/** What happens to the request that begins at a byte of the object, the first time. */
const once = (start: number, ...faults: Fault[]) => {
  let isDone = false;
  return ({ range }: ProxiedRequest): Faults => {
    if (isDone || start !== Number(range?.match(/^bytes=(\d+)/)?.[1])) return undefined;
    isDone = true;
    return faults;
  };
};

/** Ranges that were asked for, as numbers. */
const rangesOf = (texts: string[]) =>
  texts.map((text) => text.split("-").map(Number) as [number, number]).sort((a, b) => a[0] - b[0]);

await withServer("loading by several requests", nginxMissing(), () => {
  for (const parallel of [2, 4, 32]) {
    Deno.test(`${parallel} requests at a time ask for each byte about once`, () =>
      served({ large: FILE }, async ({ proxy }) => {
        await opensAs(`${proxy.url}/large`, FILE, { parallel });
        const ranges = rangesOf(asked(proxy));
        assert.equal(ranges[0][0], 0);
        ranges.slice(1).forEach(([start, last], i) => {
          const before = ranges[i][1];
          // The first range is asked for before it is known where chunks begin.
          if (i > 0) assert.equal(start, before + 1);
          else assert.ok(start <= before + 1 && start > before - CHUNK);
          assert.ok(last >= start);
        });
        assert.equal(ranges.at(-1)![1], FILE.length - 1);
        assert.ok(ranges.length > 1 && ranges.length < 10, `${ranges.length} requests`);
      }));
  }

  Deno.test("Of several requests the one that fails is continued, and no other", () =>
    served({ large: FILE }, async ({ proxy }) => {
      await opensAs(`${proxy.url}/large`, FILE, { parallel: 4 });
      const plan = asked(proxy).sort();
      const [, [start, last]] = rangesOf(plan);
      const half = (last - start) >> 1;
      const cases: Record<string, [Fault[], more: number, OpenOptions?]> = {
        "cut": [[{ kind: "cut", after: half }], 1],
        "cut without a length": [[{ kind: "no-length" }, { kind: "cut", after: half }], 1],
        "stall": [[{ kind: "stall", after: half }], 1, { stallTimeoutMs: 400 }],
        "no answer": [[{ kind: "slow-first-byte", ms: Infinity }], 1, { stallTimeoutMs: 400 }],
        "503": [[{ kind: "status", status: 503 }], 1],
        "429": [[{ kind: "status", status: 429, retryAfter: 0 }], 1],
        "reset": [[{ kind: "reset" }], 1],
        "the whole object": [[{ kind: "whole" }], 0],
        "another range": [[{ kind: "wrong-range", by: 3 }], 1],
        "hidden ETag": [[{ kind: "hide-etag" }], 0],
        "weak ETag": [[{ kind: "weak-etag" }], 0],
        "no length": [[{ kind: "no-length", chunked: true }], 0],
        // The header once more, and the chunk.
        "a wrong byte": [[{ kind: "wrong-bytes", at: half }], 2],
      };
      for (const [name, [faults, more, options]] of Object.entries(cases)) {
        proxy.requests.length = 0;
        proxy.inject(once(start, ...faults));
        await opensAs(`${proxy.url}/large`, FILE, { parallel: 4, ...options });
        const ranges = asked(proxy);
        assert.equal(ranges.length, plan.length + more, `${name}: ${ranges}`);
        assert.ok(plan.every((range) => ranges.includes(range)), `${name}: ${ranges}`);
      }
      for (const status of [400, 403, 404, 410]) {
        proxy.requests.length = 0;
        proxy.inject(once(start, { kind: "status", status }));
        const { actual } = await fails(`${proxy.url}/large`, "http-status", { parallel: 4 });
        assert.equal(actual, status);
        assert.ok(proxy.requests.length <= plan.length, `${asked(proxy)}`);
      }
    }));

  Deno.test("A server that does no ranges is asked once, however many requests are allowed", () =>
    served({ large: FILE }, async ({ proxy }) => {
      proxy.inject(() => [{ kind: "whole" }, { kind: "no-length" }, { kind: "hide-etag" }]);
      await opensAs(`${proxy.url}/large`, FILE, { parallel: 8 });
      assert.equal(proxy.requests.length, 1);
    }));

  Deno.test("A deadline ends the loading wherever it stands", () =>
    served({ large: FILE }, async ({ proxy }) => {
      const stalls: Fault[] = [
        { kind: "slow-first-byte", ms: Infinity },
        { kind: "stall", after: 0 },
        { kind: "stall", after: 300 },
        { kind: "stall", after: 3e6 },
      ];
      for (const fault of stalls) {
        for (const parallel of [1, 4]) {
          proxy.inject(() => fault);
          const options = { parallel, timeoutMs: 150 };
          const { expected } = await fails(`${proxy.url}/large`, "timeout", options);
          assert.equal(expected, 150);
        }
      }
      proxy.inject(() => undefined);
      await opensAs(`${proxy.url}/large`, FILE, { timeoutMs: 30_000 });
    }));

  Deno.test("A signal ends the loading wherever it stands, with its reason", () =>
    served({ large: FILE }, async ({ proxy }) => {
      for (const parallel of [1, 4]) {
        for (const at of [0, 300, 3e6]) {
          const controller = new AbortController();
          const reason = new Error("enough");
          proxy.inject(() => ({ kind: "change", at, change: () => controller.abort(reason) }));
          const options = { parallel, signal: controller.signal };
          assert.equal(await failure(`${proxy.url}/large`, options), reason);
        }
        // While it waits for the next attempt.
        const controller = new AbortController();
        proxy.inject(() => ({ kind: "status", status: 503, retryAfter: 50 }));
        proxy.requests.length = 0;
        const failing = failure(`${proxy.url}/large`, { parallel, signal: controller.signal });
        while (proxy.requests[0]?.outcome !== "sent") await new Promise((go) => setTimeout(go, 5));
        controller.abort("enough");
        assert.equal(await failing, "enough");
      }
    }));

  Deno.test("Errors hold no user, password, query or header of a request", () =>
    served({ large: FILE, empty: new Uint8Array() }, async ({ proxy }) => {
      const secrets = ["hidden-user", "hidden-password", "hidden-signature", "hidden-bearer"];
      const address = new URL(`${proxy.url}/large?X-Amz-Signature=${secrets[2]}&(a)=${secrets[2]}`);
      address.username = secrets[0];
      address.password = secrets[1];
      const headers = { authorization: `Bearer ${secrets[3]}` };
      const request = new Request(`${proxy.url}/large?(${secrets[2]})`, { headers });
      const always = (fault: Fault) => () => fault;
      const faults: ((request: ProxiedRequest, n: number) => Faults)[] = [
        always({ kind: "status", status: 403, body: secrets[2] }),
        always({ kind: "status", status: 503, retryAfter: secrets[2] }),
        always({ kind: "reset" }),
        always({ kind: "cut", after: 5 }),
        always({ kind: "cut", after: 3e4, reset: true }),
        always({ kind: "stall", after: 3e4 }),
        always({ kind: "slow-first-byte", ms: Infinity }),
        always({ kind: "wrong-bytes", at: 5 }),
        ({ range }) => range?.startsWith("bytes=0-") ? undefined : { kind: "wrong-bytes", at: 3e5 },
        ({ range }) => range ? { kind: "status", status: 416 } : { kind: "cut", after: 3e6 },
        ({ range }) => range ? { kind: "wrong-range", by: 5 } : { kind: "cut", after: 3e6 },
      ];
      for (const [i, decide] of faults.entries()) {
        for (const source of [address, address.href, request]) {
          proxy.inject(decide);
          const error = await failure(source, { retries: 1, stallTimeoutMs: 200 });
          assert.ok(error instanceof Error, `Fault ${i}`);
          assertNoSecret(error, secrets);
        }
      }
      // Nobody listens there.
      const closed = new URL(address);
      closed.port = "1";
      const wrong = `https://${secrets[0]}:${secrets[1]}@example.org:99999/x?sig=${secrets[2]}`;
      const failing: [string | URL, OpenOptions?][] = [
        [closed],
        [closed, { cache: { match: () => Promise.reject(new Error()) } as unknown as Cache }],
        [wrong],
        [`${wrong}@/`],
        [`file:///none?${secrets[2]}`],
        [address, { fetch: () => Promise.reject(`Cannot fetch ${address}`) }],
        [address, { fetch: () => Promise.reject(new AggregateError([new Error(`${address}`)])) }],
        [address, {
          fetch: () => Promise.reject(Object.assign(new Error("no"), { request: { address } })),
        }],
      ];
      for (const [source, options] of failing) {
        assertNoSecret(await failure(source, { retries: 0, ...options }), secrets);
      }
    }));
});

/** A store of one's own, with streams that fill their reader's buffers. */
class Store implements ByteSource {
  readonly ranges: (ByteRange | undefined)[] = [];
  readonly file: Uint8Array<ArrayBuffer>;
  readonly byteLength?: number;

  constructor(file: Uint8Array<ArrayBuffer>, isSizeKnown: boolean) {
    this.file = file;
    if (isSizeKnown) this.byteLength = file.length;
  }

  read(range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
    this.ranges.push(range);
    return Promise.resolve(new Blob([this.file.slice(range?.start, range?.end)]).stream());
  }
}

Deno.test("Stores of one's own of any size are read in parallel, whether they tell their size", async () => {
  const files = [await headerOnlyFile(), await smallFile(), FILE];
  for (const rows of [20_000, 100_000, 250_000, 400_000]) files.push(await sidFile(rows));
  for (const file of files) {
    for (const isSizeKnown of [false, true]) {
      for (const parallel of [1, 2, 4, 32]) {
        await opensAs(new Store(file, isSizeKnown), file, { parallel });
      }
    }
  }
});

Deno.test("Numbers of requests, attempts and milliseconds that make no sense are RangeErrors", async () => {
  const wrong: OpenOptions[] = [
    ...[0, 33, 1.5, NaN, -1].map((parallel) => ({ parallel })),
    ...[-1, NaN, Infinity].flatMap((retries) => [{ retries }, { timeoutMs: retries }]),
    ...[0, NaN, Infinity].map((stallTimeoutMs) => ({ stallTimeoutMs })),
  ];
  for (const options of wrong) {
    await assert.rejects(ConstraintIndex.open(FILE, options), RangeError, Deno.inspect(options));
  }
});
