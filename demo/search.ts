/** The two searches of one model: held to the index, and free. */

import type { BeamSearchOptions, Model } from "../src/decode/types.ts";
import { type ConstraintIndex, type Decoder, sequencesOf } from "../mod.ts";
import { buildIndex } from "../src/build/mod.ts";
import { freeSearch } from "./free_search.ts";
import { END_TOKEN, textOf, tokensOf, VOCAB_SIZE } from "./speller.ts";

/** A folded name that a search spelt. */
export interface Spelt {
  readonly key: string;
  /** Its log-probability. */
  readonly score: number;
}

/** How to search. */
export interface SearchOptions {
  /** B, queries of the model. */
  readonly batchSize: number;
  /** M, hypotheses that are kept for each. */
  readonly beamSize: number;
  /** How many of the best are wanted for each, at most M. */
  readonly best: number;
}

/** Which names a search may find: as in the options of `beamSearch`. */
export type SearchFilter = Pick<BeamSearchOptions, "filter" | "exclude">;

/** The index of folded names, which are distinct and in the order of `sort()`. */
export function indexOf(keys: readonly string[]): Promise<ConstraintIndex> {
  // Characters are numbered in the same order, so their tokens are sorted as well.
  return buildIndex(tokenized(keys), { vocabSize: VOCAB_SIZE, sorted: true });
}

/** One at a time: all at once would fill the memory with small arrays. */
function* tokenized(keys: readonly string[]): Generator<number[]> {
  for (const key of keys) yield tokensOf(key);
}

/** For each query the names of the index that fit best, of those that `filter` and `exclude` leave. */
export async function constrained(
  decoder: Decoder,
  model: Model,
  { batchSize, beamSize, best }: SearchOptions,
  { filter, exclude }: SearchFilter = {},
): Promise<Spelt[][]> {
  const result = await decoder.beamSearch(model, {
    batchSize,
    beamSize,
    results: best,
    vocabSize: VOCAB_SIZE,
    endToken: END_TOKEN,
    filter,
    exclude,
  });
  return sequencesOf(result).map((found) =>
    found.map(({ sequence, score }) => ({ key: textOf(sequence), score }))
  );
}

/** For each query what the model spells on its own, be it a name or not. */
export async function unconstrained(
  model: Model,
  maxLength: number,
  options: SearchOptions,
): Promise<Spelt[][]> {
  const shape = { ...options, vocabSize: VOCAB_SIZE, endToken: END_TOKEN, maxLength };
  const results = await freeSearch(model, shape);
  return results.map((row) => row.map(({ tokens, score }) => ({ key: textOf(tokens), score })));
}
