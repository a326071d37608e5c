// Log-sum-exp of rows of logits, in SIMD. Rows need no alignment. NaN counts as -infinity.

import { sumBlocks, sumLanes } from "./exponentials";

// Each constant four times, 16 bytes apart.
const CONSTANTS = memory.data<f32>([
  1.4426950408889634, 1.4426950408889634, 1.4426950408889634, 1.4426950408889634, // log2 e
  -127.0, -127.0, -127.0, -127.0, // below: 2^n becomes 0
  12583039.0, 12583039.0, 12583039.0, 12583039.0, // 1.5·2^23 + 127: rounds, and biases the exponent
  0.0013264727, 0.0013264727, 0.0013264727, 0.0013264727,
  0.0096715126, 0.0096715126, 0.0096715126, 0.0096715126,
  0.0555073374, 0.0555073374, 0.0555073374, 0.0555073374,
  0.2402224209, 0.2402224209, 0.2402224209, 0.2402224209,
  0.6931469776, 0.6931469776, 0.6931469776, 0.6931469776,
  1.0, 1.0, 1.0, 1.0,
  -Infinity, -Infinity, -Infinity, -Infinity,
], 16);

/** The last n & 3 logits of a row, filled up with -infinity. */
function tail(row: usize, n: u32): v128 {
  const at = row + ((n & ~3) << 2);
  let values = v128.load(CONSTANTS, 144);
  values = f32x4.replace_lane(values, 0, load<f32>(at));
  if ((n & 3) > 1) values = f32x4.replace_lane(values, 1, load<f32>(at, 4));
  if ((n & 3) > 2) values = f32x4.replace_lane(values, 2, load<f32>(at, 8));
  return values;
}

/** Largest of n logits; -infinity if all are -infinity or NaN. */
export function rowMax(row: usize, n: u32): f32 {
  // pmax(a, b) is a < b ? b : a, so a NaN in b never enters.
  let a = v128.load(CONSTANTS, 144);
  let b = a;
  let c = a;
  let d = a;
  let at = row;
  const blocks = row + ((n & ~15) << 2);
  while (at < blocks) {
    a = f32x4.pmax(a, v128.load(at));
    b = f32x4.pmax(b, v128.load(at, 16));
    c = f32x4.pmax(c, v128.load(at, 32));
    d = f32x4.pmax(d, v128.load(at, 48));
    at += 64;
  }
  const end = row + ((n & ~3) << 2);
  while (at < end) {
    a = f32x4.pmax(a, v128.load(at));
    at += 16;
  }
  if (n & 3) b = f32x4.pmax(b, tail(row, n));
  a = f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d));
  return max<f32>(
    max<f32>(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1)),
    max<f32>(f32x4.extract_lane(a, 2), f32x4.extract_lane(a, 3)),
  );
}

/** Place of {@link sumBlocks} in the table: who has a faster one puts it there. */
export function sumBlocksSlot(): u32 {
  return sumBlocks.index;
}

/** Sum of exp(logit - shift) over n logits; shift is finite and not below any logit. */
export function sumExp(row: usize, n: u32, shift: f32): f64 {
  const blocks = row + ((n & ~15) << 2);
  // Fused multiply-add takes shift·log2 e as one rounded number: beyond this it would be too far off.
  let sum = abs(shift) < 2048
    ? call_indirect<f64>(sumBlocks.index, row, blocks, shift, CONSTANTS)
    : sumBlocks(row, blocks, shift, CONSTANTS);
  const shifts = f32x4.splat(shift);
  const end = row + ((n & ~3) << 2);
  for (let at = blocks; at < end; at += 16) sum += sumLanes(exp4(v128.load(at), shifts));
  if (n & 3) sum += sumLanes(exp4(tail(row, n), shifts));
  return sum;
}

function exp4(x: v128, shifts: v128): v128 {
  const y = f32x4.pmax(
    v128.load(CONSTANTS, 16),
    f32x4.mul(f32x4.sub(x, shifts), v128.load(CONSTANTS, 0)),
  );
  const z = f32x4.add(y, v128.load(CONSTANTS, 32));
  const f = f32x4.sub(y, f32x4.sub(z, v128.load(CONSTANTS, 32)));
  let p = v128.load(CONSTANTS, 48);
  p = f32x4.add(f32x4.mul(p, f), v128.load(CONSTANTS, 64));
  p = f32x4.add(f32x4.mul(p, f), v128.load(CONSTANTS, 80));
  p = f32x4.add(f32x4.mul(p, f), v128.load(CONSTANTS, 96));
  p = f32x4.add(f32x4.mul(p, f), v128.load(CONSTANTS, 112));
  p = f32x4.add(f32x4.mul(p, f), v128.load(CONSTANTS, 128));
  return f32x4.mul(p, i32x4.shl(z, 23));
}

/**
 * Logarithm of {@link sumExp}. With rounding the sum may come out below 1, which one of its terms is: then a child would
 * score higher than its parent.
 */
export function logSum(row: usize, n: u32, largest: f32): f64 {
  return max(0, Math.log(sumExp(row, n, largest)));
}

/** Log-sum-exp of n logits; -infinity where none is finite, +infinity where one is. */
export function logSumExp(row: usize, n: u32): f64 {
  const largest = rowMax(row, n);
  if (!isFinite(largest)) return largest;
  return <f64>largest + logSum(row, n, largest);
}

/** Converts n half-precision logits to single precision; writes whole groups of four. */
export function widen(source: usize, target: usize, n: u32): void {
  const magnitude = i32x4.splat(0x7fff);
  const scale = f32x4.splat(reinterpret<f32>(0x77800000)); // 2^112: moves the exponent bias
  const special = i32x4.splat(0x7c00);
  const infinite = i32x4.splat(0x7f800000);
  for (let i: u32 = 0; i < n; i += 4) {
    const half = v128.load_ext<u16>(source + (i << 1));
    const m = v128.and(half, magnitude);
    let value = f32x4.mul(i32x4.shl(m, 13), scale);
    value = v128.or(value, v128.and(i32x4.ge_s(m, special), infinite));
    store<v128>(target + (i << 2), v128.or(value, i32x4.shl(v128.xor(half, m), 16)));
  }
}
