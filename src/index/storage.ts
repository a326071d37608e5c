/** The one copy of an index: its bytes in WASM memory, the level table, and room for lookups. */
import { IndexIntegrityError } from "../errors.ts";
import { WasmHeap } from "../wasm/heap.ts";
import type { Header } from "../storage/safetensors.ts";
import type { Arrival } from "./arrival.ts";
import type { IndexShape } from "./header.ts";
import {
  innerEdges,
  LEVEL_RECORD_BYTES,
  levelTable,
  MAX_LENGTH,
  planSections,
  sectionWords,
} from "./layout.ts";

/** Memory of an index that is being filled. */
export interface IndexMemory {
  heap: WasmHeap;
  shape: IndexShape;
  /** Address of the data. */
  data: number;
  dataByteLength: number;
  /** Address of the level table. */
  table: number;
  /** Address of room for lookups: the tokens of a sequence, or of a row. */
  scratch: number;
}

/** An index, as the rooms behind this one see it. Its levels may still be arriving. */
export interface IndexStorage extends IndexMemory {
  header: Header;
  arrival: Arrival;
}

/**
 * Reserves the memory of an index, which is not cleared.
 *
 * @param previous an index that is not wanted any more: its memory is used again, so that there are never two.
 */
export async function reserve(
  shape: IndexShape,
  module?: WebAssembly.Module,
  previous?: IndexMemory,
): Promise<IndexMemory> {
  const { byteLength: dataByteLength } = planSections(shape.levels);
  const tableBytes = shape.levels.length * LEVEL_RECORD_BYTES;
  const scratchBytes = 4 * Math.max(MAX_LENGTH, ...shape.levels.map((level) => level.maxBranch)) +
    RESULT_BYTES;
  const heap = previous?.heap ??
    await WasmHeap.create(dataByteLength + tableBytes + scratchBytes + 1024, module);
  if (previous) {
    for (const part of [previous.scratch, previous.table, previous.data]) heap.free(part);
  }
  const data = heap.allocate(dataByteLength);
  const table = heap.allocate(tableBytes);
  const scratch = heap.allocate(scratchBytes);
  const records = levelTable(shape.levels, data);
  heap.u32(table, records.length).set(records);
  return { heap, shape, data, dataByteLength, table, scratch };
}

/** Words that a walk writes, in front of the scratch. */
export const RESULT_BYTES = 16;

/** What `verifyLevel` answers (asm/module/verify.ts). */
const FINDINGS = [
  "sound",
  "its rank or select samples do not fit its bits",
  "a bit vector has a wrong number of ones",
  "its row starts do not ascend",
  "tokens of a row do not ascend",
  "a token is outside the level's window, or the window is not tight",
  "its longest row is not as long as the header says",
  "an edge neither ends nor goes on",
  "unused bits are not zero",
];

/**
 * Checks the structure behind the digests: samples, counts, ascending tokens, unused bytes. Reads the levels
 * `first` … `end` - 1 once, by default all.
 *
 * @throws {IndexIntegrityError} naming the level.
 */
export function verifyStructure(
  { heap, shape, data, table }: IndexMemory,
  first = 0,
  end = shape.levels.length,
): void {
  const { sections } = planSections(shape.levels);
  const parts = (d: number) => sectionWords(shape.levels[d], innerEdges(shape.levels, d));
  let next = 0;
  for (let d = 0; d < first; d++) next += parts(d).length;
  for (let d = first; d < end; d++) {
    let finding = heap.exports.verifyLevel(table + d * LEVEL_RECORD_BYTES);
    let section: string | undefined;
    for (const [part, words] of parts(d)) {
      const { name, offset, byteLength } = sections[next++];
      // The word of slack behind packed tokens is unused, too.
      const used = 4 * (part === "tokens" ? words - 1 : words);
      const from = data + offset + used;
      if (finding === 0 && !heap.exports.isZero(from, data + offset + byteLength)) {
        finding = FINDINGS.length - 1;
        section = name;
      }
    }
    if (finding !== 0) {
      throw new IndexIntegrityError(
        "structure",
        `Cannot trust the index: on level ${d}, ${
          FINDINGS[finding]
        }; rebuild it from the sequences`,
        { level: d, actual: FINDINGS[finding], section },
      );
    }
  }
}
