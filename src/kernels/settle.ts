/**
 * Early stop: a batch row is settled as soon as its first K results cannot change any more.
 *
 * Why that can be known: scores are sums of logarithms of probabilities, and no child scores higher than its parent, in
 * f32 too (every kernel sees to it). Say that places 0 … n-1 of a batch row, which hold its K results, have all ended.
 * They compete with what descends from the live beams behind them by rank = score · norm(length).
 *
 * - Without length penalty all norms are 1: no descendant ranks higher than its live ancestor, which ranks no higher than
 *   place n-1. One that ties loses, because its parent row is the later one, now and at every later step.
 * - With a penalty above 0 norms fall with length. Scores are at most 0, so a beam ranks highest where it keeps its score up to
 *   the longest length: score · norm(maxLength). Below 0 norms rise: it ranks highest with its present length. A settled
 *   row needs that bound of every live beam to be *below* the rank of place n-1. Products are rounded to f32, which keeps
 *   order.
 * - Without length penalty more is known: a place behind K beams that have ended, wherever these stand, is none of the
 *   first K in the end. What descends from it ranks behind those K as well, so it takes no place among the M from what
 *   stands before them: such places go at once, and the model is shown fewer rows long before the batch row is settled.
 *   (Not where places are counted by their items: a better sequence may take the items of several worse ones.)
 * - Logits that are log-probabilities already (`"none"`) may be positive: then nothing is known.
 */
import { NONE } from "../index/format/layout.ts";
import { BEAM_BITS } from "./constants.ts";
import type { Beams, SearchShape } from "./kernel.ts";
import { goesOn } from "./shown_rows.ts";

/** Whether a search may stop early at all. */
export function maySettle({ beamSize, results = beamSize, normalize }: SearchShape): boolean {
  return results < beamSize && normalize !== "none";
}

/**
 * Takes from every batch row the places that can be none of its results any more, in the beams themselves: a row that
 * is settled has no live beam then, and so nothing more to show to the model.
 *
 * @param tokens what the model is shown of them.
 * @param step tokens of the longest beams.
 * @param norms factor from score to rank by length; the last is that of maxLength + 1.
 */
export function settle(
  { scores, states, edges, lengths, status }: Beams,
  tokens: Uint32Array,
  { batchSize, beamSize, lengthPenalty, padToken, results = beamSize, placesOf }: SearchShape,
  step: number,
  norms: Float32Array,
): void {
  const farthest = lengthPenalty > 0 ? norms.length - 2 : step;
  for (let batch = 0; batch < batchSize; batch++) {
    const first = batch * beamSize;
    const end = first + beamSize;
    const mayPass = lengthPenalty === 0 && !placesOf;
    let last = first - 1;
    for (let ended = 0, place = first; place < end && ended < results; place++) {
      if (status[place] === BEAM_BITS.ENDED) last = ++ended === results ? place : last;
      else if (!mayPass) break;
    }
    if (placesOf && last >= first) {
      let ended = last + 1;
      while (ended < end && status[ended] === BEAM_BITS.ENDED) ended++;
      const places = placesOf(batch, edges.subarray(first, ended), lengths.subarray(first, ended));
      last = places === undefined ? first - 1 : first + places - 1;
    }
    if (last < first) continue;
    const rank = Math.fround(scores[last] * norms[lengths[last]]);
    const isOpen = (place: number) =>
      goesOn(status[place]) && Math.fround(scores[place] * norms[farthest]) >= rank;
    let place = last + 1;
    while (place < end && (lengthPenalty === 0 || !isOpen(place))) place++;
    if (place < end) continue;
    scores.fill(-Infinity, last + 1, end);
    states.fill(NONE, last + 1, end);
    edges.fill(NONE, last + 1, end);
    lengths.fill(0, last + 1, end);
    status.fill(0, last + 1, end);
    tokens.fill(padToken, last + 1, end);
  }
}
