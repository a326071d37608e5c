/** What a user writes without us: a trie of nested Maps, and a mask that walks it. */

/** Children by token. */
export type Trie = Map<number, Trie>;

/** Every prefix that nothing continues: one for all, because an empty Map takes as much as one of four. */
const LEAF: Trie = new Map();

/** One Map for every prefix that goes on. Where a sequence ends is not kept. */
export function trieOf(sequences: Iterable<ArrayLike<number>>): Trie {
  const root: Trie = new Map();
  for (const sequence of sequences) {
    let node = root;
    const last = sequence.length - 1;
    for (let d = 0; d < last; d++) {
      let child = node.get(sequence[d]);
      if (child === undefined || child === LEAF) node.set(sequence[d], child = new Map());
      node = child;
    }
    if (last >= 0 && !node.has(sequence[last])) node.set(sequence[last], LEAF);
  }
  return root;
}

/** Logits that outlast the filling of their row. It grows with the widest row: masking makes no garbage. */
let kept = new Float32Array(64);

/** Sets the logits of a row to -infinity where they do not continue the prefix. */
export function maskByTrie(trie: Trie, prefix: ArrayLike<number>, logits: Float32Array): void {
  let node: Trie | undefined = trie;
  for (let d = 0; d < prefix.length && node; d++) node = node.get(prefix[d]);
  const { size } = node ??= LEAF;
  if (size > kept.length) kept = new Float32Array(2 * size);
  let i = 0;
  for (const token of node.keys()) kept[i++] = logits[token];
  logits.fill(-Infinity);
  i = 0;
  for (const token of node.keys()) logits[token] = kept[i++];
}
