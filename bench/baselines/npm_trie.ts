/**
 * A trie from npm, used by its public API. `@remusao/trie` (434 000 downloads a month) has nodes whose children are a
 * public Map, so that a step can enumerate them. It takes strings: a token is a UTF-16 code unit, and V is at most
 * 65 536. The more common packages cannot serve: mnemonist's TrieMap lists whole items below a prefix (at step 0
 * all), `@wry/trie` lists nothing.
 */
import { getHeapStatistics } from "node:v8";
// deno-lint-ignore no-import-prefix -- a dependency of the benches alone
import { create, type Trie as Node } from "npm:@remusao/trie@2.1.0";
import { LimitError } from "../../src/errors.ts";
import type { Best } from "./best.ts";
import { JsSearch, type Row } from "./js_search.ts";
import { mapBytes, mapTrieBytes } from "./map_trie.ts";
import type { Method, SequenceSet } from "./method.ts";
import { checkFits, openHeap } from "./module.ts";
import { countEdges } from "./set.ts";

const { fround } = Math;
const MAX_VOCABULARY = 65536;
/** An object of two fields. */
const NODE_BYTES = 40;

/**
 * About 220 bytes for every edge, leaves included: each node is an object and a Map. Building also takes a string
 * of every sequence.
 *
 * @throws {LimitError} if that is more than the heap of V8 has left, or V is above 65 536.
 */
export async function npmTrie(set: SequenceSet): Promise<Method> {
  const name = "@remusao/trie from npm";
  const { data, rows, length, vocabSize } = set;
  if (vocabSize > MAX_VOCABULARY) {
    throw new LimitError(
      "not-possible",
      `Cannot make ${name}: its tokens are UTF-16 code units, ${MAX_VOCABULARY} at most, and the vocabulary has ${vocabSize}; take a smaller vocabulary`,
      { expected: MAX_VOCABULARY, actual: vocabSize },
    );
  }
  const counts = countEdges(set);
  const edges = counts.reduce((a, b) => a + b, 1);
  const byteLength = mapTrieBytes(set) + rows * mapBytes(0) + edges * NODE_BYTES;
  const strings = rows * (24 + 2 * length);
  const { heap_size_limit, used_heap_size } = getHeapStatistics();
  checkFits(name, byteLength + strings, 0.9 * (heap_size_limit - used_heap_size));
  const root = create(
    Array.from(
      { length: rows },
      (_, row) => String.fromCharCode(...data.subarray(row * length, (row + 1) * length)),
    ),
  );
  const trie = { ...await openHeap(name, 0), root, length, vocabSize, scan, child };
  return {
    name,
    exact: true,
    byteLength,
    isOnHeap: true,
    begin: (shape) => new JsSearch(trie, shape),
    [Symbol.dispose]: () => root.chars.clear(),
  };
}

function scan(node: Node, _step: number, row: Row, best: Best): void {
  const { logits, at, shift, base, code } = row;
  let { worst } = best;
  for (const token of node.chars.keys()) {
    const score = fround(fround(logits[at + token] - shift) + base);
    if (score >= worst) worst = best.offer(score, code | token, 0);
  }
}

function child(node: Node, _step: number, token: number): Node {
  return node.chars.get(token)!;
}
