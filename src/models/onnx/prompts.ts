/** Prompts of several lengths as one matrix. */
import { rangeError, typeError } from "../../errors.ts";

/** Prompts [rows, width], padded. */
export interface Prompts {
  /** [rows, width] */
  readonly ids: Int32Array;
  readonly rows: number;
  /** Length of the longest. */
  readonly width: number;
  /** [rows] */
  readonly lengths: readonly number[];
  /** Whether all are equally long. */
  readonly isEven: boolean;
}

/**
 * Checks prompts and pads them: on the left, so that all end together, or on the right.
 *
 * @param limit what tokens must be below.
 * @throws {RangeError} if there are none, one is empty, or a token is out of range.
 */
export function padPrompts(
  prompts: readonly ArrayLike<number>[],
  side: "left" | "right",
  padToken: number,
  limit: number,
): Prompts {
  if (!Array.isArray(prompts) || prompts.length === 0) {
    const refuse = Array.isArray(prompts) ? rangeError : typeError;
    throw refuse("Cannot search without prompts: expected an array with one for each batch row", {
      actual: Array.isArray(prompts) ? 0 : typeof prompts,
    });
  }
  const lengths = prompts.map((prompt) => prompt.length);
  const width = Math.max(...lengths);
  const ids = new Int32Array(prompts.length * width).fill(padToken);
  prompts.forEach((prompt, row) => {
    if (!(prompt.length >= 1)) {
      throw rangeError(
        `Cannot search with prompt ${row}: it is empty; give it at least the token that starts a text`,
        { row, expected: 1, actual: prompt.length },
      );
    }
    const start = row * width + (side === "left" ? width - prompt.length : 0);
    for (let column = 0; column < prompt.length; column++) {
      const token = prompt[column];
      if (!Number.isInteger(token) || token < 0 || token >= limit) {
        throw rangeError(
          `Cannot search with prompt ${row}: token ${token} at position ${column} is not a whole number below ${limit}`,
          { row, column, token, expected: limit, actual: token },
        );
      }
      ids[start + column] = token;
    }
  });
  const isEven = lengths.every((length) => length === width);
  return { ids, rows: prompts.length, width, lengths, isEven };
}
