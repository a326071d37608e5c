/** Second pass over the sorted rows: every level is appended to, in place, in its final form. */
import { type LevelShape, planSections, rowWords, tokenBits } from "../index/format/layout.ts";
import type { Progress } from "./progress.ts";
import type { RowCursor } from "./row_cursor.ts";
import { inputChanged } from "./sort_matrix.ts";
import type { IndexMemory } from "../index/index_memory.ts";

/** Appends the edges of one level. Addresses are word numbers in `words`, the whole memory. */
class LevelWriter {
  /** Edges so far. */
  edges = 0;
  /** Sequences that end here so far. */
  ends = 0;
  #words: Uint32Array;
  #isBitmap: boolean;
  #bits: number;
  #least: number;
  #rowWords: number;
  /** Next word of packed tokens, bits that wait for it, and how many. */
  #at: number;
  #pending = 0;
  #filled = 0;
  /** First word of the row at hand, in a bitmap. */
  #row: number;
  #listAt: number;
  #startsAt: number;
  #inner: number;
  #end: number;

  constructor(words: Uint32Array, level: LevelShape, section: (part: string) => number) {
    this.#words = words;
    this.#isBitmap = level.encoding === "bitmap";
    this.#bits = tokenBits(level);
    this.#least = level.tokenMin;
    this.#rowWords = rowWords(level);
    this.#at = section("tokens");
    this.#row = section("bitmap") - this.#rowWords;
    this.#listAt = level.starts === "list" ? section("starts") : 0;
    this.#startsAt = level.starts === "bits" && !this.#isBitmap ? section("starts") : 0;
    this.#inner = level.inner ? section("inner") : 0;
    this.#end = level.end ? section("end") : 0;
  }

  append(token: number, isFirstChild: boolean): void {
    const words = this.#words;
    const edge = this.edges++;
    const relative = token - this.#least;
    if (this.#isBitmap) {
      if (isFirstChild) this.#row += this.#rowWords;
      words[this.#row + (relative >>> 5)] |= 1 << (relative & 31);
      return;
    }
    if (isFirstChild) {
      if (this.#startsAt > 0) words[this.#startsAt + (edge >>> 5)] |= 1 << (edge & 31);
    } else if (this.#listAt > 0) {
      words[this.#listAt++] = edge;
    }
    if (this.#bits === 0) return;
    this.#pending |= relative << this.#filled;
    const filled = this.#filled + this.#bits;
    if (filled < 32) {
      this.#filled = filled;
    } else {
      words[this.#at++] = this.#pending;
      this.#filled = filled - 32;
      this.#pending = this.#filled > 0 ? relative >>> (this.#bits - this.#filled) : 0;
    }
  }

  /** Marks the last edge as one with children. */
  markInner(): void {
    const edge = this.edges - 1;
    if (this.#inner > 0) this.#words[this.#inner + (edge >>> 5)] |= 1 << (edge & 31);
  }

  /** Marks the last edge as an end. */
  markEnd(): void {
    const edge = this.edges - 1;
    if (this.#end > 0) this.#words[this.#end + (edge >>> 5)] |= 1 << (edge & 31);
    this.ends++;
  }

  finish(): void {
    if (this.#filled > 0) this.#words[this.#at] = this.#pending;
  }
}

/** Writes the levels of an index into their reserved memory. */
export async function writeIndex(
  rows: RowCursor,
  { heap, shape, data }: IndexMemory,
  progress: Progress,
): Promise<void> {
  const { sections } = planSections(shape.levels);
  const addresses = new Map(sections.map(({ name, offset }) => [name, data + offset]));
  const words = heap.u32(0, Math.floor(heap.memory.buffer.byteLength / 4));
  const writers = shape.levels.map((level, d) =>
    new LevelWriter(words, level, (part) => (addresses.get(`level${d}.${part}`) ?? 0) / 4)
  );

  let lastLength = 0;
  rows.rewind();
  await progress.over("write", rows.count, (from, to) => {
    for (let i = from; i < to && rows.next(); i++) {
      const { tokens, length, shared } = rows;
      if (shared === length && length === lastLength) continue;
      const goesOn = shared === lastLength;
      if (goesOn && shared > 0) writers[shared - 1].markInner();
      if (length > writers.length) throw inputChanged();
      for (let d = shared; d < length; d++) {
        const writer = writers[d];
        writer.append(tokens[d], d > shared || goesOn);
        if (d < length - 1) writer.markInner();
      }
      writers[length - 1].markEnd();
      lastLength = length;
    }
  });
  const isAsPlanned = shape.levels.every(({ edges, ends }, d) =>
    writers[d].edges === edges && writers[d].ends === ends
  );
  if (!isAsPlanned) throw inputChanged();
  shape.levels.forEach((level, d) => {
    writers[d].finish();
    const sample = (part: string, bits: number) => {
      const at = (name: string) => addresses.get(`level${d}.${name}`)!;
      heap.exports.sampleBits(at(part), bits, at(`${part}.rank`), at(`${part}.select`));
    };
    if (level.encoding === "bitmap") sample("bitmap", level.states * rowWords(level) * 32);
    else if (level.starts === "bits") sample("starts", level.edges);
    if (level.inner) sample("inner", level.edges);
    if (level.end) sample("end", level.edges);
  });
}
