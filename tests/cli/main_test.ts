/** The command line, as it is called: in this process where possible, as one of its own where not. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { buildIndex } from "../../src/build/mod.ts";
import { ConstraintIndex } from "../../src/index/constraint_index.ts";
import { INSPECT_HELP } from "../../src/cli/commands/inspect.ts";
import { encodeNpy } from "../../src/cli/numpy/write.ts";
import { grouped } from "../../src/cli/io/format.ts";
import { WholeFile } from "../../src/cli/io/whole_file.ts";
import { VERIFY_HELP } from "../../src/cli/commands/verify.ts";
import { cli, Folder, spawn } from "../support/cli.ts";
import { helpExamples } from "../support/examples.ts";

/** A matrix of uint16 as a `.npy` file. */
function npy(rows: readonly (readonly number[])[]): Uint8Array {
  const values = Uint32Array.from(rows.flat());
  const [vector, data] = encodeNpy(values);
  // The header of a vector, with another shape.
  const text = new TextDecoder("latin1").decode(vector.subarray(10));
  const shape = `(${rows.length}, ${rows[0].length}), }`;
  const header = text.replace(/\(\d+,\), \}/, shape).trimEnd().padEnd(vector.length - 11) + "\n";
  const bytes = new Uint8Array(vector.length + data.length);
  bytes.set(vector.subarray(0, 10));
  bytes.set(new TextEncoder().encode(header), 10);
  bytes.set(data, vector.length);
  return bytes;
}

const ROWS = [[7, 1], [7, 2], [3, 3], [7, 1]];
const LINES = "[7, 1]\n\n[7]\n[3, 3, 3]\n";

async function bytesOf(rows: number[][], vocabSize: number): Promise<Uint8Array<ArrayBuffer>> {
  using index = await buildIndex(rows, { vocabSize });
  return index.toBytes();
}

Deno.test("build makes the index of a matrix", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("sids.npy", npy(ROWS));
  const { code, out, err } = await cli(["build", input, "-o", folder.at("x.st"), "--vocab", "9"]);
  assert.deepEqual([code, err], [0, ""]);
  assert.match(out, /sequences +3, and 1 duplicate merged\n/);
  assert.match(out, /vocabulary +9\n/);
  assert.match(out, /entropy +0\.\d\d bytes, for a random set of this size\n/);
  assert.deepEqual(await Deno.readFile(folder.at("x.st")), await bytesOf(ROWS, 9));
  assert.deepEqual(await folder.names(), ["sids.npy", "x.st"]);
});

Deno.test("build infers the vocabulary and says so", async () => {
  await using folder = await Folder.create();
  const matrix = await folder.write("sids.npy", npy(ROWS));
  const lines = await folder.write("sids.ndjson", LINES);
  for (const input of [matrix, lines]) {
    const { code, out } = await cli(["build", input, "-o", folder.at("x.st")]);
    assert.equal(code, 0);
    assert.match(out, /vocabulary +8 \(inferred/);
  }
  const zeros = await folder.write("zeros.npy", npy([[0], [0]]));
  const { out } = await cli(["build", zeros, "-o", folder.at("x.st"), "--json"]);
  assert.equal(JSON.parse(out).vocabSize, 2);
  assert.equal(JSON.parse(out).isVocabInferred, true);
});

Deno.test("build reads JSON lines from file and standard input", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("sids.jsonl", LINES);
  const expected = await bytesOf([[7, 1], [7], [3, 3, 3]], 8);
  const vocab = ["--vocab", "8"];
  assert.equal((await cli(["build", input, "-o", folder.at("a"), ...vocab])).code, 0);
  const piped = await cli(["build", "-", "-o", folder.at("b"), ...vocab], { stdin: LINES });
  assert.equal(piped.code, 0);
  const renamed = await folder.write("sids.txt", LINES);
  const args = ["build", renamed, "-o", folder.at("c"), "--format", "jsonl"];
  assert.equal((await cli(args)).code, 0);
  const sorted = "[3,3,3]\n[7]\n[7,1]\n";
  const inOrder = ["build", "-", "-o", folder.at("d"), ...vocab, "--sorted"];
  assert.equal((await cli(inOrder, { stdin: sorted })).code, 0);
  for (const name of "abcd") assert.deepEqual(await Deno.readFile(folder.at(name)), expected);
});

Deno.test("build reports ordinals", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("sids.npy", npy(ROWS));
  const out = folder.at("x.st"), ordinals = folder.at("ordinals.npy");
  assert.equal((await cli(["build", input, "-o", out, "--ordinals", ordinals])).code, 0);
  const expected = encodeNpy(Uint32Array.of(1, 2, 0, 1)).flatMap((part) => Array.from(part));
  assert.deepEqual(Array.from(await Deno.readFile(ordinals)), expected);
});

Deno.test("build --json prints one object", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("sids.npy", npy(ROWS));
  const { out } = await cli(["build", input, "-o", folder.at("x.st"), "--vocab", "8", "--json"]);
  const result = JSON.parse(out);
  using index = await ConstraintIndex.open(await Deno.readFile(folder.at("x.st")));
  assert.equal(out.indexOf("\n"), out.length - 1);
  assert.equal(result.rows, 4);
  assert.equal(result.sequences, 3);
  assert.equal(result.digest, index.digest);
  assert.equal(result.byteLength, index.byteLength);
  assert.equal(result.bytesPerItem, index.byteLength / 3);
  // log2 C(64, 3) bits.
  assert.ok(Math.abs(result.entropyBytesPerItem - Math.log2(41664) / 24) < 1e-12);
});

/** Runs a build that fails, and checks that it leaves nothing. Returns the error. */
async function failingBuild(name: string, content: string | Uint8Array, ...args: string[]) {
  await using folder = await Folder.create();
  const input = await folder.write(name, content);
  await folder.write("x.st", "what stood there");
  const all = ["build", input, "-o", folder.at("x.st"), ...args];
  const plain = await cli(all);
  assert.equal(plain.out, "");
  assert.match(plain.err, /^error: .+\n {2}code .+\n$/);
  const { code, out, err } = await cli([...all, "--json"]);
  assert.deepEqual([code, out], [1, ""]);
  assert.equal(await Deno.readTextFile(folder.at("x.st")), "what stood there");
  assert.deepEqual(await folder.names(), [name, "x.st"].sort());
  const { error } = JSON.parse(err);
  assert.equal(error.file, input);
  assert.ok(error.message.includes(input));
  return error;
}

Deno.test("build names the place of bad input and writes nothing", async () => {
  const row = async (name: string, content: string | Uint8Array, ...args: string[]) => {
    const { code, row, column } = await failingBuild(name, content, ...args);
    return [code, row, column];
  };
  const tokens = "token-out-of-range";
  assert.deepEqual(await row("x.npy", npy([[1, 2], [3, 9]]), "--vocab", "9"), [tokens, 1, 1]);
  assert.deepEqual(await row("x.jsonl", "[1]\n\n[2, 9]\n", "--vocab", "9"), [tokens, 1, 1]);
  assert.deepEqual(await row("x.jsonl", "[1]\n[2, -9]\n"), [tokens, 1, 1]);
  assert.deepEqual(await row("x.jsonl", "[1]\n[2, 1e9]\n"), [tokens, 1, 1]);
  assert.deepEqual(await row("x.jsonl", "[1]\n[2.5]\n"), ["not-a-row", 1, 0]);
  assert.deepEqual(await row("x.jsonl", "[1]\n[]\n"), ["bad-length", 1, undefined]);
  const long = `[1]\n${JSON.stringify(Array(1025).fill(1))}\n`;
  assert.deepEqual(await row("x.jsonl", long), ["bad-length", 1, undefined]);
  assert.deepEqual(await row("x.jsonl", "[2]\n[3]\n[1]\n", "--sorted"), ["unsorted", 2, 0]);
  assert.deepEqual(await row("x.npy", npy([[2], [3], [1]]), "--sorted"), ["unsorted", 2, 0]);
  assert.deepEqual(await row("x.jsonl", "\n"), ["empty-set", undefined, undefined]);
  const { message } = await failingBuild("x.jsonl", "\n[1]\n\n[2, 9]\n[1]\n", "--vocab", "9");
  assert.match(message, /x\.jsonl, line 4: expected tokens from 0 to 8, found 9 /);
});

Deno.test("build names the kind of a file that is no table of tokens", async () => {
  const { code, actual, message } = await failingBuild("x.jsonl", "\x1f\x8b\x08");
  assert.deepEqual([code, actual], ["not-a-row", undefined]);
  const gzip = await failingBuild("x.jsonl", Uint8Array.of(0x1f, 0x8b, 8, 0));
  assert.deepEqual([gzip.code, gzip.actual], ["wrong-file-type", "a gzip file"]);
  assert.match(gzip.message, /gzip -dc/);
  assert.match(message, /mend the line or convert the file/);
  assert.equal(
    (await failingBuild("x.csv", Uint8Array.of(0x1f, 0x8b, 8, 0))).code,
    "wrong-file-type",
  );
  assert.match((await failingBuild("x.bin", npy(ROWS))).message, /--format npy/);
  assert.equal((await failingBuild("x.npy", "[1, 2]\n")).code, "not-npy");
  const index = await bytesOf(ROWS, 9);
  assert.equal((await failingBuild("x.jsonl", index)).actual, "a safetensors file");
});

Deno.test("Files that are not there or cannot be written are errors without a trace", async () => {
  await using folder = await Folder.create();
  const out = folder.at("x.st");
  const input = await folder.write("x.jsonl", LINES);
  const missing = folder.at("missing.npy");
  for (
    const [args, code] of [
      [["build", missing, "-o", out], "not-found"],
      [["build", folder.path, "-o", out], "not-a-file"],
      [["build", input, "-o", join(missing, "x.st")], "cannot-write"],
      [["build", input, "-o", folder.path], "cannot-write"],
      [["build", input, "-o", out, "--ordinals", join(missing, "o.npy")], "cannot-write"],
      [["inspect", missing], "not-found"],
      [["verify", missing], "not-found"],
    ] as const
  ) {
    const { code: exit, err } = await cli([...args]);
    assert.equal(exit, 1, err);
    assert.match(err, new RegExp(`^error: Cannot .+\\n  code ${code} .+\\n$`));
  }
  assert.deepEqual(await folder.names(), ["x.jsonl"]);
});

Deno.test("A file of which the writing fails does not appear", async () => {
  await using folder = await Folder.create();
  const path = await folder.write("x.st", "before");
  await assert.rejects(async () => {
    await using file = await WholeFile.create(path);
    await file.write(new Uint8Array(100));
    assert.equal((await folder.names()).length, 2);
    assert.match((await folder.names())[0], /^\.x\.st\.espalier-[0-9a-f]{8}\.tmp$/);
    throw new Error("no more space");
  }, /no more space/);
  assert.deepEqual(await folder.names(), ["x.st"]);
  assert.equal(await Deno.readTextFile(path), "before");
});

Deno.test("An aborted build leaves nothing, whenever it is aborted", async () => {
  await using folder = await Folder.create();
  const lines = await folder.write("x.jsonl", LINES.repeat(1000));
  const matrix = await folder.write("x.npy", npy(ROWS));
  for (const input of [lines, matrix]) {
    const args = ["build", input, "-o", folder.at("x.st"), "--ordinals", folder.at("o.npy")];
    const { code, out, err } = await cli(args, { signal: AbortSignal.abort() });
    assert.deepEqual([code, out, err], [130, "", "interrupted\n"]);
    const abort = new AbortController();
    const watched = await cli(args, {
      signal: abort.signal,
      showProgress: true,
      onErr: () => abort.abort(),
    });
    assert.equal(watched.code, 130);
    assert.deepEqual(await folder.names(), ["x.jsonl", "x.npy"]);
  }
});

Deno.test("Progress is shown on standard error, and cleared, where somebody watches", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("x.npy", npy(ROWS));
  const args = ["build", input, "-o", folder.at("x.st")];
  const { code, out, err } = await cli(args, { showProgress: true });
  assert.equal(code, 0);
  assert.ok(err.startsWith("\r\x1b[Kreading 100 % ━"), JSON.stringify(err));
  assert.ok(err.endsWith("\r\x1b[K"));
  assert.match(out, /^Built /);
});

Deno.test("A set with regularities takes less than the entropy that is shown", async () => {
  await using folder = await Folder.create();
  // Every pair of the first 512 of 4096 tokens.
  const rows = Array.from({ length: 2 ** 18 }, (_, i) => [i >> 9, i & 511]);
  const input = await folder.write("x.npy", npy(rows));
  const { out } = await cli(["build", input, "-o", folder.at("x.st"), "--vocab", "4096", "--json"]);
  const { bytesPerItem, entropyBytesPerItem } = JSON.parse(out);
  assert.ok(bytesPerItem < entropyBytesPerItem, `${bytesPerItem} of ${entropyBytesPerItem}`);
  for (const text of [INSPECT_HELP, (await cli(["build", input, "-o", folder.at("x.st")])).out]) {
    assert.match(text, /entropy.* random set of this size/);
    assert.doesNotMatch(text, /the least/);
  }
});

Deno.test("inspect shows levels, sizes and entropy", async () => {
  await using folder = await Folder.create();
  const file = await folder.write("x.st", await bytesOf([[7, 1], [7, 2], [3, 3]], 8));
  const { code, out, err } = await cli(["inspect", file]);
  assert.deepEqual([code, err], [0, ""]);
  assert.match(out, /format +Espalier index, version 1\n/);
  assert.match(out, /sequences +3\n/);
  assert.match(out, /length +2 tokens\n/);
  assert.match(out, /\n +0 +2 +1 +0 +(bitmap|packed) +\w+ +2 +3–7 +3 +50\.0 +[\d ]+\n/);
  const full = Array.from({ length: 2 ** 16 }, (_, i) => [i >> 8, i & 255]);
  const bitmaps = await cli(["inspect", await folder.write("y.st", await bytesOf(full, 256))]);
  // Bits are those of a packed token.
  assert.match(
    bitmaps.out,
    /\n +1 +65 536 +256 +65 536 +bitmap +\w+ +256 +0–255 {8,}100\.0 +\d[\d ]+\n/,
  );
  assert.match(out, /entropy +0\.64 bytes per item; the index takes [\d.]+ × that\n/);
  const { out: json } = await cli(["inspect", file, "--json"]);
  const summary = JSON.parse(json);
  using index = await ConstraintIndex.open(await Deno.readFile(file));
  assert.equal(summary.digest, index.digest);
  assert.equal(summary.byteLength, index.byteLength);
  assert.equal(summary.levels.length, 2);
  index.levels.forEach((level, d) => {
    assert.equal(summary.levels[d].aloneAtLeast, [0.5, 1][d]);
    for (const [field, value] of Object.entries(level)) {
      assert.equal(summary.levels[d][field], value, `${field} of level ${d}`);
    }
  });
});

Deno.test("inspect tells mixed lengths, and sets that need no bits", async () => {
  await using folder = await Folder.create();
  const mixed = await folder.write("x.st", await bytesOf([[7, 1], [7], [3, 3, 3]], 8));
  assert.match((await cli(["inspect", mixed])).out, /length +1 to 3 tokens\n/);
  const full = await folder.write("y.st", await bytesOf([[0], [1]], 2));
  assert.match((await cli(["inspect", full])).out, /entropy +0\.00 bytes per item\n/);
});

Deno.test("inspect reads only the header", async () => {
  await using folder = await Folder.create();
  const bytes = await bytesOf(ROWS, 9);
  const header = 8 + new DataView(bytes.buffer).getUint32(0, true);
  const file = await folder.write("x.st", bytes.subarray(0, header));
  assert.equal((await cli(["inspect", file])).code, 0);
  const cut = await folder.write("y.st", bytes.subarray(0, header - 1));
  const { code, err } = await cli(["inspect", cut]);
  assert.equal(code, 1);
  assert.match(err, /expected \d+ bytes, got \d+; .*\n {2}code truncated/);
});

Deno.test("inspect warns where a file is cut or too long", async () => {
  await using folder = await Folder.create();
  const bytes = await bytesOf(ROWS, 9);
  const longer = new Uint8Array(bytes.length + 7);
  longer.set(bytes);
  const cases = [
    [
      bytes.subarray(0, bytes.length - 1),
      false,
      / {2}warning +the file has \d+ .*: it is cut; .*\n$/,
    ],
    [longer, false, / {2}warning +the file has \d+ .*: it is too long; .*\n$/],
    [bytes, true, /entropy .*\n$/],
  ] as const;
  for (const [content, complete, last] of cases) {
    const file = await folder.write("x.st", content);
    const { code, out, err } = await cli(["inspect", file]);
    assert.deepEqual([code, err], [0, ""]);
    assert.match(out, last);
    assert.equal(out.includes("warning"), !complete);
    assert.ok(complete || out.includes(`the file has ${grouped(content.length)} bytes`));
    assert.ok(complete || out.includes(`promises ${grouped(bytes.length)}:`));
    const summary = JSON.parse((await cli(["inspect", file, "--json"])).out);
    assert.deepEqual([summary.complete, summary.byteLength], [complete, bytes.length]);
  }
});

Deno.test("An index is read from standard input", async () => {
  await using folder = await Folder.create();
  const bytes = await bytesOf([[7, 1], [7, 2], [3, 3]], 9);
  const file = await folder.write("x.st", bytes);
  const npz = folder.at("x.npz");
  for (
    const args of [
      ["inspect", "-"],
      ["verify", "-"],
      ["query", "-", "7"],
      ["diff", file, "-"],
      ["diff", "-", file],
      ["convert", "-", "-o", npz],
    ]
  ) {
    const { code, out, err } = await cli(args, { stdin: bytes });
    assert.deepEqual([code, err], [0, ""], args.join(" "));
    const named = await cli(args.map((arg) => arg === "-" ? file : arg));
    assert.equal(out.replaceAll(file, "-"), named.out.replaceAll(file, "-"));
  }
});

Deno.test("inspect says nothing of the size of what comes without one", async () => {
  const bytes = await bytesOf(ROWS, 9);
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => {
    // A stream has no Content-Length.
    return new Response(new Blob([bytes.subarray(0, -1) as Uint8Array<ArrayBuffer>]).stream());
  });
  const url = `http://127.0.0.1:${server.addr.port}/x.st`;
  const { code, out } = await cli(["inspect", url, "--json"]);
  assert.deepEqual([code, JSON.parse(out).complete], [0, null]);
  assert.ok(!(await cli(["inspect", url])).out.includes("warning"));
});

Deno.test("The examples in the help of inspect and verify run", async () => {
  await using folder = await Folder.create();
  const file = await folder.write("x.st", await bytesOf(ROWS, 9));
  const places = {
    "catalogue.safetensors": file,
    "https://cdn.example.com/catalogue.safetensors": file,
    "s3://indexes/catalogue.safetensors": file,
  };
  for (
    const args of [...helpExamples(INSPECT_HELP, places), ...helpExamples(VERIFY_HELP, places)]
  ) {
    const { code, out, err } = await cli(args);
    assert.deepEqual([code, err], [0, ""], args.join(" "));
    assert.ok(out.length > 0);
  }
});

Deno.test("--version is that of deno.json", async () => {
  const json = await Deno.readTextFile(new URL("../../deno.json", import.meta.url));
  const { version } = JSON.parse(json);
  assert.deepEqual(await cli(["--version"]), { code: 0, out: `${version}\n`, err: "" });
});

Deno.test("verify vouches for a sound file and finds damage", async () => {
  await using folder = await Folder.create();
  const bytes = await bytesOf(ROWS, 9);
  const file = await folder.write("x.st", bytes);
  const sound = await cli(["verify", file]);
  assert.deepEqual([sound.code, sound.err], [0, ""]);
  assert.match(sound.out, /^ok .+\n {2}digest +[0-9a-f]{64}\n/);
  assert.equal(JSON.parse((await cli(["verify", file, "--json"])).out).ok, true);
  for (const at of [bytes.length - 256, 100]) {
    const damaged = bytes.slice();
    damaged[at] ^= 1;
    const { code, out, err } = await cli(["verify", await folder.write("y.st", damaged)]);
    assert.deepEqual([code, out], [1, ""]);
    assert.match(err, /^error: .*y\.st: Cannot .*\n {2}code .*y\.st"/);
  }
  const cut = await folder.write("z.st", bytes.subarray(0, bytes.length - 1));
  const { code, err } = await cli(["verify", cut, "--json"]);
  assert.equal(code, 1);
  assert.deepEqual(JSON.parse(err).error.code, "truncated");
});

Deno.test("inspect and verify say what a file is that is no index", async () => {
  await using folder = await Folder.create();
  const future = new TextDecoder("latin1").decode(await bytesOf(ROWS, 9));
  assert.ok(future.includes('"version":"1"'));
  const files: [Uint8Array, string, RegExp][] = [
    [npy(ROWS), "wrong-file-type", /a NumPy array.*cli build/],
    [Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0), "wrong-file-type", /gzip.*unpack it/],
    [new TextEncoder().encode("[1, 2]\n"), "wrong-file-type", /JSON.*cli build/],
    [new TextEncoder().encode("some other text"), "not-safetensors", /is this an index file/],
    [new Uint8Array(), "truncated", /expected 8 bytes, got 0/],
  ];
  for (const [bytes, code, message] of files) {
    const file = await folder.write("x.st", bytes);
    for (const command of ["inspect", "verify"]) {
      const { code: exit, err } = await cli([command, file, "--json"]);
      const { error } = JSON.parse(err);
      assert.deepEqual([exit, error.code, error.file], [1, code, file], `${command}: ${err}`);
      assert.match(error.message, message);
    }
  }
});

Deno.test("inspect and verify refuse a later version of the format", async () => {
  await using folder = await Folder.create();
  const bytes = await bytesOf(ROWS, 9);
  const find = (text: string) =>
    bytes.findIndex((_, i) => Array.from(text).every((c, k) => bytes[i + k] === c.charCodeAt(0))) +
    text.length;
  bytes[find('"version":"')] = 0x33;
  const start = find('"headerSha256":"');
  bytes.fill(0x30, start, start + 64);
  const header = bytes.slice(0, 8 + new DataView(bytes.buffer).getUint32(0, true));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", header));
  bytes.set(new TextEncoder().encode(digest.toHex()), start);
  const file = await folder.write("x.st", bytes);
  for (const command of ["inspect", "verify"]) {
    const { code, err } = await cli([command, file]);
    assert.equal(code, 1);
    assert.match(err, /expected format version 1 to 2, got 3; update Espalier/);
  }
});

Deno.test("inspect asks a server for the start only; verify reads all", async () => {
  const bytes = await bytesOf(Array.from({ length: 30_000 }, (_, i) => [i, i, i]), 30_000);
  const ranges: (string | null)[] = [];
  let honoursRanges = true;
  let sent = 0;
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, (request) => {
    const { pathname } = new URL(request.url);
    if (pathname !== "/x.st") return new Response("no such thing", { status: 404 });
    const range = request.headers.get("range");
    ranges.push(range);
    const end = range && honoursRanges ? Number(range.split("-")[1]) + 1 : bytes.length;
    let at = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at >= end) return controller.close();
        const part = bytes.subarray(at, Math.min(at += 1000, end));
        sent += part.length;
        controller.enqueue(part.slice());
      },
    });
    if (!range || !honoursRanges) return new Response(body);
    const headers = { "content-range": `bytes 0-${end - 1}/${bytes.length}` };
    return new Response(body, { status: 206, headers });
  });
  const origin = `http://127.0.0.1:${server.addr.port}`;
  const url = `${origin}/x.st?signature=secret`;
  const shown = await cli(["inspect", url]);
  assert.equal(shown.code, 0, shown.err);
  assert.ok(shown.out.startsWith(`${origin}/x.st\n`));
  assert.deepEqual(ranges, ["bytes=0-65535"]);
  assert.ok(sent <= 2 ** 16);
  honoursRanges = false;
  assert.equal((await cli(["inspect", url])).code, 0);
  const verified = await cli(["verify", url]);
  assert.equal(verified.code, 0, verified.err);
  assert.ok(verified.out.startsWith(`ok ${origin}/x.st\n`));
  const missing = await cli(["verify", `${origin}/y.st?signature=secret`, "--json"]);
  assert.equal(missing.code, 1);
  assert.equal(JSON.parse(missing.err).error.url, `${origin}/y.st`);
  assert.ok(!missing.err.includes("secret"));
});

Deno.test("Every command has help that shows examples and exit codes", async () => {
  const top = await cli(["--help"]);
  for (const args of [["help"], ["-h"]]) assert.deepEqual(await cli(args), top);
  const commands = [...top.out.matchAll(/^ {2}(\w+) {2,}/gm)].map(([, command]) => command)
    .filter((command) => command !== "help");
  assert.equal(commands.length, 9);
  for (const command of commands) {
    const { code, out } = await cli([command, "--help"]);
    assert.equal(code, 0);
    assert.match(out, /\nUsage: deno task cli .*\n[^]*\nExamples\n[^]*\nExit codes: 0 /);
    assert.deepEqual(await cli(["help", command]), { code, out, err: "" });
    assert.ok(top.out.includes(`\n  ${command} `));
    assert.ok(out.split("\n").every((line) => line.length <= 120));
  }
});

Deno.test("Wrong usage exits with 2 and points to the help", async () => {
  const wrong: [string[], RegExp][] = [
    [[], /Expected a command, found none\n {2}try: deno task cli help\n/],
    [["demo"], /no command "demo" any more: run "deno task demo"/],
    [["biuld"], /Unknown command "biuld"\n {2}try: deno task cli help\n/],
    [["help", "biuld"], /Unknown command "biuld"\n/],
    [["build"], /Expected INPUT, found none\n {2}try: deno task cli help build\n/],
    [["build", "a.npy"], /Expected -o/],
    [["build", "a.npy", "-", "-", "-o", "x", "--vocab", "9"], /Expected standard input once/],
    [["build", "a.npy", "-o", "a.npy"], /Expected different files/],
    [["build", "a.npy", "-o", "./a.npy"], /Expected different files/],
    [["build", "a.npy", "-o", "x", "--voacb", "3"], /Unknown option '--voacb'\n {2}try: .* build/],
    [["build", "a.npy", "-o"], /-o/],
    [["build", "a.npy", "-o", "x", "--vocab", "1"], /Expected --vocab from 2 to 1048576/],
    [["build", "a.npy", "-o", "x", "--vocab", "many"], /found "many"/],
    [["build", "a.npy", "-o", "x", "--format", "xls"], /Expected --format npy, parquet/],
    [["build", "-", "-o", "x"], /Expected --vocab N, because standard input can be read only once/],
    [["build", "-", "-o", "x", "--format", "npy"], /Expected JSON lines on standard input/],
    [["inspect"], /Expected FILE or URL, found none/],
    [["inspect", "http://"], /Expected a URL, http.* found "http:\/\/"/],
    [["verify", "ftp://a/b"], /Expected a URL, http.* found "ftp:/],
    [["query", "file://b c", "1"], /Expected a URL/],
    [["diff", "-", "-"], /Expected standard input once/],
    [["decode", "-", "--model", "m", "-"], /Expected standard input once/],
    [["verify", "a", "b"], /Expected one FILE or URL, found 2: a b/],
    [["verify", "a", "--region", "x"], /Expected s3:\/\/bucket\/key with --region/],
    [["inspect", "s3://bucket"], /Expected s3:\/\/bucket\/key, found "s3:\/\/bucket"/],
    [["inspect", "s3://bucket/folder/"], /Expected s3:\/\/bucket\/key, found/],
    [["inspect", "s3://b/k", "--style", "vhost"], /Expected --style path or virtual-host/],
    [["push", "a"], /Expected FILE and DESTINATION, found 1 argument\n/],
    [["push", "http://a/b", "c"], /Expected a file to push, found an address/],
    [["push", "a", "https://a/b"], /Expected DESTINATION s3:\/\/bucket\/key/],
    [["push", "a", "./a"], /Expected different files/],
    [["push", "a", "b", "--cache-control", "x"], /Expected s3:.* with --cache-control/],
    [["push", "a", "s3://b/c", "--cache-control", "\n"], /Expected --cache-control in plain ASCII/],
    [["push", "a", "b", "--endpoint", "https://c"], /Expected s3:.* with --endpoint/],
  ];
  for (const [args, message] of wrong) {
    const { code, out, err } = await cli(args);
    assert.deepEqual([code, out], [2, ""], `${args.join(" ")}: ${err}`);
    assert.match(err, message);
    assert.match(err, /^error: .+\n {2}try: deno task cli help/);
  }
  const { err } = await cli(["verify", "--json"]);
  assert.equal(JSON.parse(err).error.code, "usage");
});

Deno.test("As a process: output, errors and exit codes", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("x.jsonl", LINES);
  const text = new TextDecoder();
  const good = await spawn(["build", input, "-o", folder.at("x.st")]).output();
  assert.equal(good.code, 0);
  assert.match(text.decode(good.stdout), /^Built /);
  assert.equal(text.decode(good.stderr), "");
  const bad = await spawn(["inspect", folder.at("missing")]).output();
  assert.equal(bad.code, 1);
  assert.match(text.decode(bad.stderr), /^error: Cannot read .*\n {2}code not-found .*\n$/);
  assert.equal((await spawn(["build"]).output()).code, 2);
});

Deno.test("As a process: a listing ends when nobody reads on", async () => {
  await using folder = await Folder.create();
  const rows = Array.from({ length: 50_000 }, (_, i) => [i >> 8, i & 255]);
  const file = await folder.write("x.st", await bytesOf(rows, 256));
  const other = await folder.write("y.st", await bytesOf([[300, 0]], 301));
  for (
    const args of [
      ["query", file, "--sequences", "--limit", "0"],
      ["diff", file, other],
      ["diff", file, other, "--json"],
    ]
  ) {
    const child = spawn(args);
    const reader = child.stdout.getReader();
    assert.ok((await reader.read()).value!.length > 0);
    await reader.cancel();
    const err = await new Response(child.stderr).text();
    assert.deepEqual([(await child.status).code, err], [141, ""], args.join(" "));
  }
});

Deno.test({
  name: "As a process: Ctrl-C ends a build that waits for input, and nothing is left",
  ignore: Deno.build.os === "windows", // Signals are not delivered to child processes there.
  async fn() {
    await using folder = await Folder.create();
    const args = ["build", "-", "-o", folder.at("x.st"), "--vocab", "9"];
    for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
      const child = spawn(args, { stdin: "piped" });
      const input = child.stdin.getWriter();
      await input.write(new TextEncoder().encode("[1, 2]\n"));
      while ((await folder.names()).length === 0) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      child.kill(signal);
      const { code: exit, stderr } = await child.output();
      assert.equal(exit, code);
      assert.equal(new TextDecoder().decode(stderr), "interrupted\n");
      assert.deepEqual(await folder.names(), []);
      await input.close().catch(() => {});
    }
  },
});
