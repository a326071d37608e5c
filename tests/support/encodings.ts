/** Indexes whose levels are stored as a test wants them, not as the planner would choose. */

import type { ConstraintIndex } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { indexFrom, loadedIndexOf } from "../../src/index/constraint_index.ts";
import { encodeShape, type IndexShape } from "../../src/index/format/header.ts";
import { type LevelShape, planSections } from "../../src/index/format/layout.ts";
import { Progress } from "../../src/build/progress.ts";
import type { RowCursor } from "../../src/build/row_cursor.ts";
import { reserve } from "../../src/index/index_memory.ts";
import { writeIndex } from "../../src/build/write_levels.ts";
import { digestChunks, encodeHeader } from "../../src/storage/safetensors.ts";
import { compareRows } from "./oracle.ts";

/** How a level is to be stored; `"one"` and `"list"` give way to what the level allows. */
export type Storing = "bitmap" | "one" | "list" | "bits";

/** All of them. */
export const STORINGS: readonly Storing[] = ["bitmap", "one", "list", "bits"];

/** Sorted rows, one array each. */
class ArrayCursor implements RowCursor {
  readonly count: number;
  tokens = new Uint32Array();
  length = 0;
  shared = 0;
  row = -1;
  #rows: readonly (readonly number[])[];

  constructor(rows: readonly (readonly number[])[]) {
    this.#rows = rows.toSorted(compareRows);
    this.count = rows.length;
  }

  rewind(): void {
    this.row = -1;
    this.length = 0;
  }

  next(): boolean {
    if (this.row + 1 >= this.count) return false;
    const next = Uint32Array.from(this.#rows[++this.row]);
    const common = Math.min(this.length, next.length);
    this.shared = 0;
    while (this.shared < common && next[this.shared] === this.tokens[this.shared]) this.shared++;
    this.tokens = next;
    this.length = next.length;
    return true;
  }
}

function stored(level: LevelShape, storing: Storing): LevelShape {
  if (storing === "bitmap") return { ...level, encoding: "bitmap", starts: "bits" };
  const isOne = level.edges === level.states;
  const starts = storing === "bits" ? "bits" : isOne ? "one" : storing === "one" ? "list" : storing;
  return { ...level, encoding: "packed", starts };
}

/** Builds an index with its levels stored in the ways given, over and over from the first. */
export async function buildAs(
  rows: readonly (readonly number[])[],
  vocabSize: number,
  ...storings: Storing[]
): Promise<ConstraintIndex> {
  using planned = await buildIndex(rows, { vocabSize });
  const { shape } = loadedIndexOf(planned);
  const levels = shape.levels.map((level, d) => stored(level, storings[d % storings.length]));
  return await writeAs(rows, { ...shape, levels });
}

async function writeAs(
  rows: readonly (readonly number[])[],
  shape: IndexShape,
): Promise<ConstraintIndex> {
  const memory = await reserve(shape);
  await writeIndex(new ArrayCursor(rows), memory, new Progress({}));
  const { heap, data, dataByteLength } = memory;
  const digests = await digestChunks((at, length) => heap.u8(data + at, length), dataByteLength);
  const { sections } = planSections(shape.levels);
  return indexFrom({
    ...memory,
    header: await encodeHeader(sections, encodeShape(shape), digests),
  });
}
