/** `cli build` from tables of every form: the same index as from the rows themselves. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { buildIndex, type BuildOptions } from "../../../src/build/mod.ts";
import { BUILD_HELP } from "../../../src/cli/commands/build.ts";
import { expandFiles } from "../../../src/cli/io/files.ts";
import { parseMemory } from "../../../src/cli/args/flags.ts";
import { duration } from "../../../src/cli/io/format.ts";
import { ProgressLine } from "../../../src/cli/io/progress_line.ts";
import { cli, Folder } from "../../support/cli.ts";
import { runs } from "../../support/long.ts";
import { Random } from "../../support/models.ts";
import { rowSets } from "../../support/sets.ts";
import { FORMS, npyMatrix, parquetLists, parquetStrings } from "../../support/tables.ts";

async function bytesOf(rows: number[][], options: BuildOptions): Promise<Uint8Array> {
  using index = await buildIndex(rows, options);
  return index.toBytes();
}

/** Builds from files, and returns the index file and the summary. */
async function built(folder: Folder, ...args: string[]) {
  const { code, out, err } = await cli(["build", "-o", folder.at("out"), "--json", ...args]);
  assert.deepEqual([code, err], [0, ""], args.join(" "));
  return { bytes: await Deno.readFile(folder.at("out")), summary: JSON.parse(out) };
}

for (const [form, make] of Object.entries(FORMS)) {
  Deno.test(`The same index comes of ${form}`, async () => {
    await fc.assert(
      fc.asyncProperty(rowSets(), async ({ rows, vocabSize }) => {
        const file = make(rows, {});
        if (!file) return;
        await using folder = await Folder.create();
        const path = await folder.write(file.name, file.content);
        const expected = await bytesOf(rows, { vocabSize });
        const { bytes } = await built(folder, path, ...file.flags, "--vocab", String(vocabSize));
        assert.deepEqual(bytes, expected);
        const { summary } = await built(folder, path, ...file.flags);
        assert.equal(summary.vocabSize, Math.max(2, Math.max(...rows.flat()) + 1));
        assert.deepEqual([summary.isVocabInferred, summary.rows], [true, rows.length]);
      }),
      { seed: 3, numRuns: runs(5) },
    );
  });

  Deno.test(`Ids and filters come of columns of ${form}`, async () => {
    const random = new Random(5);
    const rows = Array.from({ length: 40 }, () => {
      return Array.from({ length: random.between(1, 4) }, () => random.below(9));
    });
    const flags = rows.map(() => random.below(2) === 0);
    const kinds = [
      rows.map((_, i) => `item "${i >> 1}"`),
      rows.map((_, i) => BigInt(i) * 2n ** 53n - 5n),
    ];
    for (const ids of kinds) {
      const file = make(rows, { ids, flags });
      if (!file) return;
      await using folder = await Folder.create();
      const path = await folder.write(file.name, file.content);
      const items = ids as BuildOptions["items"];
      const expected = await bytesOf(rows, { vocabSize: 9, items, filters: { stock: flags } });
      const columns = ["--item-column", "id", "--filter-column", "stock=stock"];
      const args = [path, ...file.flags, ...columns, "--vocab", "9"];
      assert.deepEqual((await built(folder, ...args)).bytes, expected);
    }
  });
}

Deno.test("Many files are read in order, patterns in that of their numbers", async () => {
  await using folder = await Folder.create();
  const rows = Array.from({ length: 24 }, (_, i) => [i % 5, i % 3]);
  for (let part = 0; part < 12; part++) {
    const some = rows.slice(2 * part, 2 * part + 2);
    await folder.write(`part-${part}.parquet`, parquetLists(some, {}));
    await folder.write(`part-${part}.npy`, npyMatrix(some, "<u2"));
  }
  const reportOrdinals = Promise.withResolvers<Uint32Array>();
  const options = { vocabSize: 5, reportOrdinals: reportOrdinals.resolve };
  const expected = await bytesOf(rows, options);
  const ordinals = folder.at("o.npy");
  for (const args of [["part-*.npy"], ["part-?.parquet", "part-??.parquet", "--sequence", "sid"]]) {
    const paths = args.map((arg) => arg.startsWith("part") ? folder.at(arg) : arg);
    const { bytes, summary } = await built(folder, ...paths, "--ordinals", ordinals);
    assert.deepEqual(bytes, expected);
    assert.equal(summary.inputs.length, 12);
    const file = await Deno.readFile(ordinals);
    const written = new Uint32Array(file.buffer, file.length - 4 * rows.length);
    assert.deepEqual(written, await reportOrdinals.promise);
  }
  const mixed = [folder.at("part-0.npy"), folder.at("part-1.parquet")];
  const { code, err } = await cli(["build", ...mixed, "-o", folder.at("x"), "--sequence", "sid"]);
  assert.equal(code, 2);
  assert.match(err, /Expected a table with columns, found the matrix .*part-0\.npy/);
});

Deno.test("Patterns stand for files, not for folders or what is hidden", async () => {
  await using folder = await Folder.create();
  await Deno.mkdir(folder.at("a1"));
  await Deno.mkdir(folder.at("a10"));
  await Deno.mkdir(folder.at("a1/x.csv"));
  for (const name of ["a1/y.csv", "a10/y.csv", "a1/.z.csv", "[1].csv", "a*b.csv"]) {
    await folder.write(name, "");
  }
  const found = async (...names: string[]) => {
    const files = await expandFiles(names.map((name) => folder.at(name)));
    return files.map((file) => file.slice(folder.path.length + 1));
  };
  assert.deepEqual(await found("a*/*.csv"), ["a1/y.csv", "a10/y.csv"]);
  assert.deepEqual(await found("a?/*.csv"), ["a1/y.csv"]);
  assert.deepEqual(await found("[1].csv", "missing"), ["[1].csv", "missing"]);
  assert.deepEqual(await found("a*b.csv"), ["a*b.csv"]);
  await assert.rejects(found("*.npy"), { code: "not-found" });
});

Deno.test("Standard input takes CSV, too", async () => {
  await using folder = await Folder.create();
  const out = folder.at("x");
  const args = ["build", "-", "-o", out, "--vocab", "9", "--format", "csv", "--columns", "b,a"];
  const { code, err } = await cli(args, { stdin: "a, b \n1,2\n3, 4.0\n" });
  assert.deepEqual([code, err], [0, ""]);
  assert.deepEqual(await Deno.readFile(out), await bytesOf([[2, 1], [4, 3]], { vocabSize: 9 }));
});

Deno.test("Sorted tables stream into the builder", async () => {
  await using folder = await Folder.create();
  const rows = Array.from({ length: 100 }, (_, i) => [i >> 3, i & 7]);
  const path = await folder.write("x.parquet", parquetLists(rows, { flags: rows.map(() => true) }));
  const expected = await bytesOf(rows, { vocabSize: 13 });
  const args = [path, "--sequence", "sid", "--sorted"];
  assert.deepEqual((await built(folder, ...args)).bytes, expected);
  const filters = { f: rows.map(() => true) };
  const filtered = await bytesOf(rows, { vocabSize: 13, filters });
  const { bytes } = await built(folder, ...args, "--filter-column", "f=stock");
  assert.deepEqual(bytes, filtered);
});

Deno.test("Every example of the help has flags that exist", async () => {
  const commands = BUILD_HELP.replaceAll("\\\n", " ").split("\n")
    .map((line) => /(?:^|\| )\s*deno task cli (build .* -o .*)$/.exec(line.trim())?.[1])
    .filter((command) => command !== undefined);
  assert.ok(commands.length >= 7);
  await using folder = await Folder.create();
  const cwd = Deno.cwd();
  const rows = [[1, 2, 3], [4, 5, 6]];
  const beside = { ids: [7n, 8n], flags: [true, false] };
  await folder.write("sids.npy", npyMatrix(rows, "<u2"));
  await folder.write("items-1.parquet", parquetLists(rows, beside));
  await folder.write("items.csv", "c0,c1,c2\n1,2,3\n4,5,6\n");
  await folder.write("names.txt", "react\n");
  await folder.write("products.parquet", parquetStrings({ name: ["react"], id: [7n] }));
  Deno.chdir(folder.path);
  try {
    for (const command of commands) {
      const args = command.split(/\s+/).map((arg) => arg.replaceAll('"', ""))
        .map((arg) => arg === "/mnt/scratch" ? folder.path : arg);
      const { code, err } = await cli(args, { stdin: '{"sid": [1, 2, 3]}\n' });
      assert.deepEqual([code, err], [0, ""], command);
    }
  } finally {
    Deno.chdir(cwd);
  }
});

Deno.test("Sizes of memory are read with their units", () => {
  const sizes = {
    "4GB": 4e9,
    "1.5 g": 1.5e9,
    "512MiB": 2 ** 29,
    "1000000": 1e6,
    "6400kb": 6.4e6,
    "1T": 1e12,
  };
  for (const [text, bytes] of Object.entries(sizes)) {
    assert.equal(parseMemory(text), bytes, text);
  }
  for (const text of ["", "0", "-1", "4 apples", "GB", "1e9", "0.1", "100", "999kb"]) {
    assert.throws(
      () => parseMemory(text),
      /Expected --memory of 1MB or more/,
      text,
    );
  }
});

Deno.test("Progress tells share, rates and the time left, in colour only where that is wanted", async () => {
  for (const useColor of [false, true]) {
    let shown = "";
    const io = {
      out: () => {},
      err: (text: string) => void (shown = text),
      showProgress: true,
      useColor,
      stdin: () => new ReadableStream<Uint8Array>(),
      signal: new AbortController().signal,
    };
    using progress = new ProgressLine(io);
    progress.show("reading", 0, 100, { rows: 0, bytes: 0 });
    await new Promise((resolve) => setTimeout(resolve, 1050));
    progress.show("reading", 25, 100, { rows: 1e6, bytes: 5e6 });
    assert.ok(shown.startsWith("\r\x1b[Kreading 25 % "), shown);
    assert.match(shown, /, 9\d\d \d\d\d rows\/s, 4\.\d MB\/s, 4 s left$/);
    assert.equal(shown.includes("\x1b[32m"), useColor);
  }
  assert.deepEqual([4, 65, 3700].map(duration), ["4 s", "1 min 5 s", "1 h 1 min"]);
});
