/** Rows of a call: which batch rows they belong to, which rows they continue, and how their tensors follow. */
import { EspalierError } from "../../errors.ts";
import type { IntType } from "./signature.ts";
import type { Tensor } from "./session.ts";

/** What a call is told of its rows; where ids are depends on the provider. */
export interface Move<I> {
  readonly rows: number;
  /** [rows] batch row of each row, ascending. */
  readonly batch: Uint32Array;
  /** [rows] token of each row; of a run [rows, width]. */
  readonly tokens: I;
  /** [rows] row of the step before that each row continues. */
  readonly parents: I;
}

/** Several tokens for each row at once. */
export interface RunMove<I> extends Move<I> {
  /** Tokens of each row, padding behind them included. */
  readonly width: number;
  /** [rows] how many of them are real. Default: all. */
  readonly lengths?: Uint32Array;
}

/** How rows move where they live: in the memory of the CPU, or of the GPU. What is returned is the caller's to dispose. */
export interface CacheReorder<I> {
  /** [rows, …] with row i = source[parents[i]]. The source itself, if that is known to be the same. */
  gather(source: Tensor, rows: number, parents: I | Uint32Array): Tensor | Promise<Tensor>;
  /** [rows, before + width] ids: those of the parents, if there are any before, and then the tokens [rows, width]. */
  extend(
    previous: Tensor | undefined,
    move: Move<I>,
    width: number,
    type: IntType,
  ): Tensor | Promise<Tensor>;
  /** Resolves when all that was submitted has run, or the device is known to be lost. */
  settle?(): Promise<void>;
}

/**
 * Checks what a call is told of its rows: those of step 0 are the prompts; later ones ascend by batch row, and continue
 * rows of their own batch row. Parents and tokens on the GPU are not looked at.
 *
 * @param before [rows of the step before] batch row of each.
 * @throws {EspalierError} with code `"wrong-batch"` or `"wrong-rows"`.
 */
export function checkRows<I>(
  step: number,
  { rows, batch, tokens, parents }: Move<I>,
  before: Uint32Array,
  prompts: number,
  run?: RunMove<I>,
): void {
  if (step === 0) {
    if (rows === prompts) return;
    throw new EspalierError(
      "wrong-batch",
      `Cannot search: there are ${prompts} prompts, but the search has ${rows} batch rows; pass batchSize: prompts.length`,
      { expected: prompts, actual: rows },
    );
  }
  const refuse = (why: string, facts: { row?: number; expected?: unknown; actual?: unknown }) => {
    throw new EspalierError(
      "wrong-rows",
      `Cannot run step ${step} of these prompts: ${why}; order rows by batch row, and let each continue a row of the step before`,
      { step, ...facts },
    );
  };
  const width = run?.width ?? 1;
  const sizes: [string, unknown, number][] = [
    ["batch", batch, rows],
    ["tokens", tokens, rows * width],
    ["parents", parents, rows],
    ["lengths", run?.lengths, rows],
  ];
  for (const [name, values, expected] of sizes) {
    // On the GPU there are buffers, which may be larger.
    const isOnCpu = ArrayBuffer.isView(values) || name === "batch";
    const actual = (values as Uint32Array | undefined)?.length;
    if (!isOnCpu || actual === expected && expected > 0) continue;
    refuse(`"${name}" has ${actual} numbers for ${rows} rows`, { expected, actual });
  }
  for (let row = 0; row < rows; row++) {
    const own = batch[row];
    if (!(own < prompts && own >= (batch[row - 1] ?? 0))) {
      refuse(`row ${row} has batch row ${own}`, { row, expected: prompts, actual: own });
    }
    const length = run?.lengths?.[row] ?? 1;
    if (!(length >= 1 && length <= width)) {
      refuse(`row ${row} has a run of ${length} tokens`, { row, expected: width, actual: length });
    }
    if (!(parents instanceof Uint32Array) || before[parents[row]] === own) continue;
    const parent = parents[row];
    refuse(`row ${row} of batch row ${own} continues row ${parent}`, { row, actual: parent });
  }
}

/**
 * For each row, one of the rows before that has its batch row; undefined if those are the same. Both ascend, and all
 * batch rows were there before.
 */
export function rowsOf(before: Uint32Array, batch: Uint32Array): Uint32Array | undefined {
  const isSame = before.length === batch.length && batch.every((b, row) => b === before[row]);
  if (isSame) return undefined;
  let at = 0;
  return batch.map((b) => {
    while (before[at] < b) at++;
    return at;
  });
}
