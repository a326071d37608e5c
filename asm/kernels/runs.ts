// Forced runs: beams that have one way to go on, and what its tokens score.
import * as L from "./layout.gen";
import { bit, nextOne, NONE } from "./bits";
import { bitmapEdge, bitmapRow } from "./bitmap_rows";
import { beginDead, isDead, isEndAllowed } from "./exclusions";
import { childState, edgeToken, endNumber, isEnd, parent } from "./levels";
import { packedRow, rowBegin, rowEnd } from "./packed_rows";
import { logSum, rowMax, widen } from "./softmax";

/** The edge of a row, if the rule allows just one; NONE if it allows none or several. */
function onlyEdge(level: usize, state: u32, rule: usize): u32 {
  const edges: usize = rule == 0 ? 0 : load<u32>(rule, L.EDGES_ALLOWED);
  let found = NONE;
  if (load<u32>(level, L.BITMAP)) {
    const words = load<u32>(level, L.ROW_WORDS);
    const first = state * words;
    const row = edges == 0 ? bitmapRow(level, state) : edges + (first << 2);
    beginDead(rule, first << 5);
    for (let j: u32 = 0; j < words; ++j) {
      for (let word = load<u32>(row + (j << 2)); word != 0; word &= word - 1) {
        const token = (j << 5) + ctz<u32>(word);
        if (isDead((first << 5) + token)) continue;
        if (found != NONE) return NONE;
        found = token;
      }
    }
    return found == NONE ? NONE : bitmapEdge(level, state, found);
  }
  packedRow(level, state);
  beginDead(rule, rowBegin);
  for (let edge = rowBegin; edge < rowEnd; ++edge) {
    if (edges != 0) {
      edge = nextOne(edges, rowEnd, edge);
      if (edge >= rowEnd) break;
    }
    if (isDead(edge)) continue;
    if (found != NONE) return NONE;
    found = edge;
  }
  return found;
}

/**
 * Follows a beam to the end of the one sequence that it may become.
 *
 * @param level table from the level on whose row is `state`.
 * @param rule rules of the batch row from that level on, `stride` bytes apart; or 0.
 * @param out room for the edge of the end, and then the tokens.
 * @returns number of tokens; 0 if there is more than one way, or none.
 */
export function followRun(level: usize, state: u32, rule: usize, stride: u32, out: usize): u32 {
  let count: u32 = 0;
  while (true) {
    const edge = onlyEdge(level, state, rule);
    if (edge == NONE) return 0;
    parent(level, edge);
    store<u32>(out + (++count << 2), edgeToken);
    state = childState(level, edge);
    if (state == NONE) {
      store<u32>(out, edge);
      return count;
    }
    if (isEnd(level, edge) && isEndAllowed(rule, endNumber(level, edge))) return 0;
    level += L.RECORD_BYTES;
    if (rule != 0) rule += stride;
  }
}

/**
 * What a token scores behind logits: writes the logarithm of the sum (f64), and the logit less the largest (f32), which
 * a step would add to a score in that order.
 *
 * @returns 0 if the token's logit is +infinity.
 */
export function scoreToken(s: usize, logits: usize, form: u32, token: u32, out: usize): u32 {
  const width = load<u32>(s, L.WIDTH);
  const isVocab = load<u32>(s, L.MODE) == L.MODE_VOCAB;
  if (form == L.FLOAT16) {
    const scratch = load<u32>(s, L.SCRATCH);
    if (isVocab) {
      widen(logits, scratch, width);
    } else {
      widen(logits + (token << 1), scratch, 1);
    }
    logits = scratch;
    if (!isVocab) token = 0;
  }
  const x = load<f32>(logits + (token << 2));
  if (x == Infinity) return 0;
  const largest = isVocab ? rowMax(logits, width) : 0;
  const isPossible = x > -Infinity && largest < Infinity;
  store<f64>(out, isVocab && isPossible ? logSum(logits, width, largest) : 0);
  store<f32>(out, isPossible ? x - largest : -Infinity, 8);
  return 1;
}
