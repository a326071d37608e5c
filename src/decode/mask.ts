/** Masks logits in place, for search loops that are not ours. */
import { checkOptionNames, rangeError, typeError } from "../errors.ts";
import type { ConstraintIndex } from "../index/constraint_index.ts";
import type { ItemFilter } from "../index/item_filter.ts";
import { rowFilters } from "./batch_filters.ts";
import { checkEndToken } from "./options.ts";
import type { BeamSearchOptions } from "./types.ts";

/** What `maskLogits` takes beside logits and prefixes. */
export interface MaskOptions {
  /** What counts: one filter for all rows, or one for each, undefined for none. */
  filter?: BeamSearchOptions["filter"];
  /**
   * Ordinals per row that do not count, at most 10 000 each; undefined for none. Compiled at every call: a copy of the
   * filter per row (0.5 ms for 10 million sequences). For many calls make a filter once: `index.filter(ordinals).not()`.
   */
  exclude?: BeamSearchOptions["exclude"];
  /** Item ids per row that do not count, likewise: see `index.filter({ items })`. */
  excludeItems?: BeamSearchOptions["excludeItems"];
  /** Tokens, or one, that stay allowed where the prefix is a whole sequence. They occur in no stored sequence. */
  endToken?: number | readonly number[];
}

const MASK_OPTIONS = [
  "filter",
  "exclude",
  "excludeItems",
  "endToken",
] as const satisfies readonly (keyof MaskOptions)[];

/** Logits that outlast the filling of their row. It grows with the widest row: masking makes little garbage. */
let outlasting = new Float32Array(64);

/**
 * Sets logits [rows, W] of tokens that must not follow to -infinity, in place; W = logits.length / rows. A
 * prefix outside the set masks its whole row but its end tokens, so that a loop that went astray can stop.
 * Cost per row: one fill, and the allowed tokens.
 *
 * @param prefixes tokens of each row, as numbers or bigints.
 * @returns for each row the tokens that keep their logits: ascending, but end tokens are last.
 *
 * @throws {RangeError} if the logits are not W ≥ vocabSize per prefix. @throws {TypeError} if they are no
 * `Float32Array`.
 */
export function maskLogits(
  index: ConstraintIndex,
  logits: Float32Array,
  prefixes: readonly ArrayLike<number | bigint>[],
  options: MaskOptions = {},
): Uint32Array[] {
  checkOptionNames("maskLogits", options, MASK_OPTIONS);
  const { endToken, ...rules } = options;
  const ends = endToken === undefined ? [] : [endToken].flat();
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
  for (const end of rows > 0 ? ends : []) {
    if (!(Number.isInteger(end) && end >= 0 && end < width)) {
      throw rangeError(
        `Cannot mask: endToken is ${end}, expected an integer in [0, ${width - 1}]`,
        { expected: width - 1, actual: end },
      );
    }
    checkEndToken(index, end);
  }
  using filters = rowFilters(index, rules, rows);
  return prefixes.map((prefix, row) => {
    const logitsOfRow = logits.subarray(row * width, (row + 1) * width);
    const kept = keptTokens(index, prefix, filters[row], ends);
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
  prefix: ArrayLike<number | bigint>,
  filter: ItemFilter | undefined,
  ends: readonly number[],
): Uint32Array {
  const allowed = index.allowedTokens(prefix, filter);
  // Off the set nothing can follow and nothing has ended: then only the end is left.
  const keepsEnds = ends.length > 0 && (allowed.length === 0 || index.canEnd(prefix, filter));
  if (!keepsEnds) return allowed;
  const kept = new Uint32Array(allowed.length + ends.length);
  kept.set(allowed);
  kept.set(ends, allowed.length);
  return kept;
}
