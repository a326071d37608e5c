/** The methods of the plan, by name; each is loaded only when it is measured. */
import type { Method, SequenceSet } from "../baselines/method.ts";
import type { MethodName } from "./plan.ts";

/** Puts a set into the form that a method searches. @throws {LimitError} if it does not fit. */
export type Maker = (set: SequenceSet) => Promise<Method>;

/** Loads a method. */
export async function makerOf(name: Exclude<MethodName, "webgpu">): Promise<Maker> {
  switch (name) {
    case "espalier":
      return (await import("../baselines/espalier.ts")).espalier;
    case "publishedCsr":
      return (await import("../baselines/published_csr.ts")).publishedCsr;
    case "ppvApproximate": {
      const { ppv } = await import("../baselines/ppv.ts");
      return (set) => ppv(set, { cut: 50 });
    }
    case "ppvExact":
      return (await import("../baselines/ppv.ts")).ppv;
    case "hashBitmap":
      return (await import("../baselines/hash_bitmap.ts")).hashBitmap;
    case "hashBitmapLazy": {
      const { hashBitmap } = await import("../baselines/hash_bitmap.ts");
      return (set) => hashBitmap(set, { lazy: true });
    }
    case "flatTrie":
      return (await import("../baselines/flat_trie.ts")).flatTrie;
    case "mapTrie":
      return (await import("../baselines/map_trie.ts")).mapTrie;
    case "npmTrie":
      return (await import("../baselines/npm_trie.ts")).npmTrie;
  }
}

/** A set in the form that a method searches. @throws {LimitError} if it does not fit. */
export async function methodOf(
  name: Exclude<MethodName, "webgpu">,
  set: SequenceSet,
): Promise<Method> {
  return await (await makerOf(name))(set);
}
