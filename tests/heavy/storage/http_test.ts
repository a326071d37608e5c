/** Loading over HTTP: from a real server as it is, and through a proxy that spoils answers. */
import assert from "node:assert/strict";
import type { OpenOptions } from "../../../mod.ts";
import type { Faults } from "./servers/faults.ts";
import { nginxMissing } from "./servers/nginx.ts";
import { withServer } from "./servers/programs.ts";
import {
  CHUNK,
  headerLength,
  headerOnlyFile,
  largeFile,
  smallFile,
} from "../../support/index_files.ts";
import {
  asked,
  assertAsked,
  counting,
  fails,
  opensAs,
  type Resumed,
  served,
} from "./support/loading.ts";

const FILES = {
  tiny: await headerOnlyFile(),
  small: await smallFile(),
  large: await largeFile(),
};
const FILE = FILES.large;
const HEADER = headerLength(FILE);
/** So much must never be sent twice because of one fault. */
const SLACK = 1.5 * CHUNK;

/** Faults of one answer after the other, and what is asked for then. */
interface Case {
  faults: Faults[];
  asked: (string | Resumed)[];
  /** Code of the error; else the load succeeds. */
  fails?: string;
  status?: number;
  options?: OpenOptions;
  /** Bytes that may come twice. */
  twice?: number;
}

const STALL = { stallTimeoutMs: 400 };
const chunkRange = (chunk: number) =>
  `${HEADER + chunk * CHUNK}-${Math.min(HEADER + (chunk + 1) * CHUNK, FILE.length) - 1}`;
const at = (from: number) => ({ from });
const again = ["all", "all"];

const CASES: Record<string, Case> = {
  "cut in the data": { faults: [{ kind: "cut", after: 5e6 }], asked: ["all", at(5e6)] },
  "reset in the data": {
    faults: [{ kind: "cut", after: 5e6, reset: true }],
    asked: ["all", { from: 5e6, lost: 5e6 }],
    twice: 5e6,
  },
  "cut at a chunk": {
    faults: [{ kind: "cut", after: HEADER + 3 * CHUNK }],
    asked: ["all", at(HEADER + 3 * CHUNK)],
  },
  "cut before the last byte": {
    faults: [{ kind: "cut", after: FILE.length - 1 }],
    asked: ["all", at(FILE.length - 1)],
  },
  "cut before the first byte": { faults: [{ kind: "cut", after: 0 }], asked: again },
  "cut in the length word": { faults: [{ kind: "cut", after: 5 }], asked: ["all", at(5)] },
  "cut in the header": { faults: [{ kind: "cut", after: 700 }], asked: ["all", at(700)] },
  "cut behind the header": {
    faults: [{ kind: "cut", after: HEADER }],
    asked: ["all", at(HEADER)],
  },
  "cut twice": {
    faults: [{ kind: "cut", after: 2e6 }, { kind: "cut", after: 3e6 }],
    asked: ["all", at(2e6), { from: 5e6, lost: 2 ** 20 }],
  },
  "cut twice as often as is retried, with progress each time": {
    faults: Array(8).fill({ kind: "cut", after: 1e6 }),
    asked: ["all", ...Array.from({ length: 8 }, (_, i) => ({ from: (i + 1) * 1e6, lost: 6e6 }))],
    options: { retries: 4 },
    twice: 4e6,
  },
  "cut, without an end": {
    faults: [[{ kind: "no-length" }, { kind: "cut", after: 5e6 }]],
    asked: ["all", at(5e6)],
  },
  "cut, in chunks": {
    faults: [[{ kind: "no-length", chunked: true }, { kind: "cut", after: 5e6 }]],
    asked: ["all", at(5e6)],
  },
  "cut, with a weak ETag": {
    faults: [[{ kind: "weak-etag" }, { kind: "cut", after: 5e6 }], { kind: "weak-etag" }],
    asked: ["all", at(5e6)],
  },
  "cut, without an ETag": {
    faults: [[{ kind: "hide-etag" }, { kind: "cut", after: 5e6 }], { kind: "hide-etag" }],
    asked: ["all", at(5e6)],
  },
  "cut, and then all of it again": {
    faults: [{ kind: "cut", after: 5e6 }, { kind: "whole" }],
    asked: ["all", at(5e6)],
    twice: 5e6,
  },
  "cut at the same byte each time, by a server without ranges": {
    faults: Array(3).fill([{ kind: "whole" }, { kind: "cut", after: 6e4 }]),
    asked: ["all", at(6e4), at(6e4)],
    options: { retries: 2 },
    fails: "read-failed",
  },
  "another range": {
    faults: [{ kind: "cut", after: 5e6 }, { kind: "wrong-range", by: 1000 }],
    asked: ["all", at(5e6), at(5e6)],
    twice: 5e6,
  },
  "always another range": {
    faults: [{ kind: "cut", after: 5e6 }, ...Array(3).fill({ kind: "wrong-range", by: -7 })],
    asked: ["all", at(5e6), at(5e6)],
    options: { retries: 2 },
    fails: "wrong-range",
    twice: 8e6,
  },
  "no range at all, though there is one": {
    faults: [{ kind: "cut", after: 5e6 }, { kind: "status", status: 416 }, { kind: "whole" }],
    asked: ["all", at(5e6), "all"],
    twice: 5e6,
  },
  "no range of what was not asked for in part": {
    faults: Array(9).fill({ kind: "status", status: 416 }),
    asked: ["all"],
    fails: "http-status",
    status: 416,
  },
  "a stall in the data": {
    faults: [{ kind: "stall", after: 5e6 }],
    asked: ["all", at(5e6)],
    options: STALL,
  },
  "a stall in the header": {
    faults: [{ kind: "stall", after: 100 }],
    asked: ["all", at(100)],
    options: STALL,
  },
  "no answer": {
    faults: [{ kind: "slow-first-byte", ms: Infinity }],
    asked: again,
    options: STALL,
  },
  "never an answer": {
    faults: Array(2).fill({ kind: "slow-first-byte", ms: Infinity }),
    asked: again,
    options: { ...STALL, retries: 1 },
    fails: "stalled",
  },
  "a late answer": { faults: [{ kind: "slow-first-byte", ms: 150 }], asked: ["all"] },
  "a trickle": { faults: [{ kind: "trickle", bytes: 16384, everyMs: 1 }], asked: ["all"] },
  "no length": { faults: [{ kind: "no-length" }], asked: ["all"] },
  "chunks": { faults: [{ kind: "no-length", chunked: true }], asked: ["all"] },
  "no ETag": { faults: [{ kind: "hide-etag" }], asked: ["all"] },
  "a weak ETag": { faults: [{ kind: "weak-etag" }], asked: ["all"] },
  "a length that is too large": {
    faults: [{ kind: "wrong-length", by: 100 }],
    asked: ["all"],
    fails: "trailing-bytes",
  },
  "a length that is too small": {
    faults: [{ kind: "wrong-length", by: -100 }],
    asked: ["all"],
    fails: "truncated",
  },
  "a wrong byte in the data": {
    faults: [{ kind: "wrong-bytes", at: HEADER + 2.5 * CHUNK }],
    asked: ["all", `0-${HEADER - 1}`, chunkRange(2)],
  },
  "a wrong last byte": {
    faults: [{ kind: "wrong-bytes", at: FILE.length - 1 }],
    asked: ["all", `0-${HEADER - 1}`, chunkRange(Math.floor((FILE.length - HEADER) / CHUNK))],
  },
  "a wrong byte again in the same chunk": {
    faults: [
      { kind: "wrong-bytes", at: HEADER + 2.5 * CHUNK },
      undefined,
      { kind: "wrong-bytes", at: 17 },
    ],
    asked: ["all", `0-${HEADER - 1}`, chunkRange(2)],
    fails: "chunk-digest",
  },
  "a wrong byte in the header": {
    faults: [{ kind: "wrong-bytes", at: 1000 }],
    asked: ["all"],
    fails: "bad-header",
  },
  "a wrong byte in the length word": {
    faults: [{ kind: "wrong-bytes", at: 7 }],
    asked: ["all"],
    fails: "not-safetensors",
  },
  "a reset": { faults: [{ kind: "reset" }], asked: again },
  "resets": {
    faults: Array(3).fill({ kind: "reset" }),
    asked: ["all", "all", "all"],
    options: { retries: 2 },
    fails: "fetch-failed",
  },
  "429 with Retry-After in seconds": {
    faults: [{ kind: "status", status: 429, retryAfter: 1 }],
    asked: again,
  },
  "503 with Retry-After as a date": {
    faults: [{ kind: "status", status: 503, retryAfter: new Date().toUTCString() }],
    asked: again,
  },
  "503 that asks for too much patience": {
    faults: [{ kind: "status", status: 503, retryAfter: 3600 }],
    asked: ["all"],
    fails: "http-status",
    status: 503,
  },
  "503 where the deadline comes before Retry-After": {
    faults: [{ kind: "status", status: 503, retryAfter: 50 }],
    asked: ["all"],
    options: { timeoutMs: 20_000 },
    fails: "http-status",
    status: 503,
  },
  "nothing but 500": {
    faults: Array(3).fill({ kind: "status", status: 500 }),
    asked: ["all", "all", "all"],
    options: { retries: 2 },
    fails: "http-status",
    status: 500,
  },
  "500 where nothing is retried": {
    faults: [{ kind: "status", status: 500 }],
    asked: ["all"],
    options: { retries: 0 },
    fails: "http-status",
    status: 500,
  },
};
for (const status of [500, 502, 503, 504, 599, 429]) {
  CASES[`${status}`] = { faults: [{ kind: "status", status }], asked: again };
  CASES[`${status} on the way`] = {
    faults: [{ kind: "cut", after: 5e6 }, { kind: "status", status }],
    asked: ["all", at(5e6), at(5e6)],
  };
}
for (const status of [304, 400, 401, 403, 404, 405, 410, 412, 451, 204]) {
  const faults: Faults[] = [{ kind: "status", status }];
  CASES[`${status}`] = { faults, asked: ["all"], fails: "http-status", status };
}

await withServer("loading over HTTP", nginxMissing(), () => {
  Deno.test("Indexes of every size come from every location of nginx, by 1 to 32 requests", () =>
    served(FILES, async ({ nginx }) => {
      for (const location of ["", "gzip/", "gzipped/", "plain/", "slow/", "noranges/"]) {
        for (const [name, file] of Object.entries(FILES)) {
          for (const parallel of [undefined, 1, 2, 4, 32]) {
            const { fetch, requests } = counting();
            const url = `${nginx.url}/${location}${name}`;
            await opensAs(url, file, { fetch, parallel });
            const text = `${location}${name} by ${parallel}: ${requests.length} requests`;
            if (location === "gzipped/") assert.equal(requests.length, 2, text);
            else if (name !== "large" || location === "noranges/" || (parallel ?? 1) === 1) {
              assert.equal(requests.length, 1, text);
            } else assert.ok(requests.length > 1 && requests.length <= 33, text);
          }
        }
      }
      const { fetch, requests } = counting();
      const { actual } = await fails(`${nginx.url}/forbidden/tiny`, "http-status", { fetch });
      assert.deepEqual([actual, requests.length], [403, 1]);
    }));

  for (const [what, { faults, options, twice = 0, ...expected }] of Object.entries(CASES)) {
    Deno.test(`Loading by one request meets ${what}`, () =>
      served({ large: FILE }, async ({ proxy }) => {
        proxy.next(...faults);
        const url = `${proxy.url}/large`;
        if (expected.fails === undefined) await opensAs(url, FILE, options);
        else {
          const { actual, url: told } = await fails(url, expected.fails, options);
          if (expected.status) assert.deepEqual([actual, told], [expected.status, url]);
        }
        assertAsked(proxy, expected.asked);
        await proxy.idle();
        const sent = proxy.requests.reduce((sum, { bytesSent }) => sum + bytesSent, 0);
        assert.ok(sent <= FILE.length + twice + SLACK, `${sent} bytes for ${FILE.length}`);
      }));
  }

  Deno.test("An empty object is no index, by one request or several", () =>
    served({ empty: new Uint8Array() }, async ({ proxy }) => {
      for (const parallel of [1, 4]) await fails(`${proxy.url}/empty`, "truncated", { parallel });
      assert.deepEqual(asked(proxy), ["all", `0-${4 * CHUNK - 1}`]);
    }));
});

Deno.test("A stream that turns slow, but never stops, is read to its end without a retry", async () => {
  const ranges: (string | null)[] = [];
  const slowFrom = FILE.length - 6e5;
  /** Answers from memory: fast at first, then 4 KiB every 20 ms. */
  const fetch: typeof globalThis.fetch = (input, init) => {
    const range = new Request(input, init).headers.get("range");
    ranges.push(range);
    const start = Number(range?.match(/\d+/)?.[0] ?? 0);
    let at = start;
    const body = new ReadableStream({
      type: "bytes",
      async pull(controller) {
        const isSlow = at >= slowFrom;
        if (isSlow) await new Promise((go) => setTimeout(go, 20));
        const bytes = FILE.slice(at, Math.min(FILE.length, at + (isSlow ? 4096 : 65536)));
        at += bytes.length;
        controller.enqueue(bytes);
        if (at === FILE.length) controller.close();
      },
    });
    const headers = {
      etag: '"a"',
      "content-length": `${FILE.length - start}`,
      "content-range": `bytes ${start}-${FILE.length - 1}/${FILE.length}`,
    };
    return Promise.resolve(new Response(body, { status: range ? 206 : 200, headers }));
  };
  await opensAs("http://127.0.0.1/large", FILE, { stallTimeoutMs: 200, retries: 0, fetch });
  // The bytes of the read that was under way are asked for again, and then come packet by packet. A machine that
  // pauses before may have none under way.
  assert.ok(ranges.length <= 2, `${ranges}`);
  if (ranges[1]) assert.ok(Number(ranges[1].match(/\d+/)?.[0]) >= slowFrom - 2 ** 18, `${ranges}`);
});
