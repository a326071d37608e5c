/** The one copy of an index: its bytes in WASM memory, the level table, and room for lookups. */
import { type ErrorFacts, IndexIntegrityError } from "../errors.ts";
import { WasmHeap } from "../wasm/heap.ts";
import type { Header } from "../storage/safetensors.ts";
import type { Arrival } from "./arrival.ts";
import { type IndexShape, partCount, planData } from "./header.ts";
import { findItemsFault } from "./items.ts";
import {
  innerEdges,
  LEVEL_RECORD_BYTES,
  levelTable,
  MAX_LENGTH,
  planSections,
  sectionWords,
} from "./layout.ts";
import { findFilterFault } from "./named_filters.ts";

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

/** An index, as the rooms behind this one see it. Its parts may still be arriving. */
export interface IndexStorage extends IndexMemory {
  header: Header;
  arrival: Arrival;
}

/** A memory that is larger by this, or twice as large, is still used again. */
const SPARE_BYTES = 2 ** 24;

/**
 * Reserves the memory of an index, which is not cleared.
 *
 * @param previous an index that nobody uses any more: its memory is used again, unless it is far too large. Otherwise
 * there are two until the runtime collects the first, which it does late.
 */
export async function reserve(
  shape: IndexShape,
  module?: WebAssembly.Module,
  previous?: IndexMemory,
): Promise<IndexMemory> {
  const { byteLength: dataByteLength } = planData(shape);
  const tableBytes = shape.levels.length * LEVEL_RECORD_BYTES;
  const scratchBytes = 4 * Math.max(MAX_LENGTH, ...shape.levels.map((level) => level.maxBranch)) +
    RESULT_BYTES;
  const byteLength = dataByteLength + tableBytes + scratchBytes + 1024;
  const isFit = previous && previous.heap.memory.buffer.byteLength <= 2 * byteLength + SPARE_BYTES;
  if (isFit) previous.heap.reset();
  const heap = isFit ? previous.heap : await WasmHeap.create(byteLength, module);
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
 * Checks the structure behind the digests: samples, counts, ascending tokens, unused bytes. Reads the parts
 * `first` … `end` - 1 once, by default all: the levels, then filters and items.
 *
 * @throws {IndexIntegrityError} naming the level or the section.
 */
export function verifyStructure(
  storage: IndexStorage,
  first = 0,
  end = partCount(storage.shape),
): void {
  const { heap, shape, data, table } = storage;
  const { sections } = planSections(shape.levels);
  const parts = (d: number) => sectionWords(shape.levels[d], innerEdges(shape.levels, d));
  let next = 0;
  for (let d = 0; d < first; d++) next += parts(d).length;
  for (let d = first; d < Math.min(end, shape.levels.length); d++) {
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
      throw untrusted(`on level ${d}`, FINDINGS[finding], { level: d, section });
    }
  }
  if (end <= shape.levels.length) return;
  const fault = findFilterFault(storage) ?? findItemsFault(storage);
  if (fault) throw untrusted(`in "${fault.section}"`, fault.what, { section: fault.section });
}

function untrusted(where: string, actual: string, facts: ErrorFacts): IndexIntegrityError {
  return new IndexIntegrityError(
    "structure",
    `Cannot trust the index: ${where}, ${actual}; rebuild it from the sequences`,
    { ...facts, actual },
  );
}
