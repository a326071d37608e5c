/** The cache: asked every time whether it is current, checked like any source, and never in the way. */
import assert from "node:assert/strict";
import type { OpenOptions } from "../../../mod.ts";
import type { Faults, ProxiedRequest } from "./servers/faults.ts";
import { nginxMissing } from "./servers/nginx.ts";
import { withServer } from "./servers/programs.ts";
import { CHUNK, type File, headerLength, sidFile } from "../../support/index_files.ts";
import { asked, fails, opensAs, type Served, served } from "./support/loading.ts";

const FILE = await sidFile(250_000);
const OTHER = await sidFile(250_000, 0x155);
const SMALL = await sidFile(100_000);
const HEADER = headerLength(FILE);

/** What a cache may do wrong. */
interface Faulty {
  match?: () => Promise<Response | undefined>;
  put?: () => Promise<void>;
  delete?: () => Promise<boolean>;
}

/** A cache in memory, whose entries tests may damage, with what it does wrong. */
class FakeCache {
  readonly entries = new Map<string, { bytes: File; headers: Headers }>();
  readonly #faulty: Faulty;

  constructor(faulty: Faulty = {}) {
    this.#faulty = faulty;
  }

  match(key: string): Promise<Response | undefined> {
    if (this.#faulty.match) return this.#faulty.match();
    const entry = this.entries.get(key);
    return Promise.resolve(entry && new Response(entry.bytes, { headers: entry.headers }));
  }

  async put(key: string, response: Response): Promise<void> {
    if (this.#faulty.put) return await this.#faulty.put();
    this.entries.set(key, { bytes: await response.bytes(), headers: response.headers });
  }

  delete(key: string): Promise<boolean> {
    return this.#faulty.delete?.() ?? Promise.resolve(this.entries.delete(key));
  }

  get asCache(): Cache {
    return this as unknown as Cache;
  }

  get entry(): { bytes: File; headers: Headers } {
    assert.equal(this.entries.size, 1, `${[...this.entries.keys()]}`);
    return [...this.entries.values()][0];
  }
}

const throwing = () => {
  throw new Error("The cache is broken");
};
const rejecting = () => Promise.reject(new Error("The cache is broken"));

/** With an index behind a proxy; `opens` says what was asked for. */
const withIndex = (
  use: (
    opens: (file: File, options: OpenOptions, path?: string) => Promise<string[]>,
    served: Served,
  ) => Promise<void>,
) =>
  served({ index: FILE }, (served) =>
    use(async (file, options, path = "/index") => {
      served.proxy.requests.length = 0;
      await opensAs(`${served.proxy.url}${path}`, file, options);
      return asked(served.proxy);
    }, served));

const hidden = (): Faults => ({ kind: "hide-etag" });
const weak = (): Faults => ({ kind: "weak-etag" });

await withServer("the cache", nginxMissing(), () => {
  Deno.test("Deno's cache takes the place of the object, as long as that is the same", () =>
    withIndex(async (opens, { proxy, put }) => {
      const name = `espalier-test-${crypto.randomUUID()}`;
      try {
        const cache = await caches.open(name);
        assert.deepEqual(await opens(FILE, { cache }), ["all"]);
        for (const options of [{}, { parallel: 4 }, { progressive: true }, { verify: true }]) {
          await opens(FILE, { cache, ...options });
          assert.deepEqual(proxy.requests.map(({ status }) => status), [304]);
        }
        for (const decide of [hidden, weak]) {
          proxy.inject(decide);
          await opens(FILE, { cache });
          await proxy.idle();
          const [{ status, headers }] = proxy.requests;
          assert.deepEqual([proxy.requests.length, status], [1, 304], `${headers.get("etag")}`);
        }
        proxy.inject(() => undefined);
        await put("index", OTHER);
        assert.deepEqual(await opens(OTHER, { cache }), ["all"]);
        await opens(OTHER, { cache });
        assert.deepEqual(proxy.requests.map(({ status }) => status), [304]);
      } finally {
        await caches.delete(name);
      }
    }));

  Deno.test("Without a strong ETag the header says whether the copy is current", () =>
    withIndex(async (opens, { proxy, put }) => {
      for (const decide of [hidden, weak]) {
        await put("index", FILE);
        const cache = new FakeCache();
        proxy.inject(decide);
        await opens(FILE, { cache: cache.asCache });
        assert.equal(cache.entry.headers.get("etag"), null);
        // The answer stays where it is as soon as the header has come.
        const decided = decide();
        proxy.inject(({ range }) =>
          range?.startsWith("bytes=0-") === false
            ? { kind: "status", status: 400 }
            : [decided ?? [], { kind: "stall" as const, after: HEADER }].flat()
        );
        assert.equal((await opens(FILE, { cache: cache.asCache })).length, 1);
        proxy.inject(decide);
        await put("index", OTHER);
        assert.deepEqual(await opens(OTHER, { cache: cache.asCache }), ["all"]);
        assert.deepEqual(cache.entry.bytes, OTHER);
      }
    }));

  Deno.test("A damaged copy heals itself, wherever it is damaged", () =>
    withIndex(async (opens) => {
      const cache = new FakeCache();
      const options = { cache: cache.asCache };
      await opens(FILE, options);
      const flipped = (at: number) => {
        const bytes = FILE.slice();
        bytes[at] ^= 1;
        return bytes;
      };
      const damages: Record<string, File> = {
        "its length word": flipped(0),
        "its brace": flipped(8),
        "its header": flipped(HEADER >> 1),
        "its first byte": flipped(HEADER),
        "a chunk": flipped(HEADER + 1.5 * CHUNK),
        "its last byte": flipped(FILE.length - 1),
        "no byte": FILE.slice(0, 0),
        "a short header": FILE.slice(0, HEADER >> 1),
        "nothing but its header": FILE.slice(0, HEADER),
        "half of it": FILE.slice(0, FILE.length >> 1),
        "all but the last byte": FILE.slice(0, -1),
        "another index": OTHER,
        "another index's data": new Uint8Array([
          ...FILE.subarray(0, HEADER),
          ...OTHER.subarray(HEADER),
        ]),
      };
      for (const [what, bytes] of Object.entries(damages)) {
        for (const more of [{}, { retries: 0 }, { parallel: 4 }, { progressive: true }]) {
          cache.entry.bytes = bytes;
          await opens(FILE, { ...options, ...more }).catch((cause) => {
            throw new Error(`Damaged: ${what}`, { cause });
          });
          assert.deepEqual(cache.entry.bytes, FILE, what);
          assert.equal((await opens(FILE, options)).length, 1, what);
        }
      }
    }));

  Deno.test("A copy of another size is thrown away, and the object may change all the same", () =>
    withIndex(async (opens, { proxy, put }) => {
      const cache = new FakeCache();
      const options = { cache: cache.asCache };
      await opens(FILE, options);
      cache.entry.bytes = SMALL;
      assert.deepEqual(await opens(FILE, options), ["all", "all"]);
      cache.entry.bytes = SMALL;
      const change = () => put("index", OTHER);
      proxy.next(undefined, [{ kind: "change", at: 1e6, change }, { kind: "cut", after: 1e6 }]);
      await opens(OTHER, options);
      assert.deepEqual(cache.entry.bytes, OTHER);
    }));

  Deno.test("A copy learns the ETag of the same bytes, written again", () =>
    withIndex(async (opens, { proxy, put }) => {
      const cache = new FakeCache();
      const options = { cache: cache.asCache };
      await opens(FILE, options);
      await put("index", FILE);
      const statuses: number[] = [];
      for (let i = 0; i < 3; i++) {
        await opens(FILE, options);
        statuses.push(...proxy.requests.map(({ status }) => status!));
      }
      assert.deepEqual(statuses, [200, 304, 304]);
    }));

  Deno.test("A copy is damaged and the object has changed", () =>
    withIndex(async (opens, { put }) => {
      const cache = new FakeCache();
      for (const at of [HEADER >> 1, HEADER + 1.5 * CHUNK]) {
        await put("index", FILE);
        await opens(FILE, { cache: cache.asCache });
        cache.entry.bytes = FILE.slice();
        cache.entry.bytes[at] ^= 1;
        await put("index", OTHER);
        await opens(OTHER, { cache: cache.asCache });
        assert.deepEqual(cache.entry.bytes, OTHER);
      }
    }));

  Deno.test("A cache that fails does no harm", () =>
    withIndex(async (opens) => {
      const wrong: Faulty[] = [
        { match: throwing, put: throwing, delete: throwing },
        { match: rejecting, put: rejecting, delete: rejecting },
        { put: throwing, delete: rejecting },
        { put: rejecting, delete: throwing },
        { put: () => Promise.resolve() },
        { match: () => Promise.resolve(new Response("an error page")) },
        { match: () => Promise.resolve(Response.error()) },
        { match: () => Promise.resolve(null as unknown as undefined) },
      ];
      for (const [i, faulty] of wrong.entries()) {
        for (const progressive of [false, true]) {
          const cache = new FakeCache(faulty).asCache;
          assert.deepEqual(await opens(FILE, { cache, progressive }), ["all"], `Cache ${i}`);
          await opens(FILE, { cache, progressive });
        }
      }
    }));

  Deno.test("A copy that fails or stalls on the way is continued from the object", () =>
    withIndex(async (opens) => {
      const cache = new FakeCache();
      await opens(FILE, { cache: cache.asCache });
      const { headers } = cache.entry;
      const bodies: Record<string, (part: File) => BodyInit> = {
        "fails": (part) =>
          new ReadableStream({
            start: (sink) => sink.enqueue(part),
            pull: (sink) => sink.error(new Error("The disk is gone")),
          }),
        "stalls": (part) => new ReadableStream({ start: (sink) => sink.enqueue(part) }),
      };
      for (const [what, body] of Object.entries(bodies)) {
        for (const at of [4, 700, HEADER + 1.5 * CHUNK]) {
          const match = () => Promise.resolve(new Response(body(FILE.slice(0, at)), { headers }));
          const failing = new FakeCache({ match });
          const ranges = await opens(FILE, {
            cache: failing.asCache,
            stallTimeoutMs: 300,
            retries: 0,
          });
          // The question whether it is current, and the rest.
          assert.equal(ranges.length, 2, `${what} at ${at}: ${ranges}`);
          assert.match(ranges[1], /^\d+-$/);
          assert.deepEqual(failing.entry.bytes, FILE);
        }
      }
      // It has been read by somebody else.
      const used = new Response(FILE, { headers });
      await used.bytes();
      await opens(FILE, { cache: new FakeCache({ match: () => Promise.resolve(used) }).asCache });
      const locked = new Response(FILE, { headers });
      locked.body!.getReader();
      await opens(FILE, { cache: new FakeCache({ match: () => Promise.resolve(locked) }).asCache });
    }));

  Deno.test("A cache that never answers is subject to the deadline and the signal", () =>
    withIndex(async (_, { proxy }) => {
      const cache = new FakeCache({ match: () => new Promise(() => {}) }).asCache;
      await fails(`${proxy.url}/index`, "timeout", { cache, timeoutMs: 50 });
      const signal = AbortSignal.timeout(50);
      await assert.rejects(
        opensAs(`${proxy.url}/index`, FILE, { cache, signal }),
        (error) => error === signal.reason,
      );
    }));

  Deno.test("Keys hold no credentials, and one object has one key whoever signs", () =>
    withIndex(async (opens, { proxy }) => {
      const cache = new FakeCache();
      const options = { cache: cache.asCache };
      const signed = (n: number) =>
        `/index?X-Amz-Signature=secret${n}&X-Amz-Credential=secret${n}&Expires=${n}&Signature=secret${n}`;
      await opens(FILE, options);
      for (const n of [1, 2]) await opens(FILE, options, signed(n));
      const address = new URL(`${proxy.url}/index#secret`);
      address.username = address.password = "secret";
      await opensAs(address, FILE, options);
      assert.equal(cache.entries.size, 1);
      for (const token of ["secret3", "secret4"]) {
        await opens(FILE, options, `/index?token=${token}`);
        await opens(FILE, options, `/index?token=${token}`);
      }
      assert.equal(cache.entries.size, 3);
      // What signs nothing names another object.
      const names = ["policy", "expires", "sp", "key-pair-id", "X-Amz-Date", "X-Goog-Date"];
      const keys = cache.entries.size;
      for (const name of names) {
        for (const n of [1, 2]) await opens(FILE, options, `/index?${name}=secret${n}`);
      }
      assert.equal(cache.entries.size, keys + 2 * names.length);
      const families = [
        (n: number) => `X-Goog-Signature=secret${n}&X-Goog-Date=secret${n}`,
        (n: number) => `Policy=secret${n}&Signature=secret${n}&Key-Pair-Id=secret${n}`,
        (n: number) => `sv=2022-11-02&st=secret${n}&se=secret${n}&sr=b&sp=r&sig=secret${n}`,
      ];
      for (const signed of families) {
        for (const n of [1, 2]) await opens(FILE, options, `/index?${signed(n)}`);
      }
      assert.equal(cache.entries.size, keys + 2 * names.length);
      const printed = Deno.inspect([...cache.entries].map(([key, { headers }]) => [key, headers]));
      assert.ok(!printed.includes("secret"), printed);
    }));

  Deno.test("Nothing is kept of a failure", () =>
    withIndex(async (opens, { proxy }) => {
      const cache = new FakeCache();
      const url = `${proxy.url}/index`;
      const damaging = ({ range }: ProxiedRequest): Faults => ({
        kind: "wrong-bytes",
        at: range?.startsWith("bytes=0-") ? 1e9 : range ? 3 : HEADER + 3,
      });
      proxy.inject(damaging);
      await fails(url, "chunk-digest", { cache: cache.asCache });
      proxy.inject(() => ({ kind: "status", status: 404 }));
      await fails(url, "http-status", { cache: cache.asCache });
      assert.equal(cache.entries.size, 0);
      proxy.inject(() => undefined);
      await opens(FILE, { cache: cache.asCache });
      assert.equal(cache.entries.size, 1);
    }));

  Deno.test("What has no address has no key", async () => {
    const cache = new FakeCache().asCache;
    for (const source of [FILE, new Blob([FILE]), "data:,secret", new URL("file:///none")]) {
      await assert.rejects(opensAs(source, FILE, { cache }), TypeError);
    }
  });
});
