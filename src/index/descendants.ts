/**
 * What lies below a prefix, from the row starts alone: what descends from neighbouring edges is neighbours on every
 * level, so that the first and the last of them say how many there are. Nothing is enumerated.
 */
import { onesBefore, selectOne } from "./bits/bit_vector.ts";
import { type ConstraintIndex, loadedIndexOf, placeOf } from "./constraint_index.ts";
import { innerEdges, rowWords } from "./format/layout.ts";
import { levelList, levelVector } from "./level_views.ts";

import type { LoadedIndex } from "./index_memory.ts";

/** Sequences of one length: those with ordinals from `start` up to, not including, `end`. */
export interface OrdinalRange {
  readonly length: number;
  readonly start: number;
  readonly end: number;
}

/** A token that may follow a prefix. */
export interface Branch {
  readonly token: number;
  /** Ordinal of the sequence that ends with this token, if one does. */
  readonly ordinal: number | undefined;
  /** All sequences that begin with the prefix and this token: a range for each length, shortest first, none empty. */
  readonly below: readonly OrdinalRange[];
}

/**
 * Tokens that may follow a prefix, ascending, with what lies below each; none where the prefix is not in the set.
 * O(log(size)) per token and level.
 *
 * @throws {EspalierError} with code `"not-loaded"` before all levels are there.
 */
export function branchesOf(index: ConstraintIndex, prefix: readonly number[]): Branch[] {
  const levels = openLevels(index);
  const place = placeOf(index, prefix);
  const tokens = place ? index.allowedTokens(prefix) : [];
  if (!place || tokens.length === 0) return [];
  const first = levels[prefix.length].rowStart(place.state);
  const { edges } = index.levels[prefix.length];
  // In a damaged index a row may go on behind the last edge, and nothing lie below a branch.
  const bounds = Array.from({ length: tokens.length + 1 }, (_, i) => Math.min(edges, first + i));
  return rangesBetween(levels, prefix.length, bounds).map((below, i) => ({
    token: tokens[i],
    ordinal: below[0]?.length === prefix.length + 1 ? below[0].start : undefined,
    below,
  }));
}

/**
 * All sequences that begin with a prefix, itself included: a range of ordinals for each length, shortest first, none
 * empty. O(log(size)) per level.
 *
 * @throws {EspalierError} with code `"not-loaded"` before all levels are there.
 */
export function ordinalsBelow(index: ConstraintIndex, prefix: readonly number[]): OrdinalRange[] {
  const levels = openLevels(index);
  if (prefix.length === 0) return rangesBetween(levels, 0, [0, index.levels[0].edges])[0];
  const edge = placeOf(index, prefix)?.edge;
  return edge === undefined ? [] : rangesBetween(levels, prefix.length - 1, [edge, edge + 1])[0];
}

/** What ends at or below the edges bounds[i] … bounds[i + 1] - 1 of a level, for each i. */
function rangesBetween(levels: readonly Level[], d: number, bounds: number[]): OrdinalRange[][] {
  const ranges: OrdinalRange[][] = Array.from({ length: bounds.length - 1 }, () => []);
  while (bounds[0] < bounds[bounds.length - 1]) {
    const level = levels[d++];
    const ends = bounds.map((edge) => level.ordinalsBefore + level.endsBefore(edge));
    ranges.forEach((range, i) => {
      if (ends[i] < ends[i + 1]) range.push({ length: d, start: ends[i], end: ends[i + 1] });
    });
    if (d === levels.length) break;
    bounds = bounds.map((edge) => levels[d].rowStart(level.innerBefore(edge)));
  }
  return ranges;
}

/** A level, as it is read here. Counts go up to, and take, its number of states or edges. */
interface Level {
  /** Sequences that end on earlier levels. */
  ordinalsBefore: number;
  /** Edges in earlier rows. */
  rowStart(state: number): number;
  /** Edges, before an edge, that go on: states of the next level. */
  innerBefore(edge: number): number;
  /** Edges, before an edge, on which a sequence ends. */
  endsBefore(edge: number): number;
}

/** Views of all levels, valid until the memory grows. */
function openLevels(index: ConstraintIndex): Level[] {
  const loaded = loadedIndexOf(index);
  const { levels } = loaded.shape;
  loaded.loading.require(levels.length);
  let ordinalsBefore = 0;
  return levels.map((shape, d) => {
    const innerCount = innerEdges(levels, d);
    const inner = shape.inner ? levelVector(loaded, d, "inner") : undefined;
    const end = shape.end ? levelVector(loaded, d, "end") : undefined;
    const innerBefore = (edge: number) =>
      inner ? onesBefore(inner, edge) : innerCount > 0 ? edge : 0;
    const level: Level = {
      ordinalsBefore,
      rowStart: rowStarts(loaded, d),
      innerBefore,
      // Within bounds, whatever a damaged index says.
      endsBefore: (edge) =>
        end ? onesBefore(end, edge) : Math.max(0, Math.min(shape.ends, edge - innerBefore(edge))),
    };
    ordinalsBefore += shape.ends;
    return level;
  });
}

function rowStarts(loaded: LoadedIndex, d: number): Level["rowStart"] {
  const shape = loaded.shape.levels[d];
  if (shape.encoding === "bitmap") {
    const bitmap = levelVector(loaded, d, "bitmap");
    const width = rowWords(shape) * 32;
    return (state) => onesBefore(bitmap, state * width);
  }
  if (shape.starts === "one") return (state) => state;
  if (shape.starts === "bits") {
    const bits = levelVector(loaded, d, "starts");
    return (state) => selectOne(bits, state);
  }
  const list = levelList(loaded, d);
  return (state) => {
    // Entry i is the number of an edge in row list[i] - i - 1.
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (list[middle] - middle <= state) low = middle + 1;
      else high = middle;
    }
    return state + low;
  };
}
