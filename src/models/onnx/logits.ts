/** Logits as graphs leave them: their shape, their last positions, their numbers. */
import type { Logits } from "../../decode/types.ts";
import { ModelOutputError } from "../../errors.ts";
import type { Tensor } from "./session.ts";

/** Logits as a graph leaves them: [rows, positions, W], of which the last positions count. */
export interface StepLogits {
  readonly tensor: Tensor;
  readonly positions: number;
  readonly width: number;
}

/** @throws {ModelOutputError} if there are not logits of that many rows and positions. */
export function checkLogits(
  tensor: Tensor,
  step: number,
  rows: number,
  wanted: number,
): StepLogits {
  const { dims } = tensor;
  const width = dims[dims.length - 1];
  const positions = dims.length === 2 ? 1 : dims[1];
  if (dims[0] === rows && dims.length <= 3 && positions >= wanted) {
    return { tensor, positions, width };
  }
  throw new ModelOutputError(
    "bad-logits-shape",
    `Cannot search: at step ${step} the ONNX model returned logits [${dims}] for ${rows} rows${
      wanted > 1 ? ` of ${wanted} tokens` : ""
    }`,
    { step, expected: rows, actual: dims },
  );
}

/**
 * Logits [rows, count, W] of the last positions: where they are, if nothing lies between.
 *
 * @param out [rows, count, W] room for them, if they are float32 and must be copied.
 */
export function lastPositions(
  { tensor, positions, width }: StepLogits,
  count: number,
  out?: Float32Array,
): Logits {
  const logits = tensor.data as Float32Array | Uint16Array;
  if (positions === count) return logits;
  const rows = tensor.dims[0];
  const last = (row: number) => {
    const end = (row + 1) * positions * width;
    return logits.subarray(end - count * width, end);
  };
  if (rows === 1) return last(0);
  const { constructor } = logits;
  const target = out && tensor.type === "float32"
    ? out
    : new (constructor as new (length: number) => Uint16Array)(rows * count * width);
  for (let row = 0; row < rows; row++) target.set(last(row), row * count * width);
  return target;
}

/** What a float16 is worth. */
export function fromHalf(bits: number): number {
  const exponent = bits >> 10 & 31;
  const fraction = bits & 1023;
  const size = exponent === 31
    ? fraction ? NaN : Infinity
    : exponent
    ? (1024 + fraction) * 2 ** (exponent - 25)
    : fraction * 2 ** -24;
  return bits >> 15 ? -size : size;
}
