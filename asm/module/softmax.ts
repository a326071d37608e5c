// Log-sum-exp of rows of logits, in SIMD. Rows need no alignment. NaN counts as -infinity.
//
// exp(t) = 2^n · 2^f with n = round(t·log2 e), f in [-0.5, 0.5] and a polynomial of degree 5 for 2^f
// (relative error below 1.2e-7, by iteratively reweighted least squares), in Estrin's order. V8 rebuilds v128.const at every use, so constants are loaded from memory into locals.

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

/** Sum of exp(logit - shift) over n logits; shift is finite and not below any logit. */
export function sumExp(row: usize, n: u32, shift: f32): f64 {
  const log2e = v128.load(CONSTANTS, 0);
  const lowest = v128.load(CONSTANTS, 16);
  const magic = v128.load(CONSTANTS, 32);
  const c5 = v128.load(CONSTANTS, 48);
  const c4 = v128.load(CONSTANTS, 64);
  const c3 = v128.load(CONSTANTS, 80);
  const c2 = v128.load(CONSTANTS, 96);
  const c1 = v128.load(CONSTANTS, 112);
  const c0 = v128.load(CONSTANTS, 128);
  const shifts = f32x4.splat(shift);
  let sum: f64 = 0;
  let at = row;
  const end = row + ((n & ~3) << 2);
  while (at < end) {
    // Single-precision partial sums over at most 8 K logits, so that rounding does not pile up.
    const stop = min<usize>(end, at + 32768);
    let total0 = f32x4.splat(0);
    let total1 = total0;
    let total2 = total0;
    let total3 = total0;
    // Four at a time: the chain of one is too long to keep the units busy.
    while (at + 64 <= stop) {
      let y0 = f32x4.mul(f32x4.sub(v128.load(at), shifts), log2e);
      let y1 = f32x4.mul(f32x4.sub(v128.load(at, 16), shifts), log2e);
      let y2 = f32x4.mul(f32x4.sub(v128.load(at, 32), shifts), log2e);
      let y3 = f32x4.mul(f32x4.sub(v128.load(at, 48), shifts), log2e);
      y0 = f32x4.pmax(lowest, y0);
      y1 = f32x4.pmax(lowest, y1);
      y2 = f32x4.pmax(lowest, y2);
      y3 = f32x4.pmax(lowest, y3);
      const z0 = f32x4.add(y0, magic);
      const z1 = f32x4.add(y1, magic);
      const z2 = f32x4.add(y2, magic);
      const z3 = f32x4.add(y3, magic);
      const f0 = f32x4.sub(y0, f32x4.sub(z0, magic));
      const f1 = f32x4.sub(y1, f32x4.sub(z1, magic));
      const f2 = f32x4.sub(y2, f32x4.sub(z2, magic));
      const f3 = f32x4.sub(y3, f32x4.sub(z3, magic));
      const q0 = f32x4.mul(f0, f0);
      const q1 = f32x4.mul(f1, f1);
      const q2 = f32x4.mul(f2, f2);
      const q3 = f32x4.mul(f3, f3);
      let p0 = f32x4.add(f32x4.mul(c5, f0), c4);
      let p1 = f32x4.add(f32x4.mul(c5, f1), c4);
      let p2 = f32x4.add(f32x4.mul(c5, f2), c4);
      let p3 = f32x4.add(f32x4.mul(c5, f3), c4);
      p0 = f32x4.add(f32x4.mul(p0, q0), f32x4.add(f32x4.mul(c3, f0), c2));
      p1 = f32x4.add(f32x4.mul(p1, q1), f32x4.add(f32x4.mul(c3, f1), c2));
      p2 = f32x4.add(f32x4.mul(p2, q2), f32x4.add(f32x4.mul(c3, f2), c2));
      p3 = f32x4.add(f32x4.mul(p3, q3), f32x4.add(f32x4.mul(c3, f3), c2));
      p0 = f32x4.add(f32x4.mul(p0, q0), f32x4.add(f32x4.mul(c1, f0), c0));
      p1 = f32x4.add(f32x4.mul(p1, q1), f32x4.add(f32x4.mul(c1, f1), c0));
      p2 = f32x4.add(f32x4.mul(p2, q2), f32x4.add(f32x4.mul(c1, f2), c0));
      p3 = f32x4.add(f32x4.mul(p3, q3), f32x4.add(f32x4.mul(c1, f3), c0));
      total0 = f32x4.add(total0, f32x4.mul(p0, i32x4.shl(z0, 23)));
      total1 = f32x4.add(total1, f32x4.mul(p1, i32x4.shl(z1, 23)));
      total2 = f32x4.add(total2, f32x4.mul(p2, i32x4.shl(z2, 23)));
      total3 = f32x4.add(total3, f32x4.mul(p3, i32x4.shl(z3, 23)));
      at += 64;
    }
    while (at < stop) {
      total0 = f32x4.add(total0, exp4(v128.load(at), shifts));
      at += 16;
    }
    sum += sumLanes(f32x4.add(f32x4.add(total0, total1), f32x4.add(total2, total3)));
  }
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

function sumLanes(x: v128): f64 {
  return (<f64>f32x4.extract_lane(x, 0) + <f64>f32x4.extract_lane(x, 1)) +
    (<f64>f32x4.extract_lane(x, 2) + <f64>f32x4.extract_lane(x, 3));
}

/** Log-sum-exp of n logits; -infinity where none is finite, +infinity where one is. */
export function logSumExp(row: usize, n: u32): f64 {
  const largest = rowMax(row, n);
  if (!isFinite(largest)) return largest;
  return <f64>largest + Math.log(sumExp(row, n, largest));
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
