// Hash bitmap: one bit for the hash of every prefix of the set. A prefix is hashed token by token. All tokens of a
// row are tested; a token that is not allowed passes as often as the bitmap is full.
import {
  beginBatch,
  beginRow,
  endBatch,
  inputOf,
  limit,
  logitsOf,
  offer,
  rowsOf,
  Search,
} from "./search";

/** Hash of the empty prefix; bench/baselines/hash_bitmap.ts starts searches with it. */
const ROOT: u32 = 0x811c9dc5;
const TOKEN: u32 = 0x9e3779b1;
const MIX1: u32 = 0x7feb352d;
const MIX2: u32 = 0x846ca68b;

// V8 rebuilds v128.const at every use: constants are loaded from memory into locals.
const CONSTANTS = memory.data<u32>([
  0, 1, 2, 3,
  TOKEN, TOKEN, TOKEN, TOKEN,
  MIX1, MIX1, MIX1, MIX1,
  MIX2, MIX2, MIX2, MIX2,
  4, 4, 4, 4,
], 16);

/** Hash of a prefix that is one token longer. */
// @ts-ignore: decorator
@inline
function extend(hash: u32, token: u32): u32 {
  let h = (hash ^ token) * TOKEN + hash;
  h = (h ^ (h >>> 16)) * MIX1;
  h = (h ^ (h >>> 15)) * MIX2;
  return h ^ (h >>> 16);
}

/** Whether a bit is 1; the highest bits of a hash are its place. */
// @ts-ignore: decorator
@inline
function test(bitmap: usize, hash: u32, shift: u32): u32 {
  const place = hash >>> shift;
  return (load<u32>(bitmap + ((place >>> 5) << 2)) >>> (place & 31)) & 1;
}

let passed: f64 = 0;

/** Tokens that passed the test since the module began. */
export function passedCount(): f64 {
  return passed;
}

function insertRows<T>(
  rows: usize,
  count: u32,
  length: u32,
  hashes: usize,
  bitmap: usize,
  shift: u32,
  fresh: bool,
): void {
  for (let row: u32 = 0; row < count; ++row) {
    const at = rows + <usize>row * length * sizeof<T>();
    const before = at - <usize>length * sizeof<T>();
    let d: u32 = 0;
    if (row > 0 || !fresh) {
      while (d < length && load<T>(at + d * sizeof<T>()) == load<T>(before + d * sizeof<T>())) ++d;
    }
    for (; d < length; ++d) {
      const parent = d == 0 ? ROOT : load<u32>(hashes + ((d - 1) << 2));
      const hash = extend(parent, <u32>load<T>(at + d * sizeof<T>()));
      store<u32>(hashes + (d << 2), hash);
      const place = hash >>> shift;
      const word = bitmap + ((place >>> 5) << 2);
      store<u32>(word, load<u32>(word) | (1 << (place & 31)));
    }
  }
}

/**
 * Sets the bits of all prefixes of sorted rows. Unless `fresh`, the row before the first one stands before it,
 * and `hashes` holds the hashes of its prefixes.
 */
export function insertRows16(
  rows: usize,
  count: u32,
  length: u32,
  hashes: usize,
  bitmap: usize,
  shift: u32,
  fresh: bool,
): void {
  insertRows<u16>(rows, count, length, hashes, bitmap, shift, fresh);
}

/** The same for tokens of 32 bits. */
export function insertRows32(
  rows: usize,
  count: u32,
  length: u32,
  hashes: usize,
  bitmap: usize,
  shift: u32,
  fresh: bool,
): void {
  insertRows<u32>(rows, count, length, hashes, bitmap, shift, fresh);
}

/** `eager` tests every token; otherwise groups in which no logit can win are left out. */
function scan(
  hash: u32,
  vocab: u32,
  logits: usize,
  bitmap: usize,
  shift: u32,
  eager: bool,
): void {
  const spread = v128.load(CONSTANTS, 16);
  const mix1 = v128.load(CONSTANTS, 32);
  const mix2 = v128.load(CONSTANTS, 48);
  const four = v128.load(CONSTANTS, 64);
  const hashes = i32x4.splat(hash);
  let tokens = v128.load(CONSTANTS, 0);
  let bound = f32x4.splat(limit);
  for (let first: u32 = 0; first < vocab; first += 8, logits += 32) {
    const others = i32x4.add(tokens, four);
    if (
      !eager && !v128.any_true(
        v128.or(f32x4.gt(v128.load(logits), bound), f32x4.gt(v128.load(logits, 16), bound)),
      )
    ) {
      tokens = i32x4.add(others, four);
      continue;
    }
    let a = i32x4.add(i32x4.mul(v128.xor(tokens, hashes), spread), hashes);
    let b = i32x4.add(i32x4.mul(v128.xor(others, hashes), spread), hashes);
    tokens = i32x4.add(others, four);
    a = i32x4.mul(v128.xor(a, i32x4.shr_u(a, 16)), mix1);
    b = i32x4.mul(v128.xor(b, i32x4.shr_u(b, 16)), mix1);
    a = i32x4.mul(v128.xor(a, i32x4.shr_u(a, 15)), mix2);
    b = i32x4.mul(v128.xor(b, i32x4.shr_u(b, 15)), mix2);
    a = v128.xor(a, i32x4.shr_u(a, 16));
    b = v128.xor(b, i32x4.shr_u(b, 16));
    let mask = test(bitmap, i32x4.extract_lane(a, 0), shift) |
      (test(bitmap, i32x4.extract_lane(a, 1), shift) << 1) |
      (test(bitmap, i32x4.extract_lane(a, 2), shift) << 2) |
      (test(bitmap, i32x4.extract_lane(a, 3), shift) << 3) |
      (test(bitmap, i32x4.extract_lane(b, 0), shift) << 4) |
      (test(bitmap, i32x4.extract_lane(b, 1), shift) << 5) |
      (test(bitmap, i32x4.extract_lane(b, 2), shift) << 6) |
      (test(bitmap, i32x4.extract_lane(b, 3), shift) << 7);
    if (first + 8 > vocab) mask &= (1 << (vocab - first)) - 1;
    if (mask == 0) continue;
    passed += <f64>popcnt<u32>(mask);
    do {
      const lane = ctz<u32>(mask);
      mask &= mask - 1;
      const x = load<f32>(logits + (lane << 2));
      if (x > limit) offer(x, first + lane, extend(hash, first + lane));
    } while (mask != 0);
    bound = f32x4.splat(limit);
  }
}

/** One step over all rows; states are hashes. */
export function stepHash(s: Search, step: u32, bitmap: usize, shift: u32, eager: bool): void {
  const beams = rowsOf(s, step);
  for (let batch: u32 = 0; batch < s.batches; ++batch) {
    beginBatch(s);
    for (let beam: u32 = 0; beam < beams; ++beam) {
      const input = inputOf(s, step, batch, beam);
      const logits = logitsOf(s, step, batch, beam);
      if (!beginRow(s, input, beam, logits)) continue;
      const hash = step == 0 ? ROOT : load<u32>(s.states + input);
      scan(hash, s.vocab, logits, bitmap, shift, eager);
    }
    endBatch(s, step, batch);
  }
}
