/** The module's inner loop over logits, with fused multiply-add: see asm/fused. */
import { FUSED_BASE64 } from "./fused.gen.ts";
import { fromBase64 } from "./module.ts";

let compiled: WebAssembly.Module | null | undefined;

/** The compiled loop, or null where the engine lacks relaxed SIMD or refuses to compile from bytes. */
export function fusedModule(): WebAssembly.Module | null {
  if (compiled === undefined) {
    try {
      compiled = new WebAssembly.Module(fromBase64(FUSED_BASE64));
    } catch {
      compiled = null;
    }
  }
  return compiled;
}
