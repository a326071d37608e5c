/** The module's inner loop over logits, with fused multiply-add: see asm/relaxed_simd. */
import { RELAXED_SIMD_BASE64 } from "./relaxed_simd.gen.ts";
import { fromBase64 } from "./kernels.ts";

let compiling: Promise<WebAssembly.Module | undefined> | undefined;

/** The compiled loop; undefined where the engine lacks relaxed SIMD or refuses to compile from bytes. */
export function relaxedSimdModule(): Promise<WebAssembly.Module | undefined> {
  return compiling ??= WebAssembly.compile(fromBase64(RELAXED_SIMD_BASE64)).catch(() => undefined);
}
