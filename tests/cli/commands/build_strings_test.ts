/** `cli build --tokenizer`: lists of strings become indexes, and come back as text. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { buildIndex } from "../../../src/build/mod.ts";
import { ConstraintIndex } from "../../../src/index/constraint_index.ts";
import { tokenizerOf } from "../../../src/cli/tokenizers/open.ts";
import { cli, Folder } from "../../support/cli.ts";
import { signed, takeApart } from "../../support/corrupt.ts";
import {
  byteLevelTokenizer,
  metaspaceTokenizer,
  wordPieceTokenizer,
} from "../../support/tokenizers.ts";

/** Builds an index of a list; `run` is given it and what the command said. */
async function withIndex(
  list: string | Uint8Array,
  flags: string[],
  run: (index: ConstraintIndex, said: Record<string, unknown>, folder: Folder) => unknown,
  name = "names.txt",
): Promise<void> {
  await using folder = await Folder.create();
  await writeTokenizers(folder);
  const input = await folder.write(name, list);
  const args = flags.map((flag) => flag.endsWith(".json") ? folder.at(flag) : flag);
  const { code, out, err } = await cli([
    "build",
    input,
    "-o",
    folder.at("x.st"),
    "--json",
    ...args,
  ]);
  assert.deepEqual([code, err], [0, ""]);
  using index = await ConstraintIndex.open(await Deno.readFile(folder.at("x.st")), {
    verify: true,
  });
  await run(index, JSON.parse(out), folder);
}

async function writeTokenizers(folder: Folder): Promise<void> {
  await folder.write("byte_level.json", JSON.stringify(byteLevelTokenizer()));
  await folder.write("metaspace.json", JSON.stringify(metaspaceTokenizer()));
  await folder.write("word_piece.json", JSON.stringify(wordPieceTokenizer()));
}

Deno.test("Strings come back from their index, whatever they hold and whoever spells them", async () => {
  const string = fc.string({ unit: "binary", minLength: 1 }).filter((s) => !s.includes("\ufeff"));
  const strings = fc.sample(fc.uniqueArray(string, { minLength: 1, maxLength: 50 }), 5).flat();
  const distinct = new Set(strings);
  const lines = strings.map((string) => `${JSON.stringify(string)}\n`).join("");
  for (const name of ["o200k", "cl100k", "bytes", "bytes+3", "byte_level.json", "metaspace.json"]) {
    await withIndex(lines, ["--tokenizer", name], async (index, { rows }, folder) => {
      const path = name.endsWith(".json") ? folder.at(name) : undefined;
      const tokenizer = await tokenizerOf(index.tokenizer, path);
      assert.deepEqual([rows, index.size], [strings.length, distinct.size]);
      assert.equal(index.vocabSize, tokenizer.vocabSize);
      assert.equal(index.items, undefined);
      for (const string of distinct) assert.ok(index.has(tokenizer.encode(string)));
      const spelt = Array.from(
        { length: index.size },
        (_, ordinal) => tokenizer.decode(index.sequenceAt(ordinal)),
      );
      assert.deepEqual(new Set(spelt), distinct);
    }, "strings.jsonl");
  }
});

Deno.test("Lines are strings as they stand; empty ones are skipped, duplicates merged", async () => {
  const list = "\ufeffreact\r\n\n  react \nreact\r\nlast";
  await withIndex(list, ["--tokenizer", "bytes"], async (index, { rows, isVocabInferred }) => {
    assert.deepEqual([rows, index.size, isVocabInferred], [4, 3, false]);
    const { encode } = await tokenizerOf(index.tokenizer);
    for (const string of ["react", "  react ", "last"]) assert.ok(index.has(encode(string)));
  });
  await using folder = await Folder.create();
  const args = ["build", "-", "-o", folder.at("x.st"), "--tokenizer", "o200k", "--json"];
  assert.equal(JSON.parse((await cli(args, { stdin: list })).out).sequences, 3);
  const json = await cli([...args, "--format", "jsonl"], { stdin: '"a"\n\n"b\\nc"\n' });
  assert.equal(JSON.parse(json.out).sequences, 2);
});

Deno.test("The index says which tokenizer made it, and inspect shows it", async () => {
  await withIndex("react\n", ["--tokenizer", "o200k"], async (index, { tokenizer }, folder) => {
    assert.deepEqual(index.tokenizer, { name: "o200k" });
    assert.deepEqual(tokenizer, { name: "o200k" });
    assert.match((await cli(["inspect", folder.at("x.st")])).out, /\n {2}tokenizer +o200k\n/);
  });
  const flags = ["--tokenizer", "byte_level.json"];
  await withIndex("react\n", flags, async ({ tokenizer }, _said, folder) => {
    assert.equal(tokenizer?.name, "byte_level.json");
    assert.match(tokenizer?.digest ?? "", /^[0-9a-f]{64}$/);
    const shown = (await cli(["inspect", folder.at("x.st")])).out;
    assert.ok(shown.includes(`byte_level.json (SHA-256 ${tokenizer?.digest?.slice(0, 12)}…)`));
    const { out } = await cli(["inspect", folder.at("x.st"), "--json"]);
    assert.deepEqual(JSON.parse(out).tokenizer, tokenizer);
  });
});

Deno.test("query --text takes a text and shows texts", async () => {
  const flags = ["--tokenizer", "byte_level.json"];
  await withIndex("react\nreact-dom\n", flags, async (_index, _said, folder) => {
    const file = folder.at("x.st");
    const tokenizer = ["--tokenizer", folder.at("byte_level.json")];
    const { out } = await cli(["query", file, "react", "--text", ...tokenizer, "--json"]);
    const { sequences, canEnd, next } = JSON.parse(out);
    assert.deepEqual([sequences, canEnd, next[0].text], [2, true, "react-"]);
    const list = await cli(["query", file, "--text", ...tokenizer, "--sequences"]);
    assert.match(list.out, / {2}"react"\n[^]* {2}"react-dom"\n/);
    const missing = await cli(["query", file, "--text"]);
    assert.equal(missing.code, 2);
    assert.match(missing.err, /Expected --tokenizer, the file "byte_level\.json"/);
    const alone = await cli(["query", file, ...tokenizer]);
    assert.match(alone.err, /Expected --text beside --tokenizer/);
  });
});

Deno.test("Variants lead to the string that they are variants of", async () => {
  const flags = ["--tokenizer", "o200k", "--variants", "space,lower"];
  await withIndex("React\nreact\nOslo\n", flags, async (index, { rows }) => {
    const { encode } = await tokenizerOf(index.tokenizer);
    const idsOf = (text: string) => {
      const ordinal = index.ordinalOf(encode(text));
      return ordinal === undefined ? undefined : index.itemsAt(ordinal);
    };
    assert.deepEqual([rows, index.size], [12, 8]);
    assert.deepEqual(idsOf("React"), ["React"]);
    assert.deepEqual(idsOf(" React"), ["React"]);
    assert.deepEqual(idsOf("react"), ["React", "react"]);
    assert.deepEqual(idsOf(" oslo"), ["Oslo"]);
    assert.equal(idsOf("OSLO"), undefined);
  });
});

Deno.test("Filters and ids of strings hold for their variants", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("names.txt", "react\noslo\n");
  const items = await folder.write("ids.jsonl", "7\n8\n");
  const stock = await folder.write("stock.txt", "0\n1\n");
  const out = folder.at("x.st");
  const flags = ["--tokenizer", "bytes", "--variants", "title", "--items", items];
  const args = ["build", input, "-o", out, ...flags, "--filter", `stock=${stock}`];
  assert.equal((await cli(args)).err, "");
  using index = await ConstraintIndex.open(await Deno.readFile(out));
  using filter = index.namedFilter("stock");
  const { decode } = await tokenizerOf(index.tokenizer);
  const facts = Array.from({ length: index.size }, (_, ordinal) => [
    decode(index.sequenceAt(ordinal)),
    index.itemsAt(ordinal)[0],
    filter.has(ordinal),
  ]);
  assert.deepEqual(facts, [
    ["Oslo", 8n, true],
    ["oslo", 8n, true],
    ["React", 7n, false],
    ["react", 7n, false],
  ]);
});

Deno.test("Strings are kept where tokens do not bring them back, or when asked for", async () => {
  await withIndex("React\nreact\n", ["--tokenizer", "word_piece.json"], (index) => {
    assert.equal(index.size, 1);
    assert.deepEqual(index.itemsAt(0), ["React", "react"]);
  });
  await withIndex("42\n", ["--tokenizer", "bytes", "--ids"], (index) => {
    assert.deepEqual(index.itemsAt(0), ["42"]);
  });
});

Deno.test("Lists in the order of their bytes need no sort", async () => {
  const flags = ["--tokenizer", "bytes", "--sorted"];
  await withIndex("a\nab\nb\n\u00e9\n\u{1f600}\n", flags, ({ size }) => assert.equal(size, 5));
  await using folder = await Folder.create();
  const input = await folder.write("names.txt", "b\n\na\n");
  const { code, err } = await cli(["build", input, "-o", folder.at("x.st"), ...flags]);
  assert.equal(code, 1);
  assert.match(err, /names\.txt, line 3: .*\n {2}code unsorted/);
});

Deno.test("Strings that cannot be spelt are refused by file and line, and nothing is written", async () => {
  const latin1 = Uint8Array.of(0x61, 0x0a, 0x0a, 0xe9, 0x0a, 0x62, 0x0a);
  const cases: [content: string | Uint8Array, code: string, flags?: string[], line?: number][] = [
    [latin1, "not-utf-8", undefined, 3],
    ["a\n\n" + "xq".repeat(3000), "bad-length", undefined, 3],
    ["x".repeat(20_000), "bad-length", ["--tokenizer", "bytes"]],
    ["x".repeat(2_000_000), "line-too-long"],
    ["a\nb\ufeffc", "byte-order-mark", undefined, 2],
    ["ab\n日本", "not-spellable", ["--tokenizer", "word_piece.json"], 2],
    ["ab\n\u0300", "not-spellable", ["--tokenizer", "word_piece.json"], 2],
    ["a<|endoftext|>", "not-spellable", ["--tokenizer", "byte_level.json"]],
    ['"a"\nb', "not-a-string", ["--format", "jsonl"], 2],
    ["[1]", "not-a-string", ["--format", "jsonl"]],
    ['""', "not-a-string", ["--format", "jsonl"]],
    ['"\\ud800"', "not-a-string", ["--format", "jsonl"]],
    [Uint8Array.of(0x1f, 0x8b, 8), "wrong-file-type"],
  ];
  for (const [content, code, flags = [], line = 1] of cases) {
    await using folder = await Folder.create();
    await writeTokenizers(folder);
    const input = await folder.write("names.txt", content);
    const given = flags.map((flag) => flag.endsWith(".json") ? folder.at(flag) : flag);
    const tokenizer = flags.includes("--tokenizer") ? [] : ["--tokenizer", "o200k"];
    const args = ["build", input, "-o", folder.at("x.st"), ...tokenizer, ...given, "--json"];
    const { code: exit, err } = await cli(args);
    const { error } = JSON.parse(err);
    assert.deepEqual([exit, error.code, error.file], [1, code, input], err);
    if (code !== "wrong-file-type") {
      assert.ok(error.message.startsWith(`${input}, line ${line}: `), error.message);
    }
    assert.equal((await folder.names()).includes("x.st"), false);
  }
});

Deno.test("Tables are not taken for text", async () => {
  await using folder = await Folder.create();
  for (const [name, advice] of [["x.json", "jq -c"], ["x.csv", "--column, or give --format"]]) {
    const input = await folder.write(name, '["a"]\n');
    const args = ["build", input, "-o", folder.at("x.st"), "--tokenizer", "bytes"];
    const { code, err } = await cli(args);
    assert.equal(code, 1);
    assert.ok(err.includes(advice) && err.includes("code wrong-file-type"), err);
    assert.equal((await cli([...args, "--format", "text"])).code, 0);
  }
});

Deno.test("Flags that do not go together are refused", async () => {
  const wrong: [string[], RegExp][] = [
    [
      ["--tokenizer", ""],
      /Expected --tokenizer o200k, cl100k, bytes, bytes\+N or a tokenizer\.json/,
    ],
    [["--tokenizer", "o200k_base"], /found "o200k_base"/],
    [["--tokenizer", "bytes", "--vocab", "300"], /Expected --vocab or --tokenizer/],
    [["--tokenizer", "bytes", "--format", "npy"], /Expected --format text or jsonl/],
    [["--tokenizer", "bytes", "--variants", "camel"], /found "camel"/],
    [["--tokenizer", "bytes", "--ids", "--items", "y"], /Expected --ids or other ids/],
    [["--variants", "space"], /Expected --tokenizer beside --column, --variants and --ids/],
    [["--ids"], /Expected --tokenizer beside --column, --variants and --ids/],
    [["--column", "name"], /Expected --tokenizer beside --column, --variants and --ids/],
    [["--tokenizer", "bytes", "--sequence", "name"], /Expected --column COLUMN/],
    [["--tokenizer", "bytes", "--item-column", "id"], /or --column COLUMN beside --item-column/],
    [["--tokenizer", "bytes", "--column", "a", "--columns", "b"], /found more than one/],
    [["--tokenizer", "bytes", "--column", "a", "--ids", "--item-column", "b"], /other ids/],
  ];
  await using folder = await Folder.create();
  const input = await folder.write("names.txt", "a\n");
  for (const [flags, message] of wrong) {
    const { code, err } = await cli(["build", input, "-o", folder.at("x.st"), ...flags]);
    assert.equal(code, 2, err);
    assert.match(err, message);
  }
  const { out } = await cli(["build", "--help"]);
  for (const flag of ["--tokenizer o200k", "--variants space", "--ids"]) {
    assert.ok(out.includes(flag));
  }
});

Deno.test("What an index says of its tokenizer is checked", async () => {
  const build = (tokenizer: unknown) =>
    buildIndex([[1]], { vocabSize: 2, tokenizer: tokenizer as { name: string } });
  for (const bad of [null, "o200k", {}, { name: "" }, { name: "x", digest: "ff" }]) {
    await assert.rejects(build(bad), TypeError);
  }
  using index = await build({ name: "x", digest: "0".repeat(64), more: 1 });
  assert.deepEqual(index.tokenizer, { name: "x", digest: "0".repeat(64) });
  const { shape, data } = takeApart(index.toBytes() as Uint8Array<ArrayBuffer>);
  for (const tokenizer of [null, { name: 7 }, { name: "x", digest: "G".repeat(64) }]) {
    const bytes = await signed({ ...shape, tokenizer } as typeof shape, data);
    await assert.rejects(ConstraintIndex.open(bytes), { code: "inconsistent-header" });
  }
});
