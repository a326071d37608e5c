/** `cli convert`: the arrays of the published implementation. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { CONVERT_HELP } from "../../../src/cli/commands/convert.ts";
import { npyHeader } from "../../../src/cli/numpy/write.ts";
import { Npz, writeNpz } from "../../../src/cli/numpy/npz.ts";
import { WholeFile } from "../../../src/cli/io/whole_file.ts";
import { ARRAYS } from "../../../src/cli/static/layout.ts";
import { staticArrays } from "../../../src/cli/static/write.ts";
import { buildIndex, type BuildOptions } from "../../../src/build/mod.ts";
import { cli, Folder } from "../../support/cli.ts";
import { helpExamples } from "../../support/examples.ts";
import { runs } from "../../support/long.ts";
import { Random } from "../../support/models.ts";
import { OracleSet, prefixOf } from "../../support/oracle.ts";
import { equallyLong, rowSets } from "../../support/sets.ts";

/** Five rows, and what NumPy's `savez_compressed` made of `build_static_index(rows, 10, 2)`. */
const ROWS = [[0, 9, 0, 0], [1, 2, 3, 4], [1, 2, 3, 6], [1, 2, 8, 9], [2, 3, 4, 5]];
const SAVED =
  "UEsDBC0AAAAIAAAAIQBBOR4b//////////8OABQAcGFja2VkX2Nzci5ucHkBABAAMAEAAAAAAAB3AAAAAAAAAJ" +
  "vsF+obEMnIUMZQrZ6SWpxcpG6loG6TaaKuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GkZGOgpGmjoK" +
  "tQrkAi5OBgYGbiBmAmIeIGYGYl4GCOCD8vmBmAOIBYCYBYgFGRCABUqzQWlOKM0KpbmoTAMAUEsDBC0AAAAIAA" +
  "AAIQAP7qJu//////////8KABQAaW5kcHRyLm5weQEAEADQAAAAAAAAAGMAAAAAAAAAm+wX6hsQychQxlCtnpJa" +
  "nFykbqWgbpNpoq6joJ6WX1RSlJgXn1+UkgoSd0vMKU4FihdnJBakAvkaRgY6mjoKtQrkAy4GKGAEYiYgZiaAWY" +
  "CYDYjZgZgDiEEGcAMxDxCLATEAUEsDBC0AAAAIAAAAIQDiy2/U//////////8WABQAbGF5ZXJfbWF4X2JyYW5j" +
  "aGVzLm5weQEAEACgAAAAAAAAAE0AAAAAAAAAm+wX6hsQychQxlCtnpJanFykbqWgbpNpoa6joJ6WX1RSlJgXn1" +
  "+UkgoSd0vMKU4FihdnJBakAvkaJjqaOgq1ChQALmYGCGCE0kxoNABQSwMELQAAAAgAAAAhANJSHbf/////////" +
  "/w4AFABzdGFydF9tYXNrLm5weQEAEACKAAAAAAAAAEsAAAAAAAAAm+wX6hsQychQxlCtnpJanFykbqWgXpNkqK" +
  "6joJ6WX1RSlJgXn1+UkgoSd0vMKU4FihdnJBakAvkahgY6mjoKtQrkAy5GRkYGCAAAUEsDBC0AAAAIAAAAIQCd" +
  "upDR//////////8OABQAZGVuc2VfbWFzay5ucHkBABAA5AAAAAAAAABRAAAAAAAAAJvsF+obEMnIUMZQrZ6SWp" +
  "xcpG6loF6TZKiuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GoYGOgqGBpo6CrUKZAIuBhhgBCMkHvUA" +
  "AFBLAwQtAAAACAAAACEAtO1esP//////////EAAUAGRlbnNlX3N0YXRlcy5ucHkBABAAEAIAAAAAAABZAAAAAA" +
  "AAAJvsF+obEMnIUMZQrZ6SWpxcpG6loG6TaaKuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GoYGOgqG" +
  "Bpo6CrUKZAIuBiIANxKbhxgNUMBLgtpRAAEAUEsBAi0DLQAAAAgAAAAhAEE5Hht3AAAAMAEAAA4AAAAAAAAAAA" +
  "AAAIABAAAAAHBhY2tlZF9jc3IubnB5UEsBAi0DLQAAAAgAAAAhAA/uom5jAAAA0AAAAAoAAAAAAAAAAAAAAIAB" +
  "twAAAGluZHB0ci5ucHlQSwECLQMtAAAACAAAACEA4stv1E0AAACgAAAAFgAAAAAAAAAAAAAAgAFWAQAAbGF5ZX" +
  "JfbWF4X2JyYW5jaGVzLm5weVBLAQItAy0AAAAIAAAAIQDSUh23SwAAAIoAAAAOAAAAAAAAAAAAAACAAesBAABz" +
  "dGFydF9tYXNrLm5weVBLAQItAy0AAAAIAAAAIQCdupDRUQAAAOQAAAAOAAAAAAAAAAAAAACAAXYCAABkZW5zZV" +
  "9tYXNrLm5weVBLAQItAy0AAAAIAAAAIQC07V6wWQAAABACAAAQAAAAAAAAAAAAAACAAQcDAABkZW5zZV9zdGF0" +
  "ZXMubnB5UEsFBgAAAAAGAAYAbgEAAKIDAAAAAA==";

/** An array, with its values row by row. */
interface Plain {
  dtype: "|b1" | "<i4" | "<i8";
  shape: number[];
  values: number[];
}

type Arrays = Record<string, Plain>;

/** The arrays of a set, from the words of static_layout.ts. */
function describe(set: OracleSet, dense: number): Arrays {
  const { vocabSize, maxLength } = set;
  const states = new Map(set.levels[0].map((node) => [node, node.token + 1]));
  for (const node of set.levels.slice(1, -1).flat()) {
    states.set(node, vocabSize + 1 + states.size - set.levels[0].length);
  }
  const packed: number[] = [];
  const count = vocabSize + 1 + states.size - set.levels[0].length;
  const counts = new Array(count).fill(0);
  for (const node of set.levels.slice(1).flat()) {
    packed.push(node.token, states.get(node) ?? 0);
    counts[states.get(node.parent!)!]++;
  }
  const indptr = [0];
  for (const n of counts) indptr.push(indptr[indptr.length - 1] + n);
  indptr.push(indptr[indptr.length - 1] + vocabSize);
  for (let i = 0; i < vocabSize; i++) packed.push(vocabSize, 0);
  const parents = [[set.root], ...set.levels.slice(0, -1)];
  const widest = parents.map((level) => Math.max(...level.map(({ children }) => children.size)));
  const starts = Array.from(
    { length: vocabSize },
    (_, token) => Number(set.root.children.has(token)),
  );
  const mask = new Array(vocabSize ** dense).fill(0);
  const table = mask.slice();
  for (const node of set.levels[dense - 1]) {
    const cell = prefixOf(node).reduce((cell, token) => cell * vocabSize + token, 0);
    mask[cell] = 1;
    table[cell] = states.get(node)!;
  }
  const square = new Array(dense).fill(vocabSize);
  return {
    packed_csr: { dtype: "<i4", shape: [packed.length / 2, 2], values: packed },
    indptr: { dtype: "<i4", shape: [indptr.length], values: indptr },
    layer_max_branches: { dtype: "<i8", shape: [maxLength], values: widest },
    start_mask: { dtype: "|b1", shape: [vocabSize], values: starts },
    dense_mask: { dtype: "|b1", shape: square, values: mask },
    dense_states: { dtype: "<i4", shape: square, values: table },
  };
}

const DATA = { "|b1": Uint8Array, "<i4": Int32Array };

/** Writes arrays as an archive. */
async function save(path: string, arrays: Arrays): Promise<string> {
  const files = Object.entries(arrays).map(([name, { dtype, shape, values }]) => {
    const data = dtype === "<i8" ? BigInt64Array.from(values, BigInt) : DATA[dtype].from(values);
    const chunks = [npyHeader(dtype, shape), new Uint8Array(data.buffer)];
    return { name: `${name}.npy`, byteLength: chunks[0].length + data.byteLength, chunks };
  });
  await using file = await WholeFile.create(path);
  await writeNpz(file, files, new AbortController().signal, () => {});
  await file.seal();
  await file.publish();
  return path;
}

/** Reads an archive back. */
async function load(path: string): Promise<Record<string, { shape: number[]; values: number[] }>> {
  using archive = await Npz.open(path, new AbortController().signal);
  const arrays: Awaited<ReturnType<typeof load>> = {};
  for (const name of archive.names) {
    const { values, shape } = await archive.read(name, "flags", () => {});
    arrays[name] = { shape, values: Array.from(values as Iterable<number | bigint>, Number) };
  }
  return arrays;
}

const plain = (arrays: Arrays) =>
  Object.fromEntries(
    Object.entries(arrays).map(([name, { shape, values }]) => [name, { shape, values }]),
  );

async function bytesOf(
  rows: readonly number[][],
  vocabSize: number,
  options: Partial<BuildOptions> = {},
): Promise<Uint8Array> {
  using index = await buildIndex(rows, { vocabSize, ...options });
  return index.toBytes();
}

Deno.test("convert reads what NumPy wrote, and writes the same arrays", async () => {
  await using folder = await Folder.create();
  const saved = await folder.write("saved.npz", Uint8Array.fromBase64(SAVED));
  const { code, out, err } = await cli(["convert", saved, "-o", folder.at("x.safetensors")]);
  assert.deepEqual([code, err], [0, ""]);
  assert.match(out, /^Converted .*\n {2}sequences +5 of 4 tokens\n {2}vocabulary +10\n/);
  const index = await Deno.readFile(folder.at("x.safetensors"));
  assert.deepEqual(index, await bytesOf(ROWS, 10));
  const back = await cli(["convert", folder.at("x.safetensors"), "-o", folder.at("back.npz")]);
  assert.deepEqual([back.code, back.err], [0, ""]);
  assert.deepEqual(await load(folder.at("back.npz")), await load(saved));
  assert.deepEqual(await load(saved), plain(describe(new OracleSet(ROWS, 10), 2)));
  assert.deepEqual(await folder.names(), ["back.npz", "saved.npz", "x.safetensors"]);
});

Deno.test("convert there and back gives the same index, and the arrays of the layout", async () => {
  await using folder = await Folder.create();
  const sets = rowSets(["fixed", "window", "dense", "nearlyDense", "single", "tails"])
    .filter(({ rows }) => rows[0].length > 1 && equallyLong(rows));
  await fc.assert(
    fc.asyncProperty(sets, fc.integer({ min: 1, max: 3 }), async ({ rows, vocabSize }, levels) => {
      const most = vocabSize > 300 ? 1 : vocabSize > 60 ? 2 : 3;
      const dense = Math.min(levels, most, rows[0].length - 1);
      const bytes = await bytesOf(rows, vocabSize);
      const file = await folder.write("a.st", bytes);
      const npz = folder.at("a.npz");
      const args = ["convert", file, "-o", npz, "--dense-levels", String(dense), "--json"];
      const { code, out, err } = await cli(args);
      assert.deepEqual([code, err], [0, ""]);
      const set = new OracleSet(rows, vocabSize);
      const { sequences, length, denseLevels } = JSON.parse(out);
      assert.deepEqual([sequences, length, denseLevels], [set.size, set.maxLength, dense]);
      assert.deepEqual(await load(npz), plain(describe(set, dense)));
      const back = await cli(["convert", npz, "-o", folder.at("b.st")]);
      assert.deepEqual([back.code, back.err], [0, ""]);
      assert.deepEqual(await Deno.readFile(folder.at("b.st")), bytes);
    }),
    { seed: 1, numRuns: runs(40) },
  );
});

/** Converts arrays; the code of the error, or "ok" where it is no error and the index is that of the rows. */
async function outcome(folder: Folder, arrays: Arrays): Promise<string> {
  const npz = await save(folder.at("a.npz"), arrays);
  const target = folder.at("a.st");
  const { code, out, err } = await cli(["convert", npz, "-o", target, "--json"]);
  if (code === 0) {
    assert.deepEqual(await Deno.readFile(target), await bytesOf(ROWS, 10));
    await Deno.remove(target);
    return "ok";
  }
  assert.deepEqual([code, out], [1, ""], err);
  assert.deepEqual(await folder.names(), ["a.npz"]);
  const { error } = JSON.parse(err);
  assert.equal(error.file, npz);
  return error.code;
}

const SET = new OracleSet(ROWS, 10);

Deno.test("convert understands other names and widths, and does without what repeats", async () => {
  await using folder = await Folder.create();
  const arrays = describe(SET, 2);
  const { packed_csr, indptr, start_mask } = arrays;
  assert.equal(await outcome(folder, { packed_csr, indptr, start_mask }), "ok");
  assert.equal(
    await outcome(folder, { start_mask, csr_indptr: indptr, packed_csr, other: indptr }),
    "ok",
  );
  const numbered = Object.values(arrays).map((array, i) => [`arr_${i}`, array]);
  assert.equal(await outcome(folder, Object.fromEntries(numbered)), "ok");
  const wide = Object.entries(arrays).map(([name, array]) => [name, { ...array, dtype: "<i8" }]);
  assert.equal(await outcome(folder, Object.fromEntries(wide)), "ok");
});

Deno.test("convert refuses arrays that do not agree", async () => {
  await using folder = await Folder.create();
  const damaged = async (damage: (arrays: Arrays) => void) => {
    const arrays = describe(SET, 2);
    damage(arrays);
    return await outcome(folder, arrays);
  };
  const set = (name: string, position: number, value: number) => (arrays: Arrays) =>
    void (arrays[name].values[position] = value);
  const without = (name: string) => (arrays: Arrays) => void delete arrays[name];
  const reshape = (name: string, ...shape: number[]) => (arrays: Arrays) => {
    const count = shape.reduce((product, length) => product * length, 1);
    const { values, dtype } = arrays[name];
    arrays[name] = {
      dtype,
      shape,
      values: Array.from({ length: count }, (_, i) => values[i] ?? 0),
    };
  };
  const rows = describe(SET, 2).packed_csr.shape[0];
  const cases: [string, (arrays: Arrays) => void][] = [
    ["missing-array", without("packed_csr")],
    ["missing-array", without("indptr")],
    ["missing-array", without("start_mask")],
    ["npy-shape", reshape("packed_csr", rows * 2)],
    ["npy-shape", reshape("packed_csr", rows, 3)],
    ["npy-shape", reshape("indptr", 1, 40)],
    ["npy-shape", reshape("indptr", 8)],
    ["npy-shape", reshape("start_mask", 1)],
    ["npy-shape", reshape("start_mask", 9)],
    ["npy-shape", reshape("dense_mask", 10, 9)],
    ["npy-shape", reshape("dense_mask")],
    ["npy-shape", reshape("dense_states", 10)],
    ["npy-shape", reshape("layer_max_branches", 2, 2)],
    ["npy-dtype", (arrays) => void (arrays.packed_csr.dtype = "|b1")],
    ["token-out-of-range", set("packed_csr", 0, 10)],
    ["bad-arrays", set("packed_csr", 0, -1)],
    ["bad-arrays", set("packed_csr", 0, 3)], // dense_mask
    ["bad-arrays", set("packed_csr", 1, 0)], // ends early
    ["bad-arrays", set("packed_csr", 1, 1)], // in a circle
    ["bad-arrays", set("packed_csr", 1, 12)], // to a state that something else leads to
    ["bad-arrays", set("packed_csr", 1, 2 ** 31 - 1)],
    ["bad-arrays", set("packed_csr", 2 * SET.levels[1].length + 4, 3)], // not ascending
    ["bad-arrays", set("indptr", 0, 1)],
    ["bad-arrays", set("indptr", 3, 0)],
    ["bad-arrays", set("indptr", 5, 99)],
    ["bad-arrays", set("start_mask", 0, 0)],
    ["bad-arrays", set("start_mask", 7, 1)],
    ["bad-arrays", set("layer_max_branches", 0, 4)],
    ["bad-arrays", set("layer_max_branches", 3, 1)],
    ["bad-arrays", reshape("layer_max_branches", 3)],
    ["bad-arrays", reshape("layer_max_branches", 5)],
    ["bad-arrays", set("dense_mask", 0, 1)],
    ["bad-arrays", set("dense_mask", 12, 0)],
    ["bad-arrays", set("dense_states", 12, 3)],
    ["npy-shape", reshape("dense_mask", 10, 10, 10, 10)],
    ["bad-arrays", (arrays) => {
      for (const name of ["dense_mask", "dense_states"]) reshape(name, 10, 10, 10, 10)(arrays);
    }],
  ];
  assert.equal(await damaged(() => {}), "ok");
  for (const [code, damage] of cases) assert.equal(await damaged(damage), code, String(damage));
});

Deno.test("convert survives any value anywhere", async () => {
  await using folder = await Folder.create();
  const random = new Random(1);
  for (let i = 0; i < runs(150); i++) {
    const arrays = describe(SET, 1);
    if (random.below(2)) delete arrays.dense_mask;
    const name = random.pick(Object.keys(arrays));
    const { values } = arrays[name];
    values[random.below(values.length)] = random.pick([
      0,
      1,
      2,
      9,
      10,
      11,
      12,
      20,
      -1,
      2 ** 31 - 1,
    ]);
    const npz = await save(folder.at("a.npz"), arrays);
    const { code, err } = await cli(["convert", npz, "-o", folder.at("a.st"), "--json"]);
    if (code === 0) continue;
    const { error } = JSON.parse(err);
    assert.deepEqual([code, error.file], [1, npz], err);
    assert.notEqual(error.code, "unexpected", err);
  }
});

Deno.test("convert notices archives that are cut or damaged", async () => {
  await using folder = await Folder.create();
  const whole = await Deno.readFile(await save(folder.at("whole.npz"), describe(SET, 2)));
  const attempt = async (bytes: Uint8Array) => {
    const npz = await folder.write("a.npz", bytes);
    const { code, err } = await cli(["convert", npz, "-o", folder.at("a.st"), "--json"]);
    assert.equal(code, 1, err);
    const { error } = JSON.parse(err);
    assert.equal(error.file, npz);
    return error.code;
  };
  const random = new Random(1);
  for (let i = 0; i < runs(20); i++) {
    assert.equal(await attempt(whole.subarray(0, random.between(16, whole.length - 1))), "bad-zip");
  }
  const saved = Uint8Array.fromBase64(SAVED);
  for (const bytes of [whole, saved]) {
    // In the middle of the values of packed_csr.
    const damaged = bytes.slice();
    damaged[bytes === whole ? 220 : 120] ^= 1;
    assert.equal(await attempt(damaged), "bad-zip");
  }
  const empty = await save(folder.at("empty.npz"), {});
  assert.equal(await attempt(await Deno.readFile(empty)), "missing-array");
});

Deno.test("convert says which indexes the arrays cannot hold, and what stays behind", async () => {
  await using folder = await Folder.create();
  const target = folder.at("x.npz");
  const attempt = async (rows: number[][], vocabSize: number, ...flags: string[]) => {
    const file = await folder.write("x.st", await bytesOf(rows, vocabSize));
    const { code, err } = await cli(["convert", file, "-o", target, "--json", ...flags]);
    assert.equal(code, 1);
    const { error } = JSON.parse(err);
    assert.equal(error.file, file);
    return error.code;
  };
  assert.equal(await attempt([[1, 2], [1]], 4), "mixed-lengths");
  assert.equal(await attempt([[1], [2]], 4), "too-short");
  assert.equal(await attempt([[1, 2]], 4, "--dense-levels", "2"), "too-short");
  assert.equal(await attempt([[1, 2, 3]], 2 ** 14 + 1), "dense-too-large");
  assert.deepEqual(await folder.names(), ["x.st"]);
  const options = { items: [7, 8], filters: { "in stock": [1, 0] } };
  const file = await folder.write("y.st", await bytesOf([[1, 2], [2, 3]], 4, options));
  const { code, out } = await cli(["convert", file, "-o", target]);
  assert.equal(code, 0);
  assert.match(out, /\n {2}left behind +filter in stock, 2 item ids\n/);
  const json = await cli(["convert", file, "-o", target, "--json"]);
  assert.deepEqual(JSON.parse(json.out).leftBehind, ["filter in stock", "2 item ids"]);
});

Deno.test("An aborted conversion leaves nothing", async () => {
  await using folder = await Folder.create();
  const npz = await save(folder.at("a.npz"), describe(SET, 2));
  const index = await folder.write("a.st", await bytesOf(ROWS, 10));
  for (const [input, output] of [[npz, "b.st"], [index, "b.npz"]]) {
    const args = ["convert", input, "-o", folder.at(output)];
    const { code, out } = await cli(args, { signal: AbortSignal.abort() });
    assert.deepEqual([code, out], [130, ""]);
  }
  assert.deepEqual(await folder.names(), ["a.npz", "a.st"]);
});

Deno.test("convert shows how far it is, where somebody watches", async () => {
  await using folder = await Folder.create();
  const saved = await folder.write("saved.npz", Uint8Array.fromBase64(SAVED));
  const args = ["convert", saved, "-o", folder.at("x.st")];
  const { code, err } = await cli(args, { showProgress: true });
  assert.equal(code, 0);
  assert.ok(err.startsWith("\r\x1b[Kreading "), JSON.stringify(err));
  assert.ok(err.endsWith("\r\x1b[K"));
});

Deno.test("Wrong usage of convert", async () => {
  await using folder = await Folder.create();
  const npz = await folder.write("a.npz", Uint8Array.fromBase64(SAVED));
  const index = await folder.write("a.st", await bytesOf(ROWS, 10));
  const wrong: [string[], RegExp][] = [
    [[], /Expected IN\.npz or IN\.safetensors, found none/],
    [[npz], /Expected -o FILE/],
    [[npz, "-o", npz], /Expected different files/],
    [[npz, "-o", "b.npz"], /Expected -o OUT\.safetensors, because/],
    [[npz, "-o", "b.npy"], /Expected -o OUT\.safetensors, .* found "b\.npy"/],
    [[index, "-o", "b.st"], /Expected -o OUT\.npz, because/],
    [[npz, "-o", "b.st", "--dense-levels", "1"], /Expected --dense-levels with OUT\.npz only/],
    [[index, "-o", "b.npz", "--dense-levels", "0"], /Expected --dense-levels from 1 on/],
    [[index, "-o", "b.npz", "--region", "x"], /Expected s3:.* with --region/],
  ];
  for (const [args, message] of wrong) {
    const { code, out, err } = await cli(["convert", ...args]);
    assert.deepEqual([code, out], [2, ""], `${args.join(" ")}: ${err}`);
    assert.match(err, message);
    assert.match(err, /\n {2}try: deno task cli help convert\n$/);
  }
});

Deno.test("The examples in the help of convert run", async () => {
  await using folder = await Folder.create();
  const index = await folder.write("catalogue.safetensors", await bytesOf(ROWS, 10));
  const places = { "static.npz": folder.at("static.npz"), "catalogue.safetensors": index };
  await save(places["static.npz"], describe(SET, 2));
  for (const args of helpExamples(CONVERT_HELP, places)) {
    const { code, err } = await cli(args);
    assert.deepEqual([code, err], [0, ""], args.join(" "));
  }
  assert.ok(CONVERT_HELP.includes(Object.values(ARRAYS).map(([name]) => name).join(", ")));
});

Deno.test("Equal sets make equal archives", async () => {
  await using folder = await Folder.create();
  using index = await buildIndex(ROWS, { vocabSize: 10 });
  const archives = [];
  for (const name of ["a.npz", "b.npz"]) {
    await using file = await WholeFile.create(folder.at(name));
    await writeNpz(file, staticArrays(index, 2), new AbortController().signal, () => {});
    await file.seal();
    await file.publish();
    archives.push(await Deno.readFile(folder.at(name)));
  }
  assert.deepEqual(archives[0], archives[1]);
});
