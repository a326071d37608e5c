/** A trie in JavaScript without objects: per level the tokens of its edges and where the children of each begin. */
import type { Best } from "./best.ts";
import { JsSearch, type Row } from "./js_search.ts";
import type { Method, SequenceSet } from "./method.ts";
import { allocate, openHeap } from "./module.ts";
import { commonPrefix, countEdges, tokenArray } from "./set.ts";

const { fround } = Math;

/** Edges of a level, those of one row after those of another. */
interface Level {
  /** [edges] */
  tokens: Uint16Array | Uint32Array;
  /** [rows + 1] first edge of each row; row k belongs to edge k of the level above. */
  starts: Uint32Array;
}

/**
 * 2 or 4 bytes for the token of every edge, 4 for every row. Two passes over the set.
 *
 * @throws {LimitError} if the machine does not give the memory.
 */
export async function flatTrie(set: SequenceSet): Promise<Method> {
  const name = "flat trie, JavaScript";
  const { data, rows, length, vocabSize } = set;
  const counts = countEdges(set);
  const tokenBytes = vocabSize <= 65536 ? 2 : 4;
  const rowsOf = (d: number) => d === 0 ? 1 : counts[d - 1];
  const byteLength = counts.reduce((n, c, d) => n + c * tokenBytes + (rowsOf(d) + 1) * 4, 0);
  const levels = allocate(name, byteLength, () =>
    counts.map((count, d): Level => ({
      tokens: tokenArray(vocabSize, count),
      starts: new Uint32Array(rowsOf(d) + 1),
    })));
  const edges = new Float64Array(length);
  for (let row = 0; row < rows; row++) {
    for (let d = commonPrefix(set, row); d < length; d++) {
      levels[d].tokens[edges[d]++] = data[row * length + d];
      if (d + 1 < length) levels[d + 1].starts[edges[d]] = edges[d + 1] + 1;
    }
  }
  for (const { starts } of levels) {
    // Until here entry k + 1 was one past the first edge of row k.
    starts.copyWithin(0, 1);
    for (let i = 0; i < starts.length - 1; i++) starts[i] = Math.max(0, starts[i] - 1);
  }
  levels.forEach(({ tokens, starts }) => starts[starts.length - 1] = tokens.length);

  function scan(node: number, step: number, row: Row, best: Best): void {
    const { tokens, starts } = levels[step];
    const { logits, at, shift, base, code } = row;
    const end = starts[node + 1];
    let { worst } = best;
    for (let edge = starts[node]; edge < end; edge++) {
      const token = tokens[edge];
      const score = fround(fround(logits[at + token] - shift) + base);
      if (score >= worst) worst = best.offer(score, code | token, edge);
    }
  }
  const child = (_node: number, _step: number, _token: number, edge: number) => edge;
  const trie = { ...await openHeap(name, 0), root: 0, length, vocabSize, scan, child };
  return {
    name,
    exact: true,
    byteLength,
    begin: (shape) => new JsSearch(trie, shape),
    [Symbol.dispose]: () => void levels.splice(0),
  };
}
