import assert from "node:assert/strict";
import { createDecoder } from "../../mod.ts";
import { fold, heldOut } from "../../demo/fold.ts";
import { freeSearch } from "../../demo/free_search.ts";
import { groupPlaces, loadPlaces, nearestFirst } from "../../demo/places.ts";
import { constrained, indexOf, unconstrained } from "../../demo/search.ts";
import { END_TOKEN, promptOf, Speller, textOf, tokensOf, VOCAB_SIZE } from "../../demo/speller.ts";
import type { Model } from "../../src/decode/types.ts";

/** The real places: to load them takes most of a second. */
const places = loadPlaces();
const DEMO = new URL("../../demo/", import.meta.url);

Deno.test("folding leaves the letters of a plain keyboard", () => {
  assert.equal(fold("São Paulo"), "sao paulo");
  assert.equal(fold("Saint-Étienne"), "saint etienne");
  assert.equal(fold("Łódź"), "lodz");
  assert.equal(fold("Großröhrsdorf"), "grossrohrsdorf");
  assert.equal(fold("İstanbul"), "istanbul");
  assert.equal(fold("Tórshavn’s Ærø"), "torshavn's aero");
  assert.equal(fold("  Querum -\tWabenkamp "), "querum wabenkamp");
});

Deno.test("one name in fifty is held out of training, by its FNV-1a hash", async () => {
  const { keys, called } = await places;
  const slow = (key: string) =>
    new TextEncoder().encode(key).reduce(
      (hash, byte) => BigInt.asUintN(32, (hash ^ BigInt(byte)) * 0x01000193n),
      0x811c9dc5n,
    );
  assert.equal(slow("foobar"), 0xbf9cf968n); // as its authors publish it
  for (const key of keys.slice(0, 2000)) assert.equal(heldOut(key), slow(key) % 50n === 0n, key);
  for (const key of ["detroit", "neuchatel", "bergisch gladbach"]) assert.ok(heldOut(key), key);
  for (const key of ["paris", "berlin", "sao paulo"]) assert.ok(!heldOut(key), key);
  const held = keys.filter(heldOut);
  assert.equal(held.length, 3071);
  const names = new Set(held.flatMap((key) => called(key).map((place) => place.name)));
  assert.equal(names.size, 3093);
});

Deno.test("the recipe folds names and holds them out as the demo does", async (t) => {
  const { keys, called } = await places;
  const names = keys.flatMap((key) => called(key)[0].name);
  const code = `
import json, sys
from misspell import fold, held_out
print(json.dumps([[fold(name), held_out(name)] for name in json.load(sys.stdin)]))`;
  let child: Deno.ChildProcess;
  try {
    const recipe = new URL("speller/train/", DEMO);
    const env = { PYTHONDONTWRITEBYTECODE: "1", PYTHONUTF8: "1" };
    const pipes = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
    child = new Deno.Command("python3", { args: ["-c", code], cwd: recipe, env, ...pipes }).spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    console.log("Skipped: python3 is not installed here");
    await t.step({ name: "needs python3", ignore: true, fn() {} });
    return;
  }
  const asked = new Response(JSON.stringify(names)).body!.pipeTo(child.stdin);
  const { success, stdout, stderr } = await child.output();
  await asked;
  assert.ok(success, new TextDecoder().decode(stderr));
  const folded: [string, boolean][] = JSON.parse(new TextDecoder().decode(stdout));
  assert.equal(folded.length, names.length);
  names.forEach((name, i) => assert.deepEqual(folded[i], [fold(name), heldOut(fold(name))], name));
});

Deno.test("every name can be spelt and read back; queries are read as far as they can be", async () => {
  const { keys } = await places;
  assert.equal(keys.length, 149_462);
  for (const key of keys) {
    const tokens = tokensOf(key);
    assert.equal(textOf(tokens), key);
    assert.ok(tokens.every((token) => token > END_TOKEN && token < VOCAB_SIZE), key);
    assert.equal(fold(key), key, "folding twice changes nothing");
  }
  assert.throws(() => tokensOf("a中"), { code: "demo-data", message: /cannot spell "中"/ });
  assert.deepEqual(promptOf("A中b-Ć"), [...tokensOf("ab c"), END_TOKEN]);
  assert.deepEqual(promptOf("中"), [END_TOKEN]);
  const long = promptOf("x".repeat(500));
  assert.deepEqual([long.length, long[126], long[127]], [128, ...tokensOf("x"), END_TOKEN]);
});

Deno.test("places of one folded name stay together, names come in order of their tokens", () => {
  const row = (name: string, country: string) => ({
    name,
    country,
    admin1: "07",
    lat: "1.5",
    lng: "-2",
  });
  const places = groupPlaces([
    row("Zürich", "CH"),
    { ...row("Åbo", "FI"), admin1: "" },
    row("Los Ángeles", "CL"),
    row("Los Angeles", "US"),
    row("Los Ángeles", "MX"),
    row("Zu\u0308rich", "DE"), // the same name, decomposed
    row("", "XX"),
  ]);
  assert.deepEqual([places.count, places.names], [6, 4]);
  assert.deepEqual(places.keys, ["abo", "los angeles", "zurich"]);
  const countries = (key: string) => places.called(key).map((place) => place.country);
  assert.deepEqual(countries("zurich"), ["CH", "DE"]);
  assert.deepEqual(places.called("zurich").map((place) => place.name), ["Zürich", "Zürich"]);
  assert.equal(places.called("zurich")[0].longitude, -2);
  assert.deepEqual(places.called("zurich").map((place) => place.admin1), ["CH.07", "DE.07"]);
  assert.equal(places.called("abo")[0].admin1, undefined);
  assert.deepEqual(places.called("Zürich"), []);
  // Those written as the query is come first.
  const near = (query: string) =>
    nearestFirst(query, places.called("los angeles")).map((place) => place.country);
  assert.deepEqual(near("Los Angelos"), ["US", "CL", "MX"]);
  assert.deepEqual(near("Los A\u0301ngelos"), ["CL", "MX", "US"]);
});

/** Seeded uniform numbers in [0, 1). */
function mulberry(seed: number): () => number {
  return () => {
    seed = (seed + 0x6D2B79F5) | 0;
    let x = Math.imul(seed ^ seed >>> 15, 1 | seed);
    x = x + Math.imul(x ^ x >>> 7, 61 | x) ^ x;
    return ((x ^ x >>> 14) >>> 0) / 4294967296;
  };
}

Deno.test("unconstrained search finds what enumeration finds, in every batch row", async () => {
  // Three tokens, the last one ends; the logits depend on the batch row and on all that was spelt.
  const [W, end, maxLength, batchSize, beamSize] = [3, 2, 4, 2, 64];
  const logit = (row: number, prefix: readonly number[], token: number) =>
    5 * mulberry(prefix.reduce((h, t) => h * 5 + t + 1, 7 + row) * 3 + token)();
  let spelt: number[][] = [];
  const model: Model = ({ step, rows, tokens, parents, out }) => {
    const before = spelt;
    spelt = Array.from(
      { length: rows },
      (_, r) => step === 0 ? [] : [...before[parents[r]], tokens[r]],
    );
    spelt.forEach((prefix, r) => {
      const row = step === 0 ? r : Math.floor(r / beamSize);
      assert.ok(step < 2 || Math.floor(parents[r] / beamSize) === row, "parents of its own row");
      for (let t = 0; t < W; t++) out[r * W + t] = logit(row, prefix, t);
    });
    return out;
  };
  const shape = { batchSize, beamSize, vocabSize: W, endToken: end, maxLength };
  const found = await freeSearch(model, { ...shape, best: 6 });
  assert.equal(found.length, batchSize);
  found.forEach((results, row) => {
    const all: { tokens: number[]; score: number }[] = [];
    const enumerate = (prefix: number[], score: number) => {
      const total = Math.log(
        [0, 1, 2].reduce((sum, t) => sum + Math.exp(logit(row, prefix, t)), 0),
      );
      all.push({ tokens: prefix, score: score + logit(row, prefix, end) - total });
      if (prefix.length === maxLength) return;
      for (const t of [0, 1]) enumerate([...prefix, t], score + logit(row, prefix, t) - total);
    };
    enumerate([], 0);
    all.sort((a, b) => b.score - a.score);
    const ended = results.filter((result) => result.ended);
    assert.ok(ended.length > 0);
    const better = all.filter(({ score }) => score >= ended[ended.length - 1].score - 1e-6);
    assert.deepEqual(ended.map(({ tokens }) => tokens), better.map(({ tokens }) => tokens));
    ended.forEach(({ score }, i) => assert.ok(Math.abs(score - better[i].score) < 1e-5));
  });
});

Deno.test("queries of unequal lengths find in one batch what each finds alone", async () => {
  const { keys, called } = await places;
  await using speller = await Speller.open();
  using index = await indexOf(keys);
  using decoder = await createDecoder(index, { backend: "wasm" });
  const queries = ["Nuechatel", "Sant Petersburg upon the Neva", "Kopenhagn"];
  const both = async (queries: string[]) => {
    const options = { batchSize: queries.length, beamSize: 20, best: 5 };
    using held = speller.forQueries(queries);
    using free = speller.forQueries(queries);
    return {
      held: await constrained(decoder, held, options),
      free: await unconstrained(free, index.maxLength, options),
    };
  };
  const together = await both(queries);
  for (const [i, query] of queries.entries()) {
    const alone = await both([query]);
    for (const way of ["held", "free"] as const) {
      const [mine, ours] = [alone[way][0], together[way][i]];
      assert.equal(mine.length, 5);
      assert.deepEqual(ours.map(({ key }) => key), mine.map(({ key }) => key), query);
      ours.forEach(({ score }, rank) => assert.ok(Math.abs(score - mine[rank].score) < 1e-3));
    }
    assert.ok(alone.held[0].every(({ key }) => called(key).length > 0 && index.has(tokensOf(key))));
  }
  assert.equal(together.held[0][0].key, "neuchatel");
  assert.equal(together.held[2][0].key, "copenhagen");
});

Deno.test("the model's weights take less than 2 MB", async () => {
  let bytes = 0;
  for (const name of ["encoder.onnx", "decoder.onnx", "vocab.json"]) {
    bytes += (await Deno.stat(new URL(`speller/${name}`, DEMO))).size;
  }
  assert.ok(bytes > 1_000_000 && bytes <= 2_000_000, `${bytes} bytes`);
});

Deno.test("importing the library loads nothing of the demo, its model or its data", async () => {
  const root = new URL("../..", import.meta.url);
  const modulesOf = async (path: string): Promise<string[]> => {
    const command = new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", path],
      cwd: root,
    });
    const { stdout } = await command.output();
    const { modules } = JSON.parse(new TextDecoder().decode(stdout));
    return modules.map(({ specifier }: { specifier: string }) => specifier.replace(root.href, ""));
  };
  const foreign = /demo|onnx|cities|npm:/;
  assert.deepEqual((await modulesOf("mod.ts")).filter((name) => foreign.test(name)), []);
  assert.ok((await modulesOf("demo/main.ts")).some((name) => foreign.test(name)));
});
