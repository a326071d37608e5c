/** Every way to open an index: sources of all kinds, those that break, and signals that abort. */

import assert from "node:assert/strict";
import {
  type ByteSource,
  IndexFormatError,
  IndexIntegrityError,
  type IndexSource,
  StorageError,
} from "../../mod.ts";
import { largeFile, sameBytes, samples, streamOf } from "../support/corrupt.ts";
import { Random } from "../support/models.ts";
import { opens, refuses } from "../support/opening.ts";

const SAMPLES = await samples();
const BYTES = SAMPLES.find(({ name }) => name.startsWith("mixed"))!.bytes;

/** Rejects where a promise takes longer than it should. */
async function soon<T>(promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("Never settles")), 1000);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The bytes by ranges, as a store of one's own. */
class Store implements ByteSource {
  reads: unknown[] = [];
  readonly byteLength?: number;
  readonly bytes: Uint8Array<ArrayBuffer>;

  constructor(bytes: Uint8Array<ArrayBuffer>, byteLength?: number) {
    this.bytes = bytes;
    this.byteLength = byteLength;
  }

  read(range?: { start: number; end?: number }): Promise<ReadableStream<Uint8Array>> {
    this.reads.push(range);
    const part = this.bytes.slice(range?.start, range?.end);
    return Promise.resolve(new Blob([part]).stream());
  }
}

/** Every kind of source that needs no network. */
function sources(bytes: Uint8Array<ArrayBuffer>, seed: number): [string, IndexSource][] {
  const random = new Random(seed);
  const larger = new Uint8Array(bytes.length + 12);
  larger.set(bytes, 5);
  const url = `data:application/octet-stream;base64,${bytes.toBase64()}`;
  const headers = { "content-length": String(bytes.length) };
  return [
    ["bytes", bytes],
    ["an unaligned part of a buffer", larger.subarray(5, 5 + bytes.length)],
    ["a buffer", bytes.slice().buffer],
    ["a blob", new Blob([bytes.subarray(0, 9), bytes.subarray(9)])],
    ["a response", new Response(bytes)],
    ["a response of known length", new Response(bytes, { headers })],
    [
      "a compressed response",
      new Response(bytes, {
        headers: { "content-length": "17", "content-encoding": "gzip" },
      }),
    ],
    ["a stream", streamOf(bytes, random)],
    ["a byte stream", streamOf(bytes, random, "bytes")],
    ["a store", new Store(bytes)],
    ["a store of known size", new Store(bytes, bytes.length)],
    ["an address", url],
    ["a URL", new URL(url)],
    ["a request", new Request(url)],
  ];
}

Deno.test("An index opens from every kind of source", async () => {
  for (const { bytes, name } of SAMPLES) {
    for (const [kind, source] of sources(bytes, bytes.length)) {
      assert.deepEqual(await opens(source), bytes, `${name} from ${kind}`);
    }
  }
});

Deno.test("A larger index opens from every kind of source", async () => {
  const bytes = await largeFile();
  for (const [kind, source] of sources(bytes, 3)) {
    // Byte by byte is for smaller ones.
    const opened = await opens(kind.endsWith("stream") ? new Response(bytes).body! : source);
    assert.ok(sameBytes(opened, bytes), kind);
  }
});

Deno.test("Streams may come in chunks of any size, empty ones included", async () => {
  for (let seed = 0; seed < 40; seed++) {
    const random = new Random(seed);
    assert.deepEqual(await opens(streamOf(BYTES, random, seed % 2 ? "bytes" : undefined)), BYTES);
  }
});

Deno.test("A byte stream that knows nothing of its reader's buffers opens", async () => {
  let at = 0;
  const stream = new ReadableStream({
    type: "bytes",
    pull(controller) {
      if (at >= BYTES.length) return controller.close();
      controller.enqueue(BYTES.slice(at, at += 1000));
    },
  });
  assert.deepEqual(await soon(opens(stream)), BYTES);
});

Deno.test("A store is read once, from the start", async () => {
  const store = new Store(BYTES, BYTES.length);
  await opens(store);
  assert.deepEqual(store.reads, [undefined]);
});

Deno.test("Sizes that sources tell are checked first", async () => {
  await refuses(new Store(BYTES, BYTES.length - 1), IndexIntegrityError, "truncated");
  await refuses(new Store(BYTES, BYTES.length + 1), IndexIntegrityError, "trailing-bytes");
});

Deno.test("Addresses are fetched with the fetch given, and failures told without secrets", async () => {
  const asked: unknown[] = [];
  const answer = (response: () => Response) =>
    ((input: unknown) => {
      asked.push(input);
      return Promise.resolve().then(response);
    }) as typeof fetch;
  const address = "https://user:secret@example.org/a/index?key=secret#part";
  assert.deepEqual(await opens(address, { fetch: answer(() => new Response(BYTES)) }), BYTES);
  assert.equal(String(asked[0]), address);
  const failing: [string, () => Response][] = [
    ["http-status", () => new Response("not here", { status: 404 })],
    ["http-status", () => new Response(null, { status: 204 })],
    ["fetch-failed", () => {
      throw new TypeError("no route");
    }],
  ];
  for (const [code, response] of failing) {
    await assert.rejects(opens(address, { fetch: answer(response) }), (error) => {
      assert.ok(error instanceof StorageError);
      assert.equal(error.code, code);
      assert.ok(!Deno.inspect(error, { depth: 0 }).includes("secret"), error.message);
      assert.equal(error.url, "https://example.org/a/index");
      return true;
    });
  }
  await refuses(new Response(BYTES, { status: 404 }), StorageError, "http-status");
});

Deno.test("A file URL is read", async () => {
  // No index lies about here; what the file holds is refused, not its address.
  await refuses(new URL(import.meta.url), IndexFormatError, "not-safetensors");
  await refuses(new URL("./no-such-file", import.meta.url), StorageError, "fetch-failed");
});

Deno.test("What is no source is a TypeError", async () => {
  const wrong: unknown[] = ["index.safetensors", "./index", "", 5, undefined, null, {}, [BYTES]];
  for (const source of wrong) {
    await assert.rejects(opens(source as IndexSource), TypeError, String(source));
  }
  const taken = new Blob([BYTES]).stream();
  taken.getReader();
  await assert.rejects(opens(taken), TypeError);
});

Deno.test("A signal that is aborted already opens nothing", async () => {
  const reason = new Error("enough");
  for (const [kind, source] of sources(BYTES, 5)) {
    const options = { signal: AbortSignal.abort(reason) };
    await assert.rejects(opens(source, options), (error) => error === reason, kind);
  }
});

for (const isStalled of [false, true]) {
  const name = isStalled ? "a source that says nothing more" : "a source that goes on";
  Deno.test(`A signal stops the loading on the way, from ${name}`, async () => {
    const reason = new Error("enough");
    for (const size of [4, 200, BYTES.length - 300]) {
      const controller = new AbortController();
      let isCancelled = false;
      let at = 0;
      const stream = new ReadableStream<Uint8Array>({
        async pull(sink) {
          if (at === 0) return sink.enqueue(BYTES.slice(0, at = size));
          controller.abort(reason);
          await (isStalled ? new Promise(() => {}) : Promise.resolve());
          sink.enqueue(BYTES.slice(at, ++at));
        },
        cancel: () => void (isCancelled = true),
      }, { highWaterMark: 0 });
      const opening = soon(opens(stream, { signal: controller.signal }));
      await assert.rejects(opening, (error) => error === reason, `Aborted at ${size}`);
      assert.ok(isCancelled, `Aborted at ${size}`);
    }
  });
}

Deno.test("A signal stops the loading at once, from sources that have yet to say anything", async () => {
  const reason = new Error("enough");
  const silent = () => new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}) });
  const kinds: [string, (abort: () => void) => IndexSource][] = [
    ["a stream", silent],
    ["a response", () => new Response(silent())],
    ["a store", () => ({ read: () => new Promise(() => {}) })],
    ["a store with a stream", () => ({ read: () => Promise.resolve(silent()) })],
    ["a store that aborts", (abort) => ({
      read() {
        abort();
        return new Promise(() => {});
      },
    })],
  ];
  for (const [kind, make] of kinds) {
    for (const turns of [0, 1, 2, 3, 5, 10]) {
      const controller = new AbortController();
      const abort = () => controller.abort(reason);
      const opening = soon(opens(make(abort), { signal: controller.signal }));
      opening.catch(() => {}); // looked at below
      for (let i = 0; i < turns; i++) await Promise.resolve();
      abort();
      const message = `${kind}, aborted after ${turns} turns`;
      await assert.rejects(opening, (error) => error === reason, message);
    }
  }
});

Deno.test("What breaks the source breaks the loading", async () => {
  const reason = new Error("cable cut");
  for (const type of [undefined, "bytes"] as const) {
    for (const size of [3, 300, BYTES.length]) {
      let isFirst = true;
      const pull = (sink: { enqueue(chunk: Uint8Array): void; error(why: unknown): void }) => {
        if (!isFirst) return sink.error(reason);
        isFirst = false;
        sink.enqueue(BYTES.slice(0, size));
      };
      const stream: ReadableStream<Uint8Array> = type
        ? new ReadableStream({ type, pull })
        : new ReadableStream({ pull });
      await assert.rejects(
        opens(stream),
        (error) => error instanceof StorageError && error.cause === reason,
        `${type} of ${size}`,
      );
    }
  }
  const store = { read: () => Promise.reject(reason) };
  await assert.rejects(opens(store), (error) => error === reason);
});

Deno.test("A source is let go when its bytes are refused", async () => {
  for (const at of [20, BYTES.length - 700]) {
    const damaged = BYTES.slice();
    damaged[at] ^= 4;
    let isCancelled = false;
    const stream = new ReadableStream<Uint8Array>({
      start: (sink) => {
        sink.enqueue(damaged);
        sink.enqueue(damaged);
      },
      cancel: () => void (isCancelled = true),
    });
    await assert.rejects(opens(stream), `Byte ${at}`);
    assert.ok(isCancelled, `Byte ${at}`);
  }
});
