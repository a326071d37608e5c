/** `cli decode`: what it finds is what a search by hand finds. */

import assert from "node:assert/strict";
import { ConstraintIndex, createDecoder } from "../../../mod.ts";
import type { BeamSearchOptions } from "../../../src/decode/types.ts";
import { createOnnxModel } from "../../../src/models/onnx/mod.ts";
import type { ToyForm } from "../../support/onnx/forms.ts";
import { START } from "../../support/onnx/reference.ts";
import { writeToy } from "../../support/onnx/toy.ts";
import { catalogue, catalogueBytes, NAMES, writeNames } from "../../support/catalogue.ts";
import { cli, Folder } from "../../support/cli.ts";

/** What a search finds, as the command prints it. */
async function byHand(
  prompts: number[][],
  options: BeamSearchOptions & { filters?: string[]; excluded?: number[]; form?: ToyForm },
) {
  const { filters = [], excluded, form = {}, ...search } = options;
  using index = await ConstraintIndex.open(await catalogueBytes());
  const { decoder: graph, encoder } = writeToy(form);
  await using onnx = await createOnnxModel(
    graph,
    encoder ? { encoder, startToken: START } : {},
  );
  using decoder = await createDecoder(index, { backend: "wasm" });
  const all = filters.map((name) => index.namedFilter(name));
  using prompted = onnx.withPrompts(prompts);
  const filter = all.length > 0 ? all.reduce((a, b) => a.and(b)) : undefined;
  const found = await decoder.beamSearch(prompted, {
    ...search,
    batchSize: prompts.length,
    vocabSize: onnx.vocabSize,
    filter,
    exclude: excluded && prompts.map(() => excluded),
  });
  return prompts.map((prompt, row) => ({
    prompt,
    results: Array.from({ length: found.counts[row] }, (_, beam) => {
      const at = row * search.beamSize + beam;
      const ordinal = found.ordinals[at];
      return {
        ordinal,
        score: found.scores[at],
        sequence: [...index.sequenceAt(ordinal)],
        items: index.itemsAt(ordinal, Infinity, filter).map(Number),
      };
    }),
  }));
}

/** Scores of a GPU differ in their last digits. */
const ON_CPU = ["--backend", "wasm"];

interface Line {
  prompt: number[];
  text?: string;
  backend: string;
  batch: number;
  steps: number;
  msPerStep: number;
  modelShare: number;
  results: unknown[];
}

async function decoded(args: string[], stdin?: string): Promise<Line[]> {
  const { code, out, err } = await cli(["decode", ...args, ...ON_CPU, "--json"], { stdin });
  assert.deepEqual([code, err], [0, ""]);
  return out.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

const foundIn = (lines: Line[]) => lines.map(({ prompt, results }) => ({ prompt, results }));

Deno.test("decode finds what a search by hand finds", async () => {
  await using files = await catalogue();
  const base = [files.index, "--model", files.model];
  const cases: [string[], Parameters<typeof byHand>[1]][] = [
    [[], { beamSize: 10 }],
    [["--beams", "3"], { beamSize: 3 }],
    [["--beams", "64"], { beamSize: 64 }],
    [["--normalize", "allowed"], { beamSize: 10, normalize: "allowed" }],
    [["--normalize", "none"], { beamSize: 10, normalize: "none" }],
    [["--end-token", "12"], { beamSize: 10, endToken: 12 }],
    [["--length-penalty", "0.5", "--end-token", "11"], {
      beamSize: 10,
      endToken: 11,
      lengthPenalty: 0.5,
    }],
    [["--tokens-per-beam", "2"], { beamSize: 10, tokensPerBeam: 2 }],
    [["--pad-token", "1"], { beamSize: 10, padToken: 1 }],
    [["--filter", "in stock"], { beamSize: 10, filters: ["in stock"] }],
    [["--filter", "in stock", "--filter", "fresh"], {
      beamSize: 10,
      filters: ["in stock", "fresh"],
    }],
    [["--exclude", "3, 1,4"], { beamSize: 10, excluded: [3, 1, 4] }],
    [["--exclude", "[3]", "--filter", "fresh"], {
      beamSize: 10,
      excluded: [3],
      filters: ["fresh"],
    }],
  ];
  for (const [flags, options] of cases) {
    const lines = await decoded([...base, "3,1,4", ...flags]);
    assert.deepEqual(foundIn(lines), await byHand([[3, 1, 4]], options), flags.join(" "));
  }
});

Deno.test("decode --results gives the first of what all beams find", async () => {
  await using files = await catalogue();
  const base = [files.index, "--model", files.model, "3,1,4", "--end-token", "12", "--beams", "64"];
  for (const duplicates of ["best", "keep", "sum"]) {
    const flags = [...base, "--duplicates", duplicates];
    const [all] = await decoded(flags);
    for (const results of [1, 3]) {
      const [some] = await decoded([...flags, "--results", String(results)]);
      assert.deepEqual(some.results, all.results.slice(0, results));
      assert.ok(some.steps <= all.steps);
    }
  }
});

Deno.test("decode takes an encoder-decoder", async () => {
  const form: ToyForm = { encoder: true };
  await using files = await catalogue(form);
  const encoder = ["--encoder", files.folder.at("encoder.onnx"), "--start-token", String(START)];
  const args = [files.index, "--model", files.model, ...encoder, "[5, 6]"];
  const expected = await byHand([[5, 6]], { beamSize: 10, form });
  assert.deepEqual(foundIn(await decoded(args)), expected);
});

Deno.test("decode takes a decoder of two graphs", async () => {
  await using files = await catalogue({ twoGraphs: true });
  const second = await files.folder.write(
    "with_past.onnx",
    writeToy({ twoGraphs: true, withPast: true }).decoder,
  );
  const args = [files.index, "--model", files.model, "--decoder-with-past", second, "4,2"];
  const expected = await byHand([[4, 2]], { beamSize: 10 });
  const strip = (lines: { results: unknown[] }[]) =>
    lines.map(({ results }) => results.map((result) => (result as { ordinal: number }).ordinal));
  assert.deepEqual(strip(await decoded(args)), strip(expected));
});

Deno.test("decode searches prompts of standard input in batches", async () => {
  const prompts = [[3, 1, 4], [9], [2, 6, 5], [7, 7], [1]];
  const stdin = `${prompts.map((prompt) => JSON.stringify(prompt)).join("\n\n")}\n`;
  for (const mask of [true, false]) {
    await using files = await catalogue({ mask });
    const args = [files.index, "--model", files.model, "--batch", "3"];
    const lines = await decoded([...args, "--beams", "4", "-"], stdin);
    const sizes = mask ? [3, 3, 3, 2, 2] : [1, 1, 1, 1, 1];
    assert.deepEqual(lines.map(({ batch }) => batch), sizes);
    const ordinals = (lines: { results: unknown[] }[]) =>
      lines.map(({ results }) => results.map((one) => (one as { ordinal: number }).ordinal));
    const expected = [];
    for (const prompt of prompts) {
      expected.push(...await byHand([prompt], { beamSize: 4, form: { mask } }));
    }
    assert.deepEqual(ordinals(lines), ordinals(expected));
    assert.deepEqual(lines.map(({ prompt }) => prompt), prompts);
    assert.deepEqual(ordinals(await decoded([...args, "--beams", "4", "3,1,4", "9"])), [
      ...ordinals(expected.slice(0, 2)),
    ]);
  }
  await using files = await catalogue();
  assert.deepEqual(await decoded([files.index, "--model", files.model, "-"], "\n"), []);
});

Deno.test("decode says where it ran and what a step took", async () => {
  await using files = await catalogue();
  const args = [files.index, "--model", files.model, "3", "--beams", "2"];
  const [line] = await decoded(args);
  // Two steps, and one call for the two tokens that are left.
  assert.deepEqual([line.backend, line.batch, line.steps], ["wasm", 1, 3]);
  assert.ok(line.msPerStep > 0 && line.modelShare > 0 && line.modelShare <= 1);
  const { code, out, err } = await cli(["decode", ...args, ...ON_CPU]);
  assert.deepEqual([code, err], [0, ""]);
  const expected = (await byHand([[3]], { beamSize: 2 }))[0].results;
  const rows = expected.map(({ ordinal, score, sequence, items }, i) =>
    `${i + 1} ${score.toFixed(4)} ${ordinal} ${sequence.join(" ")} ${items.join(", ")}`
  );
  assert.match(
    out.replace(/ +/g, " "),
    new RegExp(
      `^prompt 3
 rank score ordinal sequence item ids
 ${rows.join("\n ").replaceAll(".", "\\.")}

1 prompt, searched on wasm, model on the CPU: asked for; 3 steps, [\\d.]+ ms each, \\d+ % of it the model
$`,
    ),
  );
});

Deno.test("decode says that nothing is allowed", async () => {
  await using files = await catalogue();
  using index = await ConstraintIndex.open(await catalogueBytes());
  const all = Array.from({ length: index.size }, (_, i) => i).join();
  const args = [files.index, "--model", files.model, "--exclude", all, "3", ...ON_CPU];
  assert.match((await cli(["decode", ...args])).out, /^prompt 3\n {2}nothing: /);
  assert.deepEqual((await decoded(args))[0].results, []);
});

Deno.test("decode reads index and model from a server", async () => {
  await using files = await catalogue();
  const options = { port: 0, hostname: "127.0.0.1", onListen() {} };
  await using server = Deno.serve(options, async ({ url }) => {
    const { pathname } = new URL(url);
    if (pathname === "/missing") return new Response(null, { status: 404 });
    return new Response(await Deno.readFile(files.folder.at(pathname.slice(1))));
  });
  const base = `http://127.0.0.1:${server.addr.port}`;
  const index = `${base}/catalogue.safetensors?signature=secret`;
  const lines = await decoded([index, "--model", `${base}/decoder.onnx?signature=secret`, "3"]);
  assert.deepEqual(foundIn(lines), await byHand([[3]], { beamSize: 10 }));
  const missing = `${base}/missing?signature=secret`;
  const { code, err } = await cli(["decode", index, "--model", missing, "3", ...ON_CPU, "--json"]);
  const { error } = JSON.parse(err);
  assert.deepEqual([code, error.code, error.url], [1, "http-status", `${base}/missing`]);
});

Deno.test("decode takes texts and gives texts, for indexes of strings", async () => {
  await using folder = await Folder.create();
  const { index, model } = await writeNames(folder);
  const base = [index, "--model", model, "--beams", "7"];
  const prompts = ["re", "a web server: "];
  const tokens = prompts.map((prompt) => [...new TextEncoder().encode(prompt)]);
  const plain = await decoded([...base, ...tokens.map(String)]);
  const stdin = `${prompts.join("\n\n")}\n`;
  for (
    const lines of [
      await decoded([...base, "--text", ...prompts]),
      await decoded([...base, "--text", "-"], stdin),
    ]
  ) {
    assert.deepEqual(lines.map(({ text }) => text), prompts);
    const texts = lines.map(({ results }) => results.map((one) => (one as { text: string }).text));
    for (const list of texts) assert.deepEqual(list.toSorted(), NAMES.toSorted());
    const withoutText = lines.map(({ prompt, results }) => ({
      prompt,
      results: results.map((one) => ({ ...one as object, text: undefined })),
    }));
    assert.deepEqual(JSON.parse(JSON.stringify(withoutText)), foundIn(plain));
  }
  const { out } = await cli(["decode", ...base, "--text", "re", "--beams", "1", ...ON_CPU]);
  const best = (await decoded([...base, "--text", "re", "--beams", "1"]))[0].results[0];
  assert.ok(out.startsWith('prompt "re"\n  rank'));
  assert.ok(out.includes(`  ${JSON.stringify((best as { text: string }).text)}\n`));
  await using files = await catalogue();
  const none = await cli(["decode", files.index, "--model", files.model, "--text", "re"]);
  assert.equal(none.code, 2);
  assert.match(none.err, /Expected an index of strings .*built from tokens; .*--tokenizer, /);
});

Deno.test("decode puts tokens around prompts that a model expects there", async () => {
  await using files = await catalogue({ encoder: true });
  const { folder } = files;
  const encoder = ["--encoder", folder.at("encoder.onnx"), "--start-token", String(START)];
  const args = [files.index, "--model", files.model, ...encoder];
  const around = ["--prompt-start-token", "2", "--prompt-end-token", "7"];
  const [plain] = await decoded([...args, "2,5,6,7"]);
  for (
    const [line] of [
      await decoded([...args, ...around, "5,6"]),
      await decoded([...args, ...around, "-"], "[5,6]\n"),
      await decoded([...args, "--prompt-end-token", "7", "2,5,6"]),
    ]
  ) {
    assert.deepEqual(foundIn([line]), foundIn([plain]));
  }
  const names = await writeNames(folder);
  const base = [names.index, "--model", names.model, "--text", ...around];
  const bytes = [...new TextEncoder().encode("re")];
  const [spelt] = await decoded([...base, "re"]);
  assert.deepEqual([spelt.text, spelt.prompt], ["re", [2, ...bytes, 7]]);
  // Nothing at all is a prompt then, too.
  assert.deepEqual((await decoded([...base, ""]))[0].prompt, [2, 7]);
});
