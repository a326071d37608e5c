// Walks over the whole index, for lookups from the host. `levels` is the level table, `count` its records.
import * as L from "./layout.gen";
import { bit, NONE } from "./bits";
import { bitmapRow } from "./bitmap_rows";
import { childState, edgeRow, edgeToken, endEdge, endNumber, findEdge, innerEdge, isEnd, parent } from "./levels";
import { packedRow, packedToken, rowBegin, rowEnd } from "./packed_rows";

/**
 * Follows `length` tokens from the root. Returns 1 and writes { edge, state of the next level or NONE,
 * ordinal or NONE } to `out`, or returns 0. The empty walk gives state 0.
 */
export function walk(levels: usize, count: u32, tokens: usize, length: u32, out: usize): u32 {
  let state: u32 = 0;
  let edge = NONE;
  let level = levels;
  if (length > count) return 0;
  for (let i: u32 = 0; i < length; ++i) {
    if (state == NONE) return 0;
    edge = findEdge(level, state, load<u32>(tokens + (i << 2)));
    if (edge == NONE) return 0;
    state = childState(level, edge);
    level += L.RECORD_BYTES;
  }
  store<u32>(out, edge);
  store<u32>(out, state, 4);
  store<u32>(out, length > 0 ? ordinalOfEdge(level - L.RECORD_BYTES, edge) : NONE, 8);
  return 1;
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
  for (let edge = rowBegin; edge < rowEnd && n < most; ++edge) {
    if (filter != 0 && !bit(filter, edge)) continue;
    const token = packedToken(tokens, bits, mask, edge);
    if (token < width) store<u32>(out + (n++ << 2), first + token);
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
