/** Tokenizers of the command line: text to tokens and back. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { readLineBatches } from "../../../src/cli/io/text_lines.ts";
import { openTokenizer, tokenizerOf } from "../../../src/cli/tokenizers/open.ts";
import type { Tokenizer } from "../../../src/cli/tokenizers/tokenizer.ts";
import { parseVariants, perSpelling, spellings } from "../../../src/cli/tables/variants.ts";
import { Folder } from "../../support/cli.ts";
import {
  byteLevelTokenizer,
  metaspaceTokenizer,
  wordPieceTokenizer,
} from "../../support/tokenizers.ts";

async function fromFile(json: object): Promise<Tokenizer> {
  await using folder = await Folder.create();
  return await openTokenizer(await folder.write("tokenizer.json", JSON.stringify(json)));
}

Deno.test("o200k and cl100k are those of tiktoken", async () => {
  const o200k = await openTokenizer("o200k");
  const cl100k = await openTokenizer("cl100k");
  // What tiktoken 1.0.21 says; the name of a special token is text like any other.
  assert.deepEqual(o200k.encode("hello world"), [24912, 2375]);
  assert.deepEqual(cl100k.encode("hello world"), [15339, 1917]);
  assert.deepEqual(o200k.encode("<|endoftext|>"), [27, 91, 419, 1440, 919, 91, 29]);
  assert.deepEqual(cl100k.encode("a <|endoftext|> b"), [64, 83739, 8862, 728, 428, 91, 29, 293]);
  assert.deepEqual([o200k.vocabSize, cl100k.vocabSize], [200_019, 100_277]);
});

Deno.test("Tokens bring back every text, where a tokenizer is exact", async () => {
  const text = fc.string({ unit: "binary" }).filter((text) => !text.includes("\ufeff"));
  for (
    const tokenizer of [
      await openTokenizer("o200k"),
      await openTokenizer("cl100k"),
      await openTokenizer("bytes"),
      await openTokenizer("bytes+3"),
      await fromFile(byteLevelTokenizer()),
      await fromFile(metaspaceTokenizer()),
    ]
  ) {
    assert.ok(tokenizer.isExact, tokenizer.name);
    fc.assert(fc.property(text, (text) => {
      const tokens = tokenizer.encode(text);
      assert.ok(tokens.every((token) => token >= 0 && token < tokenizer.vocabSize));
      assert.equal(tokenizer.decode(Uint32Array.from(tokens)), text);
    }));
  }
});

Deno.test("Parts of characters are shown as such, and spoil nothing that follows", async () => {
  for (const name of ["o200k", "bytes"]) {
    const tokenizer = await openTokenizer(name);
    const tokens = tokenizer.encode("\u{1fae0}");
    assert.ok(tokens.length > 1);
    assert.match(tokenizer.decode(tokens.slice(0, 1)), /^\ufffd+$/);
    assert.equal(tokenizer.decode(tokenizer.encode("é")), "é");
  }
});

Deno.test("Tokens that stand for no text are refused", async () => {
  for (const [name, token] of [["o200k", 199_999], ["bytes+3", 2], ["bytes", 256]] as const) {
    const tokenizer = await openTokenizer(name);
    assert.throws(() => tokenizer.decode([token]), { name: "RangeError", token });
  }
  const tokenizer = await fromFile(byteLevelTokenizer());
  assert.throws(() => tokenizer.decode([261]), { name: "RangeError", token: 261 });
});

Deno.test("A tokenizer.json says how large it is and what it does to text", async () => {
  const byteLevel = await fromFile(byteLevelTokenizer());
  assert.equal(byteLevel.vocabSize, 261);
  assert.deepEqual(byteLevel.encode("react"), [258, "t".charCodeAt(0)]);
  assert.deepEqual(Array.from(byteLevel.special), [[260, "<|endoftext|>"]]);
  // No token of the template in front.
  const metaspace = await fromFile(metaspaceTokenizer());
  assert.equal(metaspace.encode("re").length, 2);
  const wordPiece = await fromFile(wordPieceTokenizer());
  assert.equal(wordPiece.isExact, false);
  assert.deepEqual(wordPiece.encode("REACT"), wordPiece.encode("react"));
  assert.equal(wordPiece.special.get(wordPiece.encode("日")[0]), "[UNK]");
  // Without a token for what it does not know, a tokenizer leaves it out, or has none at all.
  const letters = metaspaceTokenizer();
  Object.assign(letters.model, { byte_fallback: false, unk_token: null });
  const words = wordPieceTokenizer();
  words.model.unk_token = "[NONE]";
  assert.equal((await fromFile(letters)).isExact, false);
  const { isExact, encode } = await fromFile(words);
  assert.deepEqual([isExact, encode("日")], [false, [undefined]]);
  assert.match(byteLevel.digest!, /^[0-9a-f]{64}$/);
});

Deno.test("Files that are no tokenizer are refused, and named", async () => {
  await using folder = await Folder.create();
  for (const content of ["", "{}", "[1]", '{"model":{"type":"New"}}', "\xff"]) {
    const file = await folder.write("tokenizer.json", content);
    await assert.rejects(openTokenizer(file), { code: "bad-tokenizer", file });
  }
  await assert.rejects(openTokenizer(folder.at("none.json")), { code: "not-found" });
  await assert.rejects(openTokenizer("o300k"), /Expected --tokenizer o200k, cl100k, bytes/);
  await assert.rejects(openTokenizer("bytes+2000000"), /N up to 1048320/);
});

Deno.test("The tokenizer of an index is found again, and no other is taken for it", async () => {
  await using folder = await Folder.create();
  const write = (json: object) => folder.write("tokenizer.json", JSON.stringify(json));
  const path = await write(byteLevelTokenizer());
  const { name, digest } = await openTokenizer(path);
  assert.equal(name, "tokenizer.json");
  assert.equal((await tokenizerOf({ name: "bytes+3" })).vocabSize, 259);
  assert.equal((await tokenizerOf({ name, digest }, path)).vocabSize, 261);
  assert.equal((await tokenizerOf(undefined, "bytes")).vocabSize, 256);
  await assert.rejects(tokenizerOf(undefined), /built from tokens; .*--tokenizer/);
  await assert.rejects(tokenizerOf({ name, digest }), /the file "tokenizer\.json"/);
  await assert.rejects(tokenizerOf({ name: "bytes" }, "bytes+3"), { code: "wrong-tokenizer" });
  await assert.rejects(tokenizerOf({ name, digest }, "bytes"), { code: "wrong-tokenizer" });
  await write(metaspaceTokenizer());
  await assert.rejects(tokenizerOf({ name, digest }, path), { code: "wrong-tokenizer" });
});

Deno.test("Variants are cases, each with and without a space in front", () => {
  const all = parseVariants("title, space,upper,lower");
  assert.deepEqual(spellings("são paulo's X", all), [
    "são paulo's X",
    " são paulo's X",
    "são paulo's x",
    " são paulo's x",
    "SÃO PAULO'S X",
    " SÃO PAULO'S X",
    "São Paulo's X",
    " São Paulo's X",
  ]);
  assert.deepEqual(spellings("a", []), ["a"]);
  assert.deepEqual(perSpelling([1, 2], ["lower"]), [1, 1, 2, 2]);
  assert.throws(() => parseVariants("space,"), /found ""/);
});

Deno.test("Lines are the same wherever a stream is cut", async () => {
  const text = "\ufeffä\r\n\n日本\r\r\nx\n\u{1f600}";
  const expected = ["ä", "", "日本\r", "x", "\u{1f600}"];
  const bytes = new TextEncoder().encode(text);
  for (const tail of ["", "\n"]) {
    for (let size = 1; size <= bytes.length + 1; size++) {
      const all = new Uint8Array([...bytes, ...new TextEncoder().encode(tail)]);
      const chunks = Array.from(
        { length: Math.ceil(all.length / size) },
        (_, i) => all.slice(i * size, (i + 1) * size),
      );
      const lines: string[] = [];
      for await (const batch of readLineBatches(() => ReadableStream.from(chunks), "x")) {
        assert.equal(batch.first, lines.length + 1);
        lines.push(...batch.lines);
      }
      assert.deepEqual(lines, expected, `${size} bytes at a time`);
    }
  }
});
