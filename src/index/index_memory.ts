/** The one copy of an index: its bytes in WASM memory, the level table, and room for lookups. */

import { WasmHeap } from "../wasm/heap.ts";
import type { Header } from "../storage/safetensors.ts";
import type { LevelLoading } from "./level_loading.ts";
import { type IndexShape, planData } from "./format/header.ts";

import { LEVEL_RECORD_BYTES, levelTable, MAX_LENGTH } from "./format/layout.ts";

/** Memory of an index that is being filled. */
export interface IndexMemory {
  heap: WasmHeap;
  shape: IndexShape;
  /** Address of the data. */
  data: number;
  dataByteLength: number;
  /** Address of the level table. */
  table: number;
  /** Address of room for lookups: results, the tokens of a sequence, then those of rows. */
  scratch: number;
}

/** An index, as the rooms behind this one see it. Its parts may still be arriving. */
export interface LoadedIndex extends IndexMemory {
  header: Header;
  loading: LevelLoading;
}

/** A memory that is larger by this, or twice as large, is still used again. */
const SPARE_BYTES = 2 ** 24;

/**
 * Reserves the memory of an index, which is not cleared.
 *
 * @param previous an index that nobody uses any more: its memory is used again, unless it is far too large. Otherwise
 * there are two until the runtime collects the first, which it does late.
 * @param dataByteLength of the file; more than its known sections take where a later version has added others.
 */
export async function reserve(
  shape: IndexShape,
  module?: WebAssembly.Module,
  previous?: IndexMemory,
  dataByteLength: number = planData(shape).byteLength,
): Promise<IndexMemory> {
  const tableBytes = shape.levels.length * LEVEL_RECORD_BYTES;
  const scratchBytes = scratchByteLength(shape);
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

/** Room for the tokens of several rows that have few. */
const LISTED_TOKENS = 2 ** 12;

/** Bytes that lookups need. */
export function scratchByteLength({ levels }: IndexShape): number {
  const most = Math.max(...levels.map((level) => level.maxBranch));
  return RESULT_BYTES + 4 * (MAX_LENGTH + LISTED_TOKENS + most);
}
