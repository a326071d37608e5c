/** Pushing indexes: to a store on this machine that fails when it is told to, and to folders. */
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { Buffer } from "node:buffer";
import { pathToFileURL } from "node:url";
import { randomSids, V } from "../../../bench/lib/support.ts";
import { EspalierError, StorageError } from "../../../src/errors.ts";
import { buildIndex } from "../../../src/build/mod.ts";
import { s3Access, type S3Location } from "../../../src/storage/s3/location.ts";
import { uploadToS3 } from "../../../src/storage/s3/upload.ts";
import { cli, Folder, spawn } from "../../support/cli.ts";
import { brokenOff, FakeS3, refusal } from "../../support/fake_s3.ts";

const SECRETS = {
  AWS_ACCESS_KEY_ID: "AKIAEXAMPLEKEY",
  AWS_SECRET_ACCESS_KEY: "wJalrXUtnFEMIsecret",
  AWS_SESSION_TOKEN: "FwoGZXIvYXdztoken",
};

/** Variables of this process's environment, until they are disposed of. */
class Environment implements Disposable {
  readonly #before = new Map<string, string | undefined>();

  constructor(variables: Record<string, string | undefined>) {
    const unset = {
      AWS_REGION: undefined,
      AWS_DEFAULT_REGION: undefined,
      AWS_ENDPOINT_URL: undefined,
      AWS_ENDPOINT_URL_S3: undefined,
    };
    for (const [name, value] of Object.entries({ ...unset, ...SECRETS, ...variables })) {
      this.#before.set(name, Deno.env.get(name));
      set(name, value);
    }
  }

  [Symbol.dispose](): void {
    for (const [name, value] of this.#before) set(name, value);
  }
}

function set(name: string, value: string | undefined): void {
  if (value === undefined) Deno.env.delete(name);
  else Deno.env.set(name, value);
}

/** Neither keys, passwords, tokens nor signatures. */
function assertNoSecret(text: string): void {
  for (const secret of [...Object.values(SECRETS), "hunter2", "AWS4-HMAC", "Signature="]) {
    assert.ok(!text.includes(secret), `"${secret}" in ${text}`);
  }
}

async function smallIndex(): Promise<Uint8Array<ArrayBuffer>> {
  using index = await buildIndex([[7, 1], [7, 2], [3, 3]], { vocabSize: 9 });
  return index.toBytes() as Uint8Array<ArrayBuffer>;
}

const OLD = Uint8Array.of(1, 2, 3);
const PATH = "/indexes/x.st";

/** A store where something lies already. */
function storeWithOld(): FakeS3 {
  const store = new FakeS3();
  store.objects.set(PATH, { bytes: OLD, headers: new Headers() });
  return store;
}

Deno.test("push writes the file to S3 in one request, and reads its header back", async () => {
  await using folder = await Folder.create();
  await using store = storeWithOld();
  using _ = new Environment({ AWS_ENDPOINT_URL: store.endpoint, AWS_REGION: "moon-1" });
  const bytes = await smallIndex();
  const file = await folder.write("x.st", bytes);
  const { code, out, err } = await cli(["push", file, "s3://indexes/x.st"]);
  assert.deepEqual([code, err], [0, ""]);
  const { bytes: stored, headers } = store.objects.get(PATH)!;
  assert.deepEqual(stored, bytes);
  assert.equal(headers.get("content-type"), "application/octet-stream");
  assert.equal(headers.get("cache-control"), "no-cache");
  assert.equal(headers.get("x-amz-security-token"), SECRETS.AWS_SESSION_TOKEN);
  assert.match(headers.get("authorization")!, /\/moon-1\/s3\/aws4_request/);
  assert.deepEqual([store.calls, store.ranges], [["put", "get"], ["bytes=0-65535"]]);
  const call =
    `{ bucket: "indexes", key: "x.st", region: "moon-1", endpoint: "${store.endpoint}" }`;
  assert.ok(out.endsWith(`ConstraintIndex.open(s3Source(${call}))\n`), out);
  assert.ok(out.includes(`  ${store.endpoint}${PATH}\n`));
  assertNoSecret(out);
});

Deno.test("push --json, into a folder of a bucket, with flags", async () => {
  await using folder = await Folder.create();
  await using store = new FakeS3();
  using _ = new Environment({ AWS_ENDPOINT_URL_S3: "http://127.0.0.1:1", AWS_REGION: "moon-1" });
  const bytes = await smallIndex();
  const file = await folder.write("a b+c.st", bytes);
  const flags = ["--endpoint", store.endpoint, "--region", "auto", "--cache-control", "max-age=9"];
  const { code, out, err } = await cli(["push", file, "s3://indexes/v1/", ...flags, "--json"]);
  assert.deepEqual([code, err], [0, ""]);
  const { milliseconds, sequences, digest, ...result } = JSON.parse(out);
  assert.deepEqual(result, {
    file,
    destination: "s3://indexes/v1/a b+c.st",
    url: `${store.endpoint}/indexes/v1/a%20b%2Bc.st`,
    cacheControl: "max-age=9",
    byteLength: bytes.length,
  });
  assert.ok(milliseconds >= 0 && sequences === 3 && /^[0-9a-f]{64}$/.test(digest));
  const { headers } = store.objects.get("/indexes/v1/a%20b%2Bc.st")!;
  assert.equal(headers.get("cache-control"), "max-age=9");
  assert.match(headers.get("authorization")!, /\/auto\/s3\/aws4_request/);
});

Deno.test("push, inspect and verify have the same s3:// addresses", async () => {
  await using folder = await Folder.create();
  await using store = new FakeS3();
  using _ = new Environment({});
  const file = await folder.write("x.st", await smallIndex());
  const where = ["s3://indexes/x.st", "--endpoint", store.endpoint];
  assert.equal((await cli(["push", file, ...where])).code, 0);
  store.ranges.length = 0;
  const inspected = await cli(["inspect", ...where, "--json"]);
  assert.equal(inspected.code, 0, inspected.err);
  const { file: name, complete, sequences } = JSON.parse(inspected.out);
  assert.deepEqual([name, complete, sequences], ["s3://indexes/x.st", true, 3]);
  assert.deepEqual(store.ranges, ["bytes=0-65535"]);
  const verified = await cli(["verify", ...where]);
  assert.equal(verified.code, 0, verified.err);
  assert.match(verified.out, /^ok s3:\/\/indexes\/x\.st\n/);
  const object = store.objects.get(PATH)!;
  object.bytes = object.bytes.subarray(0, -1);
  assert.match((await cli(["inspect", ...where])).out, /warning +the file has [\d ]+ bytes/);
  object.bytes = Uint8Array.of(...object.bytes, 1);
  const damaged = await cli(["verify", ...where, "--json"]);
  assert.equal(damaged.code, 1);
  const { error } = JSON.parse(damaged.err);
  assert.deepEqual([error.code, error.url], ["chunk-digest", "s3://indexes/x.st"]);
  const missing = await cli(["inspect", "s3://indexes/y", "--endpoint", store.endpoint, "--json"]);
  assert.equal(JSON.parse(missing.err).error.actual, 404);
});

Deno.test("push tries again while the store is busy", async () => {
  await using folder = await Folder.create();
  await using store = storeWithOld();
  using _ = new Environment({ AWS_ENDPOINT_URL: store.endpoint });
  store.interfere = (_, count) => count < 2 ? refusal(503, "SlowDown") : undefined;
  const bytes = await smallIndex();
  const file = await folder.write("x.st", bytes);
  const { code, err } = await cli(["push", file, "s3://indexes/x.st"]);
  assert.deepEqual([code, err], [0, ""]);
  assert.deepEqual(store.calls, ["put", "put", "put", "get", "get", "get"]);
  assert.deepEqual(store.objects.get(PATH)!.bytes, bytes);
});

Deno.test("A refusal is told with the store's reason and without secrets", async () => {
  await using folder = await Folder.create();
  await using store = storeWithOld();
  store.accessKeyId = "SOMEBODYELSE";
  using _ = new Environment({ AWS_ENDPOINT_URL: store.endpoint });
  const file = await folder.write("x.st", await smallIndex());
  for (
    const args of [
      ["push", file, "s3://indexes/x.st"],
      ["inspect", "s3://indexes/x.st"],
      ["verify", "s3://indexes/x.st"],
    ]
  ) {
    const plain = await cli(args);
    assert.deepEqual([plain.code, plain.out], [1, ""]);
    assert.match(
      plain.err,
      /^error: Cannot .*got 403.*; check credentials.*\n {2}code http-status /,
    );
    const { code, out, err } = await cli([...args, "--json"]);
    assert.deepEqual([code, out], [1, ""]);
    const { error } = JSON.parse(err);
    assert.deepEqual([error.code, error.actual], ["http-status", 403]);
    assert.equal(error.url, `${store.endpoint}${PATH}`);
    if (args[0] === "push") assert.match(error.message, /\(InvalidAccessKeyId\)/);
    assertNoSecret(plain.err + err);
  }
  assert.deepEqual(store.objects.get(PATH)!.bytes, OLD);
  assert.deepEqual(store.calls, ["put", "put", "get", "get", "get", "get"]);
});

Deno.test("Endpoints with secrets, and missing credentials, are wrong usage that is not repeated", async () => {
  await using folder = await Folder.create();
  await using store = storeWithOld();
  const file = await folder.write("x.st", await smallIndex());
  const bad: [Record<string, string | undefined>, string[], RegExp][] = [];
  for (const secret of [`http://me:hunter2@${store.host}`, `${store.endpoint}/?token=hunter2`]) {
    bad.push([{}, ["--endpoint", secret], /the endpoint has a user, a password, a query/]);
    bad.push([{ AWS_ENDPOINT_URL_S3: secret }, [], /the endpoint has a user/]);
  }
  bad.push([
    { AWS_ENDPOINT_URL: "me:hunter2@store" },
    [],
    /the endpoint is no http: or https: URL/,
  ]);
  const unset = { AWS_SECRET_ACCESS_KEY: undefined, AWS_ENDPOINT_URL: store.endpoint };
  bad.push([unset, [], /AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment/]);
  const broken = { AWS_ACCESS_KEY_ID: "a\nb", AWS_ENDPOINT_URL: store.endpoint };
  bad.push([broken, [], /: AWS_ACCESS_KEY_ID or AWS_SESSION_TOKEN has spaces/]);
  // An IP address takes no bucket in front.
  const style = ["--endpoint", store.endpoint, "--style", "virtual-host"];
  bad.push([{}, style, /no host is called "indexes\.127\.0\.0\.1.*; use --style path\n/]);
  for (const [variables, flags, message] of bad) {
    using _ = new Environment(variables);
    for (const args of [["push", file, "s3://indexes/x.st"], ["inspect", "s3://indexes/x.st"]]) {
      const plain = await cli([...args, ...flags]);
      assert.deepEqual([plain.code, plain.out], [2, ""], plain.err);
      assert.match(plain.err, message);
      const { code, err } = await cli([...args, ...flags, "--json"]);
      assert.deepEqual([code, JSON.parse(err).error.code], [2, "usage"]);
      assertNoSecret(plain.err + err);
    }
  }
  for (
    const address of [
      "s3://me:hunter2@indexes/x.st",
      "s3://me:hunter2@indexes",
      "s3://me:hun/hunter2@indexes/x.st",
      "s3:///me:hunter2@indexes/x.st",
      "s3:/me:hunter2@indexes/x.st",
      "https:/me:hunter2@indexes/x.st",
      "https://me:hunter2@indexes:99999/x.st",
      "https://indexes:99999/x.st?X-Amz-Signature=hunter2",
    ]
  ) {
    for (const args of [["push", file, address], ["inspect", address], ["verify", address, "y"]]) {
      if (args[0] === "inspect" && address.startsWith("https:/me")) continue; // a URL, though an odd one
      const { code, out, err } = await cli(args);
      assert.deepEqual([code, out], [2, ""], err);
      assertNoSecret(err);
    }
  }
  // Either would print a header.
  for (const region of ["hunter2\r", "hunter2,"]) {
    using _ = new Environment({ AWS_ENDPOINT_URL: store.endpoint, AWS_REGION: region });
    for (const args of [["push", file, "s3://indexes/x.st"], ["inspect", "s3://indexes/x.st"]]) {
      const { code, err } = await cli(args);
      assert.equal(code, 2);
      assert.match(err, /a region is called by letters/);
      assertNoSecret(err);
    }
  }
  assert.deepEqual(store.calls, []);
});

Deno.test("push refuses what is no sound index before it asks the store", async () => {
  await using folder = await Folder.create();
  await using store = storeWithOld();
  using _ = new Environment({ AWS_ENDPOINT_URL: store.endpoint });
  const damaged = await smallIndex();
  damaged[damaged.length - 1] ^= 1;
  await folder.write("old.st", OLD);
  const bad: [string, string][] = [
    [await folder.write("x.st", damaged), "chunk-digest"],
    [await folder.write("y.st", damaged.subarray(0, -1)), "truncated"],
    [
      await folder.write("z.npy", Uint8Array.of(0x93, ...new TextEncoder().encode("NUMPY"))),
      "wrong-file-type",
    ],
    [folder.at("missing"), "not-found"],
  ];
  for (const [file, code] of bad) {
    for (const to of ["s3://indexes/x.st", folder.at("old.st")]) {
      const outcome = await cli(["push", file, to, "--json"]);
      const { error } = JSON.parse(outcome.err);
      assert.deepEqual([outcome.code, outcome.out, error.code], [1, "", code]);
      assert.equal(error.file, file);
    }
  }
  assert.deepEqual(store.calls, []);
  assert.deepEqual(await Deno.readFile(folder.at("old.st")), OLD);
});

Deno.test("push says when it finds something else than it wrote, or cannot look", async () => {
  await using folder = await Folder.create();
  await using store = new FakeS3();
  using _ = new Environment({ AWS_ENDPOINT_URL: store.endpoint });
  const bytes = await smallIndex();
  const file = await folder.write("x.st", bytes);
  const errorOf = async () => {
    const { code, out, err } = await cli(["push", file, "s3://indexes/x.st", "--json"]);
    assert.deepEqual([code, out], [1, ""]);
    return JSON.parse(err).error;
  };
  using other = await buildIndex([[7, 1], [7, 2], [3, 4]], { vocabSize: 9 });
  const otherBytes = other.toBytes() as Uint8Array<ArrayBuffer>;
  assert.equal(otherBytes.length, bytes.length);
  store.interfere = (call) => call === "get" ? new Response(otherBytes) : undefined;
  const { code, actual, message } = await errorOf();
  assert.deepEqual([code, actual], ["not-what-was-written", other.digest]);
  assert.match(message, /^Wrote .*found another object there/);
  const cut = bytes.subarray(0, -1);
  store.interfere = (call) => call === "get" ? new Response(cut) : undefined;
  const { code: cutCode, byteLength } = await errorOf();
  assert.deepEqual([cutCode, byteLength], ["not-what-was-written", cut.length]);
  store.interfere = (call) => call === "get" ? refusal(403, "AccessDenied") : undefined;
  const unread = await errorOf();
  assert.deepEqual([unread.code, unread.actual], ["not-read-back", 403]);
  assert.match(unread.message, /^Wrote .*, but cannot read it back: .*403/);
});

Deno.test("push sends large indexes in parts; an interrupted one leaves none", async () => {
  await using folder = await Folder.create();
  await using store = storeWithOld();
  using _ = new Environment({ AWS_ENDPOINT_URL: store.endpoint });
  {
    using index = await buildIndex(randomSids(2_200_000), { vocabSize: V });
    assert.ok(index.byteLength > 2 ** 24);
    await Deno.writeFile(folder.at("x.st"), index.toStream());
  }
  const abort = new AbortController();
  store.interfere = (call, count) => {
    if (call === "part" && count === 1) abort.abort();
    return undefined;
  };
  const args = ["push", folder.at("x.st"), "s3://indexes/x.st"];
  const stopped = await cli(args, { signal: abort.signal });
  assert.deepEqual(stopped, { code: 130, out: "", err: "interrupted\n" });
  assert.deepEqual(store.calls, ["begin", "part", "part", "abandon"]);
  assert.deepEqual(store.objects.get(PATH)!.bytes, OLD);
  assert.equal(store.uploads.size, 0);

  // The same into a folder: stopped as soon as there is something of it.
  const www = folder.at("www");
  await Deno.mkdir(www);
  const namesThere = async () => (await Array.fromAsync(Deno.readDir(www))).map(({ name }) => name);
  const abortFile = new AbortController();
  const copying = cli(["push", folder.at("x.st"), www], { signal: abortFile.signal });
  while ((await namesThere()).length === 0) await new Promise((go) => setTimeout(go, 1));
  abortFile.abort();
  assert.equal((await copying).code, 130);
  assert.deepEqual(await namesThere(), []);

  store.interfere = () => undefined;
  const { code, err } = await cli(args, { showProgress: true });
  assert.equal(code, 0, err);
  assert.match(err, /verifying \d+ %/);
  assert.match(err, /pushing \d+ %/);
  assert.ok(err.endsWith("\r\x1b[K"));
  assert.deepEqual(store.calls.slice(4), ["begin", "part", "part", "complete", "get"]);
  const { bytes, headers } = store.objects.get(PATH)!;
  assert.equal(Buffer.compare(bytes, await Deno.readFile(folder.at("x.st"))), 0);
  assert.equal(headers.get("content-type"), "application/octet-stream");
  assert.equal(headers.get("cache-control"), "no-cache");
});

Deno.test({
  name: "As a process: Ctrl-C while an index is pushed leaves what was there",
  ignore: Deno.build.os === "windows", // Signals are not delivered to child processes there.
  async fn() {
    await using folder = await Folder.create();
    await using store = storeWithOld();
    using _ = new Environment({ AWS_ENDPOINT_URL: store.endpoint });
    const file = await folder.write("x.st", await smallIndex());
    const asked = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<void>();
    store.interfere = async () => {
      asked.resolve();
      await ended.promise;
      return refusal(503, "SlowDown");
    };
    const child = spawn(["push", file, "s3://indexes/x.st"], { flags: ["--allow-env"] });
    await asked.promise;
    child.kill("SIGINT");
    const { code, stderr } = await child.output();
    ended.resolve();
    assert.deepEqual([code, new TextDecoder().decode(stderr)], [130, "interrupted\n"]);
    assert.deepEqual(store.objects.get(PATH)!.bytes, OLD);
    assert.deepEqual(store.calls, ["put"]);
  },
});

Deno.test("As a process: other commands load no S3 code, and no variable may be read is as none set", async () => {
  await using folder = await Folder.create();
  using _ = new Environment({});
  const file = await folder.write("x.st", await smallIndex());
  // Where npm packages are forbidden, those that need none go on.
  const other = await spawn(["push", file, folder.at("y.st")], { flags: ["--no-npm"] }).output();
  assert.equal(other.code, 0, new TextDecoder().decode(other.stderr));
  const s3 = await spawn(["inspect", "s3://a/b"], { flags: ["--no-npm"] }).output();
  assert.match(new TextDecoder().decode(s3.stderr), /npm/);
  const blind = await spawn(["inspect", "s3://a/b"], { flags: ["--no-prompt"] }).output();
  assert.equal(blind.code, 2);
  assert.match(
    new TextDecoder().decode(blind.stderr),
    /^error: Cannot sign requests: expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment\n/,
  );
});

Deno.test("The task may read the variables that S3 and serve need, and no others", async () => {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("../../../deno.json", import.meta.url)),
  );
  const [, allowed] = tasks.cli.command.match(/--allow-env=(\S+)/);
  const names = new Set<string>(["INIT_CWD", "ESPALIER_TOKEN"]);
  const env = (name: string) => {
    names.add(name);
    return undefined;
  };
  assert.throws(() => s3Access({ bucket: "a", key: "b", env }), TypeError);
  assert.deepEqual(allowed.split(",").sort(), [...names].sort());
});

Deno.test("push into folders and files is whole or not at all", async () => {
  await using folder = await Folder.create();
  const bytes = await smallIndex();
  const file = await folder.write("x.st", bytes);
  const www = folder.at("www");
  await Deno.mkdir(www);
  await Deno.writeFile(join(www, "x.st"), OLD);

  const stopped = await cli(["push", file, www], { signal: AbortSignal.abort() });
  assert.deepEqual(stopped, { code: 130, out: "", err: "interrupted\n" });
  assert.deepEqual(await Deno.readFile(join(www, "x.st")), OLD);
  for (const destination of [www, `${www}/`, join(www, "y.st")]) {
    const { code, out, err } = await cli(["push", file, destination]);
    assert.deepEqual([code, err], [0, ""]);
    const path = join(www, destination.endsWith("y.st") ? "y.st" : basename(file));
    assert.deepEqual(await Deno.readFile(path), bytes);
    assert.ok(out.endsWith(`ConstraintIndex.open("${pathToFileURL(path)}")\n`), out);
    const { destination: written, cacheControl } = JSON.parse(
      (await cli(["push", file, destination, "--json"])).out,
    );
    assert.deepEqual([written, cacheControl], [path, undefined]);
  }
  const missing = await cli(["push", file, folder.at("missing/")]);
  assert.equal(missing.code, 1);
  assert.match(
    missing.err,
    /the folder ".*missing" does not exist; create it\n {2}code cannot-write/,
  );
  assert.deepEqual(await folder.names(), ["www", "x.st"]);
});

// From here on the uploader itself, with parts of 1000 bytes.

const BYTES = Uint8Array.from({ length: 3500 }, (_, i) => i % 251);

function locationIn(store: FakeS3): S3Location {
  return {
    bucket: "indexes",
    key: "x.st",
    endpoint: store.endpoint,
    credentials: { accessKeyId: store.accessKeyId, secretAccessKey: "secret" },
    env: () => undefined,
  };
}

function streamOf(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  return new Blob([bytes]).stream();
}

/** An upload that must fail, leaving what was there and no parts. Answers the error. */
async function failing(
  store: FakeS3,
  options: Parameters<typeof uploadToS3>[2] = {},
  stream = streamOf(BYTES),
): Promise<unknown> {
  const error = await uploadToS3(locationIn(store), stream, { partBytes: 1000, ...options })
    .then(() => assert.fail("It was written"), (error) => error);
  assert.deepEqual(store.objects.get(PATH)!.bytes, OLD);
  assert.equal(store.uploads.size, 0);
  assert.ok(!stream.locked || await isOver(stream), "The stream was let go");
  return error;
}

/** Whether a stream that was piped has ended: only then is it let go. */
async function isOver(stream: ReadableStream): Promise<boolean> {
  for (let turn = 0; turn < 20 && stream.locked; turn++) {
    await new Promise((go) => setTimeout(go, 1));
  }
  return !stream.locked;
}

Deno.test("Parts arrive as one object, whatever the length", async () => {
  await using store = new FakeS3();
  for (const length of [0, 1, 999, 1000, 1001, 2000, 3500]) {
    store.calls.length = 0;
    const bytes = BYTES.subarray(0, length);
    const progress: number[] = [];
    await uploadToS3(locationIn(store), streamOf(bytes), {
      partBytes: 1000,
      contentType: "text/plain",
      cacheControl: "max-age=1",
      onProgress: (sent) => progress.push(sent),
    });
    const { bytes: stored, headers } = store.objects.get(PATH)!;
    assert.deepEqual(stored, bytes.slice());
    assert.equal(headers.get("content-type"), "text/plain");
    assert.equal(headers.get("cache-control"), "max-age=1");
    assert.equal(progress.at(-1), length);
    const parts = Array(Math.ceil(length / 1000)).fill("part");
    assert.deepEqual(store.calls, length < 1000 ? ["put"] : ["begin", ...parts, "complete"]);
  }
  assert.equal(store.uploads.size, 0);
});

Deno.test("Every request is tried again while the store is busy or breaks off", async () => {
  await using store = new FakeS3();
  store.interfere = (_, count) => {
    if (count === 0) return refusal(503, "SlowDown");
    if (count === 1) return brokenOff();
    return undefined;
  };
  await uploadToS3(locationIn(store), streamOf(BYTES), { partBytes: 2000 });
  assert.deepEqual(store.objects.get(PATH)!.bytes, BYTES);
  const twice = ["begin", "begin", "begin", "part", "part", "part", "part"];
  assert.deepEqual(store.calls, [...twice, "complete", "complete", "complete"]);
});

Deno.test("An error in the answer to the last request counts, whatever its status", async () => {
  await using store = storeWithOld();
  store.interfere = (call) => call === "complete" ? refusal(200, "InternalError") : undefined;
  const error = await failing(store, { retries: 1 });
  assert.ok(error instanceof StorageError);
  assert.deepEqual([error.code, error.actual], ["http-status", 500]);
  assert.match(error.message, /\(InternalError\)/);
  assert.deepEqual(store.calls.slice(-3), ["complete", "complete", "abandon"]);
  store.interfere = (call, count) =>
    call === "complete" && count === 2 ? refusal(200, "InternalError") : undefined;
  await uploadToS3(locationIn(store), streamOf(BYTES), { partBytes: 1000 });
  assert.deepEqual(store.objects.get(PATH)!.bytes, BYTES);
});

Deno.test("After a failure what was there stays, and the parts go", async () => {
  const cases: [string, FakeS3["interfere"], string][] = [
    [
      "refused",
      (call, n) => call === "part" && n === 1 ? refusal(403, "No") : undefined,
      "http-status",
    ],
    [
      "busy",
      (call, n) => call === "part" && n >= 1 ? refusal(503, "No") : undefined,
      "http-status",
    ],
    ["broken off", (call) => call === "part" ? brokenOff() : undefined, "fetch-failed"],
    ["no part", (call) => call === "part" ? new Response() : undefined, "upload-failed"],
    ["no result", (call) => call === "complete" ? new Response("Hi") : undefined, "upload-failed"],
  ];
  for (const [name, interfere, code] of cases) {
    await using store = storeWithOld();
    store.interfere = (call, count, request) =>
      // Parts cost money until they are gone.
      call === "abandon" && count === 0
        ? refusal(503, "SlowDown")
        : interfere(call, count, request);
    const error = await failing(store, { retries: 1 });
    assert.ok(error instanceof StorageError, `${name}: ${error}`);
    assert.equal(error.code, code, name);
    assert.deepEqual(store.calls.slice(-2), ["abandon", "abandon"], name);
  }
  await using store = storeWithOld();
  store.interfere = (call) => call === "begin" ? new Response("<html>") : undefined;
  const error = await failing(store) as StorageError;
  assert.deepEqual([error.code, error.actual], ["upload-failed", "no UploadId"]);
  assert.deepEqual(store.calls, ["begin"]);
});

Deno.test("A stream that fails ends the upload with its own error", async () => {
  await using store = storeWithOld();
  let pulls = 0;
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (pulls++ === 2) return controller.error(new Error("The disk broke"));
      controller.enqueue(BYTES.slice(0, 1000));
    },
  }, { highWaterMark: 0 });
  assert.match(String(await failing(store, {}, stream)), /The disk broke/);
  assert.deepEqual(store.calls, ["begin", "part", "part", "abandon"]);
});

Deno.test("The signal ends an upload at once, wherever it stands", async () => {
  const reason = new Error("Enough");
  const cases: [string, (store: FakeS3, abort: () => void) => ReadableStream<Uint8Array>][] = [
    ["in a request", (store, abort) => {
      store.interfere = (call) => {
        if (call === "part") setTimeout(abort, 10);
        return call === "part"
          ? new Promise((answer) => setTimeout(() => answer(refusal(503, "Late")), 200))
          : undefined;
      };
      return streamOf(BYTES);
    }],
    ["before another attempt", (store, abort) => {
      store.interfere = (call) => {
        if (call !== "part") return undefined;
        setTimeout(abort, 10);
        return refusal(503, "SlowDown", "", { "retry-after": "30" });
      };
      return streamOf(BYTES);
    }],
    ["before bytes come", (_, abort) => {
      let pulls = 0;
      return new ReadableStream({
        pull(controller) {
          if (pulls++ === 0) return controller.enqueue(BYTES.slice(0, 1500));
          setTimeout(abort, 10);
          return new Promise(() => {});
        },
      }, { highWaterMark: 0 });
    }],
  ];
  for (const [name, prepare] of cases) {
    await using store = storeWithOld();
    const abort = new AbortController();
    const began = performance.now();
    const stream = prepare(store, () => abort.abort(reason));
    const error = await failing(store, { signal: abort.signal }, stream);
    assert.equal(error, reason, `${name}: ${error}`);
    assert.ok(performance.now() - began < 5000, name);
    assert.equal(store.calls.at(-1), "abandon", name);
  }
  await using store = storeWithOld();
  assert.equal(await failing(store, { signal: AbortSignal.abort(reason) }), reason);
  assert.deepEqual(store.calls, []);
});

Deno.test("A store that does not answer is given up, and asked again", async () => {
  await using store = storeWithOld();
  const ended = Promise.withResolvers<Response>();
  store.interfere = (_, count) => count === 0 ? ended.promise : undefined;
  // Long enough for a request to arrive on a busy machine.
  const options = { requestTimeoutMs: 400 };
  await uploadToS3(locationIn(store), streamOf(BYTES), options);
  assert.deepEqual(store.objects.get(PATH)!.bytes, BYTES);
  assert.deepEqual(store.calls, ["put", "put"]);
  store.interfere = () => ended.promise;
  store.objects.set(PATH, { bytes: OLD, headers: new Headers() });
  const error = await failing(store, { ...options, partBytes: 5000, retries: 1 }) as StorageError;
  ended.resolve(new Response());
  assert.deepEqual([error.code, error.expected, error.byteLength], ["timeout", 400, BYTES.length]);
  assert.equal(store.calls.length, 4);
});

Deno.test("A request may take as long as a slow link needs for it, or as long as push is told", async () => {
  await using folder = await Folder.create();
  await using store = new FakeS3();
  using _ = new Environment({ AWS_ENDPOINT_URL: store.endpoint });
  const { timeout } = AbortSignal;
  const limits: number[] = [];
  AbortSignal.timeout = (milliseconds) => {
    limits.push(milliseconds);
    return timeout.call(AbortSignal, milliseconds);
  };
  try {
    await uploadToS3(locationIn(store), streamOf(new Uint8Array(5_000_000)));
    assert.deepEqual(limits.splice(0), [160_000]);
    const file = await folder.write("x.st", await smallIndex());
    const args = ["push", file, "s3://indexes/x.st", "--request-timeout"];
    assert.equal((await cli([...args, "7"])).code, 0);
    assert.deepEqual(limits, [7000]);
    for (const wrong of ["0", "1.5", "soon", "1000000"]) {
      assert.match(
        (await cli([...args, wrong])).err,
        /Expected --request-timeout in whole seconds/,
      );
    }
    const elsewhere = await cli(["push", file, folder.at("y.st"), "--request-timeout", "7"]);
    assert.match(elsewhere.err, /Expected s3:\/\/bucket\/key with --request-timeout/);
  } finally {
    AbortSignal.timeout = timeout;
  }
});

Deno.test("A header that cannot be sent is told without the headers that can", async () => {
  await using store = storeWithOld();
  for (const more of [{ contentType: "a\nb" }, { cacheControl: "no-cache\r\nx" }]) {
    const error = await failing(store, more);
    assert.ok(error instanceof TypeError);
    assert.match(error.message, /^Cannot sign the request: one of its headers/);
    assertNoSecret(Deno.inspect(error));
  }
  assert.deepEqual(store.calls, []);
});

Deno.test("Errors of uploads hold no secrets, nor do their causes", async () => {
  const location: S3Location = {
    bucket: "indexes",
    key: "x.st",
    endpoint: "http://127.0.0.1:1",
    credentials: {
      accessKeyId: SECRETS.AWS_ACCESS_KEY_ID,
      secretAccessKey: SECRETS.AWS_SECRET_ACCESS_KEY,
      sessionToken: SECRETS.AWS_SESSION_TOKEN,
    },
  };
  const fetches: (typeof fetch)[] = [
    fetch,
    (request) => Promise.reject(new TypeError(`No way to http://me:hunter2@x/?${String(request)}`)),
    () => Promise.resolve(refusal(400, "hunter2 / Signature=", Object.values(SECRETS).join())),
  ];
  for (const fetch of fetches) {
    const error = await uploadToS3(location, streamOf(BYTES), { retries: 0, fetch })
      .then(() => undefined, (error) => error);
    assert.ok(error instanceof EspalierError);
    assertNoSecret(Deno.inspect(error) + JSON.stringify(error) + error.stack);
  }
});

Deno.test("Parts have at least one byte", async () => {
  await using store = storeWithOld();
  for (const partBytes of [0, -1, 0.5, NaN]) {
    assert.ok(await failing(store, { partBytes }) instanceof RangeError);
  }
  assert.deepEqual(store.calls, []);
});
