/**
 * What the constraint saves of the model's work: rows, calls and time, against the same search without. With
 * `--before FOLDER`, a checkout of an earlier version, also against that one, in turns. `--quick`: a set of 1 million
 * instead of 10.
 */
import { createDecoder, type Decoder, type Model } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { createOnnxModel, type OnnxModel } from "../../src/models/onnx/mod.ts";
import { loadPlaces } from "../../demo/places.ts";
import { QUERIES } from "../../demo/options.ts";
import { indexOf } from "../../demo/search.ts";
import { END_TOKEN, promptOf } from "../../demo/speller.ts";
import vocabulary from "../../demo/speller/vocab.json" with { type: "json" };
import { record, writeRecords } from "../lib/records.ts";
import { L, line, median, random, randomIndex, V } from "../lib/support.ts";

const BENCH = "The model's work";
const BEAMS = 64;
const BEST = 5;
/** Prompts that are searched together. */
const PROMPTS = 16;
const [before] = Deno.args.flatMap((arg, i) => arg === "--before" ? [Deno.args[i + 1]] : []);
const isQuick = Deno.args.includes("--quick");

const file = (name: string) =>
  Deno.readFile(new URL(`../../demo/speller/${name}.onnx`, import.meta.url));
const speller = {
  encoder: await file("encoder"),
  startToken: vocabulary.start,
  padToken: vocabulary.pad,
};

/** Rows, calls and milliseconds of one search. */
interface Cost {
  rows: number;
  calls: number;
  time: number;
}

/** A build of the library with its index, ready to search. */
interface Build {
  decoder: Decoder;
  model: OnnxModel;
  more: { results?: number };
}

async function search(
  { decoder, model, more }: Build,
  queries: readonly string[],
  beamSize: number,
): Promise<Cost> {
  const cost: Cost = { rows: 0, calls: 0, time: 0 };
  using prompted = model.withPrompts(queries.map(promptOf));
  const own = prompted as Model;
  const counting: Model = Object.assign(
    (input: Parameters<Model>[0]) => {
      cost.calls++;
      cost.rows += input.rows;
      return own(input);
    },
    { liveRows: own.liveRows },
    own.scoreRuns && {
      scoreRuns: (input: Parameters<NonNullable<Model["scoreRuns"]>>[0]) => {
        cost.calls++;
        cost.rows += input.rows * input.width;
        return own.scoreRuns!(input);
      },
    },
  );
  const start = performance.now();
  await decoder.beamSearch(counting, {
    batchSize: queries.length,
    beamSize,
    vocabSize: model.vocabSize,
    endToken: END_TOKEN,
    ...more,
  });
  cost.time = performance.now() - start;
  return cost;
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Times builds in turns, query by query; medians of ratios to the first. */
async function inTurns(builds: readonly Build[], beamSize: number): Promise<Cost[][]> {
  const costs: Cost[][] = builds.map(() => []);
  for (let round = -1; round < 4; round++) {
    for (const query of QUERIES) {
      for (const [i, build] of builds.entries()) {
        const cost = await search(build, [query], beamSize);
        if (round >= 0) costs[i].push(cost);
      }
    }
  }
  return costs;
}

const ratio = (costs: readonly Cost[], base: readonly Cost[]) =>
  median(costs.map(({ time }, i) => time / base[i].time));

/** The demo's model: best 5 of 64 beams. */
async function demo(): Promise<void> {
  const { keys } = await loadPlaces();
  using index = await indexOf(keys);
  using decoder = await createDecoder(index, { backend: "wasm" });
  await using web = await createOnnxModel(await file("decoder"), speller);
  const after: Build = { decoder, model: web, more: { results: BEST } };
  const whole: Build = { decoder, model: web, more: {} };
  if (before) {
    const old = await import(`file://${await Deno.realPath(before)}/mod.ts`);
    const onnx = await import(`file://${await Deno.realPath(before)}/src/models/onnx/mod.ts`);
    using oldIndex = await old.ConstraintIndex.open(index.toBytes());
    using oldDecoder = await old.createDecoder(oldIndex, { backend: "wasm" });
    await using model = await onnx.createOnnxModel(await file("decoder"), speller);
    await using native = await createOnnxModel(await file("decoder"), {
      ...speller,
      runtime: "node",
    });
    const builds = [
      { decoder: oldDecoder, model, more: {} },
      after,
      { decoder, model: native, more: { results: BEST } },
    ];
    const [base, now, node] = await inTurns(builds, BEAMS);
    const name = `${BEST} best of ${BEAMS} beams, against the build before`;
    record(BENCH, `${name}, onnxruntime-web`, ratio(now, base), "times", 0.27);
    record(BENCH, `${name}, onnxruntime-node`, ratio(node, base), "times", 0.12);
    record(BENCH, "rows that the model computes, before", mean(base.map((c) => c.rows)), "rows");
    for (const queries of [1, PROMPTS]) {
      line(`${queries} prompts, before`, `${(await perPrompt(builds[0], queries)).toFixed(1)} ms`);
    }
  } else line("against an earlier version", "not measured: no --before");
  const [all, best] = await inTurns([whole, after], BEAMS);
  record(BENCH, `${BEST} best of ${BEAMS} beams, against all`, ratio(best, all), "times");
  record(BENCH, "rows that the model computes", mean(best.map((c) => c.rows)), "rows", 400);
  record(BENCH, "calls of the model", mean(best.map((c) => c.calls)), "calls");
  line("calls for all beams", mean(all.map((c) => c.calls)).toFixed(1));
  line("milliseconds a search", mean(best.map((c) => c.time)).toFixed(1));
  const one = await perPrompt(after, 1);
  const many = await perPrompt(after, PROMPTS);
  record(BENCH, `time per prompt, ${PROMPTS} together against 1`, many / one, "times", 1.1);
}

/** Milliseconds per prompt, of so many together. */
async function perPrompt(build: Build, queries: number): Promise<number> {
  const times: number[] = [];
  const all = Array.from({ length: PROMPTS }, (_, i) => QUERIES[i % QUERIES.length]);
  for (let round = -1; round < 3; round++) {
    for (let first = 0; first < all.length; first += queries) {
      const { time } = await search(build, all.slice(first, first + queries), BEAMS);
      if (round >= 0) times.push(time / queries);
    }
  }
  return mean(times);
}

/** Random SIDs: how many calls a search takes, and what an exclusion in each of 64 rows costs. */
async function sids(): Promise<void> {
  const million = isQuick ? 1 : 10;
  using index = await randomIndex(million * 1e6);
  using decoder = await createDecoder(index, { backend: "wasm" });
  const next = random(5);
  const table = Float32Array.from({ length: 1 << 16 }, () => (next() >>> 8) * 2 ** -21 - 4);
  let calls = 0;
  const fill = (out: Float32Array, rows: number) => {
    calls++;
    for (let row = 0; row < rows; row++) {
      const at = next() % (table.length - V);
      out.set(table.subarray(at, at + V), row * V);
    }
    return out;
  };
  const model: Model = Object.assign(
    ({ out, rows }: Parameters<Model>[0]) => fill(out, rows),
    {
      liveRows: true,
      scoreRuns: ({ rows, width }: Parameters<NonNullable<Model["scoreRuns"]>>[0]) =>
        fill(new Float32Array(rows * width * V), rows * width),
    },
  );
  const searches = isQuick ? 200 : 1000;
  for (let i = 0; i < searches; i++) await decoder.beamSearch(model, { beamSize: 20 });
  const name = `calls of the model, ${million} M SIDs, ${L} tokens, 20 beams`;
  record(BENCH, name, calls / searches, "calls", 4.2);

  const rows = 64;
  const logits = new Float32Array(rows * 20 * V);
  for (let row = 0; row < rows * 20; row++) {
    const at = next() % (table.length - V);
    logits.set(table.subarray(at, at + V), row * V);
  }
  const still: Model = ({ out }) => {
    if (out[0] !== logits[0]) out.set(logits.subarray(0, out.length));
    return out;
  };
  const timed = async (each: number) => {
    const exclude = each === 0
      ? undefined
      : Array.from({ length: rows }, () => Array.from({ length: each }, () => next() % index.size));
    const start = performance.now();
    await decoder.beamSearch(still, { batchSize: rows, beamSize: 20, exclude });
    return performance.now() - start;
  };
  const times: number[][] = [[], [], []];
  for (let round = -1; round < 15; round++) {
    for (const [i, each] of [0, 1, 100].entries()) {
      const time = await timed(each);
      if (round >= 0) times[i].push(time);
    }
  }
  for (const [i, each] of [[1, 1], [2, 100]]) {
    const value = median(times[i].map((time, round) => time / times[0][round]));
    record(
      BENCH,
      `${rows} rows, ${each} excluded in each, against none, ${million} M`,
      value,
      "times",
      each === 1 ? 1.15 : undefined,
    );
  }
}

/** A wide vocabulary whose logits need no sum. */
async function wide(): Promise<void> {
  const width = 200_000;
  const next = random(9);
  const rows = Array.from(
    { length: 100_000 },
    () => Array.from({ length: 4 }, () => next() % width),
  );
  using index = await buildIndex(rows, { vocabSize: width });
  using decoder = await createDecoder(index, { backend: "wasm" });
  const beams = 20;
  const own = Float32Array.from({ length: beams * width }, () => -(next() >>> 8) * 2 ** -20);
  const ratios: Record<string, number[]> = { "in place": [], "the model's own": [] };
  for (let round = -1; round < 7; round++) {
    for (const name of Object.keys(ratios)) {
      let inModel = 0;
      let reading = 0;
      const model: Model = ({ out, rows }) => {
        const start = performance.now();
        const logits = own.subarray(0, rows * width);
        if (name === "in place") out.set(logits);
        const read = performance.now();
        // One pass over what the search is given.
        let sum = 0;
        const target = name === "in place" ? out : logits;
        for (let i = 0; i < target.length; i++) sum += target[i];
        if (Number.isNaN(sum)) throw new Error("No numbers");
        reading += performance.now() - read;
        inModel += performance.now() - start;
        return target;
      };
      const start = performance.now();
      await decoder.beamSearch(model, { beamSize: beams, normalize: "none" });
      const time = performance.now() - start - inModel;
      if (round >= 0) ratios[name].push(time / reading);
    }
  }
  for (const [name, values] of Object.entries(ratios)) {
    const title = `"none", ${width} tokens, ${beams} beams, against a read pass, logits ${name}`;
    record(BENCH, title, median(values), "times", name === "in place" ? 0.3 : undefined);
  }
}

await demo();
await wide();
await sids();
await writeRecords();
