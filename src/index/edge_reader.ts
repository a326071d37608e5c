/**
 * Edges of a level, many at once and in ascending order: their tokens, the rows that they stand in, and the edges that
 * rows and ends belong to. A few nanoseconds each where they are neighbours; O(log(edges)) where they are not.
 */
import { type BitVector, countOnes, getBits, onesBefore } from "./bits/bit_vector.ts";
import { BLOCK_BITS } from "./bits/sections.ts";
import { BitCursor } from "./bits/bit_cursor.ts";
import { type ConstraintIndex, loadedIndexOf } from "./constraint_index.ts";
import { rowWords, tokenBits } from "./format/layout.ts";
import { levelList, levelTokens, levelVector } from "./level_views.ts";

import type { LoadedIndex } from "./index_memory.ts";

/** Edges that are read at once. */
const BATCH_EDGES = 2 ** 14;

/** Neighbouring edges of a level, from number `first` on: their tokens, and the states whose rows they stand in. */
export interface EdgeBatch {
  readonly first: number;
  readonly tokens: Uint32Array;
  readonly rows: Uint32Array;
}

/**
 * All edges of a level, in order. The arrays of a batch are valid until the next is asked for.
 *
 * @throws {EspalierError} with code `"not-loaded"` before the level is there.
 */
export function* edgeBatches(index: ConstraintIndex, d: number): Generator<EdgeBatch, void, void> {
  const edges = new Uint32Array(BATCH_EDGES);
  const all = new Uint32Array(BATCH_EDGES);
  const { edges: count } = index.levels[d];
  for (let first = 0; first < count; first += BATCH_EDGES) {
    const loaded = loadedIndexOf(index);
    loaded.loading.require(d + 1);
    const rows = edges.subarray(0, count - first);
    const tokens = all.subarray(0, rows.length);
    for (let i = 0; i < rows.length; i++) rows[i] = first + i;
    readEdges(loaded, d, rows, tokens);
    yield { first, tokens, rows };
  }
}

/**
 * Writes the token of edge i of a level to `tokens[at + stride * i]`, and puts its row, a state, in its place.
 *
 * @param edges ascending; some may come several times.
 */
export function readEdges(
  loaded: LoadedIndex,
  d: number,
  edges: Uint32Array,
  tokens: Uint32Array,
  at = 0,
  stride = 1,
): void {
  const level = loaded.shape.levels[d];
  const { tokenMin, encoding, starts } = level;
  if (encoding === "bitmap") {
    const cursor = new BitCursor(levelVector(loaded, d, "bitmap"), 1);
    const width = 32 * rowWords(level);
    for (let i = 0; i < edges.length; i++) {
      const position = cursor.seek(edges[i]);
      edges[i] = Math.floor(position / width);
      tokens[at + stride * i] = tokenMin + position - edges[i] * width;
    }
    return;
  }
  const packed = levelTokens(loaded, d);
  const bits = tokenBits(level);
  for (let i = 0; i < edges.length; i++) {
    tokens[at + stride * i] = tokenMin + getBits(packed, edges[i] * bits, bits);
  }
  if (starts === "list") rowsOfList(levelList(loaded, d), edges);
  if (starts === "bits") rowsOfBits(levelVector(loaded, d, "starts"), edges);
}

/** @param list edges that are no first child. */
function rowsOfList(list: Uint32Array, edges: Uint32Array): void {
  // How many of the list stand at or before the edge at hand.
  let before = 0;
  for (let i = 0; i < edges.length; i++) {
    const edge = edges[i];
    if (list[before + BLOCK_BITS] <= edge) {
      let high = list.length;
      while (before < high) {
        const middle = Math.floor((before + high) / 2);
        if (list[middle] <= edge) before = middle + 1;
        else high = middle;
      }
    }
    while (list[before] <= edge) before++;
    edges[i] = edge - before;
  }
}

/** @param starts a bit for each edge: whether it is a first child. */
function rowsOfBits(starts: BitVector, edges: Uint32Array): void {
  let next = 0;
  let rows = 0;
  for (let i = 0; i < edges.length; i++) {
    const end = edges[i] + 1;
    if (end - next > BLOCK_BITS) rows = onesBefore(starts, end);
    else rows += countOnes(starts.words, next, end);
    next = end;
    edges[i] = rows - 1;
  }
}

/** Puts, in the place of each state of level d + 1, ascending, the edge of level d that leads to it. */
export function edgesToStates(loaded: LoadedIndex, d: number, states: Uint32Array): void {
  if (!loaded.shape.levels[d].inner) return;
  seekAll(new BitCursor(levelVector(loaded, d, "inner"), 1), states);
}

/** Puts, in the place of each number, ascending, the edge of level d on which the sequence with that number ends. */
export function edgesOfEnds(loaded: LoadedIndex, d: number, numbers: Uint32Array): void {
  const { end, inner } = loaded.shape.levels[d];
  if (end) seekAll(new BitCursor(levelVector(loaded, d, "end"), 1), numbers);
  // Where no inner edge is an end, all others are.
  else if (inner) seekAll(new BitCursor(levelVector(loaded, d, "inner"), 0), numbers);
}

function seekAll(cursor: BitCursor, numbers: Uint32Array): void {
  for (let i = 0; i < numbers.length; i++) numbers[i] = cursor.seek(numbers[i]);
}
