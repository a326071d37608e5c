/** Checks what the caller of a search asks for. */
import { checkOptionNames, rangeError, typeError } from "../errors.ts";
import { type ConstraintIndex, loadedIndexOf } from "../index/constraint_index.ts";
import { LEVEL_RECORD_BYTES, type LevelShape, MAX_VOCAB } from "../index/format/layout.ts";
import type { LoadedIndex } from "../index/index_memory.ts";
import type { SearchShape } from "../kernels/kernel.ts";
import type { BeamSearchOptions } from "./types.ts";

/** Most beams per batch row. */
const MAX_BEAMS = 1024;
/** More is a mistake: it ranks by length alone. */
const MAX_LENGTH_PENALTY = 8;
/** A penalty may divide by 2^62: then ranks of all scores down to 2^-64 keep the precision of f32. */
const MAX_PENALTY_BITS = 62;
/** Rows are numbered in 32 bits, and so are the words of beam arrays. */
const MAX_ROWS = 2 ** 24;

const SEARCH_OPTIONS = [
  "batchSize",
  "beamSize",
  "results",
  "duplicates",
  "vocabSize",
  "tokensPerBeam",
  "normalize",
  "endToken",
  "lengthPenalty",
  "padToken",
  "filter",
  "exclude",
  "excludeItems",
  "signal",
] as const satisfies readonly (keyof BeamSearchOptions)[];

/**
 * Options with their defaults, checked.
 *
 * @throws {RangeError} if a number is out of range. @throws {TypeError} if something is of a wrong kind.
 */
export function searchShape(
  index: ConstraintIndex,
  options: BeamSearchOptions,
): SearchShape & { results: number } {
  checkOptionNames("beamSearch", options, SEARCH_OPTIONS);
  const {
    batchSize = 1,
    beamSize,
    results = beamSize,
    duplicates = "keep",
    vocabSize = index.vocabSize,
    tokensPerBeam,
    normalize = "vocab",
    endToken,
    lengthPenalty = 0,
    padToken = 0,
  } = options;
  integer("beamSize", beamSize, 1, MAX_BEAMS);
  integer("results", results, 1, beamSize);
  if (duplicates !== "keep" && duplicates !== "best") {
    throw typeError(
      `Cannot search: duplicates is ${String(duplicates)}, expected "keep" or "best"; itemsOf sums`,
      { expected: ["keep", "best"], actual: duplicates },
    );
  }
  integer("batchSize", batchSize, 1, Math.floor(MAX_ROWS / beamSize));
  if (
    !(Number.isInteger(vocabSize) && vocabSize >= index.vocabSize && vocabSize <= 4 * MAX_VOCAB)
  ) {
    throw rangeError(
      `Cannot search: vocabSize, the width of a row of logits, is ${vocabSize}; expected an integer in [${index.vocabSize}, ${
        4 * MAX_VOCAB
      }], since the index has ${index.vocabSize} tokens`,
      { expected: index.vocabSize, actual: vocabSize },
    );
  }
  if (tokensPerBeam !== undefined) integer("tokensPerBeam", tokensPerBeam, 1, 2 ** 31);
  if (endToken !== undefined) {
    integer("endToken", endToken, 0, vocabSize - 1);
    checkEndToken(index, endToken);
  }
  integer("padToken", padToken, 0, vocabSize - 1);
  if (normalize !== "vocab" && normalize !== "allowed" && normalize !== "none") {
    throw typeError(
      `Cannot search: normalize is ${String(normalize)}, expected "vocab", "allowed" or "none"`,
      { expected: ["vocab", "allowed", "none"], actual: normalize },
    );
  }
  const { maxLength } = index;
  const bound = MAX_PENALTY_BITS / Math.log2(maxLength + 1);
  const most = Math.min(MAX_LENGTH_PENALTY, Math.floor(1000 * bound) / 1000);
  if (!Number.isFinite(lengthPenalty) || Math.abs(lengthPenalty) > most) {
    throw rangeError(
      `Cannot search: lengthPenalty is ${lengthPenalty}, expected a number in [-${most}, ${most}]; beyond, ranks of sequences of up to ${maxLength} tokens may leave the range of float32`,
      { expected: most, actual: lengthPenalty },
    );
  }
  return {
    batchSize,
    beamSize,
    results,
    logitWidth: vocabSize,
    normalize,
    tokensPerBeam,
    endToken,
    lengthPenalty,
    padToken,
  };
}

function integer(name: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw rangeError(
    `Cannot search: ${name} is ${String(value)}, expected an integer in [${least}, ${most}]`,
    { expected: most, actual: value },
  );
}

const checkedEndTokens = new WeakMap<ConstraintIndex, Set<number>>();

/**
 * An end token must occur in no stored sequence. Tokens outside every level's window are known not to; for
 * others the index is read through, once per token.
 *
 * @throws {RangeError} naming the level on which it occurs.
 */
export function checkEndToken(index: ConstraintIndex, endToken: number): void {
  let checked = checkedEndTokens.get(index);
  if (!checked) checkedEndTokens.set(index, checked = new Set());
  if (checked.has(endToken)) return;
  loadedIndexOf(index).loading.require(levelsToCheck(index, endToken));
  const level = findToken(loadedIndexOf(index), endToken);
  if (level !== undefined) {
    throw rangeError(
      `Cannot search: endToken ${endToken} occurs in stored sequences, at position ${level}; choose a token that does not`,
      { token: endToken, level, actual: endToken },
    );
  }
  checked.add(endToken);
}

/** How many levels must be there before an end token can be checked: others say it in their header. */
export function levelsToCheck(index: ConstraintIndex, endToken: number | undefined): number {
  if (endToken === undefined) return 0;
  return loadedIndexOf(index).shape.levels.findLastIndex((level) => mayHold(level, endToken)) + 1;
}

/** Whether a token lies in the range of a level's tokens; others occur in none of its sequences. */
export function mayHold({ tokenMin, tokenCount }: LevelShape, token: number): boolean {
  return token >= tokenMin && token < tokenMin + tokenCount;
}

/** First level on which a token occurs. */
function findToken({ heap, shape, table }: LoadedIndex, token: number): number | undefined {
  const level = shape.levels.findIndex((level, d) =>
    mayHold(level, token) && heap.exports.hasToken(table + d * LEVEL_RECORD_BYTES, token)
  );
  return level < 0 ? undefined : level;
}
