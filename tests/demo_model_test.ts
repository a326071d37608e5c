import assert from "node:assert/strict";
import { createDecoder } from "../mod.ts";
import { Channel } from "../src/cli/demo/channel.ts";
import { fold } from "../src/cli/demo/fold.ts";
import { freeSearch } from "../src/cli/demo/free_search.ts";
import { CharacterModel, GIVE_UP } from "../src/cli/demo/model.ts";
import { END, fitNgrams, TOKENS } from "../src/cli/demo/ngram.ts";
import { groupPlaces, loadPlaces } from "../src/cli/demo/places.ts";
import type { Model } from "../src/decode/types.ts";
import { buildIndex } from "../src/index/build.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** Seeded uniform numbers in [0, 1). */
function mulberry(seed: number): () => number {
  return () => {
    seed = (seed + 0x6D2B79F5) | 0;
    let x = Math.imul(seed ^ seed >>> 15, 1 | seed);
    x = x + Math.imul(x ^ x >>> 7, 61 | x) ^ x;
    return ((x ^ x >>> 14) >>> 0) / 4294967296;
  };
}

/** Interpolated Kneser–Ney as the textbook has it: counts in maps, contexts as strings, recursion. */
function slowNgrams(names: string[], order: number) {
  const raw = new Map<string, Map<string, number>>();
  const add = (table: typeof raw, context: string, next: string) => {
    const row = table.get(context) ?? new Map<string, number>();
    table.set(context, row.set(next, (row.get(next) ?? 0) + 1));
  };
  // "^" opens a name and closes its longest context; "$" ends it.
  for (const name of names) {
    const text = `^${name}$`;
    for (let i = 1; i < text.length; i++) {
      for (let n = 0; n <= order && n <= i; n++) add(raw, text.slice(i - n, i), text[i]);
    }
  }
  const counts = new Map<string, Map<string, number>>();
  for (const [context, row] of raw) {
    if (context.length === order || context.startsWith("^")) counts.set(context, row);
  }
  for (const [context, row] of raw) {
    if (context === "") continue;
    const shorter = context.slice(1);
    for (const next of row.keys()) add(counts, shorter, next);
  }
  const discounts = Array.from({ length: order + 1 }, (_, n) => {
    const all = [...counts].filter(([c]) => c.length === n).flatMap(([, row]) => [...row.values()]);
    const once = all.filter((c) => c === 1).length;
    return once === 0 ? 0.5 : once / (once + 2 * all.filter((c) => c === 2).length);
  });
  const probability = (context: string, next: string): number => {
    const lower = context === "" ? 1 / TOKENS : probability(context.slice(1), next);
    const row = counts.get(context);
    if (row === undefined) return lower;
    const discount = discounts[context.length];
    const total = [...row.values()].reduce((a, b) => a + b);
    const seen = row.get(next);
    return ((seen === undefined ? 0 : seen - discount) + discount * row.size * lower) / total;
  };
  return probability;
}

Deno.test("n-grams agree with a slow Kneser–Ney, token for token", () => {
  const names = ["abab", "abc", "b", "banana", "bandana", "cab", "aab", "ab"];
  for (const order of [1, 2, 3, 4]) {
    const model = fitNgrams(names.map(bytes), names.map(() => 1), order);
    const slow = slowNgrams(names, order);
    const out = new Float64Array(TOKENS);
    for (const context of ["", "a", "b", "ab", "ana", "band", "xan", "zzzz", "aba", "banan"]) {
      model.probabilities(bytes(context), context.length, out);
      // Before the name's first byte there is only its start.
      const shown = `^${context}`.slice(-order);
      for (const next of ["a", "b", "c", "d", "n", "z", "$"]) {
        const token = next === "$" ? END : next.charCodeAt(0);
        const wanted = slow(shown, next);
        const message = `order ${order}, P(${next} | ${context}) = ${out[token]}, want ${wanted}`;
        assert.ok(Math.abs(out[token] - wanted) < 1e-12, message);
      }
    }
  }
});

Deno.test("folding leaves the letters of a plain keyboard", () => {
  assert.equal(fold("São Paulo"), "sao paulo");
  assert.equal(fold("Saint-Étienne"), "saint etienne");
  assert.equal(fold("Łódź"), "lodz");
  assert.equal(fold("Großröhrsdorf"), "grossrohrsdorf");
  assert.equal(fold("İstanbul"), "istanbul");
  assert.equal(fold("Tórshavn’s Ærø"), "torshavn's aero");
});

Deno.test("the channel makes frequent slips cheap and long queries finite", () => {
  const letters = "abcdefghijklmnopqrstuvwxyz ";
  const likelihood = (name: string, query: string) => {
    const channel = new Channel(Array.from(query), letters, 0);
    let state = channel.start();
    let log = 0;
    for (const letter of name) {
      log += Math.log(channel.gain(state, letter));
      state = channel.after(state, letter);
    }
    return log + Math.log(channel.endGain(state));
  };
  const right = likelihood("paris", "paris");
  assert.ok(right > -0.5 && right < 0);
  const swapped = likelihood("paris", "pairs");
  const alike = likelihood("paris", "peris");
  const unlike = likelihood("paris", "pqris");
  const twice = likelihood("paris", "pqrxs");
  assert.ok(right > swapped && right > alike && alike > unlike && unlike > twice);
  assert.ok(swapped > twice);
  assert.ok(likelihood("paris", "parris") > likelihood("paris", "parxis"));
  assert.ok(likelihood("ballet", "balet") > likelihood("ballet", "balle"));
  assert.ok(Number.isFinite(likelihood("q".repeat(200), "z".repeat(200))));
});

Deno.test("places of one name stay together, names come in byte order", () => {
  const row = (name: string, country: string) => (
    { name, country, admin1: "01", lat: "1.5", lng: "-2" }
  );
  const places = groupPlaces([
    row("Zürich", "CH"),
    row("Åbo", "FI"),
    row("Paris", "FR"),
    row("Paris", "US"),
    row("Zu\u0308rich", "DE"), // the same name, decomposed
    row("", "XX"),
  ]);
  assert.equal(places.count, 5);
  const text = new TextDecoder();
  assert.deepEqual(places.names.map((name) => text.decode(name)), ["Paris", "Zürich", "Åbo"]);
  assert.deepEqual([...places.bearers], [2, 2, 1]);
  assert.deepEqual(places.called("Paris").map((place) => place.country), ["FR", "US"]);
  assert.deepEqual(places.called("Paris")[0].longitude, -2);
  assert.deepEqual(places.called("Nowhere"), []);
});

Deno.test("unconstrained search finds what enumeration finds", async () => {
  // Three tokens, the last one ends; the logits depend on all that was spelt.
  const [W, end, maxLength] = [3, 2, 4];
  const logit = (prefix: readonly number[], token: number) =>
    5 * mulberry(prefix.reduce((h, t) => h * 5 + t + 1, 7) * 3 + token)();
  let spelt: number[][] = [];
  const model: Model = ({ step, rows, tokens, parents, out }) => {
    const before = spelt;
    spelt = Array.from(
      { length: rows },
      (_, r) => step === 0 ? [] : [...(before[parents[r]] ?? []), tokens[r]],
    );
    spelt.forEach((prefix, r) => {
      for (let t = 0; t < W; t++) out[r * W + t] = logit(prefix, t);
    });
    return out;
  };
  const all: { tokens: number[]; score: number }[] = [];
  const enumerate = (prefix: number[], score: number) => {
    const total = Math.log([0, 1, 2].reduce((sum, t) => sum + Math.exp(logit(prefix, t)), 0));
    all.push({ tokens: prefix, score: score + logit(prefix, end) - total });
    if (prefix.length === maxLength) return;
    for (const t of [0, 1]) enumerate([...prefix, t], score + logit(prefix, t) - total);
  };
  enumerate([], 0);
  all.sort((a, b) => b.score - a.score);
  const options = { beamSize: 64, vocabSize: W, endToken: end, maxLength, best: 6 };
  const found = await freeSearch(model, { ...options, never: 3 });
  const ended = found.filter((result) => result.ended);
  assert.ok(ended.length > 0);
  const better = all.filter(({ score }) => score >= ended[ended.length - 1].score - 1e-6);
  assert.deepEqual(ended.map(({ tokens }) => tokens), better.map(({ tokens }) => tokens));
  ended.forEach(({ score }, i) => assert.ok(Math.abs(score - better[i].score) < 1e-5));
  const without = await freeSearch(model, { ...options, never: 0 });
  assert.ok(without.length > 0 && without.every(({ tokens }) => !tokens.includes(0)));
});

Deno.test("the model starts anew at step 0, follows its parents and ignores dead rows", async () => {
  const names = ["São Paulo", "Santiago", "Salzburg", "Oslo", "Osnabrück"].map(bytes);
  const fitted = new CharacterModel(names, names.map(() => 1));
  const model = fitted.forQuery("sao paolo");
  const step = async (step: number, tokens: number[], parents: number[]) => {
    const rows = step === 0 ? 1 : tokens.length;
    const input = { step, rows, batchSize: 1, beamSize: rows, vocabSize: TOKENS };
    const out = new Float32Array(rows * TOKENS).fill(NaN);
    const lists = { tokens: Uint32Array.from(tokens), parents: Uint32Array.from(parents) };
    const logits = await model({ ...input, ...lists, out });
    assert.equal(logits, out);
    assert.ok(out.every(Number.isFinite));
    return Array.from({ length: rows }, (_, r) => out.slice(r * TOKENS, (r + 1) * TOKENS));
  };
  const [S, a, lead, tilde, o] = [0x53, 0x61, 0xc3, 0xa3, 0x6f];
  const [first] = await step(0, [], []);
  await step(1, [S, o], [0, 0]);
  const straight = await step(2, [a, 0], [0, 1]);
  const [again] = await step(0, [], []);
  assert.deepEqual(again, first);
  await step(1, [o, S], [0, 0]);
  const crossed = await step(2, [0, a], [0, 1]);
  assert.deepEqual(crossed[1], straight[0]);
  assert.notDeepEqual(crossed[1], first);

  // "Sã" explains the query as well as "Sa" does, and half a character goes on to its end.
  await step(0, [], []);
  await step(1, [S, o], [0, 0]);
  const [half] = await step(2, [lead, lead], [0, 1]);
  const best = half.indexOf(Math.max(...half));
  assert.equal(best, tilde);
  const [whole] = await step(3, [tilde, tilde], [0, 1]);
  assert.equal(whole.indexOf(Math.max(...whole)), o);
  assert.ok(whole[o] > whole[GIVE_UP]);
});

/** Misspells: a letter of the folded name is lost, doubled, swapped or mistaken; two in long names. */
function misspell(name: string, random: () => number): string {
  const letters = Array.from(fold(name));
  for (let slips = letters.length > 9 ? 2 : 1; slips > 0; slips--) {
    const i = 1 + Math.floor(random() * (letters.length - 1));
    const kind = Math.floor(random() * 4);
    if (kind === 0) letters.splice(i, 1);
    else if (kind === 1) letters.splice(i, 0, letters[i]);
    else if (kind === 2 && i + 1 < letters.length) {
      [letters[i], letters[i + 1]] = [letters[i + 1], letters[i]];
    } else letters[i] = String.fromCharCode(0x61 + Math.floor(random() * 26));
  }
  return letters.join("");
}

Deno.test("misspelt real names lead to the names that were meant", async () => {
  const { names, bearers } = await loadPlaces();
  const model = new CharacterModel(names, bearers);

  const distribution = new Float64Array(TOKENS);
  for (const context of ["", "S", "Sa", "San ", "Sankt Peters", "Zã", "qqqqqq", "\u00ff"]) {
    const encoded = bytes(context);
    model.ngrams.probabilities(encoded, encoded.length, distribution);
    const sum = distribution.reduce((a, b) => a + b);
    assert.ok(Math.abs(sum - 1) < 1e-9, `P(· | ${context}) sums to ${sum}`);
    assert.ok(distribution.every((p) => p > 0));
  }

  using index = await buildIndex(names, { vocabSize: 256, sorted: true });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const text = new TextDecoder();
  const random = mulberry(2024);
  const [sample, tally] = [40, { first: 0, five: 0 }];
  for (let i = 0; i < sample;) {
    const target = names[Math.floor(random() * names.length)];
    const name = text.decode(target);
    if (name.length < 5 || name.length > 24) continue;
    i++;
    const { ordinals } = await decoder.beamSearch(model.forQuery(misspell(name, random)), {
      beamSize: 20,
      vocabSize: TOKENS,
      endToken: END,
    });
    const rank = ordinals.indexOf(index.ordinalOf(target)!);
    if (rank === 0) tally.first++;
    if (rank >= 0 && rank < 5) tally.five++;
  }
  assert.ok(tally.first >= 0.6 * sample, `first for ${tally.first} of ${sample}`);
  assert.ok(tally.five >= 0.7 * sample, `among five for ${tally.five} of ${sample}`);
});
