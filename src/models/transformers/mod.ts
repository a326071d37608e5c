/**
 * Keeps `generate()` of transformers.js inside an index: a logits processor. Imports nothing of transformers.js;
 * tried with version 4.3.
 *
 * @module
 */
import { maskLogits } from "../../decode/mask.ts";
import { checkOptionNames, EspalierError, ModelOutputError, rangeError } from "../../errors.ts";
import type { ConstraintIndex } from "../../index/constraint_index.ts";

/** What a processor sees of a transformers.js `Tensor`. */
export interface LogitsTensor {
  /** `Float32Array` on the CPU, row-major; changed in place. */
  readonly data: unknown;
  /** [rows, W], W ≥ `index.vocabSize`. */
  readonly dims: readonly number[];
}

/** Options of a {@linkcode ConstraintLogitsProcessor}. */
export interface ConstraintLogitsOptions {
  /**
   * How many ids stand before the sequence, padding included: the length of `input_ids` when `generate()` begins. With
   * an encoder-decoder model, how many tokens the decoder starts with (mostly one). An array has one number per row; a
   * smaller one lets the end of that row's prompt be the start of its sequence.
   */
  promptLength: number | readonly number[];
  /**
   * The model's `eos_token_id`. Allowed, at the model's price, after a whole sequence that may go on; forced after one
   * that may not, and ever after. It occurs in no stored sequence. Needed for sequences of different lengths.
   */
  endToken?: number;
}

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
 * get `endToken` again and again, as does a row whose prompt put it outside the set. It runs after the processors that
 * `generate()` makes from its own options; where `no_repeat_ngram_size`, `bad_words_ids` and the like leave nothing that
 * is allowed, that is an error, since any token would leave the set. The forced end is exempt from them.
 *
 * Cost per call and row: one fill, and the allowed tokens; an `endToken` amid those of the index is looked for in all of
 * it, once. Making a processor costs nothing. It reads the index without waiting: `await index.ready` before, if it was
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
    checkOptionNames("ConstraintLogitsProcessor", options, ["promptLength", "endToken"]);
    const { promptLength, endToken } = options;
    if (![promptLength].flat().every((length) => Number.isInteger(length) && length >= 0)) {
      throw rangeError(
        `Cannot constrain: promptLength is ${promptLength}, expected how many ids stand before the sequence`,
        { actual: promptLength },
      );
    }
    const process = <L extends LogitsTensor>(
      inputIds: readonly (readonly bigint[])[],
      logits: L,
    ): L => {
      const rows = inputIds.length;
      if (logits.dims.length !== 2 || logits.dims[0] !== rows) {
        throw rangeError(
          `Cannot constrain logits of dims [${logits.dims}]: expected [${rows}, W], a row for each of the input ids`,
          { expected: rows, actual: logits.dims },
        );
      }
      if (typeof promptLength !== "number" && promptLength.length !== rows) {
        throw rangeError(
          `Cannot constrain ${rows} rows with ${promptLength.length} prompt lengths: give one for each, or one number`,
          { expected: rows, actual: promptLength.length },
        );
      }
      const prefixes = inputIds.map((ids, row) =>
        prefixOf(ids, typeof promptLength === "number" ? promptLength : promptLength[row], row)
      );
      const data = logits.data as Float32Array; // which maskLogits checks
      const kept = maskLogits(index, data, prefixes, { endToken });
      kept.forEach((tokens, row) => {
        const first = row * logits.dims[1];
        const logitsOfRow = data.subarray(first, first + logits.dims[1]);
        leaveOne(logitsOfRow, tokens, endToken, prefixes[row], row);
      });
      return logits;
    };
    // transformers.js calls its processors as functions; `_call` is what their classes define.
    return Object.setPrototypeOf(Object.assign(process, { _call: process }), new.target.prototype);
  }
}

/** A processor is a function, as those of transformers.js are. */
export interface ConstraintLogitsProcessor {
  /**
   * Masks logits [rows, W] in place and returns them. `inputIds` has a row of ids each: the prompt, and what has been
   * generated.
   *
   * @throws {RangeError} if rows, prompt lengths and logits do not go together, or `endToken` is out of range or occurs in
   * a stored sequence. @throws {TypeError} if the data is no `Float32Array`.
   * @throws {EspalierError} with code `"nothing-allowed"` if nothing may follow a row and there is no `endToken`;
   * `"not-loaded"` if the index is still loading.
   * @throws {ModelOutputError} if a row has no finite logit for what is allowed, code `"no-finite-logit"`, or +infinity,
   * code `"infinite-logit"`.
   */
  <L extends LogitsTensor>(inputIds: readonly (readonly bigint[])[], logits: L): L;
  /** The same, under the name that transformers.js has for it. */
  _call<L extends LogitsTensor>(inputIds: readonly (readonly bigint[])[], logits: L): L;
}

/** What has been generated of the sequence. */
function prefixOf(ids: readonly bigint[], promptLength: number, row: number): number[] {
  if (ids.length < promptLength) {
    throw rangeError(
      `Cannot constrain row ${row}: it has ${ids.length} ids, fewer than its promptLength of ${promptLength}; with an encoder-decoder model, count the decoder's start tokens only`,
      { row, expected: promptLength, actual: ids.length },
    );
  }
  return ids.slice(promptLength).map(Number);
}

/** Sees to it that one of the kept tokens can be chosen: samplers take any token of a row that has none. */
function leaveOne(
  logits: Float32Array,
  kept: Uint32Array,
  endToken: number | undefined,
  prefix: readonly number[],
  row: number,
): void {
  if (kept.length === 0) {
    throw new EspalierError(
      "nothing-allowed",
      `Cannot go on with row ${row}: nothing may follow [${prefix}]; give endToken, or fewer max_new_tokens`,
      { row, actual: prefix },
    );
  }
  if (kept.length === 1 && kept[0] === endToken) {
    logits[endToken] = 0; // whatever the model says
    return;
  }
  let best = -Infinity;
  for (let i = 0; i < kept.length; i++) {
    const logit = logits[kept[i]];
    if (logit > best) best = logit;
    else if (Number.isNaN(logit)) logits[kept[i]] = -Infinity;
  }
  if (Number.isFinite(best)) return;
  throw best > 0
    ? new ModelOutputError(
      "infinite-logit",
      `Cannot constrain: a logit of row ${row} is +infinity; expected finite logits (-infinity and NaN count as impossible)`,
      { row, actual: best },
    )
    : new ModelOutputError(
      "no-finite-logit",
      `Cannot constrain: after [${prefix}], row ${row} has no finite logit for any of the ${kept.length} allowed tokens; look for NaN in the model, and for options of generate() that forbid them, like no_repeat_ngram_size`,
      { row, actual: best },
    );
}
