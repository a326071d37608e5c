// Rows of a level whose tokens are packed: where each begins and ends, and the tokens of its edges.
import * as L from "./layout.gen";
import { blockOfOne, nextOne, rank, selectFrom } from "./bits";

/** Edges [rowBegin, rowEnd) of the row that {@link row} looked up last. */
export let rowBegin: u32 = 0;
export let rowEnd: u32 = 0;

/** Entries of a list of edges that are not first children: entry i belongs to row list[i] - i - 1. */
// @ts-ignore: decorator
@inline
function isOfEarlierRow(list: usize, i: u32, state: u32): bool {
  return load<u32>(list + (i << 2)) - i <= state;
}

/** Sets the edges of a row from where to look: entries of the list of earlier rows, or the block of its first edge. */
function setRow(level: usize, kind: u32, state: u32, place: u32): void {
  const edges = load<u32>(level, L.EDGES);
  const starts = load<u32>(level, L.STARTS);
  if (kind == L.UNARY) {
    rowBegin = state;
    rowEnd = state + 1;
  } else if (kind == L.EXCEPTIONS) {
    const listed = edges - load<u32>(level, L.STATES);
    rowBegin = state + place;
    rowEnd = rowBegin + 1;
    while (place < listed && load<u32>(starts + (place << 2)) - place == state + 1) {
      ++place;
      ++rowEnd;
    }
  } else {
    rowBegin = selectFrom(starts, load<u32>(level, L.STARTS_RANK), edges, place, state);
    rowEnd = nextOne(starts, edges, rowBegin + 1);
  }
  if (rowBegin > edges) rowBegin = edges;
  if (rowEnd > edges) rowEnd = edges;
}

/** Looks up the edges of a row of a packed level; `state` < STATES. */
export function packedRow(level: usize, state: u32): void {
  const edges = load<u32>(level, L.EDGES);
  const states = load<u32>(level, L.STATES);
  const kind = load<u32>(level, L.STARTS_KIND);
  const starts = load<u32>(level, L.STARTS);
  let place: u32 = 0;
  if (kind == L.EXCEPTIONS) {
    for (let size = edges - states; size > 0;) {
      const half = (size + 1) >> 1;
      place += half & -<u32>isOfEarlierRow(starts, place + half - 1, state);
      size -= half;
    }
  } else if (kind == L.BITVECTOR) {
    const ranks = load<u32>(level, L.STARTS_RANK);
    place = blockOfOne(ranks, load<u32>(level, L.STARTS_SELECT), edges, states, state);
  }
  setRow(level, kind, state, place);
}

/**
 * Looks up the rows of many states at once: all of them a step of the way in turn, so that cache misses overlap.
 *
 * @param rows [count] states, u32 each. What is no state gets edges that mean nothing.
 * @param begins, ends [count] u32 each: row i has the edges [begins[i], ends[i]).
 */
export function packedRows(
  level: usize,
  rows: usize,
  count: u32,
  begins: usize,
  ends: usize,
): void {
  const bytes = count << 2;
  const edges = load<u32>(level, L.EDGES);
  const states = load<u32>(level, L.STATES);
  const kind = load<u32>(level, L.STARTS_KIND);
  const starts = load<u32>(level, L.STARTS);
  if (kind == L.EXCEPTIONS) {
    memory.fill(begins, 0, bytes);
    for (let size = edges - states; size > 0;) {
      const half = (size + 1) >> 1;
      for (let i: u32 = 0; i < bytes; i += 4) {
        const place = load<u32>(begins + i);
        const isEarlier = isOfEarlierRow(starts, place + half - 1, load<u32>(rows + i));
        store<u32>(begins + i, place + (half & -<u32>isEarlier));
      }
      size -= half;
    }
  } else if (kind == L.BITVECTOR) {
    const ranks = load<u32>(level, L.STARTS_RANK);
    const selects = load<u32>(level, L.STARTS_SELECT);
    for (let i: u32 = 0; i < bytes; i += 4) {
      const state = min(load<u32>(rows + i), states - 1);
      const block = blockOfOne(ranks, selects, edges, states, state);
      store<u32>(begins + i, block);
      store<u32>(ends + i, load<u32>(starts + (block << 6))); // fetches the block, no more
    }
  }
  const most = load<u32>(level, L.MAX_BRANCH);
  for (let i: u32 = 0; i < bytes; i += 4) {
    setRow(level, kind, min(load<u32>(rows + i), states - 1), load<u32>(begins + i));
    store<u32>(begins + i, rowBegin);
    // In damaged bytes a row may be as long as the level: then a step would take that long for every beam.
    store<u32>(ends + i, rowBegin + min(rowEnd - rowBegin, most));
  }
}

/** Token of an edge of a packed level, relative to TOKEN_MIN. May exceed TOKEN_COUNT in damaged bytes. */
// @ts-ignore: decorator
@inline
export function packedToken(tokens: usize, bits: u32, mask: u32, edge: u32): u32 {
  if (bits == 0) return 0;
  const at = <u64>edge * bits;
  return (load<u32>(tokens + <usize>(at >> 3)) >> (<u32>at & 7)) & mask;
}

/**
 * Bits that begin with the tokens of an edge and the next one, see {@link packedToken}. Reads up to three bytes past
 * the section, where other memory of the heap is.
 */
// @ts-ignore: decorator
@inline
export function packedPair(tokens: usize, bits: u32, edge: u32): u64 {
  const at = <u64>edge * bits;
  return load<u64>(tokens + <usize>(at >> 3)) >> (at & 7);
}

/** Row of a packed level that an edge stands in. */
export function packedRowOf(level: usize, edge: u32): u32 {
  const states = load<u32>(level, L.STATES);
  const kind = load<u32>(level, L.STARTS_KIND);
  let state = edge;
  if (kind == L.EXCEPTIONS) {
    const list = load<u32>(level, L.STARTS);
    let low: u32 = 0;
    let high = load<u32>(level, L.EDGES) - states;
    while (low < high) {
      const middle = low + ((high - low) >> 1);
      if (load<u32>(list + (middle << 2)) <= edge) low = middle + 1;
      else high = middle;
    }
    state = edge - low;
  } else if (kind == L.BITVECTOR) {
    state = rank(load<u32>(level, L.STARTS), load<u32>(level, L.STARTS_RANK), edge + 1) - 1;
  }
  return state < states ? state : states - 1;
}
