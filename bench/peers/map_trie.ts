/** What a user writes without us: a trie of nested Maps, and a mask that walks it. */

/** Children by token. A leaf has none. */
export type Trie = Map<number, Trie>;

/** One Map for every prefix. */
export function trieOf(sequences: Iterable<ArrayLike<number>>): Trie {
  const root: Trie = new Map();
  for (const sequence of sequences) {
    let node = root;
    for (let d = 0; d < sequence.length; d++) {
      let child = node.get(sequence[d]);
      if (child === undefined) node.set(sequence[d], child = new Map());
      node = child;
    }
  }
  return root;
}

/** Sets the logits of a row to -infinity where they do not continue the prefix. */
export function maskByTrie(trie: Trie, prefix: ArrayLike<number>, logits: Float32Array): void {
  let node: Trie | undefined = trie;
  for (let d = 0; d < prefix.length && node; d++) node = node.get(prefix[d]);
  const kept: [number, number][] = [];
  for (const token of node?.keys() ?? []) kept.push([token, logits[token]]);
  logits.fill(-Infinity);
  for (const [token, logit] of kept) logits[token] = logit;
}
