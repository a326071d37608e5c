// What the exclusions of a batch row take from its filter: per level the edges that then lead to nothing, and the ends, as
// ascending lists. Kernels ask the lists only for candidates that could win, so that no filter is copied.
import * as L from "./layout.gen";
import { bit, nextOne, NONE } from "./bits";
import { bitmapPlace, bitmapRow } from "./bitmap_rows";
import { childState, endEdge, endNumber, innerEdge, isEnd } from "./levels";
import { packedRow, packedRowOf, rowBegin, rowEnd } from "./packed_rows";

let at: usize = 0;
let end: usize = 0;

/** Entries of an ascending list of u32 that are below `value`. */
function countBelow(list: usize, listEnd: usize, value: u32): u32 {
  let low: u32 = 0;
  let high = <u32>(listEnd - list) >> 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u32>(list + (middle << 2)) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Gets ready to ask {@link isDead} for edges of a row, whose first place is `place`, in ascending order. */
export function beginDead(rule: usize, place: u32): void {
  at = end = 0;
  if (rule == 0) return;
  const list = load<u32>(rule, L.DEAD_EDGES);
  end = load<u32>(rule, L.DEAD_EDGES_END);
  at = list + (countBelow(list, end, place) << 2);
}

/** Whether the edge in a place leads to excluded sequences only. */
export function isDead(place: u32): bool {
  while (at < end && load<u32>(at) < place) at += 4;
  return at < end && load<u32>(at) == place;
}

/** Whether the end with a number is allowed: by the filter, and not excluded. */
export function isEndAllowed(rule: usize, number: u32): bool {
  if (rule == 0) return true;
  const allowed = load<u32>(rule, L.ENDS_ALLOWED);
  if (allowed != 0 && !bit(allowed, number)) return false;
  const list = load<u32>(rule, L.DEAD_ENDS);
  const listEnd = load<u32>(rule, L.DEAD_ENDS_END);
  const place = list + (countBelow(list, listEnd, number) << 2);
  return place >= listEnd || load<u32>(place) != number;
}

/** Place of an edge in bits of the level. */
function placeOf(level: usize, edge: u32): u32 {
  return load<u32>(level, L.BITMAP) ? bitmapPlace(level, edge) : edge;
}

/** Row that an edge stands in. */
function rowOf(level: usize, edge: u32, place: u32): u32 {
  if (load<u32>(level, L.BITMAP)) return place / (load<u32>(level, L.ROW_WORDS) << 5);
  return packedRowOf(level, edge);
}

/** Edges of a row that a filter allows (0: all), counted up to `most`. */
function countAllowed(level: usize, edges: usize, state: u32, most: u32): u32 {
  let count: u32 = 0;
  if (load<u32>(level, L.BITMAP)) {
    const words = load<u32>(level, L.ROW_WORDS);
    const row = edges == 0 ? bitmapRow(level, state) : edges + ((state * words) << 2);
    for (let j: u32 = 0; j < words && count < most; ++j) {
      count += <u32>popcnt<u32>(load<u32>(row + (j << 2)));
    }
    return count;
  }
  packedRow(level, state);
  if (edges == 0) return rowEnd - rowBegin;
  for (let edge = nextOne(edges, rowEnd, rowBegin); edge < rowEnd && count < most; ++count) {
    edge = nextOne(edges, rowEnd, edge + 1);
  }
  return count;
}

/** Whether a rule allows an edge of a row. */
export function isOpen(level: usize, state: u32, rule: usize): bool {
  const edges: usize = load<u32>(rule, L.EDGES_ALLOWED);
  let bits = edges;
  let from: u32;
  let to: u32;
  if (load<u32>(level, L.BITMAP)) {
    const width = load<u32>(level, L.ROW_WORDS) << 5;
    from = state * width;
    to = from + width;
    if (edges == 0) bits = load<u32>(level, L.TOKENS);
  } else {
    packedRow(level, state);
    from = rowBegin;
    to = rowEnd;
  }
  beginDead(rule, from);
  for (let place = from; place < to; ++place) {
    if (bits != 0) place = nextOne(bits, to, place);
    if (place < to && !isDead(place)) return true;
  }
  return false;
}

/**
 * Finds what the exclusion of some sequences takes from a batch row, from the last level up, and writes it into the rules of
 * the levels: as bytes from `out` on.
 *
 * @param levels table of `depth` levels.
 * @param rules the row's rule of the first level; those of the next are `stride` bytes further.
 * @param ordinals [count] ascending, none twice, below the size of the index.
 * @param out room for as many words per level as there are ordinals or edges, whatever is less; and as many for its ends.
 * @param room for 2 * count words.
 * @returns words written.
 */
export function exclude(
  levels: usize,
  depth: u32,
  rules: usize,
  stride: u32,
  ordinals: usize,
  count: u32,
  out: usize,
  room: usize,
): u32 {
  let to = out;
  let left = count;
  let rows = room;
  let rowCount: u32 = 0;
  let nextRows = room + (count << 2);
  for (let d = <i32>depth - 1; d >= 0; --d) {
    const level = levels + d * L.RECORD_BYTES;
    const rule = rules + d * stride;
    const edges = load<u32>(rule, L.EDGES_ALLOWED);
    const ends = load<u32>(rule, L.ENDS_ALLOWED);
    const edgesBelow = d + 1 < <i32>depth ? load<u32>(rule + stride, L.EDGES_ALLOWED) : 0;
    const endsBefore = load<u32>(level, L.ENDS_BEFORE);
    // Ordinals that end on this level: the last of those that are left.
    let first = left;
    while (first > 0 && load<u32>(ordinals + ((first - 1) << 2)) >= endsBefore) --first;
    store<u32>(rule, <u32>(to - out), L.DEAD_ENDS);
    if (load<u32>(level, L.END)) {
      for (let i = first; i < left; ++i, to += 4) {
        store<u32>(to, load<u32>(ordinals + (i << 2)) - endsBefore);
      }
    }
    store<u32>(rule, <u32>(to - out), L.DEAD_ENDS_END);
    store<u32>(rule, <u32>(to - out), L.DEAD_EDGES);
    let i = first;
    let j: u32 = 0;
    let nextCount: u32 = 0;
    let row = NONE;
    let deadInRow: u32 = 0;
    // In damaged bytes an edge may come twice.
    const most = to + (load<u32>(level, L.EDGES) << 2);
    // Edges in order: those whose end is excluded, and those whose row below is dead.
    while (i < left || j < rowCount) {
      let number: u32 = 0;
      let byEnd = NONE;
      if (i < left) {
        number = load<u32>(ordinals + (i << 2)) - endsBefore;
        if (ends != 0 && !bit(ends, number)) {
          ++i;
          continue;
        }
        byEnd = endEdge(level, number);
      }
      const byRow = j < rowCount ? innerEdge(level, load<u32>(rows + (j << 2))) : NONE;
      const edge = min(byEnd, byRow);
      const isEndDead = byEnd == edge;
      const isRowDead = byRow == edge;
      if (isEndDead) ++i;
      if (isRowDead) ++j;
      if (
        !isEndDead && isEnd(level, edge) &&
        (ends == 0 || bit(ends, endNumber(level, edge)))
      ) continue;
      const child = childState(level, edge);
      if (!isRowDead && child != NONE) {
        if (edgesBelow == 0 || countAllowed(level + L.RECORD_BYTES, edgesBelow, child, 1) > 0) continue;
      }
      const place = placeOf(level, edge);
      const own = rowOf(level, edge, place);
      if (own != row) {
        if (row != NONE && countAllowed(level, edges, row, deadInRow + 1) == deadInRow) {
          store<u32>(nextRows + (nextCount++ << 2), row);
        }
        row = own;
        deadInRow = 0;
      }
      if (to >= most) break;
      ++deadInRow;
      store<u32>(to, place);
      to += 4;
    }
    if (row != NONE && countAllowed(level, edges, row, deadInRow + 1) == deadInRow) {
      store<u32>(nextRows + (nextCount++ << 2), row);
    }
    store<u32>(rule, <u32>(to - out), L.DEAD_EDGES_END);
    const swap = rows;
    rows = nextRows;
    rowCount = nextCount;
    nextRows = swap;
    left = first;
  }
  return <u32>(to - out) >> 2;
}
