/** Every file that a command reads and cannot read is named: in the message and in the fact `file`. */

import assert from "node:assert/strict";
import { openFile } from "../../src/cli/io/files.ts";
import { catalogue } from "../support/catalogue.ts";
import { cli, Folder } from "../support/cli.ts";

const FORMATS = ["npy", "parquet", "pq", "jsonl", "ndjson", "csv", "tsv", "tab"];

Deno.test("What cannot be read is named, whichever command it is for", async () => {
  await using files = await catalogue({ encoder: true });
  const { folder, index, model } = files;
  const rows = await folder.write("rows.jsonl", "[1, 2]\n");
  const strings = await folder.write("strings.txt", "abc\n");
  const out = ["-o", folder.at("out.st")];
  const vocab = ["--vocab", "9"];
  const start = ["--start-token", "1", "--backend", "wasm"];
  const inputs: [ending: string, args: (file: string) => string[]][] = [
    ...FORMATS.map((format): [string, (file: string) => string[]] => [
      format,
      (
        file,
      ) => [
        "build",
        file,
        ...out,
        ...vocab,
        ...(format === "npy" || format.endsWith("jsonl") ||
            format === "ndjson"
          ? []
          : ["--sequence", "sid"]),
      ],
    ]),
    ["txt", (file) => ["build", rows, file, "--format", "jsonl", ...out, ...vocab]],
    ["txt", (file) => ["build", file, "--tokenizer", "bytes", ...out]],
    ["jsonl", (file) => ["build", file, "--tokenizer", "bytes", ...out]],
    ["csv", (file) => ["build", file, "--tokenizer", "bytes", "--column", "a", ...out]],
    ["npy", (file) => ["build", rows, ...out, ...vocab, "--items", file]],
    ["jsonl", (file) => ["build", rows, ...out, ...vocab, "--items", file]],
    ["txt", (file) => ["build", rows, ...out, ...vocab, "--items", file]],
    ["npy", (file) => ["build", rows, ...out, ...vocab, "--filter", `a=${file}`]],
    ["txt", (file) => ["build", rows, ...out, ...vocab, "--filter", `a=${file}`]],
    ["json", (file) => ["build", strings, ...out, "--tokenizer", file]],
    ["npz", (file) => ["convert", file, ...out]],
    ["safetensors", (file) => ["convert", file, "-o", folder.at("out.npz")]],
    ["safetensors", (file) => ["inspect", file]],
    ["safetensors", (file) => ["verify", file]],
    ["safetensors", (file) => ["query", file]],
    ["json", (file) => ["query", index, "--text", "--tokenizer", file, "a"]],
    ["safetensors", (file) => ["diff", file, index]],
    ["safetensors", (file) => ["diff", index, file]],
    ["json", (file) => ["diff", index, index, "--text", "--tokenizer", file]],
    ["safetensors", (file) => ["push", file, folder.at("pushed")]],
    ["safetensors", (file) => ["decode", file, "--model", model, "1"]],
    ["onnx", (file) => ["decode", index, "--model", file, "1"]],
    ["onnx", (file) => ["decode", index, "--model", model, "--encoder", file, ...start, "1"]],
    ["onnx", (file) => ["decode", index, "--model", model, "--decoder-with-past", file, "1"]],
    ["json", (file) => ["decode", index, "--model", model, "--text", "--tokenizer", file, "a"]],
    ["safetensors", (file) => ["serve", file]],
    ["onnx", (file) => ["serve", index, "--model", file]],
    ["onnx", (file) => ["serve", index, "--model", model, "--encoder", file, ...start]],
    ["onnx", (file) => ["serve", index, "--model", model, "--decoder-with-past", file]],
  ];
  const states: [name: string, make: (path: string) => Promise<unknown>][] = [
    ["missing", async () => {}],
    ["a folder", (path) => Deno.mkdir(path)],
    ["a link to nothing", (path) => Deno.symlink("nothing", path)],
    ["a circle of links", (path) => Deno.symlink(path, path)],
    ["below a file", async () => {}],
    ["empty", (path) => Deno.writeTextFile(path, "")],
    ["zeros", (path) => Deno.writeFile(path, new Uint8Array(5000))],
    ["no text", (path) => Deno.writeFile(path, new Uint8Array(5000).fill(0xff))],
    ["gzip", (path) => Deno.writeFile(path, Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0))],
  ];
  const unnamed: string[] = [];
  for (const [ending, argsOf] of inputs) {
    for (const [state, make] of states) {
      const path = state === "below a file"
        ? `${rows}/at.${ending}`
        : folder.at(`broken.${ending}`);
      await make(path);
      const outcome = await cli([...argsOf(path), "--json"], {
        signal: AbortSignal.timeout(20_000),
      });
      const { code, err } = outcome;
      const told = `${
        argsOf(path).join(" ").replaceAll(folder.path, "")
      } (${state}): ${err.trim()}`;
      let error: { file?: string; url?: string; code?: string; message?: string } = {};
      try {
        ({ error } = JSON.parse(err));
      } catch {
        // Told below.
      }
      // An empty list adds nothing to another, and a line of zeros is an id.
      if (code === 0 && state === "empty" && ending === "txt") continue;
      if (code === 0 && state === "zeros" && argsOf(path).includes("--items")) continue;
      const isFine = error.file === path && error.message?.includes(path) &&
        error.code !== "unexpected" && code > 0;
      if (!isFine) unnamed.push(`${code} ${told}`);
      if (state !== "missing" && state !== "below a file") {
        await Deno.remove(path, { recursive: true });
      }
    }
  }
  assert.deepEqual(unnamed, []);
});

Deno.test("A file that fails while it is read is named", async () => {
  await using folder = await Folder.create();
  const expected = { code: "not-readable", file: folder.path };
  const message = new RegExp(`^Cannot read "${folder.path}": Is a directory`);
  const isNamed = (error: Error) => {
    assert.deepEqual({ code: (error as never)["code"], file: (error as never)["file"] }, expected);
    assert.match(error.message, message);
    return true;
  };
  using file = await openFile(folder.path);
  await assert.rejects(file.read(new Uint8Array(1)), isNamed);
  await assert.rejects(new Response((await openFile(folder.path)).readable).bytes(), isNamed);
  const reader = (await openFile(folder.path)).readable.getReader({ mode: "byob" });
  await assert.rejects(reader.read(new Uint8Array(1)), isNamed);
});
