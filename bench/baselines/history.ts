/** Sequences of beams from what each step chose. */
import type { MethodShape } from "./method.ts";

/**
 * Sequences [B, M, steps] of the beams of the last step. `tokens` and `parents` are [steps, B·M]; a parent is a
 * row of the step before. Dead beams hold 0xFFFFFFFF.
 */
export function spellBeams(
  { batchSize, beamSize }: MethodShape,
  steps: number,
  tokens: Uint32Array,
  parents: Uint32Array,
  counts: Uint32Array,
): Uint32Array {
  const rows = batchSize * beamSize;
  const sequences = new Uint32Array(rows * steps).fill(0xffffffff);
  for (let row = 0; row < rows; row++) {
    if (row % beamSize >= counts[Math.floor(row / beamSize)]) continue;
    let at = row;
    for (let step = steps - 1; step >= 0; step--) {
      sequences[row * steps + step] = tokens[step * rows + at];
      at = parents[step * rows + at];
    }
  }
  return sequences;
}
