/** `cli build --filter … --items …`, and what the other commands say of the result. */

import assert from "node:assert/strict";
import { ConstraintIndex } from "../../../mod.ts";
import { buildIndex, type BuildOptions } from "../../../src/build/mod.ts";
import { loadedIndexOf } from "../../../src/index/constraint_index.ts";
import { namedFilterBits } from "../../../src/index/named_filters.ts";
import { cli, Folder } from "../../support/cli.ts";

const ROWS = [[7, 1], [7, 2], [3, 3], [7, 1]];
const LINES = ROWS.map((row) => `${JSON.stringify(row)}\n`).join("");

/** A vector as a `.npy` file. */
function npy(descr: string, values: readonly (number | bigint)[], shape = `${values.length},`) {
  const size = Number(descr[2]);
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }`;
  const bytes = new Uint8Array(128 + size * values.length).fill(0x20);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, 118, 0]);
  bytes.set(new TextEncoder().encode(text), 10);
  bytes[127] = 0x0a;
  values.forEach((value, i) => {
    for (let b = 0; b < size; b++) {
      const at = 128 + size * i + (descr[0] === ">" ? size - 1 - b : b);
      bytes[at] = Number((BigInt(value) >> BigInt(8 * b)) & 0xffn);
    }
  });
  return bytes;
}

async function bytesOf(options: Omit<BuildOptions, "vocabSize">): Promise<Uint8Array> {
  using index = await buildIndex(ROWS, { vocabSize: 9, ...options });
  return index.toBytes();
}

Deno.test("build keeps item ids from every kind of file", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("x.jsonl", LINES);
  const cases: [string, string | Uint8Array, BuildOptions["items"]][] = [
    ["a.npy", npy("<i8", [-5n, 2n ** 62n, 7n, 8n]), [-5n, 2n ** 62n, 7n, 8n]],
    ["b.npy", npy(">u8", [1n, 2n ** 64n - 1n, 7n, 8n]), [1n, 2n ** 64n - 1n, 7n, 8n]],
    ["c.npy", npy("|i1", [-1, 2, -3, 4]), [-1, 2, -3, 4]],
    ["d.npy", npy(">u2", [1, 256, 3, 4]), [1, 256, 3, 4]],
    ["e.txt", "a\nbé\r\n\n d ", ["a", "bé", "", " d "]],
    ["f.ids", "[1\n{\n<\n0\n", ["[1", "{", "<", "0"]],
    ["g.jsonl", '"a"\n\n"\\u00e9\\n"\r\n"7"\n"a"', ["a", "é\n", "7", "a"]],
    ["h.ndjson", "1\n-2\n18446744073709551000\n0\n", [1, -2, 18446744073709551000n, 0]],
  ];
  for (const [name, content, items] of cases) {
    const file = await folder.write(name, content);
    const args = ["build", input, "-o", folder.at("x.st"), "--vocab", "9", "--items", file];
    const { code, err, out } = await cli(args);
    assert.deepEqual([code, err], [0, ""], name);
    assert.match(out, /item ids +[34], (integer|string)\n/);
    assert.deepEqual(await Deno.readFile(folder.at("x.st")), await bytesOf({ items }), name);
  }
});

Deno.test("build keeps filters from every kind of file", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("x.jsonl", LINES);
  const files: [string, string | Uint8Array, number[]][] = [
    ["a.npy", npy("|b1", [1, 0, 1, 0]), [1, 0, 1, 0]],
    ["b.npy", npy("<i8", [0n, 0n, 2n ** 40n, -1n]), [0, 0, 1, 1]],
    ["c.npy", npy(">i2", [0, 256, 0, 0]), [0, 1, 0, 0]],
    ["d.txt", "1\n0\nTrue\n\nfalse\n", [1, 0, 1, 0]],
    ["e.flags", "0\n0\n0\r\n 1 ", [0, 0, 0, 1]],
  ];
  const args = ["build", input, "-o", folder.at("x.st"), "--vocab", "9", "--json"];
  for (const [name, content] of files) {
    args.push("--filter", `filter ${name}=${await folder.write(name, content)}`);
  }
  const { code, out, err } = await cli(args);
  assert.deepEqual([code, err], [0, ""]);
  const names = files.map(([name]) => `filter ${name}`);
  assert.deepEqual(JSON.parse(out).filters, names);
  const filters = Object.fromEntries(files.map(([, , values], i) => [names[i], values]));
  assert.deepEqual(await Deno.readFile(folder.at("x.st")), await bytesOf({ filters }));
});

Deno.test("inspect and verify tell of filters and items", async () => {
  await using folder = await Folder.create();
  const filters = { "in stock": [1, 0, 0, 0], none: [0, 0, 0, 0], all: [1, 1, 1, 1] };
  const bytes = await bytesOf({ filters, items: [5, 6, 7, 1000] });
  const file = await folder.write("x.st", bytes);
  const { code, out, err } = await cli(["inspect", file]);
  assert.deepEqual([code, err], [0, ""]);
  assert.match(out, /\n +filter +allowed +percent +encoding +by item +bytes\n/);
  assert.match(out, /\n +in stock +1 +33\.3 +bits +yes +512\n/);
  assert.match(out, /\n +none +0 +0\.0 +list +yes +256\n/);
  assert.match(out, /\n +all +3 +100\.0 +list of others +yes +256\n/);
  assert.match(out, /\n +item ids +4 integers of 10 bits, 1 280 bytes; can be looked up\n/);
  assert.match(out, /; without filters and ids the index takes [\d.]+ × that\n/);
  const { filters: listed, items } = JSON.parse((await cli(["inspect", file, "--json"])).out);
  const first = { name: "in stock", allowed: 1, encoding: "bits", byItem: true, byteLength: 512 };
  assert.deepEqual(listed[0], first);
  assert.equal(listed.length, 3);
  assert.deepEqual(items, {
    type: "integer",
    count: 4,
    min: "5",
    max: "1000",
    bits: 10,
    lookup: true,
    byteLength: 1280,
  });
  const header = 8 + new DataView(bytes.buffer).getUint32(0, true);
  const cut = await folder.write("cut.st", bytes.subarray(0, header));
  assert.equal((await cli(["inspect", cut])).code, 0, "Only the header is read");
  const verified = await cli(["verify", file]);
  assert.equal(verified.code, 0, verified.err);
  assert.match(verified.out, /3 named filters: .*\n.*4 item ids: /);

  const one = await folder.write("o.st", await bytesOf({ filters: { f: [1, 0, 0, 0] } }));
  assert.match((await cli(["verify", one])).out, / 1 named filter: /);

  const strings = await folder.write("s.st", await bytesOf({ items: ["a", "b", "c", "ä"] }));
  assert.match(
    (await cli(["inspect", strings])).out,
    /\n +item ids +4 strings, [\d ]+ bytes; can be looked up\n/,
  );
  const plain = await folder.write("p.st", await bytesOf({}));
  const { out: shown } = await cli(["inspect", plain]);
  assert.ok(!shown.includes("filter") && !shown.includes("item ids"));
  const summary = JSON.parse((await cli(["inspect", plain, "--json"])).out);
  assert.deepEqual([summary.filters, summary.items], [[], null]);
});

Deno.test("build names the file and row of bad filters and items, and writes nothing", async () => {
  const failing = async (flag: string, name: string, content: string | Uint8Array) => {
    await using folder = await Folder.create();
    const input = await folder.write("x.jsonl", LINES);
    const file = await folder.write(name, content);
    const args = ["build", input, "-o", folder.at("x.st"), "--vocab", "9", flag];
    const { code, out, err } = await cli([
      ...args,
      flag === "--filter" ? `f=${file}` : file,
      "--json",
    ]);
    assert.deepEqual([code, out], [1, ""], err);
    assert.deepEqual(await folder.names(), [name, "x.jsonl"].sort());
    const { error } = JSON.parse(err);
    assert.equal(error.file, file);
    assert.ok(error.message.startsWith(file), error.message);
    return [error.code, error.row];
  };
  const gzip = Uint8Array.of(0x1f, 0x8b, 8, 0);
  const notUtf8 = Uint8Array.of(0x61, 0x0a, 0xff, 0x0a);
  for (const flag of ["--filter", "--items"]) {
    const length = flag === "--filter" ? "filter-length" : "items-length";
    assert.deepEqual(await failing(flag, "a.npy", npy("<i4", [1, 2, 3])), [length, undefined]);
    assert.deepEqual(await failing(flag, "a.txt", "1\n0\n1\n0\n1\n"), [length, undefined]);
    assert.deepEqual(await failing(flag, "a.npy", npy("<f4", [1])), ["npy-dtype", undefined]);
    const matrix = npy("<i4", [1, 2, 3, 4], "2, 2");
    assert.deepEqual(await failing(flag, "a.npy", matrix), ["npy-shape", undefined]);
    const cut = npy("<i4", [1, 2, 3, 4]).subarray(0, 140);
    assert.deepEqual(await failing(flag, "a.npy", cut), ["truncated", undefined]);
    assert.deepEqual(await failing(flag, "a.npy", "1\n0\n"), ["not-npy", undefined]);
    assert.deepEqual(await failing(flag, "a.txt", gzip), ["wrong-file-type", undefined]);
    assert.deepEqual(await failing(flag, "a", npy("|u1", [1])), ["wrong-file-type", undefined]);
    assert.deepEqual(await failing(flag, "a.txt", notUtf8), ["not-utf-8", undefined]);
    const endless = "1".repeat(2 ** 20 + 1);
    assert.deepEqual(await failing(flag, "a.txt", endless), ["line-too-long", undefined]);
  }
  assert.deepEqual(await failing("--filter", "a.txt", "1\n\n0\nyes\n1\n"), ["bad-line", 2]);
  assert.deepEqual(await failing("--items", "a.npy", npy("|b1", [1])), ["npy-dtype", undefined]);
  for (const line of ["1.5", "[1]", "null", "1e3", "a", "01", "true"]) {
    assert.deepEqual(await failing("--items", "a.jsonl", `1\n\n${line}\n`), ["bad-line", 1]);
  }
  assert.deepEqual(await failing("--items", "a.jsonl", '1\n2\n"a"\n4\n'), ["bad-item", 2]);
  const wide = "-1\n18446744073709551615\n0\n0\n";
  assert.deepEqual(await failing("--items", "a.jsonl", wide), ["bad-item", 1]);
});

Deno.test("Wrong --filter and --items are wrong usage", async () => {
  const build = ["build", "a.npy", "-o", "x"];
  const wrong: [string[], RegExp][] = [
    [["--filter", "stock.npy"], /Expected --filter NAME=FILE, .* found "stock\.npy"/],
    [["--filter", "=stock.npy"], /Expected --filter NAME=FILE/],
    [["--filter", "stock="], /Expected --filter NAME=FILE/],
    [["--filter", "a\nb=c"], /Expected --filter NAME=FILE/],
    [["--filter", "a=b", "--filter", "a=c"], /Expected one file for the filter "a"/],
    [["--filter", "a=-"], /Expected a file for --items and --filter/],
    [["--items", "-"], /Expected a file for --items and --filter/],
    [["--items", "x"], /Expected different files/],
    [["--filter", "a=./x"], /Expected different files/],
    [["--items", "y", "--ordinals", "y"], /Expected different files/],
  ];
  for (const [args, message] of wrong) {
    const { code, out, err } = await cli([...build, ...args]);
    assert.deepEqual([code, out], [2, ""], `${args.join(" ")}: ${err}`);
    assert.match(err, message);
  }
});

Deno.test("One file may serve as filters and as ids", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("x.jsonl", LINES);
  const flags = await folder.write("flags.npy", npy("|u1", [1, 0, 0, 0]));
  const args = ["build", input, "-o", folder.at("x.st"), "--items", flags];
  const { code, err } = await cli([...args, "--filter", `a=${flags}`, "--filter", `b=${flags}`]);
  assert.deepEqual([code, err], [0, ""]);
  using index = await ConstraintIndex.open(await Deno.readFile(folder.at("x.st")));
  assert.deepEqual([index.itemsAt(1), index.itemsAt(0)], [[0n, 1n], [0n]]);
  assert.deepEqual(namedFilterBits(loadedIndexOf(index), "b"), Uint8Array.of(2));
});

Deno.test("Of items that share a sequence, query lists those that the filter allows", async () => {
  await using folder = await Folder.create();
  const rows = [
    { id: 1001, sid: [3, 1, 4], stock: 1 },
    { id: 1002, sid: [3, 1, 5], stock: 0 },
    { id: 1003, sid: [3, 1, 4], stock: 0 },
    { id: 1004, sid: [9, 2, 6], stock: 1 },
  ];
  const input = await folder.write("x.jsonl", rows.map((row) => JSON.stringify(row)).join("\n"));
  const flags = ["--sequence", "sid", "--item-column", "id", "--filter-column", "stock=stock"];
  const out = folder.at("out");
  assert.equal((await cli(["build", input, "-o", out, ...flags, "--vocab", "16"])).code, 0);
  const items = async (...args: string[]) => {
    const listed = await cli(["query", out, ...args, "--json"]);
    assert.equal(listed.code, 0, listed.err);
    return listed.out.trim().split("\n").map((line) => JSON.parse(line).items);
  };
  assert.deepEqual(await items("--sequences"), [[1001, 1003], [1002], [1004]]);
  assert.deepEqual(await items("--sequences", "--filter", "stock"), [[1001], [1004]]);
  assert.deepEqual(await items("3,1,4", "--filter", "stock"), [[1001]]);
  assert.deepEqual(await items("3,1,5", "--filter", "stock"), [undefined]);
});
