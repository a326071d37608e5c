/** ONNX models on the CPU. */
import type { Logits, Model, ModelInput } from "../../decode/types.ts";
import { rangeError } from "../../errors.ts";
import type { OrtModule } from "./session.ts";
import type { CacheReorder, Move, OnnxSearch, StepLogits } from "./decode_steps.ts";

/** A step of the CPU. */
export interface CpuMove extends Move {
  readonly tokens: Uint32Array;
  readonly parents: Uint32Array;
}

/** A tensor's numbers. */
type Numbers = Float32Array | Uint16Array | BigInt64Array | Int32Array;

/** Moves rows in memory. */
export function cpuReorder(ort: OrtModule): CacheReorder<CpuMove> {
  return {
    gather(source, { rows, parents }) {
      const sourceRows = source.dims[0];
      if (sourceRows === rows && parents.every((parent, row) => parent === row)) return source;
      const data = source.data as Numbers;
      const length = data.length / sourceRows;
      const target = new (data.constructor as new (length: number) => Numbers)(rows * length);
      for (let row = 0; row < rows; row++) {
        const from = parents[row] * length;
        target.set(data.subarray(from, from + length) as never, row * length);
      }
      return new ort.Tensor(source.type, target, [rows, ...source.dims.slice(1)]);
    },
    extend(previous, { rows, tokens, parents }, type) {
      // Ids as words: int64 has two, the low one first.
      const words = type === "int64" ? 2 : 1;
      const before = (previous?.dims[1] ?? 0) * words;
      const ids = new Int32Array(rows * (before + words));
      const { buffer, byteOffset } = (previous?.data ?? ids) as Numbers;
      const old = new Int32Array(buffer, byteOffset);
      for (let row = 0; row < rows; row++) {
        const at = row * (before + words);
        if (before) ids.set(old.subarray(parents[row] * before, (parents[row] + 1) * before), at);
        ids[at + before] = tokens[row];
      }
      const data = type === "int64" ? new BigInt64Array(ids.buffer) : ids;
      return new ort.Tensor(type, data, [rows, before / words + 1]);
    },
  };
}

/** A search as a model for the decoder. */
export function cpuModel(
  search: () => OnnxSearch<CpuMove> | Promise<OnnxSearch<CpuMove>>,
  vocabSize: number,
): Model {
  return async (input) => {
    if (input.vocabSize !== vocabSize) {
      throw rangeError(
        `Cannot search with rows of ${input.vocabSize} logits: the ONNX model makes ${vocabSize}; pass vocabSize: model.vocabSize`,
        { expected: vocabSize, actual: input.vocabSize },
      );
    }
    return lastLogits(await (await search()).step(input.step, input), input);
  };
}

/** Logits [rows, W] of the last position: where they are, if nothing lies between. */
function lastLogits({ tensor, positions, width }: StepLogits, input: ModelInput): Logits {
  const logits = tensor.data as Float32Array | Uint16Array;
  if (positions === 1) return logits;
  const last = (row: number) => {
    const end = (row + 1) * positions * width;
    return logits.subarray(end - width, end);
  };
  if (input.rows === 1) return last(0);
  const isFloat = tensor.type === "float32";
  const out = isFloat
    ? input.out
    : new (logits.constructor as new (length: number) => Uint16Array)(input.rows * width);
  for (let row = 0; row < input.rows; row++) out.set(last(row), row * width);
  return out;
}
