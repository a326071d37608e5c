/** From the beams that are left to what the caller gets. */
import { LEVEL_RECORD_BYTES, NONE } from "../index/format/layout.ts";
import { type LoadedIndex, RESULT_BYTES } from "../index/index_memory.ts";
import { Entries } from "../index/entries.ts";
import type { FilterBits } from "../index/filter_bits.ts";
import { allowedRanges } from "../index/item_lookup.ts";
import { BEAM_BITS } from "../kernels/constants.ts";
import type { Beams } from "../kernels/kernel.ts";
import type { Backend, BeamSearchResult } from "./types.ts";

/**
 * Spells the beams that ended. Their tokens are read back from the index by edge, so nothing that is not in
 * it can come out, and no history needs to be kept. About 0.1 µs per token.
 */
export function toResult(
  loaded: LoadedIndex,
  batchSize: number,
  beamSize: number,
  { scores, edges, lengths, status }: Beams,
  filters: readonly (FilterBits | undefined)[] | undefined,
  backend: Backend,
): BeamSearchResult {
  const { heap, table, scratch, shape } = loaded;
  const maxLength = shape.levels.length;
  const beams = batchSize * beamSize;
  const result: BeamSearchResult = {
    batchSize,
    beamSize,
    maxLength,
    sequences: new Uint32Array(beams * maxLength).fill(NONE),
    lengths: new Uint32Array(beams),
    scores: new Float32Array(beams).fill(-Infinity),
    ordinals: new Uint32Array(beams).fill(NONE),
    counts: new Uint32Array(batchSize),
    items: new Uint32Array(),
    itemStarts: new Uint32Array(beams + 1),
    backend,
  };
  const out = scratch + RESULT_BYTES;
  const spelled = heap.u32(out, maxLength);
  for (let beam = 0; beam < beams; beam++) {
    if (!(status[beam] & BEAM_BITS.ENDED)) continue;
    const length = lengths[beam];
    const level = table + (length - 1) * LEVEL_RECORD_BYTES;
    const ordinal = heap.exports.ordinalOfEdge(level, edges[beam]) >>> 0;
    if (ordinal === NONE) continue;
    const batch = Math.floor(beam / beamSize);
    const place = batch * beamSize + result.counts[batch]++;
    heap.exports.spellEdge(table, length - 1, edges[beam], out);
    for (let i = 0; i < length; i++) result.sequences[place * maxLength + i] = spelled[i];
    result.lengths[place] = length;
    result.scores[place] = scores[beam];
    result.ordinals[place] = ordinal;
  }
  writeItems(loaded, result, filters);
  return result;
}

/** Writes which items of the results have passed, so that whoever lists them needs no filter. */
function writeItems(
  loaded: LoadedIndex,
  result: BeamSearchResult,
  filters: readonly (FilterBits | undefined)[] | undefined,
): void {
  const { batchSize, beamSize, counts, ordinals, itemStarts } = result;
  const runs: number[] = [];
  for (let place = 0; place < batchSize * beamSize; place++) {
    itemStarts[place] = runs.length / 2;
    const row = Math.floor(place / beamSize);
    if (place % beamSize >= counts[row]) continue;
    const ordinal = ordinals[place];
    const shared = filters?.[row]?.shared;
    const entries = shared && Entries.of(loaded).of(ordinal);
    if (entries?.number === undefined) {
      runs.push(ordinal, NONE);
      continue;
    }
    const { first, end, number } = entries;
    for (const [from, to] of allowedRanges(first, end, number, shared!)) runs.push(from, to);
  }
  itemStarts[batchSize * beamSize] = runs.length / 2;
  result.items = Uint32Array.from(runs);
}
