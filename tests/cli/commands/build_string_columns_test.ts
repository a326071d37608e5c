/** `cli build --tokenizer --column`: strings that stand in a column of a table. */

import assert from "node:assert/strict";
import { ConstraintIndex } from "../../../src/index/constraint_index.ts";
import { tokenizerOf } from "../../../src/cli/tokenizers/open.ts";
import { cli, Folder } from "../../support/cli.ts";
import { parquetStrings } from "../../support/tables.ts";

const NAMES = ["react", 'two "words"', "Zürich\nHB", "42", " ", "react", "👩‍👩‍👧, ok"];
const IDS = NAMES.map((_, i) => BigInt(100 + i));
const STOCK = NAMES.map((_, i) => i % 2 === 0);

const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;

function delimited(separator: string): string {
  const rows = NAMES.map((name, i) => [quoted(name), IDS[i], STOCK[i]]);
  return [["name", "id", "stock"], ...rows].map((cells) => `${cells.join(separator)}\r\n`).join("");
}

/** The same table in every form. */
const TABLES: Record<string, string | Uint8Array> = {
  "x.csv": `\ufeff${delimited(",")}`,
  "x.tsv": delimited("\t"),
  "x.jsonl": NAMES.map((name, i) =>
    `${JSON.stringify({ stock: STOCK[i], name, id: Number(IDS[i]) })}\n`
  ).join("\n"),
  "x.parquet": parquetStrings({ id: IDS, name: NAMES, stock: STOCK }),
};

async function built(folder: Folder, ...args: string[]): Promise<Uint8Array<ArrayBuffer>> {
  const { code, err } = await cli(["build", "-o", folder.at("out"), ...args]);
  assert.deepEqual([code, err], [0, ""], args.join(" "));
  return await Deno.readFile(folder.at("out"));
}

for (const [name, content] of Object.entries(TABLES)) {
  Deno.test(`A column of ${name} gives the index of a list of its strings`, async () => {
    await using folder = await Folder.create();
    const table = await folder.write(name, content);
    const list = await folder.write("list.jsonl", NAMES.map((s) => JSON.stringify(s)).join("\n"));
    for (const flags of [["o200k"], ["bytes", "--ids"], ["cl100k", "--variants", "space,upper"]]) {
      const expected = await built(folder, list, "--tokenizer", ...flags);
      const args = [table, "--column", "name", "--tokenizer", ...flags];
      assert.deepEqual(await built(folder, ...args), expected);
      const isText = !name.endsWith("parquet");
      if (!isText) continue;
      const piped = await cli(
        [
          ...["build", "-", "-o", folder.at("out"), "--format", name.slice(2), "--tokenizer"],
          ...flags,
          ...["--column", "name"],
        ],
        { stdin: content as string },
      );
      assert.deepEqual([piped.code, piped.err], [0, ""]);
      assert.deepEqual(await Deno.readFile(folder.at("out")), expected);
    }
  });

  Deno.test(`Ids and filters of ${name} hold for all spellings of its strings`, async () => {
    await using folder = await Folder.create();
    const table = await folder.write(name, content);
    const columns = ["--column", "name", "--item-column", "id", "--filter-column", "now=stock"];
    const flags = ["--tokenizer", "bytes", "--variants", "space,upper"];
    using index = await ConstraintIndex.open(await built(folder, table, ...columns, ...flags));
    using now = index.namedFilter("now");
    const { encode } = await tokenizerOf(index.tokenizer);
    const spellings = (text: string) => {
      return [text, text.toUpperCase()].flatMap((spelling) => [spelling, ` ${spelling}`]);
    };
    for (const spelling of NAMES.flatMap(spellings)) {
      const ordinal = index.ordinalOf(encode(spelling));
      assert.notEqual(ordinal, undefined, spelling);
      const rows = NAMES.flatMap((name, i) => spellings(name).includes(spelling) ? [i] : []);
      assert.deepEqual(new Set<unknown>(index.itemsAt(ordinal!)), new Set(rows.map((i) => IDS[i])));
      assert.equal(now.has(ordinal!), rows.some((i) => STOCK[i]));
    }
  });
}

Deno.test("Tables of different kinds are read as one", async () => {
  await using folder = await Folder.create();
  const paths = [];
  for (const [name, content] of Object.entries(TABLES)) {
    paths.push(await folder.write(name, content));
  }
  const flags = ["--column", "name", "--item-column", "id", "--tokenizer", "bytes"];
  const { out } = await cli(["build", ...paths, ...flags, "-o", folder.at("out"), "--json"]);
  const { rows, sequences, items } = JSON.parse(out);
  assert.deepEqual([rows, sequences, items.count], [4 * NAMES.length, 6, NAMES.length]);
});

Deno.test("Cells without a string are refused by file, row and column, and nothing is written", async () => {
  type Case = [string, string | Uint8Array, row: number, found: RegExp, code?: string];
  const cases: Case[] = [
    [
      "x.parquet",
      parquetStrings({ name: ["a", null] }),
      1,
      /row 1 \(counted from 0\), .*found nothing/,
    ],
    ["x.parquet", parquetStrings({ name: ["a", "b", "c", ""] }), 3, /row 3 .*found nothing/],
    ["x.parquet", parquetStrings({ name: [7n] }), 0, /row 0 .*a string, found 7;/],
    ["x.csv", 'name\na\n\n""\n', 1, /line 4, .*found nothing/],
    ["x.tsv", "name\tx\na\tb\n\tb\n", 1, /line 3, .*found nothing/],
    ["x.jsonl", '{"name": "a"}\n{"name": 7}\n', 1, /line 2, .*found 7;/],
    ["x.jsonl", '{"name": "a"}\n{"nom": "b"}\n', 1, /line 2, .*found nothing/],
    ["x.jsonl", '{"name": ["a"]}\n', 0, /line 1, .*found a list/],
    ["x.jsonl", '{"name": "\\ud800"}\n', 0, /half of a character/],
    ["x.csv", "name\na\nb\ufeffc\n", 1, /line 3, .*byte order mark/, "byte-order-mark"],
    ["x.csv", `name\n${"x".repeat(2000)}\n`, 0, /found one of 2000 tokens/, "bad-length"],
  ];
  for (const [name, content, row, found, code = "not-a-string"] of cases) {
    await using folder = await Folder.create();
    const file = await folder.write(name, content);
    const args = ["build", file, "-o", folder.at("out"), "--tokenizer", "bytes"];
    const { code: exit, err } = await cli([...args, "--column", "name", "--json"]);
    const { error } = JSON.parse(err);
    assert.deepEqual([exit, error.code, error.file, error.row], [1, code, file, row], err);
    assert.match(error.message, found);
    assert.match(error.message, /, column "name": expected /);
    assert.deepEqual(await folder.names(), [name]);
  }
});

Deno.test("A list is no table, and a table no list: the error says which flag is missing", async () => {
  await using folder = await Folder.create();
  const flags = ["-o", folder.at("out"), "--tokenizer", "bytes"];
  const run = async (name: string, content: string | Uint8Array, ...more: string[]) => {
    const { code, err } = await cli([
      "build",
      await folder.write(name, content),
      ...flags,
      ...more,
    ]);
    assert.equal(code, 1);
    return err;
  };
  assert.match(await run("x.parquet", TABLES["x.parquet"]), /with --column/);
  assert.match(await run("x.csv", TABLES["x.csv"]), /with --column/);
  assert.match(await run("x.jsonl", TABLES["x.jsonl"]), /with --column/);
  assert.match(await run("x.txt", "a\n", "--column", "name"), /expected \.npy, \.parquet/);
  const missing = await run("x.csv", TABLES["x.csv"], "--column", "names");
  assert.match(missing, /there is no column "names" \("name"\?\); the columns are "name", "id"/);
});

Deno.test("What is out of order is named by line, with variants by the row of the table", async () => {
  await using folder = await Folder.create();
  const flags = ["-o", folder.at("out"), "--tokenizer", "bytes", "--sorted", "--column", "s"];
  const unsorted = async (name: string, content: string | Uint8Array, ...more: string[]) => {
    const file = await folder.write(name, content);
    const { code, err } = await cli(["build", file, ...flags, "--json", ...more]);
    assert.equal(code, 1);
    const { error } = JSON.parse(err);
    assert.deepEqual([error.code, error.file], ["unsorted", file]);
    return [error.row, error.message.slice(file.length).split(":")[0]];
  };
  const csv = 's,f\na,1\n\n"b\n",1\naa,0\n';
  assert.deepEqual(await unsorted("x.csv", csv), [2, ", line 6"]);
  assert.deepEqual(await unsorted("x.csv", csv, "--filter-column", "f=f"), [2, ", line 6"]);
  const parquet = parquetStrings({ s: ["A", "b", "c", "d", "cc"] });
  assert.deepEqual(await unsorted("x.parquet", parquet), [4, ""]);
  const spaces = await unsorted("x.parquet", parquet, "--variants", "space");
  assert.deepEqual(spaces, [0, ", row 0 (counted from 0)"]);
});
