/** Sources that need no server: files, requests with signals of their own, bytes that come all at once. */
import assert from "node:assert/strict";
import { type ByteSource, ConstraintIndex, type IndexSource } from "../../mod.ts";
import { CHUNK, type File, sidFile } from "../support/index_files.ts";
import { fails, failure, opensAs } from "../heavy/storage/support/loading.ts";

const FILE = await sidFile(250_000);

Deno.test("A file that is cut short or too long is refused at once", async () => {
  const folder = await Deno.makeTempDir({ prefix: "espalier-sources-" });
  try {
    const url = new URL(`file://${folder}/index`);
    const longer = new Uint8Array([...FILE, 1]);
    const cases: [File, string][] = [
      [FILE.subarray(0, -1), "truncated"],
      [FILE.subarray(0, CHUNK), "truncated"],
      [FILE.subarray(0, 100), "truncated"],
      [longer, "trailing-bytes"],
    ];
    for (const [bytes, code] of cases) {
      await Deno.writeFile(url, bytes);
      const blob = URL.createObjectURL(new Blob([bytes]));
      for (const parallel of [1, 4]) {
        for (const source of [url, blob]) {
          let asked = 0;
          const error = await fails(source, code, {
            parallel,
            fetch: (input, init) => {
              asked++;
              return fetch(input, init);
            },
          });
          assert.deepEqual([error.name, asked], ["IndexIntegrityError", 1]);
        }
      }
      URL.revokeObjectURL(blob);
    }
    await Deno.writeFile(url, FILE);
    for (const parallel of [1, 4]) await opensAs(url, FILE, { parallel });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("The signal of a request ends the loading, with its reason, and nothing is asked again", async () => {
  const reason = new Error("The page is left");
  const whens = [
    "before",
    "while nothing is answered",
    "while bytes come",
    "before another attempt",
  ];
  for (const when of whens) {
    const abort = new AbortController();
    const { signal } = abort;
    const request = new Request("http://host/index", { signal });
    let asked = 0;
    // As fetch does, this ends with the signal that it is given.
    const fetchIt = (input: RequestInfo | URL) => {
      asked++;
      const { signal } = input as Request;
      const { promise, reject } = Promise.withResolvers<Response>();
      signal.addEventListener("abort", () => reject(signal.reason));
      promise.catch(() => {});
      if (when === "before another attempt") {
        abort.abort(reason);
        return Promise.resolve(new Response(null, { status: 503 }));
      }
      queueMicrotask(() => abort.abort(reason));
      if (when === "while nothing is answered") return promise;
      const body = new ReadableStream({
        start: (sink) => {
          sink.enqueue(FILE.subarray(0, CHUNK));
          promise.catch((error) => sink.error(error));
        },
      });
      return Promise.resolve(new Response(body));
    };
    if (when === "before") abort.abort(reason);
    assert.equal(await failure(request, { fetch: fetchIt }), reason, when);
    assert.equal(asked, when === "before" ? 0 : 1, when);
  }
  // Signals of requests that are not aborted end nothing.
  const { signal } = new AbortController();
  const request = new Request("http://host/index", { signal });
  await opensAs(request, FILE, { fetch: () => Promise.resolve(new Response(FILE)) });
});

Deno.test("Four chunks are digested at once, however much comes at once, by one request or many", async () => {
  const large = await sidFile(2_200_000);
  const store: ByteSource = {
    byteLength: large.length,
    read: (range) => Promise.resolve(new Response(large.slice(range?.start, range?.end)).body!),
  };
  const sources: [IndexSource, number][] = [[large, 1], [new Response(large), 1], [store, 32]];
  const { digest } = crypto.subtle;
  let underWay = 0;
  let most = 0;
  crypto.subtle.digest = async (algorithm, data) => {
    most = Math.max(most, ++underWay);
    const result = await digest.call(crypto.subtle, algorithm, data);
    // Later than any of the bytes.
    await new Promise((go) => setTimeout(go, 5));
    underWay--;
    return result;
  };
  try {
    for (const [source, parallel] of sources) {
      most = 0;
      await opensAs(source, large, { parallel });
      assert.equal(most, 4);
    }
  } finally {
    crypto.subtle.digest = digest;
  }
});

Deno.test("Half a request is refused as what it is", async () => {
  for (const parallel of [2.5, NaN]) {
    const error = await failure(FILE, { parallel }) as RangeError & { actual: unknown };
    assert.ok(error instanceof RangeError);
    assert.match(error.message, new RegExp(`parallel is ${parallel}, expected a whole number`));
    assert.equal(error.actual, parallel);
  }
  await assert.rejects(ConstraintIndex.open(FILE, { parallel: 33 }), /33, expected 1 to 32/);
});
