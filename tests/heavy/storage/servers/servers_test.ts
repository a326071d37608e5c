/** The servers of this folder do what they say. */
import assert from "node:assert/strict";
import { AwsClient } from "aws4fetch";
import { startProxy } from "./faults.ts";
import { nginxMissing, startNginx } from "./nginx.ts";
import { withServer } from "./programs.ts";
import { r2Missing, startR2 } from "./r2.ts";
import { startSwift, swiftMissing } from "./swift.ts";

const DATA = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7 >> 3);
const OTHER_TAG = '"00000000000000000000000000000000"';

/** Status, fields and body of a response. */
async function get(url: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, { headers });
  const { status } = response;
  return {
    status,
    field: (name: string) => response.headers.get(name),
    body: await response.bytes(),
  };
}

await withServer("nginx", nginxMissing(), () => {
  Deno.test("nginx serves a folder in six ways", async () => {
    await using nginx = await startNginx();
    await Deno.writeFile(`${nginx.root}/a.bin`, DATA);
    const range = "bytes=5-104";
    const plain = await get(`${nginx.url}/a.bin`, { range });
    const etag = plain.field("etag")!;
    assert.equal(plain.status, 206);
    assert.match(etag, /^"/);
    assert.equal(plain.field("content-range"), `bytes 5-104/${DATA.length}`);
    assert.deepEqual(plain.body, DATA.slice(5, 105));

    const status = async (headers: Record<string, string>) =>
      (await get(`${nginx.url}/a.bin`, headers)).status;
    assert.equal(await status({ range, "if-match": etag }), 206);
    assert.equal(await status({ range, "if-match": OTHER_TAG }), 412);
    assert.equal(await status({ range, "if-range": etag }), 206);
    assert.equal(await status({ range, "if-range": OTHER_TAG }), 200);
    assert.equal(await status({ "if-none-match": etag }), 304);
    assert.equal(await status({ range: `bytes=${DATA.length}-` }), 416);

    for (const [way, asked] of [["gzip", "gzip"], ["gzipped", "identity"]]) {
      const packed = await get(`${nginx.url}/${way}/a.bin`, { "accept-encoding": asked });
      assert.equal(packed.field("content-encoding"), "gzip");
      assert.equal(packed.field("etag"), `W/${etag}`);
      assert.equal(packed.field("content-length"), null);
    }
    assert.equal((await get(`${nginx.url}/gzipped/a.bin`, { range })).status, 200);

    const bare = await get(`${nginx.url}/plain/a.bin`, { range });
    assert.equal(bare.status, 206);
    assert.deepEqual([bare.field("etag"), bare.field("last-modified")], [null, null]);

    const whole = await get(`${nginx.url}/noranges/a.bin`, { range });
    assert.equal(whole.status, 200);
    assert.deepEqual(whole.body, DATA);
    assert.equal((await get(`${nginx.url}/forbidden/a.bin`)).status, 403);

    await Deno.writeFile(`${nginx.root}/large.bin`, new Uint8Array(5_000_000));
    const start = performance.now();
    await get(`${nginx.url}/slow/large.bin`);
    const ms = performance.now() - start;
    assert.ok(ms > 400 && ms < 1500, `5 MB at 10 MB/s took ${ms} ms`);
  });
});

await withServer("Swift", swiftMissing(), () => {
  Deno.test("Swift checks signatures, ranges and parts", async () => {
    await using swift = await startSwift();
    const client = (other = {}) => new AwsClient({ ...swift, ...other, service: "s3", retries: 0 });
    const ask = async (url: string, init: RequestInit = {}, signer = client()) => {
      const response = await signer.fetch(url, init);
      const { status, headers } = response;
      return { status, headers, body: await response.bytes() };
    };
    const url = `${swift.endpoint}/${swift.bucket}/a.bin`;
    assert.equal((await ask(url, { method: "PUT", body: DATA })).status, 200);
    const whole = await ask(url);
    const etag = whole.headers.get("etag")!;
    assert.match(etag, /^"[0-9a-f]{32}"$/);
    assert.deepEqual(whole.body, DATA);
    const range = "bytes=5-104";
    const part = await ask(url, { headers: { range, "if-match": etag } });
    assert.equal(part.status, 206);
    assert.deepEqual(part.body, DATA.slice(5, 105));
    assert.equal((await ask(url, { headers: { range, "if-match": OTHER_TAG } })).status, 412);
    assert.equal((await ask(url, { headers: { range: "bytes=300000-" } })).status, 416);
    assert.equal((await ask(`${url}.none`)).status, 404);
    assert.equal((await ask(url, {}, client({ secretAccessKey: "wrong" }))).status, 403);
    assert.equal((await ask(url, {}, client({ region: "us-east-1" }))).status, 400);
    const signed = await client().sign(`${url}?X-Amz-Expires=60`, { aws: { signQuery: true } });
    assert.deepEqual((await get(signed.url)).body, DATA);

    const parts = `${swift.endpoint}/${swift.bucket}/in parts.bin`;
    const text = new TextDecoder().decode((await ask(`${parts}?uploads`, { method: "POST" })).body);
    const [, upload] = text.match(/<UploadId>(.*)<\/UploadId>/)!;
    let list = "";
    for (let i = 0; i < 3; i++) {
      const { headers } = await ask(`${parts}?partNumber=${i + 1}&uploadId=${upload}`, {
        method: "PUT",
        body: DATA.subarray(i * 100, (i + 1) * 100),
      });
      list += `<Part><PartNumber>${i + 1}</PartNumber><ETag>${headers.get("etag")}</ETag></Part>`;
    }
    const body = `<CompleteMultipartUpload>${list}</CompleteMultipartUpload>`;
    await ask(`${parts}?uploadId=${upload}`, { method: "POST", body });
    const joined = await ask(parts, { headers: { range: "bytes=90-219" } });
    assert.match(joined.headers.get("etag")!, /-3"$/);
    assert.deepEqual(joined.body, DATA.slice(90, 220));

    const request = await client().sign(`${swift.bucketEndpoint}/a.bin`, { headers: { range } });
    assert.deepEqual(await (await swift.fetch(request)).bytes(), DATA.slice(5, 105));
    const cancelled = await swift.fetch(await client().sign(`${swift.bucketEndpoint}/a.bin`));
    assert.equal(cancelled.status, 200);
    await cancelled.body?.cancel();

    // Signatures pass our proxy.
    await using proxy = await startProxy(swift.endpoint);
    const uploaded = await ask(`${proxy.url}/${swift.bucket}/b.bin`, { method: "PUT", body: DATA });
    assert.equal(uploaded.headers.get("etag"), etag);
  });
});

await withServer("R2", r2Missing(), () => {
  Deno.test("R2 reads ranges of what was put", async () => {
    // Of all test files, which run at the same time: servers of others must not end up in our folder.
    const { set } = Deno.env;
    const names: string[] = [];
    Deno.env.set = (name, value) => {
      names.push(name);
      set.call(Deno.env, name, value);
    };
    await using r2 = await startR2();
    Deno.env.set = set;
    assert.deepEqual(names, []);
    const { bucket } = r2;
    const put = await bucket.put("a.bin", DATA);
    const part = await bucket.get("a.bin", { range: { offset: 5, length: 100 } });
    assert.ok(part);
    assert.equal(part.etag, put?.etag);
    assert.equal(part.size, DATA.length);
    assert.deepEqual(part.range, { offset: 5, length: 100 });
    assert.deepEqual(new Uint8Array(await part.arrayBuffer()), DATA.slice(5, 105));
    const etagMatches = "0".repeat(32);
    const changed = await bucket.get("a.bin", { onlyIf: { etagMatches } });
    assert.ok(changed && !("body" in changed));
    assert.equal(await bucket.get("none"), null);
  });
});
