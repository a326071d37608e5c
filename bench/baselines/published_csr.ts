/**
 * The published STATIC layout (arXiv 2602.22647) with the SIMD of our kernels: (token, next state) pairs and row
 * pointers of 32 bits, and for the first d levels a validity bit and a next state of 32 bits for each of the
 * V^d prefixes. Rows are read to their end, not to the largest branch of the level as an accelerator must. In WASM;
 * asm/baselines/csr.ts is the step.
 */
import type { Method, SequenceSet } from "./method.ts";
import { openHeap } from "./module.ts";
import { commonPrefix, countEdges } from "./set.ts";
import { WasmSearch } from "./wasm_search.ts";

/** Above this d = 1: two dense levels would take more than 4 · 8192² bytes = 268 MB. */
const MAX_SQUARE = 8192;

/** Options of {@linkcode publishedCsr}. */
export interface CsrOptions {
  /** d, dense levels; 2 unless the vocabulary is above 8192. */
  dense?: 1 | 2;
}

/**
 * (V^d)/8 + 4·V^d bytes, 8 for every edge below level d and 4 for every state there. Two passes over the set.
 *
 * @throws {LimitError} if that is above 4 GiB: near 59 million random SIDs, V = 2048, L = 8.
 */
export async function publishedCsr(set: SequenceSet, options: CsrOptions = {}): Promise<Method> {
  const { length, vocabSize: V } = set;
  const dense = Math.min(options.dense ?? (V > MAX_SQUARE ? 1 : 2), length);
  const name = `published CSR, d = ${dense}`;
  const counts = countEdges(set);
  const words = Math.ceil(V / 32);
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  const pairCount = sum(counts.slice(dense));
  const stateCount = sum(counts.slice(dense - 1, -1));
  const bytes = {
    first: words * 4,
    valid: V ** (dense - 1) * words * 4,
    next: V ** dense * 4,
    rows: (stateCount + 1) * 4,
    pairs: pairCount * 8,
  };
  const byteLength = sum(Object.values(bytes)) - (dense === 1 ? bytes.first : 0);
  const { heap, exports } = await openHeap(name, byteLength + 8 * 256);
  const [first, valid, next, rows, pairs] = Object.values(bytes).map((n) => heap.allocate(n));
  const record = heap.allocate(64);
  heap.u32(record, 7).set([dense, words, first, valid, next, rows, pairs]);
  fill();

  /** Writes all tables in one pass over the set. */
  function fill(): void {
    const { data } = set;
    const firstBits = heap.u32(first, words).fill(0);
    const validBits = heap.u32(valid, bytes.valid / 4).fill(0);
    const nextStates = heap.u32(next, bytes.next / 4).fill(0);
    const starts = heap.u32(rows, stateCount + 1);
    const cells = heap.u32(pairs, pairCount * 2);
    // States are numbered level by level, from level `dense` on; so are pairs.
    const stateOf = new Float64Array(length + 1);
    const pairOf = new Float64Array(length + 1);
    for (let d = dense; d < length; d++) {
      stateOf[d + 1] = stateOf[d] + counts[d - 1];
      pairOf[d + 1] = pairOf[d] + counts[d];
    }
    starts[stateCount] = pairCount;
    for (let row = 0; row < set.rows; row++) {
      const at = row * length;
      for (let d = commonPrefix(set, row); d < length; d++) {
        const token = data[at + d];
        // The edge leads to a state of the level below, whose first pair comes next there.
        let state = 0;
        if (d + 1 >= dense && d + 1 < length) {
          state = stateOf[d + 1]++;
          starts[state] = pairOf[d + 1];
        }
        if (d >= dense) {
          const pair = pairOf[d]++;
          cells[2 * pair] = token;
          cells[2 * pair + 1] = state;
        } else if (d === dense - 1) {
          const prefix = d === 0 ? 0 : data[at];
          validBits[prefix * words + (token >>> 5)] |= 1 << (token & 31);
          nextStates[prefix * V + token] = state;
        } else {
          firstBits[token >>> 5] |= 1 << (token & 31);
        }
      }
    }
  }

  const method = {
    heap,
    exports,
    length,
    vocabSize: V,
    step: (search: number, step: number) => exports.stepCsr(search, step, record),
  };
  return {
    name,
    exact: true,
    byteLength,
    begin: (shape) => new WasmSearch(method, shape),
    [Symbol.dispose]() {},
  };
}
