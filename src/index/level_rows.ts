/** The rows of a level one after the other, for what reads a whole index. */
import { type ConstraintIndex, storageOf } from "./constraint_index.ts";
import { LEVEL_RECORD_BYTES } from "./layout.ts";
import { RESULT_BYTES } from "./storage.ts";

/**
 * Tokens of each row of a level, ascending: row k is that of state k. A view, valid until the next row is asked for or
 * anything else of the index is called.
 *
 * @throws {EspalierError} with code `"not-loaded"` before the level is there.
 */
export function* levelRows(
  index: ConstraintIndex,
  level: number,
): Generator<Uint32Array, void, void> {
  const { heap, table, scratch, arrival, shape } = storageOf(index);
  arrival.require(level + 1);
  const record = table + level * LEVEL_RECORD_BYTES;
  const out = scratch + RESULT_BYTES;
  for (let state = 0; state < shape.levels[level].states; state++) {
    yield heap.u32(out, heap.exports.children(record, state, 0, out));
  }
}
