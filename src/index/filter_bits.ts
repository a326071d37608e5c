/**
 * Item filters as kernels read them: which sequences are allowed, and from that, bottom-up, which edges lead to one.
 *
 * ```text
 * filter │ ends of level 0, 1, … │ edges of level 0, 1, …     each a bit vector with 16 bytes of slack
 * ```
 *
 * - ends: a bit per sequence that ends on the level, in order of ordinals.
 * - edges: a bit per edge; of a bitmap level, in the places of the bitmap. 1 = an allowed sequence ends at or below it.
 *
 * Vectors that are always equal are one: where every edge of a level goes on, its bits are those of the rows that it
 * leads to, and where those have one edge each, the bits of these. So one-child tails share one vector.
 *
 * Where a filter allows some but not all items of a sequence, it has a bit for every shared entry (see entries.ts), in
 * JavaScript memory: searches read edges and ends only, results read entries.
 */
import type { LevelShape } from "./format/layout.ts";
import { innerEdges, LEVEL_FIELDS, LEVEL_RECORD_BYTES, rowWords } from "./format/layout.ts";
import { Entries, type EntryPlace } from "./entries.ts";
import { EntrySet, hasEntry, type SharedBits } from "./entry_set.ts";
import type { LoadedIndex } from "./index_memory.ts";

const SLACK_BYTES = 16;
const OPERATIONS = { and: 0, or: 1, andNot: 2 } as const;

/** A bit vector of a filter. */
interface Vector {
  bits: number;
  /** Whether kernels read it; others are only needed to make those. */
  isKept: boolean;
  /** Bytes from the start of the filter, or of the room for what is not kept. */
  offset: number;
}

/** How one level follows from the one below it. */
interface LevelPlan {
  ends?: Vector;
  /** A bit per edge. */
  plain: Vector;
  /** What kernels read: `plain`, or the same in the places of a bitmap. */
  edges: Vector;
  /** A bit per row: whether it has an edge. */
  rows: Vector;
}

/** Where everything is in the filters of one index. */
interface FilterPlan {
  levels: LevelPlan[];
  endsByteLength: number;
  byteLength: number;
  scratchByteLength: number;
}

function planFilter(shapes: readonly LevelShape[]): FilterPlan {
  const vector = (bits: number, isKept = false): Vector => ({ bits, isKept, offset: -1 });
  const levels: LevelPlan[] = [];
  for (let d = shapes.length - 1; d >= 0; d--) {
    const shape = shapes[d];
    const below = levels[0]?.rows;
    const ends = shape.ends > 0 ? vector(shape.ends, true) : undefined;
    const isMixed = shape.inner || shape.end;
    const plain = isMixed ? vector(shape.edges) : below ?? ends!;
    const isBitmap = shape.encoding === "bitmap";
    const edges = isBitmap ? vector(shape.states * rowWords(shape) * 32) : plain;
    edges.isKept = true;
    const rows = shape.starts === "one" ? plain : vector(shape.states);
    levels.unshift({ ends, plain, edges, rows });
  }
  let kept = 0;
  let scratch = 0;
  const place = (vector: Vector | undefined) => {
    if (!vector || vector.offset >= 0) return;
    const words = Math.floor(vector.bits / 32) + 1;
    const bytes = Math.ceil((words * 4 + SLACK_BYTES) / 16) * 16;
    vector.offset = vector.isKept ? kept : scratch;
    if (vector.isKept) kept += bytes;
    else scratch += bytes;
  };
  for (const { ends } of levels) place(ends);
  const endsByteLength = kept;
  for (const { plain, edges, rows } of levels) [plain, edges, rows].forEach(place);
  return { levels, endsByteLength, byteLength: kept, scratchByteLength: scratch };
}

const plans = new WeakMap<LoadedIndex, FilterPlan>();

function planOf(loaded: LoadedIndex): FilterPlan {
  let plan = plans.get(loaded);
  if (!plan) plans.set(loaded, plan = planFilter(loaded.shape.levels));
  return plan;
}

/** Fields of a level's record. */
function recordOf({ heap, table }: LoadedIndex, d: number) {
  const words = heap.u32(table + d * LEVEL_RECORD_BYTES, LEVEL_FIELDS.length);
  return (field: typeof LEVEL_FIELDS[number]) => words[LEVEL_FIELDS.indexOf(field)];
}

/**
 * A compiled filter in the heap of its index. Made with one user; its memory is given back when the last one releases
 * it. Content does not change.
 */
export class FilterBits {
  /** The index that it filters. */
  readonly loaded: LoadedIndex;
  /** Address in the heap of the index. */
  readonly address: number;
  readonly byteLength: number;
  /** Per level, byte from `address` on where the bits of its edges start. */
  readonly edges: readonly number[];
  /** Per level, the same for its ends; undefined where no sequence ends. */
  readonly ends: readonly (number | undefined)[];
  /**
   * Shared entries that are allowed; undefined if all those of the allowed sequences are. Only those of allowed sequences
   * mean something. Does not change.
   */
  readonly shared: SharedBits | undefined;
  #users = 1;
  #whenFreed = new Set<() => void>();

  /** Memory that is all zero. @throws {LimitError} if there is none. */
  private constructor(loaded: LoadedIndex, shared?: SharedBits) {
    const { levels, byteLength } = planOf(loaded);
    const { heap } = loaded;
    this.loaded = loaded;
    this.shared = shared;
    this.byteLength = byteLength;
    this.address = heap.allocate(byteLength);
    heap.u8(this.address, byteLength).fill(0);
    this.edges = levels.map(({ edges }) => edges.offset);
    this.ends = levels.map(({ ends }) => ends?.offset);
  }

  /**
   * From bits by ordinal: bit i of byte i >> 3 is ordinal i. Bits behind the last ordinal do not count.
   *
   * @param shared shared entries of these sequences that are allowed; undefined for all.
   */
  static of(loaded: LoadedIndex, bits: Uint8Array, shared?: SharedBits): FilterBits {
    const { heap, shape } = loaded;
    return FilterBits.#make(loaded, shared, (filter) => {
      const source = heap.allocate(bits.length + SLACK_BYTES);
      try {
        heap.u8(source, bits.length).set(bits);
        let from = 0;
        filter.#forEachEnds((ends, d) => {
          heap.exports.copyBits(source, from, ends, 0, shape.levels[d].ends);
          from += shape.levels[d].ends;
        });
      } finally {
        heap.free(source);
      }
      filter.#compile();
    });
  }

  /** Everything is allowed. */
  static all(loaded: LoadedIndex): FilterBits {
    return FilterBits.#make(loaded, undefined, (filter) => {
      const { heap, shape } = loaded;
      filter.#forEachEnds((ends, d) => heap.exports.fillBits(ends, shape.levels[d].ends));
      planOf(loaded).levels.forEach(({ edges }, d) => {
        const at = filter.address + edges.offset;
        if (shape.levels[d].encoding === "packed") return heap.exports.fillBits(at, edges.bits);
        const bitmap = recordOf(loaded, d)("TOKENS");
        heap.u8(at, edges.bits / 8).set(heap.u8(bitmap, edges.bits / 8));
      });
    });
  }

  static #make(
    loaded: LoadedIndex,
    shared: SharedBits | undefined,
    fill: (filter: FilterBits) => void,
  ): FilterBits {
    const filter = new FilterBits(loaded, shared);
    try {
      fill(filter);
      return filter;
    } catch (error) {
      filter.release();
      throw error;
    }
  }

  /** What this one does not allow. */
  inverse(): FilterBits {
    const { loaded, shared } = this;
    if (shared) return FilterBits.#ofSet(loaded, this.#set().not());
    return FilterBits.#make(loaded, undefined, (result) => {
      const { heap, shape } = loaded;
      const { endsByteLength } = planOf(loaded);
      result.#forEachEnds((ends, d) => heap.exports.fillBits(ends, shape.levels[d].ends));
      const { address } = result;
      heap.exports.combineBits(OPERATIONS.andNot, address, this.address, address, endsByteLength);
      result.#compile();
    });
  }

  /** Both, either, or this one without the other. */
  combined(operation: keyof typeof OPERATIONS, other: FilterBits): FilterBits {
    const { loaded } = this;
    if (this.shared || other.shared) {
      return FilterBits.#ofSet(loaded, this.#set()[operation](other.#set()));
    }
    return FilterBits.#make(loaded, undefined, (result) => {
      // What is allowed by either is, level by level, what one or the other allows; that is not so of both.
      const isDone = operation === "or";
      const bytes = isDone ? this.byteLength : planOf(loaded).endsByteLength;
      const code = OPERATIONS[operation];
      loaded.heap.exports.combineBits(code, this.address, other.address, result.address, bytes);
      if (!isDone) result.#compile();
    });
  }

  /**
   * A copy without some sequences, and without some entries: ends are cleared, and the paths that then lead to none. Cost:
   * the copy, and a step up the trie for every token that goes.
   */
  without(sequences: Uint32Array, entries: readonly EntryPlace[] = []): FilterBits {
    const { loaded, address, byteLength } = this;
    const { heap, table, shape } = loaded;
    const { shared, emptied } = sharedWithout(loaded, this.shared, entries);
    const ordinals = Uint32Array.from([...sequences, ...emptied]);
    return FilterBits.#make(loaded, shared, (result) => {
      const words = shape.levels.length * 2;
      const record = heap.allocate(4 * (words + ordinals.length));
      heap.u8(result.address, byteLength).set(heap.u8(address, byteLength));
      const view = heap.u32(record, words + ordinals.length);
      shape.levels.forEach((_, d) => {
        view[2 * d] = result.address + this.edges[d];
        view[2 * d + 1] = result.address + (this.ends[d] ?? 0);
      });
      // In order, so that neighbours are still in the cache.
      view.subarray(words).set(ordinals);
      view.subarray(words).sort();
      heap.exports.forbid(table, record, record + 4 * words, ordinals.length);
      heap.free(record);
    });
  }

  /** Allowed sequences. One pass over the ends. */
  count(): number {
    const { endsByteLength } = planOf(this.loaded);
    return this.loaded.heap.exports.countBits(this.address, endsByteLength) >>> 0;
  }

  /** Whether a sequence is allowed; `ordinal` is below the size of the index. */
  has(ordinal: number): boolean {
    const { heap, shape } = this.loaded;
    let d = 0;
    while (ordinal >= shape.levels[d].ends) ordinal -= shape.levels[d++].ends;
    const byte = heap.u8(this.address + this.ends[d]! + (ordinal >>> 3), 1)[0];
    return (byte >> (ordinal & 7) & 1) === 1;
  }

  /** Whether an entry is allowed. */
  allows({ ordinal, shared }: EntryPlace): boolean {
    return this.has(ordinal) && (!shared || !this.shared || hasEntry(this.shared, shared.number));
  }

  /** The allowed entries, in a new set. */
  #set(): EntrySet {
    const { heap, shape } = this.loaded;
    const byteLength = Math.ceil(shape.size / 8);
    const target = heap.allocate(byteLength + SLACK_BYTES);
    try {
      heap.u8(target, byteLength + SLACK_BYTES).fill(0);
      let to = 0;
      this.#forEachEnds((ends, d) => {
        heap.exports.copyBits(ends, 0, target, to, shape.levels[d].ends);
        to += shape.levels[d].ends;
      });
      return new EntrySet(this.loaded, heap.u8(target, byteLength).slice(), this.shared?.slice());
    } finally {
      heap.free(target);
    }
  }

  static #ofSet(loaded: LoadedIndex, { ordinals, shared }: EntrySet): FilterBits {
    return FilterBits.of(loaded, ordinals, shared);
  }

  /** Allowed entries. One pass over the bits. */
  countItems(): number {
    return this.#set().itemCount;
  }

  /** Bytes that it holds, in the heap and in JavaScript. */
  get heldBytes(): number {
    return this.byteLength + (this.shared?.byteLength ?? 0);
  }

  /** One user more: its memory stays until that one, too, has released it. */
  retain(): this {
    this.#users++;
    return this;
  }

  /** One user less. */
  release(): void {
    if (--this.#users > 0) return;
    this.loaded.heap.free(this.address);
    for (const callback of this.#whenFreed) callback();
    this.#whenFreed.clear();
  }

  /** For kernels that keep a copy elsewhere: called when the memory is given back. */
  whenFreed(callback: () => void): void {
    this.#whenFreed.add(callback);
  }

  #forEachEnds(use: (address: number, d: number) => void): void {
    this.ends.forEach((offset, d) => {
      if (offset !== undefined) use(this.address + offset, d);
    });
  }

  /** Edges from ends, from the last level up. Reads every level's row starts or bitmap once. */
  #compile(): void {
    const { heap, shape } = this.loaded;
    const { exports } = heap;
    const { levels, scratchByteLength } = planOf(this.loaded);
    const scratch = heap.allocate(scratchByteLength);
    heap.u8(scratch, scratchByteLength).fill(0);
    const at = ({ isKept, offset }: Vector) => (isKept ? this.address : scratch) + offset;
    for (let d = levels.length - 1; d >= 0; d--) {
      const { ends, plain, edges, rows } = levels[d];
      const level = shape.levels[d];
      const field = recordOf(this.loaded, d);
      const inner = innerEdges(shape.levels, d);
      if (level.inner) {
        const below = levels[d + 1].rows;
        exports.spreadBits(field("INNER"), 0, level.edges, at(below), inner, at(plain));
      } else if (level.end) {
        exports.copyBits(at(levels[d + 1].rows), 0, at(plain), 0, inner);
      }
      if (level.end) {
        exports.spreadBits(field("END"), 0, level.edges, at(ends!), level.ends, at(plain));
      } else if (level.inner) {
        exports.spreadBits(field("INNER"), 1, level.edges, at(ends!), level.ends, at(plain));
      }
      if (level.encoding === "bitmap") {
        exports.spreadBits(field("TOKENS"), 0, edges.bits, at(plain), level.edges, at(edges));
        if (d > 0) exports.joinRows(at(edges), rowWords(level), level.states, at(rows));
      } else if (d > 0 && level.starts === "bits") {
        exports.joinBits(field("STARTS"), level.edges, at(plain), at(rows), level.states);
      } else if (d > 0 && level.starts === "list") {
        const listed = level.edges - level.states;
        exports.joinListed(
          field("STARTS"),
          listed,
          level.edges,
          at(plain),
          at(rows),
          level.states,
        );
      }
    }
    heap.free(scratch);
  }
}

/** Shared entries (all, if undefined) without some, and the sequences of which then none is left. */
export function sharedWithout(
  loaded: LoadedIndex,
  shared: SharedBits | undefined,
  entries: readonly EntryPlace[],
): { shared: SharedBits | undefined; emptied: Set<number> } {
  if (entries.some((entry) => entry.shared)) {
    shared = shared?.slice() ??
      new Uint32Array(Math.ceil(Entries.of(loaded).sharedCount / 32)).fill(-1);
  }
  for (const { shared: place } of entries) {
    if (place) shared![place.number >>> 5] &= ~(1 << (place.number & 31));
  }
  const emptied = new Set<number>();
  for (const { ordinal, shared: place } of entries) {
    let number = place?.from ?? 0;
    while (place && number < place.to && !hasEntry(shared!, number)) number++;
    if (!place || number === place.to) emptied.add(ordinal);
  }
  return { shared, emptied };
}
