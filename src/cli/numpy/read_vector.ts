/** NumPy's array files that hold one value per row. */
import { type NpyValues, readNpyArray } from "./read_array.ts";
import { type NpyFile, type NpyOptions, refused } from "./read_header.ts";

/**
 * Reads a vector of integers of 1 to 8 bytes, or of booleans, in either byte order. Memory: the vector.
 *
 * @param name of the file, for messages.
 * @param what booleans are flags only.
 * @throws {BuildInputError} naming the file, for other files, dtypes and shapes, missing or surplus bytes.
 * @throws {LimitError} if it does not fit into memory.
 */
export async function readNpyVector(
  file: NpyFile,
  name: string,
  what: Parameters<typeof readNpyArray>[2],
  options?: NpyOptions,
): Promise<NpyValues> {
  const { values } = await readNpyArray(file, name, what, options, (shape) => {
    if (shape.length === 1) return;
    throw refused(
      "npy-shape",
      name,
      `expected a vector, one value per row, found shape (${shape.join(", ")})`,
      "give it one dimension: array.reshape(-1)",
      { expected: 1, actual: shape },
    );
  });
  return values;
}
