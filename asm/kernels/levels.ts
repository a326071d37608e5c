// One level of the index: rows, edges, tokens. A level is the address of its record in the level table.
// Every result is clamped to the level's counts, so that damaged bytes give wrong answers, never wild reads.
import * as L from "./layout.gen";
import { bit, NONE, rank, selectOne, selectZero } from "./bits";
import { bitmapEdge, bitmapPlace, bitmapRow } from "./bitmap_rows";
import { packedRow, packedRowOf, packedToken, rowBegin, rowEnd } from "./packed_rows";

/** Edge of `token` in a row, or NONE. `state` < STATES; any token. */
export function findEdge(level: usize, state: u32, token: u32): u32 {
  const relative = token - load<u32>(level, L.TOKEN_MIN);
  if (relative >= load<u32>(level, L.TOKEN_COUNT)) return NONE;
  if (load<u32>(level, L.BITMAP)) {
    if (!bit(bitmapRow(level, state), relative)) return NONE;
    return bitmapEdge(level, state, relative);
  }
  packedRow(level, state);
  const tokens = load<u32>(level, L.TOKENS);
  const bits = load<u32>(level, L.TOKEN_BITS);
  const mask: u32 = (1 << bits) - 1;
  let low = rowBegin;
  let high = rowEnd;
  while (low < high) {
    const middle = low + ((high - low) >> 1);
    if (packedToken(tokens, bits, mask, middle) < relative) low = middle + 1;
    else high = middle;
  }
  if (low < rowEnd && packedToken(tokens, bits, mask, low) == relative) return low;
  return NONE;
}

/** State of the next level that an edge leads to, or NONE for a leaf. */
export function childState(level: usize, edge: u32): u32 {
  const inner = load<u32>(level, L.INNER);
  const count = load<u32>(level, L.INNER_EDGES);
  if (count == 0) return NONE;
  let state = edge;
  if (inner != 0) {
    if (!bit(inner, edge)) return NONE;
    state = rank(inner, load<u32>(level, L.INNER_RANK), edge);
  }
  return state < count ? state : NONE;
}

/** Edge that leads to a state of the next level. */
export function innerEdge(level: usize, state: u32): u32 {
  const inner = load<u32>(level, L.INNER);
  const edges = load<u32>(level, L.EDGES);
  let edge = state;
  if (inner != 0) {
    edge = selectOne(
      inner,
      load<u32>(level, L.INNER_RANK),
      load<u32>(level, L.INNER_SELECT),
      edges,
      load<u32>(level, L.INNER_EDGES),
      state,
    );
  }
  return edge < edges ? edge : edges - 1;
}

/** Whether a sequence ends on an edge. */
export function isEnd(level: usize, edge: u32): bool {
  const end = load<u32>(level, L.END);
  if (end != 0) return bit(end, edge) != 0;
  const inner = load<u32>(level, L.INNER);
  if (inner != 0) return bit(inner, edge) == 0;
  return load<u32>(level, L.INNER_EDGES) == 0;
}

/** How many sequences end on earlier edges of the level. */
export function endNumber(level: usize, edge: u32): u32 {
  const end = load<u32>(level, L.END);
  let number = edge;
  if (end != 0) {
    number = rank(end, load<u32>(level, L.END_RANK), edge);
  } else {
    const inner = load<u32>(level, L.INNER);
    if (inner != 0) number = edge - rank(inner, load<u32>(level, L.INNER_RANK), edge);
  }
  const last = load<u32>(level, L.ENDS) - 1;
  return number < last ? number : last;
}

/** Edge of the end with number k of the level; k < ENDS. */
export function endEdge(level: usize, k: u32): u32 {
  const end = load<u32>(level, L.END);
  const edges = load<u32>(level, L.EDGES);
  let edge = k;
  if (end != 0) {
    edge = selectOne(
      end,
      load<u32>(level, L.END_RANK),
      load<u32>(level, L.END_SELECT),
      edges,
      load<u32>(level, L.ENDS),
      k,
    );
  } else {
    const inner = load<u32>(level, L.INNER);
    if (inner != 0) edge = selectZero(inner, load<u32>(level, L.INNER_RANK), edges, k);
  }
  return edge < edges ? edge : edges - 1;
}

/** Row and token of the edge that {@link parent} looked up last. */
export let edgeRow: u32 = 0;
export let edgeToken: u32 = 0;

/** Looks up the row that an edge stands in, and its token. */
export function parent(level: usize, edge: u32): void {
  let token: u32;
  if (load<u32>(level, L.BITMAP)) {
    const width = load<u32>(level, L.ROW_WORDS) << 5;
    const place = bitmapPlace(level, edge);
    edgeRow = place / width;
    token = place % width;
  } else {
    const bits = load<u32>(level, L.TOKEN_BITS);
    token = packedToken(load<u32>(level, L.TOKENS), bits, (1 << bits) - 1, edge);
    edgeRow = packedRowOf(level, edge);
  }
  const last = load<u32>(level, L.TOKEN_COUNT) - 1;
  edgeToken = load<u32>(level, L.TOKEN_MIN) + (token < last ? token : last);
}
