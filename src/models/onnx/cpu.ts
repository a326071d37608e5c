/** ONNX models on the CPU. */
import type { Model } from "../../decode/types.ts";
import { rangeError } from "../../errors.ts";
import type { OnnxSearch, OnnxSessions } from "./decode_steps.ts";
import { lastPositions } from "./logits.ts";
import { probe, type Probed } from "./probe.ts";
import type { CacheReorder } from "./rows.ts";
import type { OrtModule } from "./session.ts";

/** A tensor's numbers. */
type Numbers = Float32Array | Uint16Array | BigInt64Array | Int32Array;

/** Moves rows in memory. */
export function cpuReorder(ort: OrtModule): CacheReorder<Uint32Array> {
  return {
    gather(source, rows, parents) {
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
    extend(previous, { rows, tokens, parents }, width, type) {
      // Ids as words: int64 has two, the low one first.
      const words = type === "int64" ? 2 : 1;
      const before = previous?.dims[1] ?? 0;
      const total = before + width;
      const ids = new Int32Array(rows * total * words);
      const { buffer, byteOffset } = (previous?.data ?? ids) as Numbers;
      const old = new Int32Array(buffer, byteOffset);
      for (let row = 0; row < rows; row++) {
        const from = parents[row] * before * words;
        ids.set(old.subarray(from, from + before * words), row * total * words);
        for (let i = 0; i < width; i++) {
          ids[(row * total + before + i) * words] = tokens[row * width + i];
        }
      }
      const data = type === "int64" ? new BigInt64Array(ids.buffer) : ids;
      return new ort.Tensor(type, data, [rows, total]);
    },
  };
}

/** A search as a model for the decoder. */
export function cpuModel(
  search: () => OnnxSearch<Uint32Array> | Promise<OnnxSearch<Uint32Array>>,
  vocabSize: number,
  hasRuns: boolean,
): Model {
  const check = (actual: number) => {
    if (actual === vocabSize) return;
    throw rangeError(
      `Cannot search with rows of ${actual} logits: the ONNX model makes ${vocabSize}; pass vocabSize: model.vocabSize`,
      { expected: vocabSize, actual },
    );
  };
  const model: Model = async (input) => {
    check(input.vocabSize);
    const logits = await (await search()).step(input.step, input);
    return lastPositions(logits, 1, logits.positions > 1 ? input.out : undefined);
  };
  const scoreRuns: Model["scoreRuns"] = async (input) => {
    check(input.vocabSize);
    input.signal?.throwIfAborted();
    return lastPositions(await (await search()).scoreRun(input.step, input), input.width);
  };
  return Object.assign(model, { liveRows: true }, hasRuns && { scoreRuns });
}

/**
 * Tries a model on the CPU.
 *
 * @throws {BackendError} with code `"unsupported-model"` if a step fails.
 */
export async function probeCpu(sessions: OnnxSessions): Promise<Probed> {
  return await probe(sessions, cpuReorder(sessions.ort), {
    ids: (values) => Uint32Array.from(values),
    read: ({ tensor }) => Promise.resolve(tensor.data as Float32Array | Uint16Array),
    run: (call) => call(),
    hasLengths: true,
  });
}
