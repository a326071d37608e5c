/** `cli build` from tables that are wrong: the error names file, row and column, and nothing is left. */

import assert from "node:assert/strict";
import { nearest } from "../../../src/cli/tables/columns.ts";
import { requireSpace } from "../../../src/cli/tables/disk_sorter.ts";
import { cli, Folder } from "../../support/cli.ts";
import { npyMatrix, parquetLevels, parquetLists, parquetStrings } from "../../support/tables.ts";

/** Runs a build that fails; returns its error, and makes sure that nothing is left. */
async function failing(name: string, content: string | Uint8Array, ...flags: string[]) {
  await using folder = await Folder.create();
  const file = await folder.write(name, content);
  const args = ["build", file, "-o", folder.at("x.st"), "--json", ...flags];
  const { code, out, err } = await cli(args);
  assert.deepEqual([code, out], [1, ""], err);
  assert.deepEqual(await folder.names(), [name]);
  const { error } = JSON.parse(err);
  assert.equal(error.file, file, error.message);
  assert.ok(error.message.startsWith(file), error.message);
  return { ...error, message: error.message.slice(file.length) };
}

const ROWS = [[1, 2], [3, 4], [5, 6]];
const LISTS = parquetLists(ROWS, { ids: [1n, 2n, 3n] });
const WIDE = parquetLists(ROWS, {}, 7, "INT64");
const LEVELS = parquetLevels(ROWS, {}, "INT32");

Deno.test("A column that is not there: the error lists those that are, and near ones", async () => {
  const tables: [string, string | Uint8Array][] = [
    ["x.parquet", LISTS],
    ["x.csv", 'sid,id\n"[1, 2]",7\n'],
    ["x.jsonl", '{"sid": [1, 2], "id": 7}\n'],
  ];
  for (const [name, content] of tables) {
    const { code, message, actual, expected } = await failing(name, content, "--sequence", "SIDs");
    assert.deepEqual([code, actual, expected], ["no-such-column", ["sid", "id"], "SIDs"]);
    assert.equal(
      message,
      ': there is no column "SIDs" ("sid"?); the columns are "sid", "id"',
    );
    const item = await failing(name, content, "--sequence", "sid", "--item-column", "price");
    assert.match(item.message, /^: there is no column "price"; the columns are/);
    const levels = await failing(name, content, "--columns", "c*");
    assert.match(levels.message, /: no column matches "c\*"; the columns are "sid", "id"$/);
    const unnamed = await failing(name, content);
    assert.equal(unnamed.code, "no-columns-named");
    assert.match(unnamed.message, /--sequence COLUMN, or --columns .*"sid", "id"$/);
  }
  assert.deepEqual(nearest("tokns", ["id", "Tokens", "tokns2", "titles"]), ["Tokens", "tokns2"]);
});

Deno.test("What is no token is named with file, row, column and position", async () => {
  const cases: [string, string | Uint8Array, string[], number, number, RegExp][] = [
    ["x.csv", "a,b\n1,2\n3,x\n", ["--columns", "a,b"], 1, 1, /, line 3, column "b": .* "x" at/],
    [
      "x.csv",
      "a,b\n1,2\n\n,4\n",
      ["--columns", "a,b"],
      1,
      0,
      /, line 4, column "a": .* nothing at/,
    ],
    ["x.tsv", "s\n[1]\n[1, true]\n", ["--sequence", "s"], 1, 1, /, line 3, column "s": .* true at/],
    ["x.csv", "s\n[1]\n[1\n", ["--sequence", "s"], 1, NaN, /line 3, column "s": expected a list/],
    [
      "x.jsonl",
      '{"s":[1]}\n{"t":2}\n',
      ["--sequence", "s"],
      1,
      NaN,
      /line 2, column "s": .*nothing/,
    ],
    ["x.jsonl", '{"s":[1]}\n\n[1]\n', ["--sequence", "s"], 1, NaN, /line 3: .*object.* an array/],
    ["x.jsonl", '{"s":[1,1.5]}\n', ["--sequence", "s"], 0, 1, /line 1, column "s": .* 1\.5 at/],
    [
      "x.parquet",
      LISTS,
      ["--sequence", "id"],
      0,
      NaN,
      /, row 0 \(counted from 0\), column "id": expected a list/,
    ],
    ["x.parquet", WIDE, ["--columns", "sid"], 0, 0, /an integer, found a list, \["1","2"\]/],
    ["x.csv", "a\n3.0\n3.5\n", ["--columns", "a"], 1, 0, /line 3, .* found the string "3\.5"/],
  ];
  for (const [name, content, flags, row, column, message] of cases) {
    const error = await failing(name, content, ...flags);
    assert.deepEqual([error.code, error.row], ["not-a-row", row], error.message);
    assert.deepEqual(error.column ?? NaN, column, error.message);
    assert.match(error.message, message);
  }
});

Deno.test("Tokens outside the vocabulary are named with file, row and position", async () => {
  const code = "token-out-of-range";
  const cases: [string, string | Uint8Array, string[]][] = [
    ["x.csv", "a,b\n1,2\n3,9\n", ["--columns", "a,b"]],
    ["x.csv", "a,b\n1,2\n3,-9\n", ["--columns", "a,b"]],
    ["x.csv", "a,b\n1,2\n3,99999999999\n", ["--columns", "a,b"]],
    ["x.parquet", parquetLists([[1], [2, 9]], {}), ["--sequence", "sid"]],
    ["x.parquet", parquetLevels([[1], [2, 9]], {}, "INT64"), ["--columns", "c*"]],
    ["x.npy", npyMatrix([[1, 2], [3, 9]], "<u8"), []],
  ];
  for (const [name, content, flags] of cases) {
    const error = await failing(name, content, ...flags, "--vocab", "9");
    assert.deepEqual([error.code, error.row, error.column], [code, 1, 1], error.message);
    const place = name === "x.csv" ? "line 3" : "row 1 (counted from 0)";
    assert.ok(error.message.startsWith(`, ${place}: expected tokens from 0 to `), error.message);
  }
  const long = `s\n[1]\n"[${Array(1025).fill(1)}]"\n`;
  assert.equal((await failing("x.csv", long, "--sequence", "s")).code, "bad-length");
  const empty = await failing("x.parquet", parquetLists([[1], []], {}), "--sequence", "sid");
  assert.deepEqual([empty.code, empty.row], ["bad-length", 1]);
});

Deno.test("What the flags can mend is said with the name of the flag", async () => {
  const large = await failing("x.jsonl", "[1]\n[9]\n", "--vocab", "9");
  assert.match(
    large.message,
    /expected tokens from 0 to 8, found 9 .*; mend the row or raise --vocab$/,
  );
  const negative = await failing("x.jsonl", "[1]\n[-9]\n", "--vocab", "9");
  assert.match(negative.message, /found -9 at position 0; mend the row, or leave padding out$/);
  const text = await failing("x.txt", "lisbon\nporto\n");
  assert.match(text.message, /; a list of strings needs --tokenizer$/);
  const strings = await failing("x.jsonl", '"lisbon"\n"porto"\n');
  assert.match(strings.message, /^, line 1: .*"lisbon"; a list of strings needs --tokenizer$/);
  const table = "c0,c1,category,stock\n1,2,shoes,17\n";
  const taken = await failing("x.csv", table, "--columns", "c*");
  assert.match(
    taken.message,
    /"shoes" .*name the columns one by one, if "c\*" should not take "cat/,
  );
  const named = await failing("x.csv", table, "--columns", "c0,category");
  assert.match(named.message, /"shoes" at position 1; mend the row$/);
  const flags = ["--columns", "c0,c1", "--filter-column"];
  const count = await failing("x.csv", table, ...flags, "in_stock=stock");
  assert.match(
    count.message,
    /found the string "17"; make a column of 0 and 1 .*df\["stock"\]\.gt\(0\)/,
  );
  const word = await failing("x.csv", table, ...flags, "in_stock=category");
  assert.match(word.message, /"shoes"; mend the row$/);
});

Deno.test("The row of an error is that of its file, of many", async () => {
  await using folder = await Folder.create();
  await folder.write("a.npy", npyMatrix([[1, 1], [2, 2]], "<u2"));
  await folder.write("b.npy", npyMatrix([[3, 3], [9, 9], [4, 4]], "<u2"));
  const args = ["build", folder.at("?.npy"), "-o", folder.at("x"), "--json", "--vocab"];
  const outside = JSON.parse((await cli([...args, "9"])).err).error;
  assert.deepEqual([outside.file, outside.row], [folder.at("b.npy"), 1]);
  const unsorted = JSON.parse((await cli([...args, "10", "--sorted"])).err).error;
  assert.deepEqual([unsorted.code, unsorted.file, unsorted.row], [
    "unsorted",
    folder.at("b.npy"),
    2,
  ]);
  assert.match(unsorted.message, /b\.npy, row 2 \(counted from 0\): .*row 4 comes before row 3/);
  const lines = await failing("x.jsonl", "[1]\n\n[3]\n[2]\n", "--sorted", "--vocab", "9");
  assert.deepEqual([lines.code, lines.row], ["unsorted", 2]);
  assert.match(lines.message, /^, line 4: .*row 2 comes before row 1/);
});

Deno.test("Ids and flags that are none are named with file, row and column", async () => {
  const item = async (...cells: string[]) => {
    const content = cells.map((cell) => `{"s": [1], "i": ${cell}}\n`).join("");
    const error = await failing("x.jsonl", content, "--sequence", "s", "--item-column", "i");
    assert.match(error.message, /column "i": expected /);
    return [error.code, error.row];
  };
  assert.deepEqual(await item("1", "null"), ["bad-item", 1]);
  assert.deepEqual(await item("1", "1.5"), ["bad-item", 1]);
  assert.deepEqual(await item("1", "9007199254740993"), ["bad-item", 1]);
  assert.deepEqual(await item('"a"', "1"), ["bad-item", 1]);
  assert.deepEqual(await item("1", '"a"'), ["bad-item", 1]);
  assert.deepEqual(await item('"1"', '""'), ["bad-item", 1]);
  const flag = await failing(
    "x.csv",
    "a,f\n1,1\n2,\n",
    ...["--columns", "a", "--filter-column", "stock=f"],
  );
  assert.deepEqual([flag.code, flag.row], ["bad-filter-value", 1]);
  assert.match(flag.message, /, line 3, column "f": expected 0, 1, true or false, found nothing/);
});

Deno.test("Damaged tables are errors with the file's name", async () => {
  const cut = LISTS.subarray(0, LISTS.length - 9);
  assert.equal((await failing("x.parquet", cut, "--sequence", "sid")).code, "bad-parquet");
  const broken = LEVELS.slice().fill(0xff, 4, 40);
  assert.equal((await failing("x.parquet", broken, "--columns", "c*")).code, "bad-parquet");
  const other = await failing("x.parquet", "a,b\n", "--columns", "c*");
  assert.deepEqual([other.code, other.actual], ["not-parquet", "another file"]);
  const csv = (text: string) => failing("x.csv", text, "--columns", "a,b");
  const ragged = await csv("a,b\n1,2\n1\n");
  assert.equal(ragged.code, "bad-csv");
  assert.match(ragged.message, /^, line 3: /);
  assert.equal((await csv('a,b\n1,"2\n')).code, "bad-csv");
  assert.equal((await csv(`a,b\n1,${"2".repeat(2 ** 21)}\n`)).code, "bad-csv");
  assert.equal((await csv("1,2\n3,4\n")).code, "no-header");
  const twice = await csv("a,a\n3,4\n");
  assert.equal(twice.code, "no-header");
  assert.match(twice.message, /, line 1: .*found "a" twice; name each column once$/);
  assert.match((await csv("a;b\n3;4\n")).message, /, line 1: .*"a;b"; write it .* commas$/);
  assert.match((await csv("a\tb\n3\t4\n")).message, /; give --format tsv$/);
  assert.equal((await csv("")).code, "empty-set");
  assert.equal((await csv("a,b\n")).code, "empty-set");
});

Deno.test("A column that a pattern means and the first line of JSON lacks is not lost", async () => {
  const content = '{"c0": 1, "c1": 2, "x": 1}\n{"c0": 1, "y": 1}\n{"c0": 1, "c1": 2, "c2": 3}\n';
  const error = await failing("x.jsonl", content, "--columns", "c*");
  assert.deepEqual([error.code, error.row, error.actual], ["late-column", 2, "c2"]);
  assert.match(error.message, /^, line 3: .*found "c2"; put null there/);
});

Deno.test("Text that is no UTF-8 is refused, wherever it stands", async () => {
  const latin1 = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
  const flags = ["--columns", "a", "--item-column", "id"];
  const long = "7,x\n".repeat(50_000);
  const cases: [string, Uint8Array][] = [
    ["x.csv", latin1("a,id\n1,caf\xe9\n")],
    ["x.csv", latin1(`a,id\n${long}1,caf\xe9`)],
    ["x.tsv", latin1("a\tid\n1\tab\n2\t\xe9")],
    ["x.jsonl", latin1('{"a": 1, "id": "x"}\n{"a": 1, "id": "caf\xe9"}\n')],
  ];
  for (const [name, content] of cases) {
    const error = await failing(name, content, ...flags);
    assert.equal(error.code, "not-utf-8", error.message);
    assert.match(
      error.message,
      name === "x.jsonl"
        ? /^, line 2: expected a line of UTF-8/
        : /^: expected UTF-8, found other bytes behind line \d+; convert/,
    );
  }
  const bytes = parquetStrings({ a: ["1"], id: ["café"] });
  bytes[bytes.findIndex((byte, i) => byte === 0xc3 && bytes[i + 1] === 0xa9)] = 0xff;
  const error = await failing("x.parquet", bytes, ...flags);
  assert.equal(error.code, "bad-parquet");
  assert.match(error.message, /^, column "id": .*a string that is no UTF-8/);
});

Deno.test("Wrong flags for columns are wrong usage", async () => {
  const build = ["build", "a.csv", "-o", "x"];
  const wrong: [string[], RegExp][] = [
    [
      ["--sequence", "a", "--columns", "b"],
      /Expected --sequence, --columns or --column, found more than one/,
    ],
    [["--columns", "a,,b"], /Expected --columns A,B,C, found "a,,b"/],
    [["--item-column", "a"], /Expected --sequence COLUMN, --columns A,B,C or --column COLUMN/],
    [["--filter-column", "a"], /Expected --filter-column NAME=COLUMN/],
    [["--sequence", "a", "--items", "f", "--item-column", "b"], /found both/],
    [
      ["--sequence", "a", "--filter", "f=x.npy", "--filter-column", "f=a"],
      /Expected one source for the filter "f"/,
    ],
    [["--memory", "lots"], /Expected --memory of 1MB or more, such as 512MB or 4GB/],
    [["--memory", "100"], /Expected --memory of 1MB .* found "100", which is bytes: give a unit/],
    [
      ["-", "--format", "parquet", "--vocab", "9"],
      /on standard input.*a \.parquet file by its path/,
    ],
  ];
  for (const [args, message] of wrong) {
    const { code, err } = await cli([...build, ...args]);
    assert.equal(code, 2, err);
    assert.match(err, message);
  }
  for (const name of ["x.npy", "x.csv", "x.parquet", "x.jsonl", "x.TXT", "x.npz"]) {
    const { code, err } = await cli(["build", "a.csv", "-o", name, "--columns", "a"]);
    assert.deepEqual(
      [code, /Expected -o OUT\.safetensors, .* found "x\./.test(err)],
      [2, true],
      err,
    );
  }
  await using folder = await Folder.create();
  const file = await folder.write("a.csv", "a,b\n1,2\n");
  const { code, err } = await cli(["build", file, "-o", folder.at("x"), "--columns", "a,a"]);
  assert.equal(code, 2);
  assert.match(err, /Expected each column once, found "a" twice/);
});

Deno.test("An aborted build from a table leaves nothing, whenever it is aborted", async () => {
  await using folder = await Folder.create();
  const parquet = await folder.write("x.parquet", LISTS);
  const csv = await folder.write("x.csv", "sid\n" + "[1]\n".repeat(20_000));
  for (const input of [parquet, csv, "-"]) {
    const args = ["build", input, "-o", folder.at("x.st"), "--sequence", "sid", "--vocab", "9"];
    if (input === "-") args.push("--format", "csv");
    for (const delay of [0, 1, 5]) {
      const abort = new AbortController();
      if (delay === 0) abort.abort();
      else setTimeout(() => abort.abort(), delay);
      const { code } = await cli(args, {
        signal: abort.signal,
        stdin: "sid\n" + "[1]\n".repeat(1e5),
      });
      assert.ok(code === 130 || delay > 0);
      await Deno.remove(folder.at("x.st")).catch(() => {});
      assert.deepEqual(await folder.names(), ["x.csv", "x.parquet"]);
    }
  }
});

Deno.test("A folder without room is an error that says how much is missing", async () => {
  await requireSpace("/tmp", 5e6, 5e6);
  await assert.rejects(requireSpace("/tmp", 5e9 + 1, 5e9), {
    code: "no-space",
    file: "/tmp",
    expected: 5e9 + 1,
    actual: 5e9,
    message: /has 5 000 MB left, expected 5 001 MB .*--temp/,
  });
});
