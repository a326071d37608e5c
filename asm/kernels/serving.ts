// What an opened index needs: lookups, verification, filters and kernels over one imported memory.
/** First address that the module's own data does not use. */
export function heapBase(): usize {
  return __heap_base;
}
export { children, hasToken, nextTokens, ordinalOfEdge, spell, spellEdge, walk } from "./lookup";
export {
  combineBits,
  copyBits,
  countBits,
  fillBits,
  forbid,
  joinBits,
  joinListed,
  joinRows,
  spreadBits,
} from "./filter";
export { findItem, isOrdered, itemAt } from "./items";
export { isZero, verifyLevel } from "./verify";
export { sumBlocks } from "./exponentials";
export { sumBlocksSlot } from "./softmax";
export { exclude } from "./exclusions";
export { followRun, scoreToken } from "./runs";
export { stepRows } from "./step";
