/** What every kernel asks of the logits that a model returns. */
import { ModelOutputError } from "../errors.ts";
import type { Logits } from "./kernel.ts";

/**
 * Checks kind and number of the logits of a step.
 *
 * @throws {ModelOutputError} saying what was expected.
 */
export function checkLogits(logits: Logits, step: number, rows: number, logitWidth: number): void {
  const isFloat16 = "Float16Array" in globalThis && logits instanceof Float16Array;
  if (!(logits instanceof Float32Array || logits instanceof Uint16Array || isFloat16)) {
    throw new ModelOutputError(
      "bad-logits",
      `Cannot search: at step ${step} the model returned no Float32Array, Float16Array or Uint16Array (f16 bits)`,
      { step, expected: "Float32Array", actual: Object.prototype.toString.call(logits) },
    );
  }
  const expected = rows * logitWidth;
  if (logits.length === expected) return;
  throw new ModelOutputError(
    "bad-logits-length",
    `Cannot search: at step ${step} the model returned ${logits.length} logits, expected ${expected} (${rows} rows of ${logitWidth})`,
    { step, expected, actual: logits.length },
  );
}

/** The error for a logit, or a score, of +infinity. */
export function infiniteLogit(step: number, row: number): ModelOutputError {
  return new ModelOutputError(
    "infinite-logit",
    `Cannot search: at step ${step} a logit of row ${row} is +infinity, or the score is; expected finite logits (-infinity and NaN count as impossible)`,
    { step, row, actual: Infinity },
  );
}
