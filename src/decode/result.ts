/** From the beams that are left to what the caller gets. */
import { LEVEL_RECORD_BYTES, NONE } from "../index/format/layout.ts";
import { type LoadedIndex, RESULT_BYTES } from "../index/index_memory.ts";
import { BEAM_BITS } from "../kernels/constants.ts";
import type { Beams } from "../kernels/kernel.ts";
import type { Backend, BeamSearchResult } from "./types.ts";

/**
 * Spells the beams that ended. Their tokens are read back from the index by edge, so nothing that is not in
 * it can come out, and no history needs to be kept. About 0.1 µs per token.
 */
export function toResult(
  { heap, table, scratch, shape }: LoadedIndex,
  batchSize: number,
  beamSize: number,
  { scores, edges, lengths, status }: Beams,
  backend: Backend,
): BeamSearchResult {
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
  return result;
}
