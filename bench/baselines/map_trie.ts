/** A pointer trie in JavaScript: a Map of Maps. What one writes first. */
import { getHeapStatistics } from "node:v8";
import type { Best } from "./best.ts";
import { JsSearch, type Row } from "./js_search.ts";
import type { Method, SequenceSet } from "./method.ts";
import { checkFits, openHeap } from "./module.ts";
import { commonPrefix } from "./set.ts";

const { fround } = Math;

/** Children by token. */
type Node = Map<number, Node>;

/** Every leaf. */
const LEAF: Node = new Map();

/** Bytes that V8 takes for a Map: a table of a power of two of entries, at least 4, with half as many buckets. */
export function mapBytes(entries: number): number {
  let capacity = 4;
  while (capacity < entries) capacity *= 2;
  return 32 + 16 + 8 * (3 + capacity / 2 + 3 * capacity);
}

/** Bytes of all Maps of a set. One pass. */
export function mapTrieBytes(set: SequenceSet): number {
  const { length, rows } = set;
  const children = new Uint32Array(length);
  let bytes = 0;
  for (let row = 0; row <= rows; row++) {
    // The rows below the common prefix are complete.
    const common = row < rows ? commonPrefix(set, row) : 0;
    if (row > 0) {
      for (let d = common + 1; d < length; d++) {
        bytes += mapBytes(children[d]);
        children[d] = 0;
      }
    }
    if (row < rows) { for (let d = common; d < length; d++) children[d]++; }
  }
  return bytes + mapBytes(children[0]);
}

/**
 * About 180 bytes for every state with up to 4 children. One pass over the set to count, one to build.
 *
 * @throws {LimitError} if that is more than the heap of V8 has left: more would end the process.
 */
export async function mapTrie(set: SequenceSet): Promise<Method> {
  const name = "trie of Maps, JavaScript";
  const { data, rows, length, vocabSize } = set;
  const byteLength = mapTrieBytes(set);
  const { heap_size_limit, used_heap_size } = getHeapStatistics();
  checkFits(name, byteLength, 0.9 * (heap_size_limit - used_heap_size));
  const root: Node = new Map();
  const path = [root];
  for (let row = 0; row < rows; row++) {
    for (let d = commonPrefix(set, row); d < length; d++) {
      const child: Node = d === length - 1 ? LEAF : new Map();
      path[d].set(data[row * length + d], child);
      path[d + 1] = child;
    }
  }
  const trie = { ...await openHeap(name, 0), root, length, vocabSize, scan, child };
  return {
    name,
    exact: true,
    byteLength,
    isOnHeap: true,
    begin: (shape) => new JsSearch(trie, shape),
    [Symbol.dispose]: () => root.clear(),
  };
}

function scan(node: Node, _step: number, row: Row, best: Best): void {
  const { logits, at, shift, base, code } = row;
  let { worst } = best;
  for (const token of node.keys()) {
    const score = fround(fround(logits[at + token] - shift) + base);
    if (score >= worst) worst = best.offer(score, code | token, 0);
  }
}

function child(node: Node, _step: number, token: number): Node {
  return node.get(token)!;
}
