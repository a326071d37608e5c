/** An index as the arrays of the published implementation (layout: layout.ts). */
import { EspalierError, LimitError } from "../../errors.ts";
import type { ConstraintIndex } from "../../index/constraint_index.ts";
import { edgeBatches } from "../../index/edge_reader.ts";
import { npyHeader } from "../numpy/write.ts";
import { ARRAYS, firstStates } from "./layout.ts";
import type { ArrayFile } from "../numpy/npz.ts";

/** Most cells of a dense table: 1.25 GiB for both. */
const MAX_CELLS = 2 ** 28;
/** States and transitions are numbered in int32. */
const MAX_NUMBER = 2 ** 31 - 1;
/** Values that are written at once. */
const CHUNK = 2 ** 15;

/**
 * The arrays, as files. The large ones are made as they are read; memory: the dense tables, 5 · V^d bytes.
 *
 * @param dense levels that are dense: d.
 * @throws {EspalierError} with code `"mixed-lengths"` or `"too-short"`, for sets that the arrays cannot hold.
 * @throws {LimitError} if a table or a number becomes too large.
 */
export function staticArrays(index: ConstraintIndex, dense: number): ArrayFile[] {
  const { vocabSize, levels, maxLength } = index;
  checkSet(index, dense);
  const first = firstStates(vocabSize, levels.map(({ edges }) => edges));
  const transitions = levels.slice(1).reduce((sum, { edges }) => sum + edges, 0) + vocabSize;
  const states = first[maxLength - 1];
  if (Math.max(transitions, states + 2) > MAX_NUMBER) {
    throw new LimitError(
      "too-many-states",
      `Cannot convert the index: ${transitions} transitions and ${states} states, more than int32 can number; split the set`,
      { expected: MAX_NUMBER, actual: Math.max(transitions, states) },
    );
  }
  const starts = new Uint8Array(vocabSize);
  for (const token of index.allowedTokens([])) starts[token] = 1;
  const table = denseTables(index, dense, first[dense - 1]);
  const square = Array.from({ length: dense }, () => vocabSize);
  const branches = BigInt64Array.from(levels, ({ maxBranch }) => BigInt(maxBranch));
  return [
    file("packed", "<i4", [transitions, 2], packedCsr(index, first)),
    file("indptr", "<i4", [states + 2], int32Chunks(indptr(index))),
    file("branches", "<i8", [maxLength], [new Uint8Array(branches.buffer)]),
    file("startMask", "|b1", [vocabSize], [starts]),
    file("denseMask", "|b1", square, [table.mask]),
    file("denseStates", "<i4", square, [new Uint8Array(table.states.buffer)]),
  ];
}

function checkSet({ levels, maxLength, vocabSize }: ConstraintIndex, dense: number): void {
  const shortest = levels.findIndex(({ ends }) => ends > 0) + 1;
  if (shortest < maxLength) {
    throw new EspalierError(
      "mixed-lengths",
      `Cannot convert the index: its sequences have ${shortest} to ${maxLength} tokens, but the arrays hold one length only; pad them, or split the set by length`,
      { expected: maxLength, actual: shortest },
    );
  }
  if (dense >= maxLength) {
    throw new EspalierError(
      "too-short",
      `Cannot convert the index: its sequences have ${maxLength} token(s), the arrays need more than the ${dense} of the dense levels${
        dense > 1 && maxLength > 1 ? "; give --dense-levels 1" : ""
      }`,
      { expected: dense + 1, actual: maxLength },
    );
  }
  const cells = vocabSize ** dense;
  if (cells > MAX_CELLS) {
    throw new LimitError(
      "dense-too-large",
      `Cannot convert the index: dense tables of ${vocabSize}^${dense} cells, at most ${MAX_CELLS} are written; give fewer --dense-levels`,
      { expected: MAX_CELLS, actual: cells },
    );
  }
}

function file(
  array: keyof typeof ARRAYS,
  dtype: string,
  shape: number[],
  data: Iterable<Uint8Array<ArrayBuffer>>,
): ArrayFile {
  const header = npyHeader(dtype, shape);
  const count = shape.reduce((product, length) => product * length, 1);
  return {
    name: `${ARRAYS[array][0]}.npy`,
    byteLength: header.length + count * Number(dtype[2]),
    chunks: (function* () {
      yield header;
      yield* data;
    })(),
  };
}

function* packedCsr(
  index: ConstraintIndex,
  first: readonly number[],
): Generator<Uint8Array<ArrayBuffer>> {
  const { vocabSize, maxLength } = index;
  for (let d = 1; d < maxLength; d++) {
    const isLast = d + 1 === maxLength;
    for (const { first: edge, tokens } of edgeBatches(index, d)) {
      const pairs = new Int32Array(2 * tokens.length);
      for (let i = 0; i < tokens.length; i++) {
        pairs[2 * i] = tokens[i];
        pairs[2 * i + 1] = isLast ? 0 : first[d] + edge + i;
      }
      yield new Uint8Array(pairs.buffer);
    }
  }
  const none = Int32Array.from({ length: 2 * vocabSize }, (_, i) => i % 2 === 0 ? vocabSize : 0);
  yield new Uint8Array(none.buffer);
}

function* indptr(index: ConstraintIndex): Generator<number> {
  const { vocabSize, maxLength, levels } = index;
  const starts = index.allowedTokens([]);
  // Of state 0, where every sequence has ended.
  yield 0;
  // Transitions on earlier levels.
  let before = 0;
  let token = 0;
  for (let d = 1; d < maxLength; d++) {
    let row = -1;
    for (const { first, rows } of edgeBatches(index, d)) {
      for (let i = 0; i < rows.length; i++) {
        if (rows[i] === row) continue;
        row = rows[i];
        const start = before + first + i;
        yield start;
        // So do the states of tokens that come first nowhere.
        if (d === 1) { for (; token < starts[row]; token++) yield start; }
        if (d === 1) token++;
      }
    }
    before += levels[d].edges;
    if (d === 1) { for (; token < vocabSize; token++) yield before; }
  }
  yield before;
  yield before + vocabSize;
}

/** Which prefixes of `dense` tokens there are, and their states, of which the first has number `first`. */
function denseTables(index: ConstraintIndex, dense: number, first: number) {
  const { vocabSize } = index;
  let cells = index.allowedTokens([]);
  for (let d = 1; d < dense; d++) {
    const above = cells;
    cells = new Uint32Array(index.levels[d].edges);
    for (const { first, tokens, rows } of edgeBatches(index, d)) {
      for (let i = 0; i < rows.length; i++) {
        cells[first + i] = above[rows[i]] * vocabSize + tokens[i];
      }
    }
  }
  const mask = new Uint8Array(vocabSize ** dense);
  const states = new Int32Array(mask.length);
  cells.forEach((cell, i) => {
    mask[cell] = 1;
    states[cell] = dense === 1 ? first + cell : first + i;
  });
  return { mask, states };
}

/** Numbers as little-endian int32, many at once. */
function* int32Chunks(numbers: Iterable<number>): Generator<Uint8Array<ArrayBuffer>> {
  let chunk = new Int32Array(CHUNK);
  let filled = 0;
  for (const number of numbers) {
    chunk[filled++] = number;
    if (filled < CHUNK) continue;
    yield new Uint8Array(chunk.buffer);
    chunk = new Int32Array(CHUNK);
    filled = 0;
  }
  yield new Uint8Array(chunk.buffer, 0, 4 * filled);
}
