/**
 * What the exclusions of a batch row take from its filter: per level the edges that then lead to nothing, and the ends,
 * as ascending lists in the heap of the index. Kernels ask the lists only for candidates that could win, so no filter is
 * copied.
 */
import type { FilterBits } from "../index/filter_bits.ts";
import type { LoadedIndex } from "../index/index_memory.ts";

/**
 * What a batch row allows on a level, one u32 each, 0 = all: addresses of the bits of edges and ends that its filter allows,
 * and of what its exclusions take from those: places of edges, as in the filter's bits, and numbers of ends, both ascending.
 */
export const RULE_FIELDS = [
  "EDGES_ALLOWED",
  "ENDS_ALLOWED",
  "DEAD_EDGES",
  "DEAD_EDGES_END",
  "DEAD_ENDS",
  "DEAD_ENDS_END",
] as const;

const WORDS = RULE_FIELDS.length;

/** Lists of one batch row, made for one search. Release them to give their memory back. */
export class Exclusions {
  /** The index whose sequences are excluded. */
  readonly loaded: LoadedIndex;
  /** Address of the lists in its heap. */
  readonly address: number;
  readonly byteLength: number;
  /** Per level, bytes from `address` on where its lists begin and end: edges, then ends. */
  readonly lists: readonly (readonly number[])[];

  /**
   * Finds them from the last level up. About 0.3 µs per sequence and level where little else is near.
   *
   * @param ordinals ascending, none twice, below the size of the index; empty after it.
   * @throws {LimitError} if there is no memory for them.
   */
  constructor(loaded: LoadedIndex, filter: FilterBits | undefined, ordinals: Uint32Array) {
    const { heap, table, shape } = loaded;
    const levels = shape.levels.length;
    const count = ordinals.length;
    const parts = { rules: levels * WORDS, ordinals: count, room: 2 * count };
    const fixed = parts.rules + parts.ordinals + parts.room;
    // No more than a level has edges, and ends.
    const most = shape.levels.reduce(
      (sum, { edges, ends }) => sum + Math.min(count, edges) + Math.min(count, ends),
      0,
    );
    const scratch = heap.allocate(4 * (fixed + most));
    try {
      const rules = heap.u32(scratch, parts.rules);
      rules.set(ruleTable(filter, levels));
      const at = scratch + 4 * parts.rules;
      heap.u32(at, count).set(ordinals);
      const room = at + 4 * count;
      const out = room + 4 * parts.room;
      const { exclude } = heap.exports;
      const words = exclude(table, levels, scratch, 4 * WORDS, at, count, out, room);
      this.loaded = loaded;
      this.byteLength = 4 * words;
      this.lists = Array.from(
        { length: levels },
        (_, d) => [...rules.subarray(d * WORDS + 2, (d + 1) * WORDS)],
      );
      this.address = heap.allocate(this.byteLength);
      heap.u32(this.address, words).set(heap.u32(out, words));
    } finally {
      heap.free(scratch);
    }
  }

  /** Gives the memory back. Once. */
  release(): void {
    this.loaded.heap.free(this.address);
  }
}

/** Rules of a batch row, level by level: `RULE_FIELDS` each. Addresses are those of the heap. */
export function ruleTable(
  filter: FilterBits | undefined,
  levels: number,
  exclusions?: Exclusions,
): Uint32Array {
  const table = new Uint32Array(levels * WORDS);
  for (let d = 0; d < levels; d++) {
    const ends = filter?.ends[d];
    if (filter) table[d * WORDS] = filter.address + filter.edges[d];
    if (filter && ends !== undefined) table[d * WORDS + 1] = filter.address + ends;
    exclusions?.lists[d].forEach((offset, i) => {
      table[d * WORDS + 2 + i] = exclusions.address + offset;
    });
  }
  return table;
}
