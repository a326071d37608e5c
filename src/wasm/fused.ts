/** The module's inner loop over logits, with fused multiply-add: see asm/fused. */
import { FUSED_BASE64 } from "./fused.gen.ts";
import { fromBase64 } from "./module.ts";

let compiling: Promise<WebAssembly.Module | undefined> | undefined;

/** The compiled loop; undefined where the engine lacks relaxed SIMD or refuses to compile from bytes. */
export function fusedModule(): Promise<WebAssembly.Module | undefined> {
  return compiling ??= WebAssembly.compile(fromBase64(FUSED_BASE64)).catch(() => undefined);
}
