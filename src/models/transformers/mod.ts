/**
 * Keeps `generate()` of transformers.js inside an index: a logits processor, and the way from generated rows to items.
 * Imports nothing of transformers.js; tried with version 4.3.
 *
 * @module
 */
import { rowFilters } from "../../decode/batch_filters.ts";
import { maskLogits, type MaskOptions } from "../../decode/mask.ts";
import { checkOptionNames, EspalierError, ModelOutputError, rangeError } from "../../errors.ts";
import { type ConstraintIndex, placeOf } from "../../index/constraint_index.ts";

/** What a processor sees of a transformers.js `Tensor`. */
export interface LogitsTensor {
  /** `Float32Array` on the CPU, row-major; changed in place. */
  readonly data: unknown;
  /** [rows, W], W ≥ `index.vocabSize`. */
  readonly dims: readonly number[];
}

/** Ids of one row, as `generate()` has them. */
export type Ids = ArrayLike<bigint> | ArrayLike<number>;

/** Options of a {@linkcode ConstraintLogitsProcessor}: what may come out of each row, and where it begins and ends. */
export interface ConstraintLogitsOptions extends MaskOptions {
  /**
   * How many ids stand before the sequence, padding included: the length of `input_ids` when `generate()` begins. With
   * an encoder-decoder model, how many tokens the decoder starts with (mostly one). An array has one number per row; a
   * smaller one lets the end of that row's prompt be the start of its sequence.
   */
  promptLength: number | readonly number[];
  /**
   * The model's `eos_token_id`, which may be a list. Allowed, at the model's price, after a whole sequence that may go on;
   * forced (the first of them) after one that may not, and ever after. It occurs in no stored sequence. Needed for
   * sequences of different lengths.
   */
  endToken?: number | readonly number[];
}

const OPTIONS = [
  "promptLength",
  "endToken",
  "filter",
  "exclude",
  "excludeItems",
] as const satisfies readonly (keyof ConstraintLogitsOptions)[];

/**
 * A logits processor for `generate()` of transformers.js, greedy or sampling, for any number of rows (for several answers
 * to one prompt, repeat it in the batch: `num_return_sequences` does nothing there). Make one for each call:
 *
 * ```ts ignore
 * const { input_ids, attention_mask } = tokenizer(prompts, { padding: true });
 * const promptLength = input_ids.dims[1];
 * const processor = new ConstraintLogitsProcessor(index, { promptLength, endToken: tokenizer.eos_token_id });
 * const ids = await model.generate({
 *   input_ids,
 *   attention_mask,
 *   logits_processor: [processor], // or a LogitsProcessorList, which is what the types ask for
 *   max_new_tokens: index.maxLength + 1, // fewer cut sequences off; without endToken, maxLength
 * });
 * ```
 *
 * It sets what must not follow to -infinity, NaN too. `generate()` goes on with rows that have ended until all have: they
 * get `endToken` again and again. A row that is outside the set when the first call sees it is an error: its prompt length
 * is wrong, or other code has chosen its tokens. It runs after the processors that
 * `generate()` makes from its own options; where `no_repeat_ngram_size`, `bad_words_ids` and the like leave nothing that
 * is allowed, that is an error, since any token would leave the set. The forced end is exempt from them.
 *
 * Cost per call and row: one fill, and the allowed tokens; an `endToken` amid those of the index is looked for in all of
 * it, once. Making a processor costs nothing. Exclusions are compiled
 * at the first call, and given back when the processor is disposed of or collected. It reads the index without waiting: `await index.ready` before, if it was
 * opened with `progressive`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { buildIndex } from "@espalier/espalier/build";
 * import { ConstraintLogitsProcessor } from "@espalier/espalier/transformers";
 *
 * using index = await buildIndex([[1, 2, 3], [1, 2], [4, 0]], { vocabSize: 6 });
 * const processor = new ConstraintLogitsProcessor(index, { promptLength: 2, endToken: 5 });
 * // As generate() calls it: two rows with a prompt of two tokens, one of which has two more.
 * const logits = { data: new Float32Array(12).fill(0.5), dims: [2, 6] };
 * processor([[7n, 8n], [7n, 8n, 1n, 2n]], logits);
 * const allowed = (row: number) => [0, 1, 2, 3, 4, 5].filter((t) => logits.data[row * 6 + t] > -Infinity);
 * assert.deepEqual(allowed(0), [1, 4]);
 * assert.deepEqual(allowed(1), [3, 5]);
 * ```
 */
export class ConstraintLogitsProcessor {
  /**
   * Calls read the index, which stays the caller's.
   *
   * @throws {RangeError} if a prompt length is not an integer of at least 0.
   * @throws {TypeError} for an option that there is not.
   */
  constructor(index: ConstraintIndex, options: ConstraintLogitsOptions) {
    checkOptionNames("ConstraintLogitsProcessor", options, OPTIONS);
    const { promptLength, ...rules } = options;
    checkPromptLength(promptLength);
    const ends = [rules.endToken ?? []].flat();
    const held: Held = {};
    let isFirst = true;
    const process = <L extends LogitsTensor>(inputIds: readonly Ids[], logits: L): L => {
      const rows = inputIds.length;
      if (logits.dims.length !== 2 || logits.dims[0] !== rows) {
        throw rangeError(
          `Cannot constrain logits of dims [${logits.dims}]: expected [${rows}, W], a row for each of the input ids`,
          { expected: rows, actual: logits.dims },
        );
      }
      const prefixes = withoutPrompts(inputIds, promptLength);
      if (isFirst) prefixes.forEach((prefix, row) => checkPrefix(index, prefix, row));
      const data = logits.data as Float32Array; // which maskLogits checks
      let failure: Error | undefined;
      maskLogits(
        index,
        data,
        prefixes,
        onceCompiled(index, rules, rows, held),
        (row, kept, words) => {
          const tokens = words.subarray(kept.from, kept.to);
          const own = kept.ends ? ends : [];
          failure ??= leaveOne(data, row * logits.dims[1], tokens, own, prefixes[row], row);
        },
      );
      isFirst = false;
      if (failure) throw failure;
      return logits;
    };
    collected.register(process, held);
    const dispose = () => {
      held.filters?.[Symbol.dispose]();
      held.filters = undefined;
    };
    // transformers.js calls its processors as functions; `_call` is what their classes define.
    const members = { _call: process, [Symbol.dispose]: dispose };
    return Object.setPrototypeOf(Object.assign(process, members), new.target.prototype);
  }
}

/** What a processor has compiled. */
interface Held {
  filters?: ReturnType<typeof rowFilters>;
}

/** Nobody disposes of processors that were made for a call. */
const collected = new FinalizationRegistry<Held>(({ filters }) => filters?.[Symbol.dispose]());

/** Rules with exclusions, compiled at the first call, as filters. */
function onceCompiled(
  index: ConstraintIndex,
  rules: MaskOptions,
  rows: number,
  held: Held,
): MaskOptions {
  if (!rules.exclude && !rules.excludeItems) return rules;
  if (held.filters?.length !== rows) {
    const filters = rowFilters(index, rules, rows);
    held.filters?.[Symbol.dispose]();
    held.filters = filters;
  }
  return { endToken: rules.endToken, filter: held.filters };
}

/** A processor is a function, as those of transformers.js are. */
export interface ConstraintLogitsProcessor extends Disposable {
  /**
   * Masks logits [rows, W] in place and returns them. `inputIds` has a row of ids each, bigints or numbers: the prompt, and
   * what has been generated.
   *
   * @throws {RangeError} if rows, prompt lengths and logits do not go together, or `endToken` is out of range or occurs in
   * a stored sequence. @throws {TypeError} if the data is no `Float32Array`.
   * @throws {EspalierError} with code `"prefix-outside-set"` if the first call has a row that begins no sequence of the
   * index; `"nothing-allowed"` if nothing may follow a row and there is no `endToken`; `"not-loaded"` if the index is still loading.
   * @throws {ModelOutputError} if a row has no finite logit for what is allowed, code `"no-finite-logit"`, or +infinity,
   * code `"infinite-logit"`.
   */
  <L extends LogitsTensor>(inputIds: readonly Ids[], logits: L): L;
  /** The same, under the name that transformers.js has for it. */
  _call<L extends LogitsTensor>(inputIds: readonly Ids[], logits: L): L;
}

/** A generated row, as {@linkcode foundInRows} reads it. */
export interface GeneratedRow {
  /** The tokens of its sequence, without prompt and end. */
  readonly sequence: number[];
  /** Its ordinal; undefined where the row was cut off before its sequence was whole. */
  readonly ordinal: number | undefined;
  /** Ids of its items that pass the rules; none where the index has no ids. */
  readonly items: (bigint | string)[];
}

/**
 * From what `generate()` returned to sequences and items: cuts off prompts, and what follows the first end token. With the
 * options of the processor, so that of shared sequences only those items are listed that its rules allow.
 *
 * @param generated rows of ids, or the tensor [rows, length].
 * @throws {RangeError} or {TypeError} if options make no sense. @throws {EspalierError} with code `"not-loaded"`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { buildIndex } from "@espalier/espalier/build";
 * import { foundInRows } from "@espalier/espalier/transformers";
 *
 * const items = ["chair", "lamp", "lantern"];
 * using index = await buildIndex([[4, 0], [1, 2], [1, 2]], { vocabSize: 6, items });
 * // Two rows after prompts of two tokens; 5 ends them.
 * const generated = [[7n, 8n, 1n, 2n, 5n], [7n, 9n, 4n, 5n, 5n]];
 * const options = { promptLength: 2, endToken: 5, excludeItems: [["lamp"], undefined] };
 * const [first, second] = foundInRows(index, generated, options);
 * assert.deepEqual([first.sequence, first.items], [[1, 2], ["lantern"]]);
 * assert.deepEqual([second.ordinal, second.items], [undefined, []]);
 * ```
 */
export function foundInRows(
  index: ConstraintIndex,
  generated: readonly Ids[] | { readonly data: unknown; readonly dims: readonly number[] },
  options: ConstraintLogitsOptions,
): GeneratedRow[] {
  checkOptionNames("foundInRows", options, OPTIONS);
  const { promptLength, endToken, ...rules } = options;
  checkPromptLength(promptLength);
  const ends = [endToken].flat();
  const rows = withoutPrompts(rowsOf(generated), promptLength);
  using filters = rowFilters(index, rules, rows.length);
  return rows.map((tokens, row) => {
    const end = tokens.findIndex((token) => ends.includes(token));
    const sequence = tokens.slice(0, end < 0 ? index.maxLength : end);
    const found = index.ordinalOf(sequence);
    const isAllowed = found !== undefined && index.canEnd(sequence, filters[row]);
    return {
      sequence,
      ordinal: isAllowed ? found : undefined,
      items: isAllowed && index.items ? index.itemsAt(found, Infinity, filters[row]) : [],
    };
  });
}

/** Rows of a tensor. */
function rowsOf(
  generated: readonly Ids[] | { readonly data: unknown; readonly dims: readonly number[] },
): readonly Ids[] {
  if (!("dims" in generated)) return generated;
  const { data, dims: [rows, length] } = generated;
  const ids = data as BigInt64Array;
  if (generated.dims.length !== 2 || ids?.length !== rows * length) {
    throw rangeError(
      `Cannot read rows of a tensor of dims [${generated.dims}]: expected [rows, length], and as many ids`,
      { expected: rows * length, actual: ids?.length },
    );
  }
  return Array.from({ length: rows }, (_, row) => ids.slice(row * length, (row + 1) * length));
}

function checkPromptLength(promptLength: number | readonly number[]): void {
  if ([promptLength].flat().every((length) => Number.isInteger(length) && length >= 0)) return;
  throw rangeError(
    `Cannot constrain: promptLength is ${promptLength}, expected how many ids stand before the sequence`,
    { actual: promptLength },
  );
}

/** What has been generated of the sequences. */
function withoutPrompts(
  rows: readonly Ids[],
  promptLength: number | readonly number[],
): number[][] {
  if (typeof promptLength !== "number" && promptLength.length !== rows.length) {
    throw rangeError(
      `Cannot constrain ${rows.length} rows with ${promptLength.length} prompt lengths: give one for each, or one number`,
      { expected: rows.length, actual: promptLength.length },
    );
  }
  return rows.map((ids, row) => {
    const length = typeof promptLength === "number" ? promptLength : promptLength[row];
    if (ids.length >= length) {
      // Not the prompt, which may be long.
      return Array.from({ length: ids.length - length }, (_, i) => Number(ids[length + i]));
    }
    throw rangeError(
      `Cannot constrain row ${row}: it has ${ids.length} ids, fewer than its promptLength of ${length}; with an encoder-decoder model, count the decoder's start tokens only`,
      { row, expected: length, actual: ids.length },
    );
  });
}

/** @throws {EspalierError} if a row begins no sequence of the index. */
function checkPrefix(index: ConstraintIndex, prefix: readonly number[], row: number): void {
  if (placeOf(index, prefix)) return;
  throw new EspalierError(
    "prefix-outside-set",
    `Cannot constrain row ${row}: no sequence of the index begins with [${
      prefix.slice(0, 20)
    }], which the row has before anything is generated; look at promptLength`,
    { row, actual: prefix.length },
  );
}

/**
 * Sees to it that one of the kept tokens can be chosen: samplers take any token of a row that has none.
 *
 * @param first place of the row in the logits.
 * @param ends end tokens that are kept as well.
 * @returns the error if none can be.
 */
function leaveOne(
  logits: Float32Array,
  first: number,
  kept: Uint32Array,
  ends: readonly number[],
  prefix: readonly number[],
  row: number,
): Error | undefined {
  const all = kept.length + ends.length;
  if (all === 0) {
    return new EspalierError(
      "nothing-allowed",
      `Cannot go on with row ${row}: nothing may follow [${prefix}]; give endToken, or fewer max_new_tokens`,
      { row, actual: prefix },
    );
  }
  if (kept.length === 0) {
    for (const end of ends) logits[first + end] = -Infinity;
    logits[first + ends[0]] = 0; // whatever the model says
    return;
  }
  let best = -Infinity;
  for (let i = 0; i < all; i++) {
    const at = first + (i < kept.length ? kept[i] : ends[i - kept.length]);
    if (logits[at] > best) best = logits[at];
    else if (Number.isNaN(logits[at])) logits[at] = -Infinity;
  }
  if (Number.isFinite(best)) return;
  return best > 0
    ? new ModelOutputError(
      "infinite-logit",
      `Cannot constrain: a logit of row ${row} is +infinity; expected finite logits (-infinity and NaN count as impossible)`,
      { row, actual: best },
    )
    : new ModelOutputError(
      "no-finite-logit",
      `Cannot constrain: after [${prefix}], row ${row} has no finite logit for any of the ${all} allowed tokens; look for NaN in the model, and for options of generate() that forbid them, like no_repeat_ngram_size`,
      { row, actual: best },
    );
}
