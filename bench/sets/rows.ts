/** Rows of logits that are masked: the same ones, whoever masks them. */
import type { ConstraintIndex } from "../../mod.ts";
import { random } from "../lib/support.ts";

/** What a process of this folder prints. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
}

export const MASKS = 200;
export const MASKED_ROWS = 20;
/** Name of the figure. */
export const MASKED = `mask of ${MASKED_ROWS} rows behind random prefixes`;

/** Prefixes of random sequences, shorter than those, for the rows of one mask after another. */
export function prefixesOf(index: ConstraintIndex): () => Uint32Array[] {
  const next = random(11);
  return () =>
    Array.from({ length: MASKED_ROWS }, () => {
      const sequence = index.sequenceAt(next() % index.size);
      return sequence.subarray(0, next() % sequence.length);
    });
}

/** Logits in [-4, 4). */
export function randomLogits(count: number): Float32Array<ArrayBuffer> {
  const next = random(7);
  const logits = new Float32Array(count);
  for (let i = 0; i < count; i++) logits[i] = (next() >>> 8) * 2 ** -21 - 4;
  return logits;
}
