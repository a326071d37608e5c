/** What is asked of places on the command line, checked against the data and turned into rules. */

import { UsageError } from "../src/cli/errors.ts";
import { closest } from "./closest.ts";
import { fold } from "./fold.ts";
import type { Place, Places } from "./places.ts";
import { admin1Of, countriesOf, findRegions, type Region, regionLabel } from "./regions.ts";

/** Filters as they were typed; each list may be empty. */
export interface FilterRequest {
  readonly country: readonly string[];
  readonly notCountry: readonly string[];
  readonly admin1: readonly string[];
  readonly near: readonly string[];
  readonly exclude: readonly string[];
}

/** One condition that places must meet. */
export interface Rule {
  /** "in FR (France) or DE (Germany)". */
  readonly label: string;
  /** A place must pass one of them. */
  readonly alternatives: readonly ((place: Place) => boolean)[];
}

/** What a request comes to. */
export interface Rules {
  /** A place must pass all of them. */
  readonly rules: readonly Rule[];
  /** Folded names that are not wanted. */
  readonly excluded: readonly string[];
}

/** Codes that a label spells out. */
const SPELT_OUT = 3;
const EARTH_RADIUS_KM = 6371;

/** @throws {UsageError} for codes, points and names that the data does not have. */
export async function rulesOf(request: FilterRequest, places: Places): Promise<Rules> {
  const { country, notCountry, admin1, near, exclude } = request;
  const rules: Rule[] = [];
  const countries = countriesOf(places);
  if (country.length > 0) {
    const found = findRegions(country, countries, "--country", "--list-countries");
    rules.push({
      label: `in ${listed(found)}`,
      alternatives: found.map(({ code }) => (place) => place.country === code),
    });
  }
  if (admin1.length > 0) {
    const found = findRegions(admin1, await admin1Of(places), "--admin1", "--list-admin1 COUNTRY");
    rules.push({
      label: `in ${listed(found)}`,
      alternatives: found.map(({ code }) => (place) => place.admin1 === code),
    });
  }
  if (near.length > 0) {
    const circles = near.map(circleOf);
    rules.push({
      label: `within ${circles.map(({ km, at }) => `${km} km of ${at.join(",")}`).join(" or ")}`,
      alternatives: circles.map(({ km, at }) => (place) => distance(place, at) <= km),
    });
  }
  if (notCountry.length > 0) {
    const found = findRegions(notCountry, countries, "--not-country", "--list-countries");
    const codes = new Set(found.map(({ code }) => code));
    rules.push({
      label: `not in ${listed(found)}`,
      alternatives: [(place) => !codes.has(place.country)],
    });
  }
  return { rules, excluded: exclude.map((name) => existing(name, places)) };
}

function listed(regions: readonly Region[]): string {
  const shown = regions.slice(0, SPELT_OUT).map(regionLabel).join(" or ");
  return regions.length > SPELT_OUT ? `${shown} +${regions.length - SPELT_OUT}` : shown;
}

interface Circle {
  /** Degrees north, degrees east. */
  readonly at: readonly [number, number];
  readonly km: number;
}

function circleOf(typed: string): Circle {
  const parts = typed.split(",").map((part) => part.trim() === "" ? NaN : Number(part));
  const [latitude, longitude, km] = parts;
  const isPoint = Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180;
  if (parts.length === 3 && isPoint && km > 0 && km < Infinity) {
    return { at: [latitude, longitude], km };
  }
  throw new UsageError(
    `Give --near a latitude, a longitude and kilometres, as in 48.86,2.35,50, got ${
      JSON.stringify(typed)
    }`,
  );
}

/** Kilometres along a great circle of a round Earth, by the haversine formula. */
function distance({ latitude, longitude }: Place, [north, east]: Circle["at"]): number {
  const radians = Math.PI / 180;
  const sine = (degrees: number) => Math.sin(degrees * radians / 2) ** 2;
  const cosines = Math.cos(latitude * radians) * Math.cos(north * radians);
  const h = sine(latitude - north) + cosines * sine(longitude - east);
  return 2 * EARTH_RADIUS_KM * Math.asin(Math.min(1, Math.sqrt(h)));
}

/** @throws {UsageError} if nothing is called so, with near matches. */
function existing(name: string, { keys, called }: Places): string {
  const key = fold(name);
  if (called(key).length > 0) return key;
  const near = closest(name, keys, (key) => [key]).map((key) => called(key)[0].name);
  throw new UsageError(
    `Give --exclude the name of a place, got ${JSON.stringify(name)}` +
      (near.length > 0 ? `; near it: ${near.join(", ")}` : "; no name is near it"),
  );
}
