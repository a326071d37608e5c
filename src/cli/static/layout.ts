/**
 * The arrays in which the published implementation of STATIC (Su et al., arXiv 2602.22647) holds a set of sequences,
 * all of L tokens below V, with its first d levels dense: what its `build_static_index` returns, in that order.
 *
 * ```text
 * packed_csr          int32 [T + V, 2]  (token, next state) of all T transitions on levels 1 … L - 1, level by level;
 *                                       next state 0 behind the last token. Then V times (V, 0).
 * indptr              int32 [S + 2]     transitions of state s: rows indptr[s] … indptr[s + 1] - 1 of packed_csr
 * layer_max_branches  int64 [L]         most tokens that may follow a prefix, by its length
 * start_mask          bool [V]          tokens that may come first; token t leads to state t + 1
 * dense_mask          bool [V] * d      prefixes of d tokens
 * dense_states        int32 [V] * d     the states that they lead to, else 0
 * ```
 *
 * States: 0 is the end, 1 … V are first tokens (those that are none have no transitions), then one for each prefix of
 * 2 … L - 1 tokens, shorter ones first, sorted. S is their number, 0 included.
 *
 * The implementation leaves it to its users to save them. Names as its functions call them are understood, and those
 * that `np.savez(file, *build_static_index(…))` gives.
 */
export const ARRAYS = {
  packed: ["packed_csr", "arr_0"],
  indptr: ["indptr", "csr_indptr", "arr_1"],
  branches: ["layer_max_branches", "max_branch_factors", "arr_2"],
  startMask: ["start_mask", "arr_3"],
  denseMask: ["dense_mask", "arr_4"],
  denseStates: ["dense_states", "arr_5"],
} as const;

/** Number of the first state of each level but the root's: prefixes of 1, 2, … tokens; and, last, of all states. */
export function firstStates(vocabSize: number, edges: readonly number[]): number[] {
  const first = [1, vocabSize + 1];
  for (const count of edges.slice(1, -1)) first.push(first[first.length - 1] + count);
  return first;
}
