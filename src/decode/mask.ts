/** Masks logits in place, for search loops that are not ours. */
import { checkOptionNames, rangeError, typeError } from "../errors.ts";
import { type ConstraintIndex, loadedIndexOf, lookupsOf } from "../index/constraint_index.ts";
import type { FilterBits } from "../index/filter_bits.ts";
import { NONE } from "../index/format/layout.ts";
import { filterBitsOf } from "../index/item_filter.ts";
import { isFiltered, rowFilters } from "./batch_filters.ts";
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

/** Logits that are filled at once: with more, those of the first rows would have left the cache. */
const FILLED_AT_ONCE = 2 ** 16;

/** Logits that outlast the filling of their rows. It grows: masking makes no garbage. */
let outlasting = new Float32Array(2 ** 12);
/** What each row keeps of those that are filled next. */
const keeping: KeptTokens[] = [];

/** Copying these takes three quarters of the time of `fill`, as long as all that is written stays in the cache. */
const impossible = new Float32Array(2 ** 13).fill(-Infinity);

const NO_TOKENS: readonly number[] = [];

/** The tokens of a row that keep their logits: words[from] to words[to - 1], ascending; with `ends`, end tokens as well. */
export interface KeptTokens {
  from: number;
  to: number;
  ends: boolean;
}

/**
 * Sets logits [rows, W] of tokens that must not follow to -infinity, in place; W = logits.length / rows. A
 * prefix outside the set masks its whole row but its end tokens, so that a loop that went astray can stop.
 * Cost per row: one fill, the allowed tokens, and a walk along the tokens that its prefix does not share with the prefix
 * of this row in the last call.
 *
 * @param prefixes tokens of each row, as numbers or bigints.
 * @param masked told of each row, once it is masked, what it keeps: valid until it returns.
 *
 * @throws {RangeError} if the logits are not W ≥ vocabSize per prefix. @throws {TypeError} if they are no
 * `Float32Array`.
 */
export function maskLogits(
  index: ConstraintIndex,
  logits: Float32Array,
  prefixes: readonly ArrayLike<number | bigint>[],
  options: MaskOptions = {},
  masked?: (row: number, kept: Readonly<KeptTokens>, words: Uint32Array) => void,
): void {
  checkOptionNames("maskLogits", options, MASK_OPTIONS);
  const { endToken } = options;
  const ends = endToken === undefined ? NO_TOKENS : [endToken].flat();
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
  for (const end of rows > 0 ? ends : NO_TOKENS) {
    if (!(Number.isInteger(end) && end >= 0 && end < width)) {
      throw rangeError(
        `Cannot mask: endToken is ${end}, expected an integer in [0, ${width - 1}]`,
        { expected: width - 1, actual: end },
      );
    }
    checkEndToken(index, end);
  }
  using filters = isFiltered(options) ? rowFilters(index, options, rows) : undefined;
  const loaded = loadedIndexOf(index);
  const lookups = lookupsOf(index);
  lookups.begin();
  const { words } = lookups;
  const lastStart = words.length - lookups.maxBranch;
  const most = Math.ceil(FILLED_AT_ONCE / width);
  for (let first = 0; first < rows;) {
    let at = lookups.firstToken;
    let kept = 0;
    let count = 0;
    for (; count < most && first + count < rows && at <= lastStart; count++) {
      const row = first + count;
      const filter = filters?.[row];
      const bits = filter === undefined ? undefined : filterBitsOf(filter, loaded);
      const allowed = lookups.nextTokens(row, prefixes[row], at, bits);
      const own = keeping[count] ??= { from: 0, to: 0, ends: false };
      own.from = lookups.first;
      own.to = lookups.first + allowed;
      // Off the set nothing can follow and nothing has ended: then only the end is left.
      own.ends = ends.length > 0 && (allowed === 0 || isWhole(lookups.ordinal(), bits));
      at = Math.max(at, own.to);
      reserve(kept, allowed + ends.length);
      const values = outlasting;
      const start = row * width;
      for (let j = own.from; j < own.to; j++) values[kept++] = logits[start + (words[j] | 0)];
      if (own.ends) { for (const end of ends) values[kept++] = logits[start + end]; }
    }
    forbid(logits, first * width, (first + count) * width);
    const values = outlasting;
    for (let i = 0, next = 0; i < count; i++) {
      const own = keeping[i];
      const start = (first + i) * width;
      for (let j = own.from; j < own.to; j++) logits[start + (words[j] | 0)] = values[next++];
      if (own.ends) { for (const end of ends) logits[start + end] = values[next++]; }
      if (masked) masked(first + i, own, words);
    }
    first += count;
  }
}

/** Sets logits [from, to) to -infinity. */
function forbid(logits: Float32Array, from: number, to: number): void {
  const { length } = impossible;
  if (to - from <= FILLED_AT_ONCE) {
    for (; to - from >= length; from += length) logits.set(impossible, from);
  }
  logits.fill(-Infinity, from, to);
}

/** Whether a sequence is whole, and allowed. */
function isWhole(ordinal: number, filter: FilterBits | undefined): boolean {
  return ordinal !== NONE && (filter?.has(ordinal) ?? true);
}

/** Makes room for more logits. */
function reserve(kept: number, more: number): void {
  if (kept + more <= outlasting.length) return;
  const values = new Float32Array(2 * (kept + more));
  values.set(outlasting.subarray(0, kept));
  outlasting = values;
}
