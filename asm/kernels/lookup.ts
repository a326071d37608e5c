// Walks over the whole index, for lookups from the host. `levels` is the level table, `count` its records.
import * as L from "./layout.gen";
import { bit, NONE } from "./bits";
import { bitmapRow } from "./bitmap_rows";
import { childState, edgeRow, edgeToken, endEdge, endNumber, findEdge, innerEdge, isEnd, parent } from "./levels";
import { packedPair, packedRow, packedToken, rowBegin, rowEnd } from "./packed_rows";

/** State after the last token that {@link follow} followed, or NONE. */
let reached: u32 = 0;

/**
 * Follows tokens from an edge of the level before `depth`, or from the root if `depth` is 0. Puts its edge in the place of
 * each token: NONE from the first one on that the set does not have. `depth` and `length` are at most `count` together.
 */
function follow(levels: usize, depth: u32, edge: u32, tokens: usize, length: u32): void {
  let level = levels + depth * L.RECORD_BYTES;
  let state: u32 = 0;
  if (depth > 0) state = edge == NONE ? NONE : childState(level - L.RECORD_BYTES, edge);
  for (let end = tokens + (length << 2); tokens < end; tokens += 4) {
    edge = state == NONE ? NONE : findEdge(level, state, load<u32>(tokens));
    state = edge == NONE ? NONE : childState(level, edge);
    store<u32>(tokens, edge);
    level += L.RECORD_BYTES;
  }
  reached = state;
}

/**
 * Follows `length` tokens from the root. Returns 1 and writes { edge, state of the next level or NONE,
 * ordinal or NONE } to `out`, or returns 0. The empty walk gives state 0.
 */
export function walk(levels: usize, count: u32, tokens: usize, length: u32, out: usize): u32 {
  if (length > count) return 0;
  follow(levels, 0, NONE, tokens, length);
  const edge = length > 0 ? load<u32>(tokens + ((length - 1) << 2)) : NONE;
  if (length > 0 && edge == NONE) return 0;
  store<u32>(out, edge);
  store<u32>(out, reached, 4);
  store<u32>(out, length > 0 ? ordinalOfEdge(levels + (length - 1) * L.RECORD_BYTES, edge) : NONE, 8);
  return 1;
}

/**
 * Follows tokens as {@link follow} does, and writes the tokens that may come next, as {@link children} does; returns their
 * number: 0 outside the set, NONE if they are on a level beyond the first `count`.
 *
 * @param filter bits of the allowed edges of the level that follows, or 0 for all.
 */
export function nextTokens(
  levels: usize,
  count: u32,
  depth: u32,
  edge: u32,
  tokens: usize,
  length: u32,
  filter: usize,
  out: usize,
): u32 {
  follow(levels, depth, edge, tokens, length);
  depth += length;
  if (reached == NONE) return 0;
  if (depth >= count) return NONE;
  return children(levels + depth * L.RECORD_BYTES, reached, filter, out);
}

/** Ordinal of the sequence that ends on an edge, or NONE. */
export function ordinalOfEdge(level: usize, edge: u32): u32 {
  if (edge >= load<u32>(level, L.EDGES) || !isEnd(level, edge)) return NONE;
  return load<u32>(level, L.ENDS_BEFORE) + endNumber(level, edge);
}

/** Writes the tokens that lead to an edge of the level with number `depth`; returns their number. */
export function spellEdge(levels: usize, depth: u32, edge: u32, out: usize): u32 {
  for (let d = <i32>depth; d >= 0; --d) {
    const level = levels + d * L.RECORD_BYTES;
    parent(level, edge);
    store<u32>(out + (d << 2), edgeToken);
    if (d > 0) edge = innerEdge(level - L.RECORD_BYTES, edgeRow);
  }
  return depth + 1;
}

/** Writes the tokens of the sequence with an ordinal below the size of the index; returns their number. */
export function spell(levels: usize, count: u32, ordinal: u32, out: usize): u32 {
  let depth: u32 = 0;
  let level = levels;
  while (depth + 1 < count && ordinal - load<u32>(level, L.ENDS_BEFORE) >= load<u32>(level, L.ENDS)) {
    ++depth;
    level += L.RECORD_BYTES;
  }
  return spellEdge(levels, depth, endEdge(level, ordinal - load<u32>(level, L.ENDS_BEFORE)), out);
}

/**
 * Writes the tokens of a row, ascending; returns their number. Room for MAX_BRANCH is needed.
 *
 * @param filter bits of the allowed edges, in the shape of the level, or 0 for all.
 */
export function children(level: usize, state: u32, filter: usize, out: usize): u32 {
  const most = load<u32>(level, L.MAX_BRANCH);
  const first = load<u32>(level, L.TOKEN_MIN);
  const width = load<u32>(level, L.TOKEN_COUNT);
  let n: u32 = 0;
  if (load<u32>(level, L.BITMAP)) {
    const row = bitmapRow(level, state);
    const words = load<u32>(level, L.ROW_WORDS);
    for (let j: u32 = 0; j < words; ++j) {
      let word = load<u32>(row + (j << 2));
      if (filter != 0) word &= load<u32>(filter + ((state * words + j) << 2));
      while (word != 0) {
        const token = (j << 5) + ctz<u32>(word);
        word &= word - 1;
        if (token >= width || n >= most) break;
        store<u32>(out + (n++ << 2), first + token);
      }
    }
    return n;
  }
  packedRow(level, state);
  const tokens = load<u32>(level, L.TOKENS);
  const bits = load<u32>(level, L.TOKEN_BITS);
  const mask: u32 = (1 << bits) - 1;
  if (filter == 0) {
    const end = min(rowEnd, rowBegin + most);
    let edge = rowBegin;
    for (; edge + 1 < end; edge += 2) {
      const pair = packedPair(tokens, bits, edge);
      const token = <u32>pair & mask;
      store<u32>(out + (n << 2), first + token);
      n += <u32>(token < width);
      const second = <u32>(pair >> bits) & mask;
      store<u32>(out + (n << 2), first + second);
      n += <u32>(second < width);
    }
    if (edge < end) {
      const token = packedToken(tokens, bits, mask, edge);
      store<u32>(out + (n << 2), first + token);
      n += <u32>(token < width);
    }
    return n;
  }
  let at = <u64>rowBegin * bits;
  for (let edge = rowBegin; edge < rowEnd && n < most; ++edge) {
    const token = (load<u32>(tokens + <usize>(at >> 3)) >> (<u32>at & 7)) & mask;
    store<u32>(out + (n << 2), first + token);
    n += <u32>(token < width) & bit(filter, edge);
    at += bits;
  }
  return n;
}

/** Whether any edge of a level carries a token. Reads the level. */
export function hasToken(level: usize, token: u32): bool {
  const states = load<u32>(level, L.STATES);
  const relative = token - load<u32>(level, L.TOKEN_MIN);
  if (relative >= load<u32>(level, L.TOKEN_COUNT)) return false;
  if (load<u32>(level, L.BITMAP)) {
    for (let state: u32 = 0; state < states; ++state) {
      if (bit(bitmapRow(level, state), relative)) return true;
    }
    return false;
  }
  const edges = load<u32>(level, L.EDGES);
  const tokens = load<u32>(level, L.TOKENS);
  const bits = load<u32>(level, L.TOKEN_BITS);
  const mask: u32 = (1 << bits) - 1;
  for (let edge: u32 = 0; edge < edges; ++edge) {
    if (packedToken(tokens, bits, mask, edge) == relative) return true;
  }
  return false;
}
