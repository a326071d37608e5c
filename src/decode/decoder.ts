/** Beam search over a kernel and a model. */
import { BackendError, EspalierError, typeError } from "../errors.ts";
import { ConstraintIndex, storageOf } from "../index/constraint_index.ts";
import type { Beams, SearchShape } from "../kernels/kernel.ts";
import { WasmKernel } from "../kernels/wasm/kernel.ts";
import { type DeviceOptions, type OpenedGpu, openGpu } from "./device.ts";
import { maskLogits, type MaskOptions } from "./mask.ts";
import { searchShape } from "./options.ts";
import { toResult } from "./result.ts";
import { type Course, runGpuModel, runModel } from "./search.ts";
import type { Backend, BeamSearchOptions, BeamSearchResult, GpuModel, Model } from "./types.ts";

/** How to make a decoder. */
export interface DecoderOptions extends DeviceOptions {
  /**
   * Where to search. `"auto"` (default): WebGPU where there is a hardware adapter that the index fits, else
   * WASM; a model on the CPU is searched on WASM even so, because reading the beams back at every step costs
   * more than the step. `"webgpu"` searches every model there.
   */
  backend?: "auto" | Backend;
}

/** Searches an index. Any number of searches may overlap. */
export interface Decoder extends Disposable {
  /** Where searches with a model on the GPU run; `result.backend` says where one ran. */
  readonly backend: Backend;
  /** Why there. */
  readonly reason: string;
  /**
   * Finds M sequences of the index for every batch row, by a beam search of width M that at each step considers
   * every allowed token of every beam and keeps exactly the best M. (A beam search may itself miss the best
   * sequence, where its start was not among the best M.)
   *
   * The model is called once per step, maxLength times (once more with `endToken`); sets of mixed lengths end
   * early when every beam has stopped. Rows whose logits are all -infinity or NaN die.
   *
   * With a {@linkcode GpuModel} the search stays on the GPU and is read back once, at its end. When the device is
   * lost or out of memory, the search starts again on WASM, with the model or with its `cpu` form.
   *
   * @throws {RangeError} if an option is out of range. @throws {TypeError} if one is of a wrong kind.
   * @throws {ModelOutputError} if the model returns no logits for its rows, or +infinity.
   * @throws {BackendError} if a GPU model has lost its device and has no `cpu` form.
   * @throws whatever the model throws, and the signal's reason.
   */
  beamSearch(model: Model | GpuModel, options: BeamSearchOptions): Promise<BeamSearchResult>;
  /**
   * Sets logits [rows, W] of tokens that must not follow to -infinity, in place; W = logits.length / rows. A
   * prefix outside the set masks its whole row but `endToken`.
   *
   * @throws {RangeError} if the logits are not W ≥ vocabSize per prefix.
   */
  maskLogits(
    logits: Float32Array,
    prefixes: readonly ArrayLike<number>[],
    options?: MaskOptions,
  ): void;
}

/**
 * Makes a decoder for an index. The index stays the caller's and must outlive it.
 *
 * @throws {BackendError} if the asked-for backend cannot run here.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { buildIndex } from "@espalier/espalier/build";
 * import { createDecoder } from "@espalier/espalier";
 *
 * using index = await buildIndex([[1, 2], [1, 3], [2, 0]], { vocabSize: 4 });
 * using decoder = await createDecoder(index);
 * // A model that likes high tokens: 3 3, which it likes best, is not in the set.
 * const { sequences } = await decoder.beamSearch(({ rows, out }) => {
 *   for (let row = 0; row < rows; row++) out.set([0, 1, 2, 3], row * 4);
 *   return out;
 * }, { beamSize: 2 });
 * assert(sequences.join() === "1,3,1,2");
 * ```
 */
export async function createDecoder(
  index: ConstraintIndex,
  options: DecoderOptions = {},
): Promise<Decoder> {
  const { backend = "auto" } = options;
  if (!(index instanceof ConstraintIndex)) {
    throw typeError("Cannot make a decoder: expected a ConstraintIndex, opened or built", {
      actual: typeof index,
    });
  }
  const storage = storageOf(index);
  if (backend === "wasm") return new SearchDecoder(index, undefined, false, "asked for");
  if (backend === "webgpu") {
    const gpu = await openGpu(storage, options);
    return new SearchDecoder(index, gpu, true, `asked for; ${gpu.reason}`);
  }
  if (backend !== "auto") {
    throw typeError(`Cannot search on ${String(backend)}: expected "auto", "webgpu" or "wasm"`, {
      expected: ["auto", "webgpu", "wasm"],
      actual: backend,
    });
  }
  try {
    const gpu = await openGpu(storage, options);
    return new SearchDecoder(index, gpu, false, gpu.reason);
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
    return new SearchDecoder(index, undefined, false, error.message);
  }
}

class SearchDecoder implements Decoder {
  readonly backend: Backend;
  readonly reason: string;
  /** Let go of on dispose, so that the memory of a disposed index can be reclaimed. */
  #parts: { index: ConstraintIndex; wasm: WasmKernel; gpu?: OpenedGpu } | undefined;
  /** Whether models on the CPU are searched on the GPU, too. */
  #isForced: boolean;

  constructor(
    index: ConstraintIndex,
    gpu: OpenedGpu | undefined,
    isForced: boolean,
    reason: string,
  ) {
    this.#parts = { index, gpu, wasm: new WasmKernel(storageOf(index)) };
    this.#isForced = isForced;
    this.backend = gpu ? "webgpu" : "wasm";
    this.reason = reason;
  }

  async beamSearch(
    model: Model | GpuModel,
    options: BeamSearchOptions,
  ): Promise<BeamSearchResult> {
    const { index } = this.#open();
    const isOnGpu = typeof (model as GpuModel | undefined)?.step === "function";
    if (typeof model !== "function" && !isOnGpu) {
      throw typeError("Cannot search: the model is neither a function nor a GpuModel", {
        actual: typeof model,
      });
    }
    if (typeof options !== "object" || options === null) {
      throw typeError("Cannot search without options: expected at least { beamSize }", {
        actual: options,
      });
    }
    const { signal } = options;
    signal?.throwIfAborted();
    const shape = searchShape(index, options);
    const { endToken, batchSize, beamSize } = shape;
    const course: Course = {
      steps: index.maxLength + (endToken === undefined ? 0 : 1),
      // No beam ends before the last step.
      isFixed: endToken === undefined && index.levels.at(-1)!.ends === index.size,
      check: () => {
        signal?.throwIfAborted();
        this.#open();
      },
    };
    const [beams, backend] = await this.#run(model, shape, course);
    return toResult(storageOf(index), batchSize, beamSize, beams, backend);
  }

  async #run(
    model: Model | GpuModel,
    shape: SearchShape,
    course: Course,
  ): Promise<[Beams, Backend]> {
    const { wasm, gpu } = this.#open();
    const cpuModel = typeof model === "function" ? model : model.cpu;
    let cause: unknown;
    if (gpu && !gpu.isLost && (typeof model !== "function" || this.#isForced)) {
      try {
        const beams = typeof model === "function"
          ? await runModel(gpu.kernel, shape, model, course)
          : await runGpuModel(gpu.kernel, shape, onDevice(model, gpu), course);
        return [beams, "webgpu"];
      } catch (error) {
        // A signal or a dispose explains itself better than the error that it led to.
        course.check();
        if (!await gpu.hasFailed(error)) throw error;
        cause = error;
      }
    }
    if (!cpuModel) {
      throw new BackendError(
        "no-cpu-form",
        `Cannot search with this GPU model: ${
          gpu
            ? "its device is lost, out of memory or too small"
            : `this decoder runs on WASM (${this.reason})`
        }, and it has no "cpu" form`,
        { expected: "webgpu", actual: "wasm" },
        { cause },
      );
    }
    return [await runModel(wasm, shape, cpuModel, course), "wasm"];
  }

  maskLogits(
    logits: Float32Array,
    prefixes: readonly ArrayLike<number>[],
    options?: MaskOptions,
  ): void {
    maskLogits(this.#open().index, logits, prefixes, options);
  }

  [Symbol.dispose](): void {
    const parts = this.#parts;
    this.#parts = undefined;
    parts?.gpu?.[Symbol.dispose]();
    parts?.wasm[Symbol.dispose]();
  }

  /** @throws {EspalierError} with code `"disposed"`, also where the index has been disposed of. */
  #open(): { index: ConstraintIndex; wasm: WasmKernel; gpu?: OpenedGpu } {
    if (!this.#parts) {
      throw new EspalierError(
        "disposed",
        "Cannot search: the decoder has been disposed; make another with createDecoder",
      );
    }
    storageOf(this.#parts.index);
    return this.#parts;
  }
}

function onDevice(model: GpuModel, { kernel }: OpenedGpu): GpuModel {
  if (model.device === kernel.device) return model;
  throw new BackendError(
    "other-device",
    "Cannot search with this GPU model: its device is not the decoder's; pass model.device to createDecoder",
  );
}
