/** The codes by which places are filtered: countries, and their states, provinces, regions ("admin1"). */

import { UsageError } from "../src/cli/errors.ts";
import { closest } from "./closest.ts";
import { loadAdmin1Names, type Place, type Places } from "./places.ts";

/** One code, with what it stands for. */
export interface Region {
  /** "FR"; "US.TX". */
  readonly code: string;
  /** In English; empty where it is not known. */
  readonly name: string;
  /** How many places lie there. */
  readonly places: number;
}

/** Regions of one kind, by code, in the order of the codes. */
export type Regions = ReadonlyMap<string, Region>;

const COUNTRY_NAMES = new Intl.DisplayNames(["en"], { type: "region", fallback: "none" });

/** Every country that has a place. */
export function countriesOf(places: Places): Regions {
  return regionsOf(places, ({ country }) => country, countryName);
}

/** Every state, province or region that has a place. */
export async function admin1Of(places: Places): Promise<Regions> {
  const names = await loadAdmin1Names();
  return regionsOf(places, ({ admin1 }) => admin1, (code) => names.get(code) ?? "");
}

function regionsOf(
  { keys, called }: Places,
  codeOf: (place: Place) => string | undefined,
  nameOf: (code: string) => string,
): Regions {
  const counts = new Map<string, number>();
  for (const key of keys) {
    for (const place of called(key)) {
      const code = codeOf(place);
      if (code !== undefined) counts.set(code, (counts.get(code) ?? 0) + 1);
    }
  }
  const codes = Array.from(counts).sort(([a], [b]) => a < b ? -1 : 1);
  return new Map(codes.map(([code, places]) => [code, { code, name: nameOf(code), places }]));
}

/** The name of a country; for codes no longer or never in force ("UK"), that of the country that is meant. */
function countryName(code: string): string {
  return /^[A-Z]{2}$/.test(code) ? COUNTRY_NAMES.of(code) ?? "" : "";
}

/**
 * The regions of codes as they were typed, in either case; each once.
 *
 * @param option what they were typed for, `--country`.
 * @param listing the option that lists all codes.
 * @throws {UsageError} for a code that is none, with near matches.
 */
export function findRegions(
  typed: readonly string[],
  regions: Regions,
  option: string,
  listing: string,
): Region[] {
  const found = typed.map((text) => {
    const code = text.trim().toUpperCase();
    const region = regions.get(code);
    if (region) return region;
    const near = closest(countryName(code) || code, regions.values(), spellings).map(regionLabel);
    throw new UsageError(
      `Give ${option} the code of a region with places, got ${JSON.stringify(text)}; ` +
        (near.length > 0 ? `near it: ${near.join(", ")}; ` : "") +
        `all codes: deno task demo ${listing}`,
    );
  });
  return Array.from(new Set(found));
}

/** By code and name; where a code has parts also by one of them and by both: "US.TX", "Texas", "TX", "US.Texas". */
function spellings({ code, name }: Region): string[] {
  const [country, part] = code.split(".");
  return part === undefined ? [code, name] : [code, name, part, `${country}.${name}`];
}

/** "FR (France)". */
export function regionLabel({ code, name }: Region): string {
  return name === "" ? code : `${code} (${name})`;
}
