/** The methods of the plan, by name; each is loaded only when it is measured. */
import type { Method, SequenceSet } from "../baselines/method.ts";
import type { MethodName } from "./plan.ts";

/** A set in the form that a method searches. @throws {LimitError} if it does not fit. */
export async function methodOf(
  name: Exclude<MethodName, "webgpu">,
  set: SequenceSet,
): Promise<Method> {
  switch (name) {
    case "espalier":
      return await (await import("../baselines/espalier.ts")).espalier(set);
    case "publishedCsr":
      return await (await import("../baselines/published_csr.ts")).publishedCsr(set);
    case "ppvApproximate":
      return await (await import("../baselines/ppv.ts")).ppv(set, { cut: 50 });
    case "ppvExact":
      return await (await import("../baselines/ppv.ts")).ppv(set);
    case "hashBitmap":
      return await (await import("../baselines/hash_bitmap.ts")).hashBitmap(set);
    case "hashBitmapLazy":
      return await (await import("../baselines/hash_bitmap.ts")).hashBitmap(set, { lazy: true });
    case "flatTrie":
      return await (await import("../baselines/flat_trie.ts")).flatTrie(set);
    case "mapTrie":
      return await (await import("../baselines/map_trie.ts")).mapTrie(set);
    case "npmTrie":
      return await (await import("../baselines/npm_trie.ts")).npmTrie(set);
  }
}
