// The inner loop of the log-sum-exp. It is compiled twice: into the module, for every engine, and into
// asm/relaxed_simd, where relaxed SIMD gives fused multiply-add.
//
// exp(t) = 2^n · 2^f with n = round(t·log2 e), f in [-0.5, 0.5] and a polynomial of degree 5 for 2^f
// (relative error below 1.2e-7, by iteratively reweighted least squares): by Horner's rule where that takes the
// fewest operations, else in Estrin's order, whose chains are shorter. V8 rebuilds v128.const at every use, so
// constants are loaded from memory into locals.

/** a·b + c, rounded once where that is to be had. */
// @ts-ignore: decorator
@inline
function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** (x - shift)·log2 e. */
// @ts-ignore: decorator
@inline
function scaled(x: v128, log2e: v128, shifts: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(x, log2e, shifts);
  return f32x4.mul(f32x4.sub(x, shifts), log2e);
}

/** total + 2^y; y below `lowest` adds nothing. */
// @ts-ignore: decorator
@inline
function addExp2(
  total: v128,
  y: v128,
  lowest: v128,
  magic: v128,
  c5: v128,
  c4: v128,
  c3: v128,
  c2: v128,
  c1: v128,
  c0: v128,
): v128 {
  const bounded = f32x4.pmax(lowest, y);
  const z = f32x4.add(bounded, magic);
  const f = f32x4.sub(bounded, f32x4.sub(z, magic));
  let p: v128;
  if (ASC_FEATURE_RELAXED_SIMD) {
    p = madd(madd(madd(madd(madd(c5, f, c4), f, c3), f, c2), f, c1), f, c0);
  } else {
    const q = f32x4.mul(f, f);
    p = madd(madd(madd(c5, f, c4), q, madd(c3, f, c2)), q, madd(c1, f, c0));
  }
  return madd(p, i32x4.shl(z, 23), total);
}

/** Lanes of four partial sums. */
export function sumLanes(x: v128): f64 {
  return (<f64>f32x4.extract_lane(x, 0) + <f64>f32x4.extract_lane(x, 1)) +
    (<f64>f32x4.extract_lane(x, 2) + <f64>f32x4.extract_lane(x, 3));
}

/**
 * Sum of exp(logit - shift) from `at` to `end`, a multiple of 64 bytes; shift is not below any logit.
 *
 * @param constants those of softmax.ts: each four times, 16 bytes apart.
 */
export function sumBlocks(at: usize, end: usize, shift: f32, constants: usize): f64 {
  const log2e = v128.load(constants, 0);
  const lowest = v128.load(constants, 16);
  const magic = v128.load(constants, 32);
  const c5 = v128.load(constants, 48);
  const c4 = v128.load(constants, 64);
  const c3 = v128.load(constants, 80);
  const c2 = v128.load(constants, 96);
  const c1 = v128.load(constants, 112);
  const c0 = v128.load(constants, 128);
  let shifts = f32x4.splat(shift);
  let scale: f64 = 1;
  if (ASC_FEATURE_RELAXED_SIMD) {
    // x·log2 e - shift·log2 e in one operation. What rounding takes from the latter scales all terms alike, and
    // is put right at the end.
    const product = shift * f32x4.extract_lane(log2e, 0);
    shifts = f32x4.splat(-product);
    const lost = <f64>shift * <f64>f32x4.extract_lane(log2e, 0) - <f64>product;
    scale = 1 - lost * 0.6931471805599453;
  }
  let sum: f64 = 0;
  while (at < end) {
    // Single-precision partial sums over at most 8 K logits, so that rounding does not pile up.
    const stop = min<usize>(end, at + 32768);
    let total0 = f32x4.splat(0);
    let total1 = total0;
    while (at < stop) {
      let y = scaled(v128.load(at), log2e, shifts);
      total0 = addExp2(total0, y, lowest, magic, c5, c4, c3, c2, c1, c0);
      y = scaled(v128.load(at, 16), log2e, shifts);
      total1 = addExp2(total1, y, lowest, magic, c5, c4, c3, c2, c1, c0);
      y = scaled(v128.load(at, 32), log2e, shifts);
      total0 = addExp2(total0, y, lowest, magic, c5, c4, c3, c2, c1, c0);
      y = scaled(v128.load(at, 48), log2e, shifts);
      total1 = addExp2(total1, y, lowest, magic, c5, c4, c3, c2, c1, c0);
      at += 64;
    }
    sum += sumLanes(f32x4.add(total0, total1));
  }
  return sum * scale;
}
