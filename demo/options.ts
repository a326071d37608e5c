/** What the demo is given on the command line, and what it says of that. */

import { parseFlags } from "../src/cli/args/flags.ts";
import { UsageError } from "../src/cli/errors.ts";
import { fold } from "./fold.ts";
import type { FilterRequest } from "./rules.ts";

/** Accents left out, letters wrong, missing, swapped, as other languages write them; one name held out of training. */
export const QUERIES = [
  "Sao Paolo",
  "Sant Petersburg",
  "Los Angelos",
  "Reykjavic",
  "Fontainbleau",
  "Buenos Aries",
  "Marakesh",
  "Duesseldorf",
];

/** How the demo ends when it is given neither queries nor filters: Viana is nearer, but Vienna is in Austria. */
export const EXAMPLE = {
  title: 'With a filter: deno task demo --country AT "Vianna"',
  text: "The index stays as it is; this search can spell nothing but names of places in Austria.",
  args: ["--country", "AT", "Vianna"],
};

/** How many places of a query are shown. */
export const SHOWN = 5;

const BEAMS = 64;
const LONGEST_QUERY = 100;

/** What `demo --help` prints. */
export const HELP = `Finds the place that a misspelt name means, among 171 075 real ones

Usage: deno task demo [options] [query …]

Each query is one argument; without any, a few stand in:
${QUERIES.map((query) => `  ${query}`).join("\n")}

Examples
  deno task demo "Kopenhagn"
  deno task demo --country FR "Orlean" "Parris"
  deno task demo --admin1 US.TX "Parris"
  deno task demo --country ES,PT --not-country ES "Lisbone"
  deno task demo --country US --near 38.9,-77.04,300 "Vianna"
  deno task demo --near=-33.87,151.21,200 "Neucastle"
  deno task demo --exclude Viana "Vianna"

Filters: only such places are found
  --country CODE      in this country (ISO 3166, two letters)
  --not-country CODE  in any other country
  --admin1 CODE       in this state, province or region: US.TX
  --near LAT,LNG,KM   within so many kilometres of a point; as --near=-33.87,151.21,200 where LAT is negative
  --exclude NAME      of any other name; accents and case do not count

All of them may be repeated, and codes also be separated by commas. A place passes if it has one of the values of each
option (of those with "not" and "exclude": none). A name is found if one of its places passes; only those are shown.

Options
  --beams M              hypotheses that a search keeps, 1 to 1024 (default ${BEAMS}); the best ${SHOWN} are shown
  --list-countries       lists the codes of the countries
  --list-admin1 COUNTRY  lists the codes of a country's states, provinces or regions
  -h, --help             this text

Exit codes: 0 ok, 1 the filters leave no place, 2 wrong usage
`;

/** What is asked for. */
export interface Options {
  readonly isHelp: boolean;
  /** Regions to list instead of a search: countries, or what a country has. */
  readonly list: "countries" | { readonly admin1Of: string } | undefined;
  readonly beams: number;
  readonly queries: readonly string[];
  readonly filter: FilterRequest;
  /** Whether neither queries nor filters were given. */
  readonly isTour: boolean;
}

/**
 * Reads the arguments. Codes and names are checked later, against the data.
 *
 * @throws {UsageError} for wrong ones.
 */
export function parse(args: string[]): Options {
  const text = { type: "string" } as const;
  const texts = { type: "string", multiple: true } as const;
  const flag = { type: "boolean" } as const;
  const { values, positionals } = parseFlags(args, {
    help: { ...flag, short: "h" },
    beams: text,
    country: texts,
    "not-country": texts,
    admin1: texts,
    near: texts,
    exclude: texts,
    "list-countries": flag,
    "list-admin1": text,
  });
  const beams = Number(values.beams ?? BEAMS);
  if (!Number.isInteger(beams) || beams < 1 || beams > 1024) {
    throw new UsageError(`Give --beams a whole number from 1 to 1024, got "${values.beams}"`);
  }
  const typed = positionals.map(cleaned);
  const codes = (list: string[] = []) => list.flatMap((value) => value.split(","));
  const filter = {
    country: codes(values.country),
    notCountry: codes(values["not-country"]),
    admin1: codes(values.admin1),
    near: values.near ?? [],
    exclude: values.exclude ?? [],
  };
  const admin1Of = values["list-admin1"];
  return {
    isHelp: values.help === true,
    list: values["list-countries"]
      ? "countries"
      : admin1Of === undefined
      ? undefined
      : { admin1Of },
    beams,
    queries: typed.length > 0 ? typed : QUERIES,
    filter,
    isTour: typed.length === 0 && Object.values(filter).every((list) => list.length === 0),
  };
}

/** A query without what would move the cursor: that is no part of a name. */
function cleaned(query: string): string {
  if (!/[a-z]/.test(fold(query))) {
    throw new UsageError(
      `Give a query with at least one Latin letter, as all names here have; got ${
        JSON.stringify(query.slice(0, LONGEST_QUERY))
      }`,
    );
  }
  if (query.length > LONGEST_QUERY) {
    throw new UsageError(
      `Give queries of at most ${LONGEST_QUERY} characters, got one of ${query.length}`,
    );
  }
  return query.replace(/[\p{C}\s]+/gu, " ").trim();
}
