/**
 * `demo`: which place did you mean? Misspelt names go in, real places come out.
 *
 * The whole chain runs as in earnest: the names become an index, the index becomes a file, the file is
 * opened, a model is held to it. Beside each answer stands what the same model spells when nothing holds it.
 */

import { parseArgs } from "node:util";
import { ConstraintIndex, createDecoder, type Decoder } from "../../mod.ts";
import type { Model } from "../decode/types.ts";
import { fold, heldOut } from "./demo/fold.ts";
import { loadPlaces, nearestFirst, type Places } from "./demo/places.ts";
import {
  figures,
  type Found,
  type FreelySpelt,
  grouped,
  milliseconds,
  NEW,
  type Paint,
  paint,
  queryReport,
} from "./demo/report.ts";
import { constrained, indexOf, unconstrained } from "./demo/search.ts";
import { Speller } from "./demo/speller.ts";

/** Accents left out, letters wrong, missing, swapped, as other languages write them; one name held out of training. */
const QUERIES = [
  "Sao Paolo",
  "Sant Petersburg",
  "Los Angelos",
  "Reykjavic",
  "Fontainbleau",
  "Buenos Aries",
  "Marakesh",
  "Duesseldorf",
];

const BEAMS = 64;
const SHOWN = 5;
const LONGEST_QUERY = 100;

const HELP = `Finds the place that a misspelt name means, among 171 075 real ones

Usage: demo [options] [query …]

Each query is one argument; without any, a few stand in:
${QUERIES.map((query) => `  ${query}`).join("\n")}

Options:
  --beams M   hypotheses that a search keeps, 1 to 1024 (default ${BEAMS}); the best ${SHOWN} are shown
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
  const beams = Number(values.beams ?? BEAMS);
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
  const { count, names, keys } = places;
  console.log(`${grouped(count)} places with ${grouped(names)} names, from GeoNames (CC-BY-4.0)\n`);
  const [opened, starting] = await timed(() => Speller.open());
  await using speller = opened;
  const chain = await throughFile(keys);
  using index = chain.index;
  using decoder = await createDecoder(index, { backend: "wasm" });
  console.log(figures([
    ["places loaded", milliseconds(loading), `${grouped(keys.length)} without accents and case`],
    ["model opened", milliseconds(starting), "with onnxruntime-web"],
    ["index built", milliseconds(chain.building)],
    ["file written", milliseconds(chain.writing), `${grouped(index.byteLength)} bytes`],
    ["file opened", milliseconds(chain.opening), "digests checked"],
  ], ink));
  console.log(
    `\nScores are log-probabilities of the model; ${ink.green("✓")} exists, ${
      ink.red("✗")
    } does not;` +
      ` ${NEW} was held out of its training.`,
  );

  const searches: Search[] = [];
  for (const query of queries) {
    const search = await find(decoder, places, speller, query, beams);
    const spelt = await spell(index, places, speller, query, beams);
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
async function throughFile(keys: readonly string[]): Promise<Chain> {
  const path = await Deno.makeTempFile({ prefix: "espalier-demo-", suffix: ".safetensors" });
  try {
    const [built, building] = await timed(() => indexOf(keys));
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
  speller: Speller,
  query: string,
  beamSize: number,
): Promise<Search> {
  using model = speller.forQueries([query]);
  let inModel = 0;
  const clocked: Model = async (input) => {
    const [logits, time] = await timed(() => model(input));
    inModel += time;
    return logits;
  };
  const [[spelt], total] = await timed(() =>
    constrained(decoder, clocked, { batchSize: 1, beamSize, best: Math.min(SHOWN, beamSize) })
  );
  const found = spelt.map(({ key, score }): Found => ({
    score,
    places: nearestFirst(query, places.called(key)),
    isNew: heldOut(key),
  }));
  return { found, total, model: inModel };
}

/** What the model spells on its own, and whether that exists. */
async function spell(
  { maxLength }: ConstraintIndex,
  places: Places,
  speller: Speller,
  query: string,
  beamSize: number,
): Promise<FreelySpelt[]> {
  using model = speller.forQueries([query]);
  const options = { batchSize: 1, beamSize, best: Math.min(SHOWN, beamSize) };
  const [spelt] = await unconstrained(model, maxLength, options);
  return spelt.map(({ key, score }) => ({
    text: key,
    score,
    exists: places.called(key).length > 0,
  }));
}

function summary(
  index: ConstraintIndex,
  { keys }: Places,
  searches: readonly Search[],
  beams: number,
  { building, opening }: Chain,
  ink: Paint,
): string {
  const raw = keys.reduce((sum, key) => sum + key.length, 0);
  const perName = (bytes: number) => (bytes / keys.length).toFixed(2);
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
