/**
 * `deno task demo`: which place did you mean? Misspelt names go in, real places come out.
 *
 * The whole chain runs as in earnest: the names become an index, the index becomes a file, the file is
 * opened, a model is held to it. Beside each answer stands what the same model spells when nothing holds it.
 */

import { ConstraintIndex, createDecoder } from "../mod.ts";
import { compileFilter } from "./filter.ts";
import { EXAMPLE, HELP, type Options, parse, SHOWN } from "./options.ts";
import { loadPlaces } from "./places.ts";
import { admin1Of, countriesOf, findRegions, type Region } from "./regions.ts";
import {
  figures,
  filterReport,
  grouped,
  type Looser,
  milliseconds,
  NEW,
  type Paint,
  paint,
  queryReport,
  type Titles,
} from "./report.ts";
import { type Rules, rulesOf } from "./rules.ts";
import { indexOf } from "./search.ts";
import { find, findLoosely, type Search, type Session, spell, timed } from "./session.ts";
import { Speller } from "./speller.ts";
import { errorText, UsageError } from "../src/cli/errors.ts";

/** Runs the demo; returns its exit code: 0, 1 if the filters leave no place, 2 for wrong arguments. */
async function demo(args: string[]): Promise<number> {
  try {
    const options = parse(args);
    if (options.isHelp) console.log(HELP);
    else if (options.list) await list(options.list);
    else await run(options);
    return 0;
  } catch (error) {
    console.error(errorText(error, "deno task demo --help").trimEnd());
    return error instanceof UsageError ? 2 : 1;
  }
}

/** Prints the codes by which places can be filtered. */
async function list(what: NonNullable<Options["list"]>): Promise<void> {
  const places = await loadPlaces();
  const countries = countriesOf(places);
  let regions = Array.from(countries.values());
  if (what !== "countries") {
    const [{ code }] = findRegions(
      [what.admin1Of],
      countries,
      "--list-admin1",
      "--list-countries",
    );
    const isInside = (region: Region) => region.code.startsWith(`${code}.`);
    regions = Array.from((await admin1Of(places)).values()).filter(isInside);
    if (regions.length === 0) return console.log(`${code} is not divided`);
  }
  const rows = regions.map(({ code, name, places }) => [code, grouped(places), name] as const);
  console.log(figures([["code", "places", "name"], ...rows], paint(false)));
}

async function run({ beams, queries, filter: request, isTour }: Options): Promise<void> {
  const began = performance.now();
  const terminal = Deno.stdout.isTerminal();
  const ink = paint(terminal && !Deno.noColor);
  const columns = terminal ? Deno.consoleSize().columns : 120;

  const [places, loading] = await timed(loadPlaces);
  const { count, names, keys } = places;
  const rules = await rulesOf(request, places);
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
  console.log(`\nScores are log-probabilities of the model; ${NEW} was held out of its training.`);
  console.log(
    "Where: country, latitude and longitude; +7: seven more places of that name. Those spelt most like the query\n" +
      "come first, then they stand by country, because the data does not say how large they are.",
  );

  const options = { batchSize: 1, beamSize: beams, best: Math.min(SHOWN, beams) };
  const session = { index, decoder, places, speller, options };
  const show = (query: string, titles: Titles, { found }: Search, looser: Looser[]) =>
    console.log(`\n${ink.bold(query)}\n${queryReport(titles, found, looser, columns, ink)}`);

  const isFiltered = rules.rules.length + rules.excluded.length > 0;
  const searches = isFiltered
    ? await searchFiltered(session, queries, rules, ink, show)
    : await searchAll(session, queries, ink, show);
  if (isTour) {
    console.log(`\n${ink.bold(EXAMPLE.title)}\n${EXAMPLE.text}`);
    const { filter, queries } = parse(EXAMPLE.args);
    await searchFiltered(session, queries, await rulesOf(filter, places), ink, show);
  }
  console.log(`\n${summary(session, searches, chain, ink)}`);
  console.log(ink.dim(`\n${((performance.now() - began) / 1000).toFixed(1)} s in all`));
}

type Show = (query: string, titles: Titles, search: Search, looser: Looser[]) => void;

/** Searches all places; beside them stands what the model spells on its own. */
async function searchAll(
  session: Session,
  queries: readonly string[],
  ink: Paint,
  show: Show,
): Promise<Search[]> {
  console.log(`${ink.green("✓")} exists, ${ink.red("✗")} does not.`);
  const searches: Search[] = [];
  for (const query of queries) {
    const search = await find(session, query);
    searches.push(search);
    const looser = await spell(session, query);
    show(query, { found: "places that exist", looser: "unconstrained" }, search, looser);
  }
  return searches;
}

/** Searches the places that pass the rules; beside them stands what is found without the rules. */
async function searchFiltered(
  session: Session,
  queries: readonly string[],
  rules: Rules,
  ink: Paint,
  show: Show,
): Promise<Search[]> {
  const { index, places } = session;
  using filter = compileFilter(index, places, rules);
  console.log(`\n${filterReport(filter, index.size, ink)}`);
  console.log(`\n${ink.green("✓")} passes the filter, ${ink.red("✗")} does not.`);
  const searches: Search[] = [];
  for (const query of queries) {
    const search = await find(session, query, filter);
    searches.push(search);
    const looser = await findLoosely(session, query, filter);
    show(query, { found: "places that pass", looser: "without the filter" }, search, looser);
  }
  return searches;
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

function summary(
  { index, places: { keys }, options }: Session,
  searches: readonly Search[],
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
    [
      "search",
      milliseconds(middle.total),
      `median of ${searches.length}, ${options.beamSize} beams`,
    ],
    ["  the model", milliseconds(middle.model)],
    ["  all else", milliseconds(middle.total - middle.model), "softmax, constraint, selection"],
  ], ink);
}

Deno.exit(await demo(Deno.args));
