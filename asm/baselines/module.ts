// The baselines that the benches compare with: published layouts and methods over one imported memory, with the
// log-sum-exp and the selection of asm/kernels, so that only the constraint differs.
/** First address that the module's own data does not use. */
export function heapBase(): usize {
  return __heap_base;
}
export { sumBlocks } from "../kernels/exponentials";
export { sumBlocksSlot } from "../kernels/softmax";
export { normalize } from "./search";
export { stepCsr } from "./csr";
export { insertRows16, insertRows32, passedCount, stepHash } from "./hash";
export { stepPpv16, stepPpv32 } from "./ppv";
