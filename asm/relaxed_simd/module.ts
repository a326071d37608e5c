// What takes the place of the module's inner loop where the engine has fused multiply-add.
export { sumBlocks } from "../kernels/exponentials";

/** a·b + c by the instruction that {@link sumBlocks} relies on: the engine may round once or twice. */
export function multiplyAdd(a: f32, b: f32, c: f32): f32 {
  const sum = f32x4.relaxed_madd(f32x4.splat(a), f32x4.splat(b), f32x4.splat(c));
  return f32x4.extract_lane(sum, 0);
}
