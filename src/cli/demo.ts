/**
 * `demo`: which place did you mean? Misspelt names go in, real places come out.
 *
 * The whole chain runs as in earnest: the names become an index, the index becomes a file, the file is
 * opened, a model is held to it. Beside each answer stands what the same model spells when nothing holds it.
 */

import { parseArgs } from "node:util";
import { ConstraintIndex, createDecoder, type Decoder } from "../../mod.ts";
import type { Model } from "../decode/types.ts";
import { buildIndex } from "../index/build.ts";
import { fold } from "./demo/fold.ts";
import { freeSearch } from "./demo/free_search.ts";
import { CharacterModel, GIVE_UP } from "./demo/model.ts";
import { END, TOKENS } from "./demo/ngram.ts";
import { loadPlaces, type Places } from "./demo/places.ts";
import {
  figures,
  type Found,
  grouped,
  milliseconds,
  type Paint,
  paint,
  queryReport,
  type Spelt,
} from "./demo/report.ts";

/** Accents left out, letters wrong, missing, doubled, swapped, and as other languages write them. */
const QUERIES = [
  "Sao Paolo",
  "Sant Petersburg",
  "Los Angelos",
  "Reykjavic",
  "Cincinatti",
  "Buenos Aries",
  "Marakesh",
  "Duesseldorf",
];

const SHOWN = 5;
const LONGEST_QUERY = 100;

const HELP = `Finds the place that a misspelt name means, among 171 075 real ones

Usage: demo [options] [query …]

Each query is one argument; without any, a few stand in:
${QUERIES.map((query) => `  ${query}`).join("\n")}

Options:
  --beams M   hypotheses that a search keeps, 1 to 1024 (default 20); the best ${SHOWN} are shown
  --help      this text
`;

/** Runs the command; returns its exit code: 0, or 2 for wrong arguments. */
export async function demo(args: string[]): Promise<number> {
  let options: Options;
  try {
    options = parse(args);
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    console.error(`error: ${error.message}\n  try: deno task demo --help`);
    return 2;
  }
  if (options.help) {
    console.log(HELP);
    return 0;
  }
  await run(options);
  return 0;
}

interface Options {
  readonly help: boolean;
  readonly beams: number;
  readonly queries: readonly string[];
}

function parse(args: string[]): Options {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { help: { type: "boolean", short: "h" }, beams: { type: "string" } },
  });
  const beams = Number(values.beams ?? 20);
  if (!Number.isInteger(beams) || beams < 1 || beams > 1024) {
    throw new RangeError(`Give --beams a whole number from 1 to 1024, got "${values.beams}"`);
  }
  for (const query of positionals) {
    if (!/[a-z]/.test(fold(query))) {
      throw new RangeError(
        `Give a query with at least one Latin letter, as all names here have; got ${
          JSON.stringify(query.slice(0, LONGEST_QUERY))
        }`,
      );
    }
    if (query.length > LONGEST_QUERY) {
      throw new RangeError(
        `Give queries of at most ${LONGEST_QUERY} characters, got one of ${query.length}`,
      );
    }
  }
  // Whatever would move the cursor is no part of a name.
  const typed = positionals.map((query) => query.replace(/[\p{C}\s]+/gu, " ").trim());
  const queries = typed.length > 0 ? typed : QUERIES;
  return { help: values.help === true, beams, queries };
}

async function run({ beams, queries }: Options): Promise<void> {
  const began = performance.now();
  const terminal = Deno.stdout.isTerminal();
  const ink = paint(terminal && !Deno.noColor);
  const columns = terminal ? Deno.consoleSize().columns : 120;

  const [places, loading] = await timed(loadPlaces);
  const { names, bearers } = places;
  console.log(
    `${grouped(places.count)} places with ${
      grouped(names.length)
    } names, from GeoNames (CC-BY-4.0)\n`,
  );
  const [model, fitting] = await timed(() => new CharacterModel(names, bearers));
  const chain = await throughFile(names);
  using index = chain.index;
  using decoder = await createDecoder(index, { backend: "wasm" });
  console.log(figures([
    ["places loaded", milliseconds(loading)],
    ["model fitted", milliseconds(fitting), `${grouped(model.ngrams.contexts)} contexts`],
    ["index built", milliseconds(chain.building)],
    ["file written", milliseconds(chain.writing), `${grouped(index.byteLength)} bytes`],
    ["file opened", milliseconds(chain.opening), "digests checked"],
  ], ink));
  console.log(
    `\nScores are log-probabilities of the model; ${ink.green("✓")} exists, ${
      ink.red("✗")
    } does not.`,
  );

  const searches: Search[] = [];
  for (const query of queries) {
    const search = await find(decoder, places, model.forQuery(query), beams);
    const spelt = await spell(index, model.forQuery(query), beams);
    searches.push(search);
    console.log(`\n${ink.bold(query)}\n${queryReport(search.found, spelt, columns, ink)}`);
  }
  console.log(`\n${summary(index, places, searches, beams, chain, ink)}`);
  console.log(ink.dim(`\n${((performance.now() - began) / 1000).toFixed(1)} s in all`));
}

interface Chain {
  readonly index: ConstraintIndex;
  readonly building: number;
  readonly writing: number;
  readonly opening: number;
}

/** Builds the index, writes it to a temporary file and opens that; the file does not outlive the call. */
async function throughFile(names: readonly Uint8Array[]): Promise<Chain> {
  const path = await Deno.makeTempFile({ prefix: "espalier-demo-", suffix: ".safetensors" });
  try {
    const [built, building] = await timed(() =>
      buildIndex(names, { vocabSize: 256, sorted: true })
    );
    const [, writing] = await timed(() => Deno.writeFile(path, built.toStream()));
    built[Symbol.dispose]();
    const [index, opening] = await timed(async () =>
      ConstraintIndex.open((await Deno.open(path)).readable)
    );
    return { index, building, writing, opening };
  } finally {
    await Deno.remove(path);
  }
}

interface Search {
  readonly found: Found[];
  /** Milliseconds of the whole search. */
  readonly total: number;
  /** Milliseconds of them that the model took. */
  readonly model: number;
}

/** The names of the index that fit best. */
async function find(
  decoder: Decoder,
  places: Places,
  model: Model,
  beamSize: number,
): Promise<Search> {
  let inModel = 0;
  const clocked: Model = async (input) => {
    const [logits, time] = await timed(() => model(input));
    inModel += time;
    return logits;
  };
  const [result, total] = await timed(() =>
    decoder.beamSearch(clocked, {
      batchSize: 1,
      beamSize,
      vocabSize: TOKENS,
      endToken: END,
      normalize: "vocab",
    })
  );
  const text = new TextDecoder();
  const shown = Math.min(SHOWN, result.counts[0]);
  const found = Array.from({ length: shown }, (_, beam): Found => {
    const begin = beam * result.maxLength;
    const bytes = result.sequences.subarray(begin, begin + result.lengths[beam]);
    const name = text.decode(Uint8Array.from(bytes));
    return { name, score: result.scores[beam], places: places.called(name) };
  });
  return { found, total, model: inModel };
}

/** What the model spells on its own, and whether that exists. */
async function spell(index: ConstraintIndex, model: Model, beamSize: number): Promise<Spelt[]> {
  const results = await freeSearch(model, {
    beamSize,
    vocabSize: TOKENS,
    endToken: END,
    never: GIVE_UP,
    maxLength: index.maxLength,
    best: Math.min(SHOWN, beamSize),
  });
  const text = new TextDecoder();
  return results.map(({ tokens, score }) => ({
    text: text.decode(Uint8Array.from(tokens)),
    score,
    exists: index.has(tokens),
  }));
}

function summary(
  index: ConstraintIndex,
  { names }: Places,
  searches: readonly Search[],
  beams: number,
  { building, opening }: Chain,
  ink: Paint,
): string {
  const raw = names.reduce((sum, name) => sum + name.length, 0);
  const perName = (bytes: number) => (bytes / names.length).toFixed(2);
  // One search stands for all, so that its parts add up.
  const middle = searches.toSorted((a, b) => a.total - b.total)[searches.length >> 1];
  return figures([
    ["index", `${grouped(index.byteLength)} bytes`],
    ["per name", `${perName(index.byteLength)} bytes`, `the letters alone take ${perName(raw)}`],
    ["build", milliseconds(building)],
    ["open", milliseconds(opening)],
    ["search", milliseconds(middle.total), `median of ${searches.length}, ${beams} beams`],
    ["  the model", milliseconds(middle.model)],
    ["  all else", milliseconds(middle.total - middle.model), "softmax, constraint, selection"],
  ], ink);
}

/** The result of a call and the milliseconds that it took. */
async function timed<T>(call: () => T | Promise<T>): Promise<[T, number]> {
  const began = performance.now();
  const result = await call();
  return [result, performance.now() - began];
}
