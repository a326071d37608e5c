/** S3, against OpenStack Swift, which checks signatures: read, asked in part, written whole or not at all. */
import assert from "node:assert/strict";
import { AwsClient } from "aws4fetch";
import { ConstraintIndex } from "../../../mod.ts";
import {
  type S3Location,
  s3Source,
  type S3UploadOptions,
  uploadToS3,
} from "../../../src/storage/s3/mod.ts";
import type { Faults, ProxiedRequest } from "./servers/faults.ts";
import { startProxy } from "./servers/faults.ts";
import { withServer } from "./servers/programs.ts";
import { startSwift, type Swift, swiftMissing } from "./servers/swift.ts";
import { CHUNK, type File, headerLength, sidFile, smallFile } from "../../support/index_files.ts";
import { asked, assertAsked, assertSameFile, fails, failure, opensAs } from "./support/loading.ts";
import { assertNoSecret } from "../../support/secrets.ts";

const FILE = await sidFile(500_000);
const OTHER = await sidFile(500_000, 0x155);
const SMALL = await smallFile();
const KEY = "folder/all (the) places+1 & ü.safetensors";

const locate = (swift: Swift, more: Partial<S3Location> = {}): S3Location => ({
  bucket: swift.bucket,
  key: KEY,
  region: swift.region,
  endpoint: swift.endpoint,
  credentials: swift,
  ...more,
});

const upload = (location: S3Location, file: File, options?: S3UploadOptions) =>
  uploadToS3(location, new Blob([file]).stream(), options);

/** Keys of all objects and of all uploads that have not ended. */
async function listed(swift: Swift, query: string): Promise<string[]> {
  const client = new AwsClient({ ...swift, service: "s3", retries: 0 });
  const text = await (await client.fetch(`${swift.endpoint}/${swift.bucket}?${query}`)).text();
  return [...text.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key]) => key);
}

await withServer("S3", swiftMissing(), () => {
  Deno.test("An index is written to S3 in one request or in parts, and opens from there", async () => {
    await using swift = await startSwift();
    const location = locate(swift);
    for (
      const [file, options] of [
        [SMALL, {}],
        [FILE, {}],
        [FILE, { partBytes: CHUNK }],
        [FILE, { partBytes: FILE.length }],
        [OTHER, { partBytes: FILE.length + 1 }],
      ] as const
    ) {
      const progress: number[] = [];
      await upload(location, file, { ...options, onProgress: (bytes) => progress.push(bytes) });
      assert.equal(progress.at(-1), file.length);
      await opensAs(s3Source(location), file);
    }
    for (const parallel of [1, 2, 4, 32]) {
      await opensAs(s3Source(location), OTHER, { parallel });
      await opensAs(s3Source(location), OTHER, { parallel, progressive: true });
    }
    // As any source of bytes, in part.
    const source = s3Source(location);
    for (const range of [{ start: 5, end: 99 }, { start: OTHER.length - 7 }, undefined]) {
      const bytes = await new Response(await source.read(range)).bytes();
      assert.deepEqual(bytes, OTHER.slice(range?.start, range?.end));
    }
    // By the name of its host, which the store finds its bucket by.
    const virtual = locate(swift, {
      style: "virtual-host",
      endpoint: swift.bucketEndpoint.replace(`${swift.bucket}.`, ""),
    });
    const hosts = new Set<string>();
    const fetch: typeof globalThis.fetch = (input, init) => {
      const request = new Request(input, init);
      hosts.add(new URL(request.url).host);
      return swift.fetch(request);
    };
    await opensAs(s3Source(virtual), OTHER, { fetch, parallel: 2 });
    await upload(virtual, SMALL, { fetch });
    await opensAs(s3Source(location), SMALL);
    assert.deepEqual([...hosts], [new URL(swift.bucketEndpoint).host]);
    assert.deepEqual(await listed(swift, "uploads"), []);
  });

  Deno.test("Reads from S3 are continued, and refusals are not asked again", async () => {
    await using swift = await startSwift();
    await using proxy = await startProxy(swift.endpoint);
    const location = locate(swift, { endpoint: proxy.url });
    await upload(locate(swift), FILE);
    proxy.next({ kind: "cut", after: 2e6 }, { kind: "status", status: 503 });
    await opensAs(s3Source(location), FILE);
    assertAsked(proxy, ["all", { from: 2e6 }, { from: 2e6 }]);
    const signatures = proxy.requests.map(({ headers }) => headers.get("authorization")!);
    assert.ok(signatures.every((text) => text.startsWith("AWS4-HMAC-SHA256 ")));

    const refused: [Partial<S3Location>, number][] = [
      [{ key: "none" }, 404],
      [{ bucket: "none" }, 404],
      [{ credentials: { ...swift, secretAccessKey: "hidden/wrong+secret" } }, 403],
      [{ credentials: { ...swift, accessKeyId: "test:nobody" } }, 403],
    ];
    for (const [more, status] of refused) {
      for (const parallel of [1, 4]) {
        proxy.requests.length = 0;
        const source = s3Source({ ...location, ...more });
        const error = await fails(source, "http-status", { parallel });
        assert.deepEqual([error.actual, proxy.requests.length], [status, 1]);
        assert.ok(error.url?.startsWith(`${proxy.url}/`));
        const { authorization = "" } = Object.fromEntries(proxy.requests[0].headers);
        const signature = authorization.match(/Signature=(\w+)/)![1];
        assertNoSecret(error, [swift.secretAccessKey, "hidden/wrong+secret", signature]);
      }
    }
    assert.match((await failure(s3Source({ ...location, key: "none" })) as Error).message, /404/);
  });

  Deno.test("Credentials come from a function for every request, or from an environment", async () => {
    await using swift = await startSwift();
    await using proxy = await startProxy(swift.endpoint);
    await upload(locate(swift), FILE);
    let calls = 0;
    const sessionToken = "hidden-session-token";
    const credentials = () => {
      calls++;
      return Promise.resolve({ ...swift, sessionToken });
    };
    const location = locate(swift, { endpoint: proxy.url, credentials });
    proxy.next({ kind: "cut", after: 2e6 });
    await opensAs(s3Source(location), FILE);
    assert.deepEqual([calls, proxy.requests.length], [2, 2]);
    for (const { headers } of proxy.requests) {
      assert.equal(headers.get("x-amz-security-token"), sessionToken);
      const signed = headers.get("authorization")!.match(/SignedHeaders=([^,]*)/)![1].split(";");
      for (const name of ["host", "x-amz-date", "x-amz-security-token"]) {
        assert.ok(signed.includes(name), `${signed}`);
      }
    }
    proxy.inject(() => ({ kind: "status", status: 403 }));
    const error = await fails(s3Source(location), "http-status");
    assertNoSecret(error, [swift.secretAccessKey, sessionToken]);
    // Secrets that make no header.
    for (const bad of [{ sessionToken: "hidden\nsession" }, { accessKeyId: "hidden key" }]) {
      const wrong = { ...swift, ...bad };
      assert.throws(() => s3Source({ ...location, credentials: wrong }), (error) => {
        assertNoSecret(error, [swift.secretAccessKey, "hidden"]);
        return error instanceof TypeError;
      });
      proxy.requests.length = 0;
      const late = await failure(s3Source({ ...location, credentials: () => wrong }));
      assert.ok(late instanceof TypeError);
      assertNoSecret(late, [swift.secretAccessKey, "hidden"]);
      assert.equal(proxy.requests.length, 0);
    }
    // The function's own failure is the loading's.
    const reason = new Error("no credentials today");
    const failing = s3Source({ ...location, credentials: () => Promise.reject(reason) });
    assert.equal(await failure(failing), reason);

    const values: Record<string, string> = {
      AWS_REGION: swift.region,
      AWS_ENDPOINT_URL: swift.endpoint,
      AWS_ACCESS_KEY_ID: swift.accessKeyId,
      AWS_SECRET_ACCESS_KEY: swift.secretAccessKey,
    };
    const env = (name: string) => values[name];
    await opensAs(s3Source({ bucket: swift.bucket, key: KEY, env }), FILE);
    delete values.AWS_SECRET_ACCESS_KEY;
    assert.throws(() => s3Source({ bucket: swift.bucket, key: KEY, env }), TypeError);
  });

  Deno.test("An upload that is interrupted leaves the former object, and no parts", async () => {
    await using swift = await startSwift();
    await using proxy = await startProxy(swift.endpoint);
    const location = locate(swift, { endpoint: proxy.url });
    await upload(location, FILE);
    const partBytes = CHUNK;
    const opens = async () => {
      assert.deepEqual(await listed(swift, "uploads"), []);
      using index = await ConstraintIndex.open(s3Source(locate(swift)));
      assertSameFile(index, FILE);
    };
    const isPart = (n: number) => ({ path }: ProxiedRequest) => path.includes(`partNumber=${n}&`);
    const interrupted: [string, (request: ProxiedRequest) => Faults][] = [
      [
        "http-status",
        ({ path }) => path.endsWith("uploads=") ? { kind: "status", status: 403 } : [],
      ],
      ["http-status", (r) => isPart(3)(r) ? { kind: "status", status: 400 } : []],
      ["http-status", (r) => isPart(3)(r) ? { kind: "status", status: 500 } : []],
      ["fetch-failed", (r) => isPart(2)(r) ? { kind: "reset" } : []],
      ["timeout", (r) => isPart(2)(r) ? { kind: "slow-first-byte", ms: Infinity } : []],
    ];
    for (const [code, decide] of interrupted) {
      proxy.inject(decide);
      const options = { partBytes, retries: 1, requestTimeoutMs: 1000 };
      await assert.rejects(upload(location, OTHER, options), (error) => {
        assert.equal((error as { code: string }).code, code);
        assertNoSecret(error, [swift.secretAccessKey]);
        return true;
      });
      await opens();
    }
    proxy.inject(() => []);
    // The caller's stream breaks off, or the caller stops.
    const reason = new Error("cable cut");
    let sent = 0;
    const breaking = new ReadableStream<Uint8Array>({
      pull(sink) {
        if (sent > 2 * CHUNK) return sink.error(reason);
        sink.enqueue(OTHER.slice(sent, sent += 100_000));
      },
    });
    await assert.rejects(
      uploadToS3(location, breaking, { partBytes }),
      (error) => error === reason,
    );
    await opens();
    const controller = new AbortController();
    const { signal } = controller;
    const stopped = upload(location, OTHER, {
      partBytes,
      signal,
      onProgress: () => controller.abort(reason),
    });
    await assert.rejects(stopped, (error) => error === reason);
    await opens();
    // What may succeed later does.
    proxy.next({ kind: "status", status: 503 }, undefined, { kind: "reset" });
    await upload(location, OTHER, { partBytes });
    await opensAs(s3Source(location), OTHER);
    assert.deepEqual(await listed(swift, "uploads"), []);
  });

  Deno.test("An S3 object that changes while it is read is begun anew", async () => {
    await using swift = await startSwift();
    await using proxy = await startProxy(swift.endpoint);
    const at = headerLength(FILE) + 1.5 * CHUNK;
    for (const parallel of [1, 4]) {
      await upload(locate(swift), FILE);
      const change = () => upload(locate(swift), OTHER);
      proxy.next([{ kind: "change", at, change }, { kind: "cut", after: at }]);
      await opensAs(s3Source(locate(swift, { endpoint: proxy.url })), OTHER, { parallel });
      assert.ok(asked(proxy).length >= 3);
    }
  });
});
