/** One run of the demo: what its searches share, and what they find. */

import type { ConstraintIndex, Decoder } from "../mod.ts";
import type { Logits, Model } from "../src/decode/types.ts";
import type { PlaceFilter } from "./filter.ts";
import { heldOut } from "./fold.ts";
import { nearestFirst, type Places } from "./places.ts";
import type { Found, Looser } from "./report.ts";
import { constrained, type SearchOptions, unconstrained } from "./search.ts";
import type { Speller } from "./speller.ts";

/** What the searches share. */
export interface Session {
  readonly index: ConstraintIndex;
  readonly decoder: Decoder;
  readonly places: Places;
  readonly speller: Speller;
  /** How to search for one query. */
  readonly options: SearchOptions;
}

/** What one search found, and how long it took. */
export interface Search {
  readonly found: Found[];
  /** Milliseconds of the whole search. */
  readonly total: number;
  /** Milliseconds of them that the model took. */
  readonly model: number;
}

/** The names of the index that fit best, with those of their places that pass the filter. */
export async function find(
  { decoder, places, speller, options }: Session,
  query: string,
  filter?: PlaceFilter,
): Promise<Search> {
  using model = speller.forQueries([query]);
  let inModel = 0;
  const clocked = <I>(call: (input: I) => Logits | Promise<Logits>) => async (input: I) => {
    const [logits, time] = await timed(() => call(input));
    inModel += time;
    return logits;
  };
  const { liveRows, scoreRuns } = model;
  const watched: Model = Object.assign(clocked(model), {
    liveRows,
    scoreRuns: scoreRuns && clocked(scoreRuns),
  });
  const [[spelt], total] = await timed(() =>
    constrained(decoder, watched, options, filter?.search)
  );
  const found = spelt.map(({ key, score }): Found => {
    const all = places.called(key);
    const passing = filter ? all.filter(filter.passes) : all;
    return { key, score, places: nearestFirst(query, passing), isNew: heldOut(key) };
  });
  return { found, total, model: inModel };
}

/** What the model spells on its own, and whether that exists. */
export async function spell(
  { index, places, speller, options }: Session,
  query: string,
): Promise<Looser[]> {
  using model = speller.forQueries([query]);
  const [spelt] = await unconstrained(model, index.maxLength, options);
  return spelt.map(({ key, score }) => ({
    text: key,
    score,
    isAllowed: places.called(key).length > 0,
  }));
}

/** What is found without the filter, and whether that passes it. */
export async function findLoosely(
  session: Session,
  query: string,
  filter: PlaceFilter,
): Promise<Looser[]> {
  const { found } = await find(session, query);
  return found.map(({ key, score, places }) => ({
    text: places[0].name,
    score,
    isAllowed: filter.allows(key),
  }));
}

/** The result of a call and the milliseconds that it took. */
export async function timed<T>(call: () => T | Promise<T>): Promise<[T, number]> {
  const began = performance.now();
  const result = await call();
  return [result, performance.now() - began];
}
