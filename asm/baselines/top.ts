// The best few logits of a row: a bound from below first, then what exceeds it, then an exact choice among those.
// Bounds are found by halving an interval and counting; nothing is sorted.
import { above, limit, Search, shift } from "./search";

/** Groups of a row; logits of one group are so far apart. */
const GROUPS: u32 = 128;
/** The same in bytes. */
const STRIDE: usize = GROUPS << 2;
/** Room that is kept: for a word of 32 tokens, and for what fills up. */
const ROOM: u32 = 40;

// Halves of the row buffer: tokens, ascending, and their logits.
let tokens: usize = 0;
let values: usize = 0;
let count: u32 = 0;
/** See {@link raise}. */
let ceiling: f32 = 0;

/** How many of some values, whole pairs of vectors, exceed a bound. */
function countAbove(at: usize, end: usize, bound: f32): u32 {
  const bounds = f32x4.splat(bound);
  let a = i32x4.splat(0);
  let b = a;
  for (; at < end; at += 32) {
    a = i32x4.sub(a, f32x4.gt(v128.load(at), bounds));
    b = i32x4.sub(b, f32x4.gt(v128.load(at, 16), bounds));
  }
  a = i32x4.add(a, b);
  a = i32x4.add(a, i32x4.shuffle(a, a, 2, 3, 0, 1));
  return i32x4.extract_lane(a, 0) + i32x4.extract_lane(a, 1);
}

/**
 * A bound of `low` or more that `cut` to `most` values exceed. Where equal ones make that impossible, those that
 * exceed it and not `ceiling` are equal. `low` itself if no more than `most` exceed it.
 */
function raise(at: usize, end: usize, cut: u32, most: u32, low: f32): f32 {
  if (countAbove(at, end, low) <= most) return low;
  ceiling = shift;
  while (true) {
    // `low` may be -infinity.
    const middle = <f32>max<f64>((<f64>low + <f64>ceiling) / 2, -f32.MAX_VALUE);
    if (middle == low || middle == ceiling) return low;
    const found = countAbove(at, end, middle);
    if (found < cut) ceiling = middle;
    else if (found > most) low = middle;
    else return middle;
  }
}

/**
 * A bound that at least `cut` logits exceed, and not many more: about the `cut`-th of the largest logits of groups.
 * `limit` if there are no such bounds above it. Logits behind the last whole {@link STRIDE} are not looked at.
 */
function boundOf(logits: usize, vocab: u32, cut: u32): f32 {
  if (cut > GROUPS) return limit;
  const floor = f32x4.splat(limit);
  const end = logits + (<usize>(vocab / GROUPS) * STRIDE);
  let least = f32x4.splat(shift);
  for (let group: usize = 0; group < STRIDE; group += 64) {
    let a = floor;
    let b = floor;
    let c = floor;
    let d = floor;
    for (let at = logits + group; at < end; at += STRIDE) {
      // A NaN never enters.
      a = f32x4.pmax(a, v128.load(at));
      b = f32x4.pmax(b, v128.load(at, 16));
      c = f32x4.pmax(c, v128.load(at, 32));
      d = f32x4.pmax(d, v128.load(at, 48));
    }
    v128.store(tokens + group, a);
    v128.store(tokens + group, b, 16);
    v128.store(tokens + group, c, 32);
    v128.store(tokens + group, d, 48);
    least = f32x4.pmin(least, f32x4.pmin(f32x4.pmin(a, b), f32x4.pmin(c, d)));
  }
  const lowest = min<f32>(
    min<f32>(f32x4.extract_lane(least, 0), f32x4.extract_lane(least, 1)),
    min<f32>(f32x4.extract_lane(least, 2), f32x4.extract_lane(least, 3)),
  );
  // Lower than the lowest, so that all exceed it.
  const low = max<f32>(limit, lowest - abs(lowest) * 1e-6 - 1e-30);
  return raise(tokens, tokens + STRIDE, cut, cut + (cut >> 3), low);
}

/** Keeps the best `cut` of the tokens at hand, in their order; of equal ones those that stand first. */
function prune(logits: usize, cut: u32, low: f32): f32 {
  if (count <= cut) return low;
  for (let i: u32 = 0; i < count; ++i) {
    store<f32>(values + (i << 2), load<f32>(logits + (load<u32>(tokens + (i << 2)) << 2)));
  }
  const none = f32x4.splat(-Infinity);
  let last = values + (count << 2);
  v128.store(last, none);
  v128.store(last, none, 16);
  const end = values + ((count + 7 & ~7) << 2);
  const bound = raise(values, end, cut, cut, low);
  for (let over = countAbove(values, end, bound) - cut; over > 0;) {
    last -= 4;
    const x = load<f32>(last);
    if (x > bound && !(x > ceiling)) {
      store<f32>(last, -Infinity);
      --over;
    }
  }
  let kept = tokens;
  for (let i: u32 = 0; i < count; ++i) {
    store<u32>(kept, load<u32>(tokens + (i << 2)));
    kept += usize(load<f32>(values + (i << 2)) > bound) << 2;
  }
  count = cut;
  return bound;
}

/**
 * Writes the tokens of the best `cut` logits of the row at hand to the row buffer, ascending, without those that
 * cannot win; returns how many there are. Of equal logits those of the lower tokens are better.
 */
export function best(s: Search, logits: usize, cut: u32): u32 {
  if (!(shift > limit)) return 0;
  const vocab = s.vocab;
  const capacity = s.rowBufferSize << 1;
  tokens = s.rowBuffer;
  values = tokens + (capacity << 2);
  count = 0;
  let bound = boundOf(logits, vocab, cut);
  for (let first: u32 = 0; first < vocab; first += 32) {
    let word = above(logits + (first << 2), f32x4.splat(bound), false);
    if (first + 32 > vocab) word &= (1 << (vocab - first)) - 1;
    if (count + ROOM > capacity) bound = prune(logits, cut, bound);
    const at = tokens + (count << 2);
    count += popcnt<u32>(word);
    // Most words hold two at most: those are written without a look.
    store<u32>(at, first + ctz<u32>(word));
    word &= word - 1;
    store<u32>(at, first + ctz<u32>(word), 4);
    word &= word - 1;
    for (let next = at + 8; word != 0; next += 4) {
      store<u32>(next, first + ctz<u32>(word));
      word &= word - 1;
    }
  }
  prune(logits, cut, bound);
  return count;
}
