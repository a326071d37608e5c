/** Rows that do not fit into memory: the same index, by way of DuckDB and the disk. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { buildIndex, type BuildOptions } from "../../../src/build/mod.ts";
import { cli, Folder, spawn } from "../../support/cli.ts";
import { runs } from "../../support/long.ts";
import { Random } from "../../support/models.ts";
import { rowSets } from "../../support/sets.ts";
import { FORMS, npyMatrix, parquetLevels } from "../../support/tables.ts";

/** So little that nothing fits. */
const TINY = ["--memory", "1MB"];

async function bytesOf(rows: number[][], options: BuildOptions): Promise<Uint8Array> {
  using index = await buildIndex(rows, options);
  return index.toBytes();
}

/** Files of a folder but those given. */
async function others(folder: Folder, ...names: string[]): Promise<string[]> {
  return (await folder.names()).filter((name) => !names.includes(name));
}

for (const [form, make] of Object.entries(FORMS)) {
  const sets = form.startsWith("npy") ? rowSets(["fixed", "window", "dense"]) : rowSets();
  Deno.test(`Sorted on disk, the same index comes of ${form}`, async () => {
    await fc.assert(
      fc.asyncProperty(sets, fc.boolean(), async ({ rows, vocabSize }, isVocabGiven) => {
        const file = make(rows, {});
        if (!file) return;
        await using folder = await Folder.create();
        const path = await folder.write(file.name, file.content);
        const args = ["build", path, ...file.flags, "-o", folder.at("out"), ...TINY];
        const vocab = isVocabGiven ? vocabSize : Math.max(2, Math.max(...rows.flat()) + 1);
        if (isVocabGiven) args.push("--vocab", String(vocabSize));
        const { code, out, err } = await cli(args);
        assert.equal(code, 0, err);
        assert.match(err, /^The rows do not fit into 1 MB of memory: sorting them in .*\n$/);
        assert.match(out, /\n {2}sorted +on disk, with \d+ MB of temporary files\n/);
        assert.deepEqual(
          await Deno.readFile(folder.at("out")),
          await bytesOf(rows, { vocabSize: vocab }),
        );
        assert.deepEqual(await others(folder, file.name), ["out"]);
      }),
      { seed: 4, numRuns: runs(4) },
    );
  });
}

Deno.test("Sorted on disk, ordinals, ids and filters are those of their rows", async () => {
  const random = new Random(6);
  await fc.assert(
    fc.asyncProperty(rowSets(["fixed", "mixed", "long"]), async ({ rows, vocabSize }) => {
      const ids = rows.map((_, i) => BigInt(i >> 1));
      const flags = rows.map(() => random.below(2) === 0);
      let ordinals: Uint32Array | undefined;
      const expected = await bytesOf(rows, {
        vocabSize,
        items: ids,
        filters: { stock: flags },
        reportOrdinals: (reported) => ordinals = reported,
      });
      await using folder = await Folder.create();
      const file = FORMS["Parquet with lists"](rows, { ids, flags })!;
      const path = await folder.write(file.name, file.content);
      const columns = ["--item-column", "id", "--filter-column", "stock=stock"];
      const args = ["build", path, ...file.flags, ...columns, "-o", folder.at("out"), "--json"];
      const vocab = ["--vocab", String(vocabSize), "--ordinals", folder.at("o.npy")];
      const { code, out, err } = await cli([...args, ...vocab, ...TINY]);
      assert.deepEqual([code, err], [0, ""], "With --json nothing is said");
      assert.ok(JSON.parse(out).temporaryBytes >= 0);
      assert.deepEqual(await Deno.readFile(folder.at("out")), expected);
      const npy = await Deno.readFile(folder.at("o.npy"));
      assert.deepEqual(new Uint32Array(npy.buffer, npy.length - 4 * rows.length), ordinals);
    }),
    { seed: 5, numRuns: runs(8) },
  );
});

Deno.test("Sorted on disk, strings of a list and of a column give the same index", async () => {
  const names = Array.from(
    { length: 5000 },
    (_, i) => `${(i * 7919) % 4999} ${"ab".repeat(i % 40)}`,
  );
  await using folder = await Folder.create();
  const list = await folder.write("names.txt", names.map((name) => `${name}\n`).join(""));
  const rows = names.map((name, i) => `${name},${i}\n`).join("");
  const table = await folder.write("names.csv", `name,id\n${rows}`);
  const build = async (...args: string[]) => {
    const flags = ["-o", folder.at("out"), "--tokenizer", "bytes", "--variants", "space"];
    const { code, err } = await cli(["build", ...args, ...flags]);
    assert.equal(code, 0, err);
    assert.equal(err.includes("sorting them in"), args.includes("--memory"));
    return await Deno.readFile(folder.at("out"));
  };
  assert.deepEqual(await build(list, ...TINY), await build(list));
  const columns = [table, "--column", "name", "--item-column", "id"];
  assert.deepEqual(await build(...columns, ...TINY), await build(...columns));
  assert.deepEqual(await folder.names(), ["names.csv", "names.txt", "out"]);
});

Deno.test("Sorted on disk with the least memory, long strings give the same index", async () => {
  const random = new Random(8);
  const string = () => Array.from({ length: random.between(100, 500) }, () => random.below(10));
  await using folder = await Folder.create();
  const lines = Array.from({ length: 100_000 }, () => `${string().join("")}\n`);
  const list = await folder.write("names.txt", lines.join(""));
  const args = ["build", list, "-o", folder.at("out"), "--tokenizer", "bytes", "--json"];
  const digests = [];
  for (const memory of [TINY, []]) {
    const { code, out, err } = await cli([...args, ...memory]);
    assert.equal(code, 0, err);
    const { digest, temporaryBytes } = JSON.parse(out);
    assert.equal(temporaryBytes !== undefined, memory.length > 0);
    digests.push(digest);
  }
  assert.equal(digests[0], digests[1]);
});

/** A set that is larger than the least memory in which DuckDB sorts. */
function largeMatrix(rows: number): { bytes: Uint8Array; data: Uint16Array } {
  const header = npyMatrix([Array(8).fill(0)], "<u2").subarray(0, 128);
  const text = new TextDecoder("latin1").decode(header).replace("(1, 8)", `(${rows}, 8)`);
  const bytes = new Uint8Array(128 + 16 * rows);
  for (let i = 1; i < 127; i++) bytes[i] = text.charCodeAt(i);
  bytes[0] = 0x93; // Which decodes as something else.
  bytes[127] = 0x0a;
  const data = new Uint16Array(bytes.buffer, 128);
  let state = 1;
  for (let i = 0; i < data.length; i++) {
    state = Math.imul(state, 1664525) + 1013904223;
    data[i] = state >>> 21;
  }
  return { bytes, data };
}

const LARGE = 3_000_000;

const LOCK = `--lock=${new URL("deno.lock", import.meta.url).pathname}`;
const PROCESS_FLAGS = ["--allow-ffi", "--allow-sys=statfs", "--node-modules-dir=none", LOCK];

Deno.test("DuckDB spills to the disk, the index is the same, and nothing stays there", async () => {
  const { bytes, data } = largeMatrix(LARGE);
  await using folder = await Folder.create();
  await using temp = await Folder.create();
  const input = await folder.write("x.npy", bytes);
  using index = await buildIndex({ data, rows: LARGE, length: 8 }, { vocabSize: 2048 });
  const args = ["build", input, "-o", folder.at("out"), "--vocab", "2048", "--temp", temp.path];
  const { code, out, err } = await cli([...args, ...TINY, "--json"]);
  assert.deepEqual([code, err], [0, ""]);
  const { digest, temporaryBytes } = JSON.parse(out);
  assert.equal(digest, index.digest);
  assert.ok(temporaryBytes > 10e6, `${temporaryBytes} bytes of temporary files`);
  assert.deepEqual(await temp.names(), []);
});

Deno.test("An interrupted sort leaves nothing, whenever it is interrupted", async () => {
  const { bytes } = largeMatrix(LARGE);
  await using folder = await Folder.create();
  const input = await folder.write("x.npy", bytes);
  const args = ["build", input, "-o", folder.at("out"), "--vocab", "2048", ...TINY];
  for (const stage of ["reading", "sorting", "merging", "building"]) {
    const abort = new AbortController();
    let last = "";
    const { code } = await cli(args, {
      signal: abort.signal,
      showProgress: true,
      onErr: (text) => {
        last = text;
        if (text.includes(stage)) abort.abort();
      },
    });
    assert.equal(code, 130, `${stage}: ${last}`);
    assert.deepEqual(await folder.names(), ["x.npy"], stage);
  }
});

Deno.test("As a process: Ctrl-C during a sort leaves nothing", async () => {
  const { bytes } = largeMatrix(LARGE);
  await using folder = await Folder.create();
  const input = await folder.write("x.npy", bytes);
  const args = ["build", input, "-o", folder.at("out"), "--vocab", "2048", ...TINY];
  const child = spawn(args, { flags: PROCESS_FLAGS });
  let isDone = false;
  child.status.then(() => isDone = true);
  while (!isDone && !(await folder.names()).some((name) => name.startsWith(".espalier-sort-"))) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  if (!isDone) child.kill("SIGINT");
  const { code, stderr } = await child.output();
  assert.equal(code, 130, new TextDecoder().decode(stderr));
  assert.match(new TextDecoder().decode(stderr), /interrupted\n$/);
  assert.deepEqual(await folder.names(), ["x.npy"]);
});

Deno.test("As a process: what a killed sort leaves is removed by the next build there", async () => {
  const { bytes } = largeMatrix(LARGE);
  await using folder = await Folder.create();
  const input = await folder.write("x.npy", bytes);
  const args = ["build", input, "-o", folder.at("out"), "--vocab", "2048", ...TINY];
  const child = spawn(args, { flags: PROCESS_FLAGS });
  const isSpilt = async () => {
    const name = (await folder.names()).find((name) => name.startsWith(".espalier-sort-"));
    if (name === undefined) return false;
    const files = await Array.fromAsync(Deno.readDir(folder.at(name)));
    return files.some(({ name }) => name.startsWith("duckdb_temp_"));
  };
  while (!await isSpilt()) await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill("SIGKILL");
  await child.output();
  assert.equal((await others(folder, "x.npy")).length, 2, "Its folder, and the output begun");
  await folder.write("small.jsonl", "[1]\n");
  const next = await cli(["build", folder.at("small.jsonl"), "-o", folder.at("out")]);
  assert.equal(next.code, 0);
  assert.deepEqual(await folder.names(), ["out", "small.jsonl", "x.npy"]);
});

Deno.test("As a process: the task that sorts on disk leaves deno.lock as it is", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("x.csv", "a,b\n1,2\n");
  const lock = new URL("../../../deno.lock", import.meta.url);
  const before = await Deno.readTextFile(lock);
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["task", "--quiet", "cli", "build", input, "-o", folder.at("out"), "--columns", "a,b"],
      ...TINY,
    ],
    cwd: new URL("../../..", import.meta.url),
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  assert.equal(await Deno.readTextFile(lock), before);
  assert.deepEqual(await folder.names(), ["out", "x.csv"]);
});

Deno.test("As a process: without permission to load DuckDB, the error says what to do", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("x.parquet", parquetLevels([[1, 2], [3, 4]], {}, "INT32"));
  const args = ["build", input, "-o", folder.at("out"), "--columns", "c*", ...TINY, "--json"];
  const flags = ["--node-modules-dir=none", "--no-prompt", LOCK];
  const { code, stderr } = await spawn(args, { flags }).output();
  const text = new TextDecoder().decode(stderr);
  assert.equal(code, 1, text);
  const { error } = JSON.parse(text);
  assert.equal(error.code, "needs-duckdb");
  assert.match(error.message, /--allow-ffi.*--memory.*--sorted/);
  assert.deepEqual(await folder.names(), ["x.parquet"]);
});

Deno.test("The room that is needed is said before, whatever is known of the rows", async () => {
  await using folder = await Folder.create();
  const content = "[1,2]\n".repeat(2_000_000);
  const input = await folder.write("x.jsonl", content);
  const flags = ["-o", folder.at("out"), "--vocab", "9", ...TINY];
  const said = async (input: string) => {
    const { code, err } = await cli(["build", input, ...flags], { stdin: content });
    assert.equal(code, 0, err);
    return /takes (.*)\n/.exec(err)?.[1];
  };
  const [, megabytes] = /^up to (\d+) MB there$/.exec(await said(input) ?? "") ?? [];
  assert.ok(Number(megabytes) >= 30 && Number(megabytes) <= 33, `${megabytes} MB for 32`);
  assert.equal(await said("-"), "16 MB there for every million rows");
});

Deno.test("A temporary folder that cannot be written is an error", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("x.jsonl", "[1]\n[2]\n");
  const args = ["build", input, "-o", folder.at("out"), "--temp", folder.at("missing"), "--json"];
  const { code, err } = await cli([...args, ...TINY]);
  assert.equal(code, 1);
  const { error } = JSON.parse(err);
  assert.deepEqual([error.code, error.file], ["cannot-write", folder.at("missing")]);
  assert.deepEqual(await folder.names(), ["x.jsonl"]);
});
