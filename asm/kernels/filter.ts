// Item filters: which ends are allowed, and from those, bottom-up, which edges lead to one. A filter is a record of
// two addresses per level, { edges, ends }; its bits are laid out in src/index/filter_plan.ts.
//
// Bit vectors here have 16 bytes of slack behind them, and zeros behind their last bit. Positions are clamped, so that
// damaged bytes of an index give wrong filters, never wild reads or writes.
import * as L from "./layout.gen";
import { bit, nextOne, NONE } from "./bits";
import { bitmapPlace } from "./bitmap_rows";
import { childState, endEdge, endNumber, innerEdge, isEnd } from "./levels";
import { packedRow, packedRowOf, rowBegin, rowEnd } from "./packed_rows";

const AND: u32 = 0;
const OR: u32 = 1;

/** `bytes` bytes, a multiple of 16: out = a and b, a or b, or a and not b. */
export function combineBits(operation: u32, a: usize, b: usize, out: usize, bytes: u32): void {
  const end = a + bytes;
  for (; a < end; a += 16, b += 16, out += 16) {
    const x = v128.load(a);
    const y = v128.load(b);
    v128.store(
      out,
      operation == AND ? v128.and(x, y) : operation == OR ? v128.or(x, y) : v128.andnot(x, y),
    );
  }
}

/** Ones in `bytes` bytes, a multiple of 16. */
export function countBits(at: usize, bytes: u32): u32 {
  let count: u32 = 0;
  for (const end = at + bytes; at < end; at += 8) count += <u32>popcnt<u64>(load<u64>(at));
  return count;
}

/** The 64 bits from bit `position` on. */
function peek(words: usize, position: u32): u64 {
  const at = words + (position >> 3);
  const shift = <u64>(position & 7);
  return (load<u64>(at) >> shift) | ((<u64>load<u8>(at, 8) << 1) << (63 - shift));
}

/** Ors 64 bits in from bit `position` on. */
function poke(words: usize, position: u32, value: u64): void {
  const at = words + (position >> 3);
  const shift = <u64>(position & 7);
  store<u64>(at, load<u64>(at) | (value << shift));
  store<u8>(at, load<u8>(at, 8) | <u8>((value >> 1) >> (63 - shift)), 8);
}

/** Copies `count` bits from bit `from` of the source to bit `to` of the target, whose later bits are zero. */
export function copyBits(source: usize, from: u32, target: usize, to: u32, count: u32): void {
  for (; count >= 64; count -= 64, from += 64, to += 64) poke(target, to, peek(source, from));
  if (count > 0) poke(target, to, peek(source, from) & (((<u64>1) << <u64>count) - 1));
}

/** Sets the first `count` bits; what follows is zero. */
export function fillBits(target: usize, count: u32): void {
  const whole = (count >> 5) << 2;
  memory.fill(target, 0xff, whole);
  if (count & 31) store<u32>(target + whole, (1 << (count & 31)) - 1);
}

function prefixXor(x: v128): v128 {
  x = v128.xor(x, i64x2.shl(x, 1));
  x = v128.xor(x, i64x2.shl(x, 2));
  x = v128.xor(x, i64x2.shl(x, 4));
  x = v128.xor(x, i64x2.shl(x, 8));
  x = v128.xor(x, i64x2.shl(x, 16));
  return v128.xor(x, i64x2.shl(x, 32));
}

/**
 * In each half of 64 bits: moves the lowest bits of x to the places of the ones of m, in order. Parallel suffix
 * method (Warren, Hacker's Delight, 7-4 and 7-5), which takes no branch and no table.
 */
function spread(x: v128, m: v128): v128 {
  const all = m;
  let k = i64x2.shl(v128.not(m), 1);
  let p = prefixXor(k);
  const a = v128.and(p, m);
  m = v128.or(v128.xor(m, a), i64x2.shr_u(a, 1));
  k = v128.andnot(k, p);
  p = prefixXor(k);
  const b = v128.and(p, m);
  m = v128.or(v128.xor(m, b), i64x2.shr_u(b, 2));
  k = v128.andnot(k, p);
  p = prefixXor(k);
  const c = v128.and(p, m);
  m = v128.or(v128.xor(m, c), i64x2.shr_u(c, 4));
  k = v128.andnot(k, p);
  p = prefixXor(k);
  const d = v128.and(p, m);
  m = v128.or(v128.xor(m, d), i64x2.shr_u(d, 8));
  k = v128.andnot(k, p);
  p = prefixXor(k);
  const e = v128.and(p, m);
  m = v128.or(v128.xor(m, e), i64x2.shr_u(e, 16));
  k = v128.andnot(k, p);
  const f = v128.and(prefixXor(k), m);
  x = v128.bitselect(i64x2.shl(x, 32), x, f);
  x = v128.bitselect(i64x2.shl(x, 16), x, e);
  x = v128.bitselect(i64x2.shl(x, 8), x, d);
  x = v128.bitselect(i64x2.shl(x, 4), x, c);
  x = v128.bitselect(i64x2.shl(x, 2), x, b);
  x = v128.bitselect(i64x2.shl(x, 1), x, a);
  return v128.and(x, all);
}

/** The inverse of {@link spread}, in each half of 64 bits: moves the bits of x at the ones of m to the lowest places, in order. */
function gatherPair(x: v128, m: v128): v128 {
  x = v128.and(x, m);
  let k = i64x2.shl(v128.not(m), 1);
  for (let shift = 1; shift < 64; shift <<= 1) {
    const p = prefixXor(k);
    const moved = v128.and(p, m);
    m = v128.or(v128.xor(m, moved), i64x2.shr_u(moved, shift));
    const t = v128.and(x, moved);
    x = v128.or(v128.xor(x, t), i64x2.shr_u(t, shift));
    k = v128.andnot(k, p);
  }
  return x;
}

/**
 * Gives the ones of a mask the bits of the source, in order, and all other places zeros; ors that into the target.
 *
 * @param bits places of the mask; with `inverted` the mask's zeros count as ones.
 * @param sourceBits bits of the source.
 */
export function spreadBits(
  mask: usize,
  inverted: u32,
  bits: u32,
  source: usize,
  sourceBits: u32,
  target: usize,
): void {
  const flip: u64 = inverted ? -1 : 0;
  let position: u32 = 0;
  for (let at: u32 = 0; at < bits; at += 128, mask += 16, target += 16) {
    let low = load<u64>(mask) ^ flip;
    let high = load<u64>(mask, 8) ^ flip;
    const left = bits - at;
    if (left < 128) {
      if (left <= 64) {
        high = 0;
        if (left < 64) low &= ((<u64>1) << <u64>left) - 1;
      } else {
        high &= ((<u64>1) << <u64>(left - 64)) - 1;
      }
    }
    const a = peek(source, position);
    position = min(position + <u32>popcnt<u64>(low), sourceBits);
    const b = peek(source, position);
    position = min(position + <u32>popcnt<u64>(high), sourceBits);
    const x = i64x2.replace_lane(i64x2.splat(a), 1, b);
    const m = i64x2.replace_lane(i64x2.splat(low), 1, high);
    v128.store(target, v128.or(v128.load(target), spread(x, m)));
  }
}

/**
 * Ors the bits of every row: one bit per row into the target, which is zero. Rows are told by a bit per edge, 1 = first
 * child.
 *
 * All rows at once: a row is a field of a long binary number, whose highest bit H is the row's last edge. The lower bits
 * plus a field of ones carry into H if one of them is set.
 */
export function joinBits(starts: usize, edges: u32, source: usize, target: usize, states: u32): void {
  let carry: u64 = 0;
  let position: u32 = 0;
  const words = (edges + 63) >> 6;
  let lastA: u64 = 0;
  let rowsA: u64 = 0;
  for (let word: u32 = 0; word < words; ++word) {
    const at = word << 3;
    const first = load<u64>(starts + at);
    let next: u64 = word + 1 < words ? load<u64>(starts + at, 8) & 1 : 1;
    let last = (first >> 1) | (next << 63);
    if (word + 1 == words && (edges & 63) != 0) {
      last &= ((<u64>1) << <u64>((edges & 63) - 1)) - 1;
      last |= (<u64>1) << <u64>((edges & 63) - 1);
    }
    const set = load<u64>(source + at);
    const lower = set & ~last;
    const sum = lower + ~last;
    const total = sum + carry;
    carry = <u64>(sum < lower) | <u64>(total < sum);
    const rows = (total | set) & last;
    if (word & 1) {
      position = append(target, position, states, rowsA, lastA, rows, last);
      lastA = 0;
    } else {
      rowsA = rows;
      lastA = last;
    }
  }
  if (words & 1) append(target, position, states, rowsA, lastA, 0, 0);
}

/** Appends the bits of two words at the ones of their masks; returns the position behind them, at most `most`. */
function append(
  target: usize,
  position: u32,
  most: u32,
  a: u64,
  maskA: u64,
  b: u64,
  maskB: u64,
): u32 {
  const middle = min(position + <u32>popcnt<u64>(maskA), most);
  const end = min(middle + <u32>popcnt<u64>(maskB), most);
  if ((a | b) != 0) {
    const x = gatherPair(
      i64x2.replace_lane(i64x2.splat(a), 1, b),
      i64x2.replace_lane(i64x2.splat(maskA), 1, maskB),
    );
    poke(target, position, i64x2.extract_lane(x, 0));
    poke(target, middle, i64x2.extract_lane(x, 1));
  }
  return end;
}

/** As {@link joinBits}, where rows are told by a list of the edges that are no first child. */
export function joinListed(
  list: usize,
  count: u32,
  edges: u32,
  source: usize,
  target: usize,
  states: u32,
): void {
  let from: u32 = 0;
  let to: u32 = 0;
  for (let i: u32 = 0; i < count; ++i) {
    const edge = load<u32>(list + (i << 2));
    if (edge < from || edge >= edges || edge == 0) continue;
    const run = min(edge - from, states - to);
    copyBits(source, from, target, to, run);
    to += run;
    if (to > 0 && bit(source, edge)) set(target, to - 1);
    from = edge + 1;
  }
  copyBits(source, from, target, to, min(edges - from, states - to));
}

/** As {@link joinBits}, for rows that are bitmaps of `rowWords` words. */
export function joinRows(source: usize, rowWords: u32, states: u32, target: usize): void {
  for (let state: u32 = 0; state < states; ++state, source += rowWords << 2) {
    if (anyWord(source, rowWords)) set(target, state);
  }
}

function anyWord(at: usize, words: u32): bool {
  for (const end = at + (words << 2); at < end; at += 4) {
    if (load<u32>(at) != 0) return true;
  }
  return false;
}

/**
 * Whether a row has an edge that the filter's `edges` of the level allow. Looks first from the bit with number `place`
 * on, if that is in the row: what is forbidden in order leaves nothing before it for long.
 */
function anyAllowed(level: usize, edges: usize, state: u32, place: u32): bool {
  if (load<u32>(level, L.BITMAP)) {
    const words = load<u32>(level, L.ROW_WORDS);
    const first = state * words;
    const middle = min(max(place >> 5, first), first + words);
    return anyWord(edges + (middle << 2), first + words - middle) ||
      anyWord(edges + (first << 2), middle - first);
  }
  packedRow(level, state);
  const middle = min(max(place, rowBegin), rowEnd);
  return nextOne(edges, rowEnd, middle) < rowEnd || nextOne(edges, middle, rowBegin) < middle;
}

function set(words: usize, position: u32): void {
  const at = words + ((position >> 5) << 2);
  store<u32>(at, load<u32>(at) | (1 << (position & 31)));
}

function clear(words: usize, position: u32): void {
  const at = words + ((position >> 5) << 2);
  store<u32>(at, load<u32>(at) & ~(1 << (position & 31)));
}

/**
 * Forbids sequences: takes their ends from a filter, and the paths that then lead to none. Ordinals are below the size of
 * the index.
 */
export function forbid(levels: usize, filter: usize, ordinals: usize, count: u32): void {
  for (let i: u32 = 0; i < count; ++i) {
    const ordinal = load<u32>(ordinals + (i << 2));
    let level = levels;
    let record = filter;
    while (ordinal - load<u32>(level, L.ENDS_BEFORE) >= load<u32>(level, L.ENDS)) {
      level += L.RECORD_BYTES;
      record += 8;
    }
    const number = ordinal - load<u32>(level, L.ENDS_BEFORE);
    const ends = load<u32>(record, 4);
    if (!bit(ends, number)) continue;
    clear(ends, number);
    let edge = endEdge(level, number);
    const child = childState(level, edge);
    if (child != NONE && anyAllowed(level + L.RECORD_BYTES, load<u32>(record, 8), child, 0)) continue;
    while (true) {
      const edges = load<u32>(record);
      let place = edge;
      let row: u32;
      if (load<u32>(level, L.BITMAP)) {
        place = bitmapPlace(level, edge);
        row = place / (load<u32>(level, L.ROW_WORDS) << 5);
      } else {
        row = packedRowOf(level, edge);
      }
      clear(edges, place);
      if (level == levels || anyAllowed(level, edges, row, place)) break;
      level -= L.RECORD_BYTES;
      record -= 8;
      edge = innerEdge(level, row);
      if (isEnd(level, edge) && bit(load<u32>(record, 4), endNumber(level, edge))) break;
    }
  }
}
