/** From the beams that are left to what the caller gets. */
import { LEVEL_RECORD_BYTES, NONE } from "../index/format/layout.ts";
import { type LoadedIndex, RESULT_BYTES } from "../index/index_memory.ts";
import { Entries } from "../index/entries.ts";
import type { SharedBits } from "../index/entry_set.ts";
import { allowedRanges, idsOf } from "../index/item_lookup.ts";
import { BEAM_BITS } from "../kernels/constants.ts";
import type { Beams, SearchShape } from "../kernels/kernel.ts";
import type { Backend, BeamSearchOptions, BeamSearchResult } from "./types.ts";

/** Which sequences count as results, and which of their items have passed. */
export class ResultRules {
  /** Whether a sequence whose items were all found before is no result. */
  readonly dropsRepeated: boolean;
  #loaded: LoadedIndex;
  #shared: readonly (SharedBits | undefined)[];

  /** @param shared per batch row, the shared entries that are allowed; undefined for all. */
  constructor(
    loaded: LoadedIndex,
    shared: readonly (SharedBits | undefined)[],
    duplicates: BeamSearchOptions["duplicates"],
  ) {
    this.dropsRepeated = duplicates === "best" && loaded.shape.items !== undefined;
    this.#loaded = loaded;
    this.#shared = shared;
  }

  /** Ordinal of the sequence that a beam has ended on, or NONE. */
  ordinalOf(edge: number, length: number): number {
    const { heap, table } = this.#loaded;
    const level = table + (length - 1) * LEVEL_RECORD_BYTES;
    return heap.exports.ordinalOfEdge(level, edge) >>> 0;
  }

  /** Items of a sequence that have passed: runs of entries, or undefined for all of them. */
  runsOf(batch: number, ordinal: number): [from: number, to: number][] | undefined {
    const shared = this.#shared[batch];
    const entries = shared && Entries.of(this.#loaded).of(ordinal);
    if (entries?.number === undefined) return undefined;
    return [...allowedRanges(entries.first, entries.end, entries.number, shared!)];
  }

  /** Whether a sequence has an item that is not among those seen; they are, afterwards. */
  bringsItem(batch: number, ordinal: number, seen: Set<bigint | string>): boolean {
    const before = seen.size;
    const { first, end } = Entries.of(this.#loaded).of(ordinal);
    for (const [from, to] of this.runsOf(batch, ordinal) ?? [[first, end]]) {
      for (const id of idsOf(this.#loaded, from, to)) seen.add(id);
    }
    return seen.size > before;
  }

  /** How many places it takes to have so many results, for early stop: see {@linkcode SearchShape.placesOf}. */
  placesOf(results: number): NonNullable<SearchShape["placesOf"]> {
    return (batch, edges, lengths) => {
      const seen = new Set<bigint | string>();
      let count = 0;
      for (let place = 0; place < edges.length; place++) {
        if (this.bringsItem(batch, this.ordinalOf(edges[place], lengths[place]), seen)) count++;
        if (count === results) return place + 1;
      }
      return undefined;
    };
  }
}

/**
 * Spells the beams that ended. Their tokens are read back from the index by edge, so nothing that is not in
 * it can come out, and no history needs to be kept. About 0.1 µs per token.
 */
export function toResult(
  loaded: LoadedIndex,
  { batchSize, beamSize, results = beamSize }: SearchShape,
  { scores, edges, lengths, status }: Beams,
  rules: ResultRules,
  backend: Backend,
): BeamSearchResult {
  const { heap, table, scratch, shape } = loaded;
  const maxLength = shape.levels.length;
  const places = batchSize * results;
  const result: BeamSearchResult = {
    batchSize,
    beamSize,
    results,
    maxLength,
    sequences: new Uint32Array(places * maxLength).fill(NONE),
    lengths: new Uint32Array(places),
    scores: new Float32Array(places).fill(-Infinity),
    ordinals: new Uint32Array(places).fill(NONE),
    counts: new Uint32Array(batchSize),
    items: new Uint32Array(),
    itemStarts: new Uint32Array(places + 1),
    backend,
  };
  const out = scratch + RESULT_BYTES;
  const spelled = heap.u32(out, maxLength);
  /** Items of the results, so that whoever lists them needs no filter. */
  const runs: number[] = [];
  for (let batch = 0; batch < batchSize; batch++) {
    const seen = new Set<bigint | string>();
    for (let i = 0; i < beamSize && result.counts[batch] < results; i++) {
      const beam = batch * beamSize + i;
      if (!(status[beam] & BEAM_BITS.ENDED)) continue;
      const length = lengths[beam];
      const ordinal = rules.ordinalOf(edges[beam], length);
      if (ordinal === NONE) continue;
      if (rules.dropsRepeated && !rules.bringsItem(batch, ordinal, seen)) continue;
      const place = batch * results + result.counts[batch]++;
      heap.exports.spellEdge(table, length - 1, edges[beam], out);
      for (let i = 0; i < length; i++) result.sequences[place * maxLength + i] = spelled[i];
      result.lengths[place] = length;
      result.scores[place] = scores[beam];
      result.ordinals[place] = ordinal;
      for (const run of rules.runsOf(batch, ordinal) ?? [[ordinal, NONE]]) runs.push(...run);
      result.itemStarts[place + 1] = runs.length / 2;
    }
    result.itemStarts.fill(
      runs.length / 2,
      batch * results + result.counts[batch] + 1,
      (batch + 1) * results + 1,
    );
  }
  result.items = Uint32Array.from(runs);
  return result;
}
