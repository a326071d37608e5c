/** Beam search over a kernel and a model. */
import { BackendError, checkOptionNames, EspalierError, typeError } from "../errors.ts";
import { ConstraintIndex, loadedIndexOf } from "../index/constraint_index.ts";
import { partCount } from "../index/format/header.ts";
import type { Beams, SearchShape } from "../kernels/kernel.ts";
import { WasmKernel } from "../kernels/wasm/kernel.ts";
import type { OpenedGpu } from "./device.ts";
import { type DeviceOptions, requireGpu } from "./find_gpu.ts";
import { batchFilters, isFiltered } from "./batch_filters.ts";
import { maskLogits, type MaskOptions } from "./mask.ts";
import { levelsToCheck, searchShape } from "./options.ts";
import { ResultRules, toResult } from "./result.ts";
import { runGpuModel, runModel, type SearchControl } from "./search_loop.ts";
import type { Backend, BeamSearchOptions, BeamSearchResult, GpuModel, Model } from "./types.ts";

/** How to make a decoder. */
export interface DecoderOptions extends DeviceOptions {
  /**
   * Where to search. `"auto"` (default): WebGPU where there is a hardware adapter that the index fits, else
   * WASM; a model on the CPU is searched on WASM even so, because reading the beams back at every step costs
   * more than the step. Without `device` the index is placed on the device of a GPU model when one first comes.
   * `"webgpu"` searches every model on the GPU.
   */
  backend?: "auto" | Backend;
}

/** Names of the options. */
export const DECODER_OPTIONS = [
  "backend",
  "device",
  "allowSoftwareAdapter",
  "gpu",
] as const satisfies readonly (keyof DecoderOptions)[];

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
   * prefix outside the set masks its whole row but `endToken`. Rows may have a filter and exclusions each.
   *
   * @throws {RangeError} if the logits are not W ≥ vocabSize per prefix.
   */
  maskLogits(
    logits: Float32Array,
    prefixes: readonly ArrayLike<number | bigint>[],
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
  checkOptionNames("createDecoder", options, DECODER_OPTIONS);
  const { backend = "auto" } = options;
  if (!(index instanceof ConstraintIndex)) {
    throw typeError("Cannot make a decoder: expected a ConstraintIndex, opened or built", {
      actual: typeof index,
    });
  }
  if (backend !== "auto" && backend !== "webgpu" && backend !== "wasm") {
    throw typeError(`Cannot search on ${String(backend)}: expected "auto", "webgpu" or "wasm"`, {
      expected: ["auto", "webgpu", "wasm"],
      actual: backend,
    });
  }
  const loaded = loadedIndexOf(index);
  if (backend === "wasm") return new SearchDecoder(index, "wasm", "asked for");
  try {
    if (!options.device) requireGpu(options.gpu);
    const { checkFit, findAdapter, openGpu, requestDevice } = await import("./device.ts");
    if (options.device) {
      const gpu = await openGpu(loaded, options.device, false);
      return new SearchDecoder(index, backend, "the device that was passed", gpu);
    }
    const { adapter, reason } = await findAdapter(options);
    checkFit(loaded, adapter);
    // Under "auto" models on the CPU go to WASM, and others bring their device: none of our own is needed.
    if (backend === "auto") return new SearchDecoder(index, backend, reason);
    const gpu = await openGpu(loaded, await requestDevice(adapter), true);
    return new SearchDecoder(index, backend, reason, gpu);
  } catch (error) {
    if (backend !== "auto" || !(error instanceof BackendError)) throw error;
    return new SearchDecoder(index, "wasm", error.message);
  }
}

class SearchDecoder implements Decoder {
  readonly backend: Backend;
  readonly reason: string;
  /** Let go of on dispose, so that the memory of a disposed index can be reclaimed. */
  #parts: Parts | undefined;
  /** Whether models on the CPU are searched on the GPU, too. */
  #forced: OpenedGpu | undefined;

  constructor(
    index: ConstraintIndex,
    backend: "auto" | Backend,
    reason: string,
    gpu?: OpenedGpu,
  ) {
    this.backend = backend === "wasm" ? "wasm" : "webgpu";
    this.reason = reason;
    try {
      const wasm = new WasmKernel(loadedIndexOf(index));
      this.#parts = { index, wasm, gpus: new Map(), opened: gpu ? [gpu] : [] };
    } catch (error) {
      gpu?.[Symbol.dispose](); // the index was disposed of in the meantime
      throw error;
    }
    if (gpu) this.#parts.gpus.set(gpu.kernel.device, Promise.resolve(gpu));
    if (backend === "webgpu") this.#forced = gpu;
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
    const { loading, shape: stored } = loadedIndexOf(index);
    const { duplicates } = options;
    const needed = options.excludeItems || duplicates === "best" && stored.items
      ? partCount(stored)
      : isFiltered(options)
      ? index.maxLength
      : loading.isComplete
      ? 0
      : levelsToCheck(index, options.endToken);
    // Filters that are here already are taken in this very turn: they may be disposed of in the next.
    if (loading.levels < needed) await loading.wait(needed, signal);
    const checked = searchShape(index, options);
    using filters = batchFilters(index, options, checked.batchSize);
    const results = new ResultRules(loadedIndexOf(index), filters.shared, duplicates);
    const { liveRows = false } = model as Model;
    const shape: SearchShape = {
      ...checked,
      filters: filters.filters,
      exclusions: filters.exclusions,
      placesOf: results.dropsRepeated ? results.placesOf(checked.results) : undefined,
      liveRows,
    };
    const { endToken } = shape;
    const course: SearchControl = {
      steps: index.maxLength + (endToken === undefined ? 0 : 1),
      // No beam ends before the last step.
      hasFixedLength: endToken === undefined && index.levels.at(-1)!.ends === index.size,
      signal,
      isLoaded: () => loading.levels >= index.maxLength,
      check: () => {
        signal?.throwIfAborted();
        this.#open();
      },
      waitForLevel(step) {
        const levels = Math.min(step + 1, index.maxLength);
        return levels > loading.levels ? loading.wait(levels, signal) : undefined;
      },
    };
    const [beams, backend] = await this.#run(model, shape, course);
    return toResult(loadedIndexOf(index), shape, beams, results, backend);
  }

  async #run(
    model: Model | GpuModel,
    shape: SearchShape,
    course: SearchControl,
  ): Promise<[Beams, Backend]> {
    let cause: unknown = this.reason;
    if (this.backend === "webgpu" && (typeof model !== "function" || this.#forced)) {
      let gpu: OpenedGpu | undefined;
      try {
        gpu = typeof model === "function" ? this.#forced! : await this.#gpuOf(model.device);
        course.check();
        if (!gpu.isLost) {
          const beams = typeof model === "function"
            ? await runModel(gpu.kernel, shape, model, course)
            : await runGpuModel(gpu.kernel, shape, model, course);
          return [beams, "webgpu"];
        }
        cause = "its device is lost";
      } catch (error) {
        // A signal or a dispose explains itself better than the error that it led to.
        course.check();
        if (gpu ? !await gpu.hasFailed(error) : !(error instanceof BackendError)) throw error;
        cause = error;
      }
    }
    const cpuModel = typeof model === "function" ? model : model.cpu;
    if (!cpuModel) {
      throw new BackendError(
        "no-cpu-form",
        `Cannot search with this GPU model: it has no "cpu" form to go on with on WASM (${
          cause instanceof Error ? cause.message : cause
        })`,
        { expected: "webgpu", actual: "wasm" },
        { cause },
      );
    }
    const { liveRows = false } = cpuModel;
    return [await runModel(this.#open().wasm, { ...shape, liveRows }, cpuModel, course), "wasm"];
  }

  /** The index on a model's device: placed there once. */
  async #gpuOf(device: GPUDevice): Promise<OpenedGpu> {
    const { gpus, index } = this.#open();
    let pending = gpus.get(device);
    if (!pending) {
      const loaded = loadedIndexOf(index);
      pending = (async () => {
        const { openGpu } = await import("./device.ts");
        const gpu = await openGpu(loaded, device, false);
        if (this.#parts) this.#parts.opened.push(gpu);
        else gpu[Symbol.dispose]();
        return gpu;
      })();
      gpus.set(device, pending);
      pending.catch(() => gpus.delete(device));
    }
    return await pending;
  }

  maskLogits(
    logits: Float32Array,
    prefixes: readonly ArrayLike<number | bigint>[],
    options?: MaskOptions,
  ): void {
    maskLogits(this.#open().index, logits, prefixes, options);
  }

  [Symbol.dispose](): void {
    const parts = this.#parts;
    this.#parts = undefined;
    this.#forced = undefined;
    for (const gpu of parts?.opened ?? []) gpu[Symbol.dispose]();
    parts?.wasm[Symbol.dispose]();
  }

  /** @throws {EspalierError} with code `"disposed"`, also where the index has been disposed of. */
  #open(): Parts {
    if (!this.#parts) {
      throw new EspalierError(
        "disposed",
        "Cannot search: the decoder has been disposed; make another with createDecoder",
      );
    }
    loadedIndexOf(this.#parts.index);
    return this.#parts;
  }
}

interface Parts {
  index: ConstraintIndex;
  wasm: WasmKernel;
  /** The index on devices, by device; no failure is kept. */
  gpus: Map<GPUDevice, Promise<OpenedGpu>>;
  /** Those that are there. */
  opened: OpenedGpu[];
}
