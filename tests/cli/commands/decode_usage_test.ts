/** `cli decode`: what it refuses, and what its help says. */

import assert from "node:assert/strict";
import { DECODE_HELP } from "../../../src/cli/commands/decode.ts";
import { writeToy } from "../../support/onnx/toy.ts";
import { catalogue, catalogueBytes, writeNames } from "../../support/catalogue.ts";
import { cli, Folder, spawn } from "../../support/cli.ts";
import { helpExamples } from "../../support/examples.ts";

/** Without a look for a GPU. */
const ON_CPU = ["--backend", "wasm"];

Deno.test("decode names what it refuses", async () => {
  await using files = await catalogue();
  const { folder, index, model } = files;
  const small = await folder.write("small.onnx", writeToy({ vocabSize: 7 }).decoder);
  const broken = await folder.write("broken.onnx", "not a graph at all");
  const json = await folder.write("x.json", "[]");
  const zip = await folder.write("zip.onnx", "PK\x03\x04".padEnd(32));
  const wrong: [string[], string, string | undefined, RegExp?][] = [
    [[folder.at("none"), "--model", model, "3"], "not-found", folder.at("none")],
    [[json, "--model", model, "3"], "wrong-file-type", json],
    [[index, "--model", folder.at("none"), "3"], "not-found", folder.at("none")],
    [[index, "--model", folder.path, "3"], "not-a-file", folder.path],
    [[index, "--model", broken, "3"], "no-session", broken],
    [[index, "--model", zip, "3"], "wrong-file-type", zip, /found a zip archive/],
    [[index, "--model", index, "3"], "wrong-file-type", index, /found a safetensors file/],
    [[index, "--model", small, "3"], "model-misfit", small, /at least 11 tokens.*found one of 7/],
    [[index, "--model", model, "3", "--filter", "stock"], "unknown-filter", index],
    [[index, "--model", model, "3,99"], "wrong-prompt", undefined, /^the prompt: .*below 13.* 99/],
    [[index, "--model", model, "3", ""], "wrong-prompt", undefined, /^prompt 2: .*found none/],
    [[index, "--model", model, "-"], "wrong-prompt", undefined, /^-, line 3: .*found 13 at/],
  ];
  for (const [args, code, file, message = /./] of wrong) {
    const stdin = "[1]\n\n[2,13]\n";
    const outcome = await cli(["decode", ...args, ...ON_CPU, "--json"], { stdin });
    const { error } = JSON.parse(outcome.err);
    assert.deepEqual([outcome.code, error.code, error.file], [1, code, file], args.join(" "));
    assert.match(error.message, message);
  }
});

Deno.test("As a process: a token that an encoder does not know is named, once", async () => {
  await using folder = await Folder.create();
  const index = folder.at("x.safetensors");
  await cli(["build", "-", "-o", index, "--vocab", "60"], { stdin: "[36, 39]\n" });
  const [model, encoder] = ["decoder", "encoder"].map((name) =>
    new URL(`../../../demo/speller/${name}.onnx`, import.meta.url).pathname
  );
  const args = [index, "--model", model, "--encoder", encoder, "--start-token", "1", ...ON_CPU];
  const child = await spawn(["decode", ...args, "36,39", "36,99"]).output();
  const err = new TextDecoder().decode(child.stderr);
  assert.equal(child.code, 1);
  assert.match(
    err,
    /^error: prompt 2: expected tokens below 95, .* found 99 at position 1; .*\n {2}code wrong-prompt .*\n$/,
  );
  const alone = await cli(["decode", index, "--model", model, ...ON_CPU, "36"]);
  assert.equal(alone.code, 2);
  assert.match(
    alone.err,
    /^error: Expected --encoder FILE and --start-token N, because .*decoder\.onnx/,
  );
});

Deno.test("decode stops when it is interrupted", async () => {
  await using files = await catalogue();
  const args = ["decode", files.index, "--model", files.model, "3"];
  const { code, out } = await cli(args, { signal: AbortSignal.abort() });
  assert.deepEqual([code, out], [130, ""]);
});

Deno.test("Wrong usage of decode", async () => {
  await using files = await catalogue();
  const { index, model } = files;
  const both = [index, "--model", model, ...ON_CPU];
  const wrong: [string[], RegExp][] = [
    [[], /Expected FILE or URL, found none/],
    [["a", "1"], /Expected --model MODEL.onnx, found none/],
    [["a", "--encoder", "b", "1"], /Expected --model FILE with --encoder/],
    [["a", "--model", "m"], /Expected PROMPT, such as 3,1,4, or - .* found none/],
    [["a", "--model", "m", "1;2"], /Expected PROMPT as 3,1,4 or \[3,1,4\], found "1;2"/],
    [["a", "--model", "m", "-", "1"], /Expected - alone/],
    [
      ["a", "--model", "m", "1", "--encoder", "e"],
      /Expected --encoder .* --start-token N together/,
    ],
    [["a", "--model", "m", "1", "--start-token", "0"], /Expected --encoder/],
    [["a", "--model", "m", "1", "--backend", "gpu"], /Expected --backend auto, wasm or webgpu/],
    [["a", "--model", "m", "1", "--beams", "0"], /Expected --beams as 1 to 1024, found "0"/],
    [["a", "--model", "m", "1", "--beams", "1025"], /Expected --beams/],
    [["a", "--model", "m", "1", "--batch", "x"], /Expected --batch/],
    [["a", "--model", "m", "1", "--exclude", "x"], /Expected --exclude as 3,1,4/],
    [
      ["a", "--model", "m", "1", "--normalize", "all"],
      /Expected --normalize vocab, allowed or none/,
    ],
    [["a", "--model", "m", "1", "--end-token", "-1"], /--end-token/],
    [
      ["a", "--model", "m", "1", "--prompt-end-token", "x"],
      /Expected --prompt-end-token as a whole/,
    ],
    [["a", "--model", "m", "1", "--length-penalty", "x"], /Expected --length-penalty/],
    [["a", "--model", "m", "1", "--tokens-per-beam", "0"], /Expected --tokens-per-beam/],
    [["a", "--model", "m", "1", "--region", "x"], /Expected s3:.* with --region/],
    [[...both, "1", "--exclude", "1000"], /1000/],
    [[...both, "1", "--end-token", "3"], /end/],
    [[...both, "1", "--end-token", "99"], /end/],
  ];
  for (const [args, message] of wrong) {
    const { code, out, err } = await cli(["decode", ...args]);
    assert.deepEqual([code, out], [2, ""], `${args.join(" ")}: ${err}`);
    assert.match(err, message);
    assert.match(err, /\n {2}try: deno task cli help decode\n$/);
  }
});

Deno.test("Help names all fields of what --json prints", async () => {
  await using files = await catalogue();
  const { folder, index, model } = files;
  const names = await writeNames(folder);
  const other = await folder.write("other.safetensors", await catalogueBytes(2));
  const npz = folder.at("x.npz");
  const args = [
    ["inspect", index],
    ["verify", index],
    ["query", index, "--filter", "fresh"],
    ["query", names.index, "--text", "reac"],
    ["query", names.index, "--text", "--sequences"],
    ["query", index, "--sequences"],
    ["diff", index, other],
    ["diff", names.index, index, "--text", "--tokenizer", "bytes", "--limit", "1"],
    ["decode", index, "--model", model, "3", ...ON_CPU],
    ["decode", names.index, "--model", names.model, "--text", "re", ...ON_CPU],
    ["convert", index, "-o", npz],
    ["convert", npz, "-o", folder.at("y.safetensors")],
  ];
  for (const [command, ...rest] of args) {
    const [, fields] = /\nJSON\n((?: {2}.*\n)*)/.exec((await cli([command, "--help"])).out)!;
    const { out, err } = await cli([command, ...rest, "--json"]);
    assert.equal(err, "");
    for (const line of out.split("\n").filter(Boolean)) {
      for (const name of namesIn(JSON.parse(line))) {
        assert.match(fields, new RegExp(`\\b${name}\\b`), `${command}: ${name}`);
      }
    }
  }
});

/** Names of all fields, at any depth. */
function namesIn(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  if (Array.isArray(value)) return value.flatMap(namesIn);
  return Object.entries(value).flatMap(([name, part]) => [name, ...namesIn(part)]);
}

Deno.test("The examples in the help of decode run", async () => {
  await using files = await catalogue();
  await using pair = await catalogue({ encoder: true, vocabSize: 256 });
  const names = await writeNames(files.folder);
  const places = {
    "names.safetensors": names.index,
    "gpt.onnx": names.model,
    "catalogue.safetensors": files.index,
    "s3://indexes/catalogue.safetensors": files.index,
    "decoder.onnx": files.model,
    "t5.onnx": pair.model,
    "encoder.onnx": pair.folder.at("encoder.onnx"),
  };
  for (const words of helpExamples(DECODE_HELP, places)) {
    const end = words.indexOf("<");
    const args = end < 0 ? words : words.slice(0, end);
    const { code, out, err } = await cli([...args, ...ON_CPU], { stdin: "[1]\n" });
    assert.deepEqual([code, err], [0, ""], args.join(" "));
    assert.ok(out.length > 0);
  }
});
