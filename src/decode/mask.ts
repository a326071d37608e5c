/** Masks logits in place, for search loops that are not ours. */
import { checkOptionNames, rangeError, typeError } from "../errors.ts";
import type { ConstraintIndex } from "../index/constraint_index.ts";
import type { ItemFilter } from "../index/item_filter.ts";
import { checkEndToken } from "./options.ts";

/** What `maskLogits` takes beside logits and prefixes. */
export interface MaskOptions {
  /** Counts only sequences that it allows. */
  filter?: ItemFilter;
  /** Token that stays allowed where the prefix is a whole sequence. It occurs in no stored sequence. */
  endToken?: number;
}

const MASK_OPTIONS = ["filter", "endToken"] as const satisfies readonly (keyof MaskOptions)[];

/** Logits that outlast the filling of their row. It grows with the widest row: masking makes little garbage. */
let outlasting = new Float32Array(64);

/**
 * Sets logits [rows, W] of tokens that must not follow to -infinity, in place; W = logits.length / rows. A
 * prefix outside the set masks its whole row but `endToken`, so that a loop that went astray can stop. Cost
 * per row: one fill, and the allowed tokens.
 *
 * @returns for each row the tokens that keep their logits: ascending, but `endToken` is last.
 *
 * @throws {RangeError} if the logits are not W ≥ vocabSize per prefix. @throws {TypeError} if they are no
 * `Float32Array`.
 */
export function maskLogits(
  index: ConstraintIndex,
  logits: Float32Array,
  prefixes: readonly ArrayLike<number>[],
  options: MaskOptions = {},
): Uint32Array[] {
  checkOptionNames("maskLogits", options, MASK_OPTIONS);
  const { filter, endToken } = options;
  if (!(logits instanceof Float32Array)) {
    throw typeError("Cannot mask: the logits are no Float32Array", {
      expected: "Float32Array",
      actual: Object.prototype.toString.call(logits),
    });
  }
  const rows = prefixes.length;
  const width = rows === 0 ? 0 : logits.length / rows;
  if (rows === 0 ? logits.length > 0 : !Number.isInteger(width) || width < index.vocabSize) {
    throw rangeError(
      `Cannot mask ${logits.length} logits for ${rows} prefixes: expected a row of at least ${index.vocabSize} logits for each`,
      { expected: index.vocabSize * rows, actual: logits.length },
    );
  }
  if (endToken !== undefined && rows > 0) {
    if (!(Number.isInteger(endToken) && endToken >= 0 && endToken < width)) {
      throw rangeError(
        `Cannot mask: endToken is ${endToken}, expected an integer in [0, ${width - 1}]`,
        { expected: width - 1, actual: endToken },
      );
    }
    checkEndToken(index, endToken);
  }
  return prefixes.map((prefix, row) => {
    const logitsOfRow = logits.subarray(row * width, (row + 1) * width);
    const kept = keptTokens(index, prefix, filter, endToken);
    if (kept.length > outlasting.length) outlasting = new Float32Array(2 * kept.length);
    const values = outlasting;
    for (let i = 0; i < kept.length; i++) values[i] = logitsOfRow[kept[i]];
    logitsOfRow.fill(-Infinity);
    for (let i = 0; i < kept.length; i++) logitsOfRow[kept[i]] = values[i];
    return kept;
  });
}

function keptTokens(
  index: ConstraintIndex,
  prefix: ArrayLike<number>,
  filter: ItemFilter | undefined,
  endToken: number | undefined,
): Uint32Array {
  const allowed = index.allowedTokens(prefix, filter);
  // Off the set nothing can follow and nothing has ended: then only the end is left.
  const keepsEnd = endToken !== undefined && (allowed.length === 0 || index.canEnd(prefix, filter));
  if (!keepsEnd) return allowed;
  const kept = new Uint32Array(allowed.length + 1);
  kept.set(allowed);
  kept[allowed.length] = endToken;
  return kept;
}
