/** Beam search over a kernel and a model. */
import { BackendError, EspalierError, typeError } from "../errors.ts";
import { type ConstraintIndex, storageOf } from "../index/constraint_index.ts";
import type { Kernel, Logits } from "../kernels/kernel.ts";
import { WasmKernel } from "../kernels/wasm/kernel.ts";
import { maskLogits, type MaskOptions } from "./mask.ts";
import { searchShape } from "./options.ts";
import { toResult } from "./result.ts";
import type { Backend, BeamSearchOptions, BeamSearchResult, Model, ModelInput } from "./types.ts";

/** How to make a decoder. */
export interface DecoderOptions {
  /** Where to search. `"auto"` (default) takes what is there. */
  backend?: "auto" | Backend;
}

/** Searches an index. Any number of searches may overlap. */
export interface Decoder extends Disposable {
  /** Where searches run. */
  readonly backend: Backend;
  /** Why there. */
  readonly reason: string;
  /**
   * Finds the best M sequences of the index for every batch row, exactly: a beam search that at each step
   * considers every allowed token of every beam.
   *
   * The model is called once per step, maxLength times (once more with `endToken`); sets of mixed lengths end
   * early when every beam has stopped. Rows whose logits are all -infinity or NaN die.
   *
   * @throws {RangeError} if an option is out of range. @throws {TypeError} if one is of a wrong kind.
   * @throws {ModelOutputError} if the model returns no logits for its rows, or +infinity.
   * @throws whatever the model throws, and the signal's reason.
   */
  beamSearch(model: Model, options: BeamSearchOptions): Promise<BeamSearchResult>;
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
// Async, because other backends take time: a GPU device has to be asked for.
// deno-lint-ignore require-await
export async function createDecoder(
  index: ConstraintIndex,
  options: DecoderOptions = {},
): Promise<Decoder> {
  return new KernelDecoder(index, ...chooseKernel(index, options));
}

function chooseKernel(
  index: ConstraintIndex,
  { backend = "auto" }: DecoderOptions,
): [Kernel, string] {
  if (backend === "wasm") return [new WasmKernel(storageOf(index)), "asked for"];
  if (backend === "auto") {
    return [new WasmKernel(storageOf(index)), "this version has no other backend"];
  }
  if (backend === "webgpu") {
    throw new BackendError(
      "no-webgpu",
      'Cannot search on WebGPU: this version runs on WASM only; use backend "auto" or "wasm"',
      { expected: "wasm", actual: backend },
    );
  }
  throw typeError(`Cannot search on ${String(backend)}: expected "auto", "webgpu" or "wasm"`, {
    expected: ["auto", "webgpu", "wasm"],
    actual: backend,
  });
}

/** Awaiting costs a turn of the event loop: models that answer at once are not awaited. */
function isPromise(answer: Logits | Promise<Logits>): answer is Promise<Logits> {
  return typeof (answer as Promise<Logits> | undefined)?.then === "function";
}

function staleInput(step: number): EspalierError {
  return new EspalierError(
    "stale-input",
    `Cannot read "out" of step ${step}: its search has gone on or ended; use the input of the present call`,
    { step },
  );
}

class KernelDecoder implements Decoder {
  readonly backend: Backend;
  readonly reason: string;
  /** Let go of on dispose, so that the memory of a disposed index can be reclaimed. */
  #parts: { index: ConstraintIndex; kernel: Kernel } | undefined;

  constructor(index: ConstraintIndex, kernel: Kernel, reason: string) {
    this.#parts = { index, kernel };
    this.backend = kernel.backend;
    this.reason = reason;
  }

  async beamSearch(model: Model, options: BeamSearchOptions): Promise<BeamSearchResult> {
    const { index, kernel } = this.#open();
    if (typeof model !== "function") {
      throw typeError("Cannot search: the model is not a function", { actual: typeof model });
    }
    if (typeof options !== "object" || options === null) {
      throw typeError("Cannot search without options: expected at least { beamSize }", {
        actual: options,
      });
    }
    const { signal } = options;
    signal?.throwIfAborted();
    const shape = searchShape(index, options);
    const { batchSize, beamSize, rowWidth, endToken } = shape;
    const { maxLength } = index;
    // A fixed-length search has no end to see before its last step.
    const isFixed = endToken === undefined && index.levels.at(-1)!.ends === index.size;
    const steps = endToken === undefined ? maxLength : maxLength + 1;
    using search = kernel.begin(shape);
    let isOver = false;
    using _ = { [Symbol.dispose]: () => isOver = true };
    while (search.step < steps && (isFixed || search.isLive)) {
      const step = search.step;
      const input: ModelInput = {
        step,
        rows: search.rows,
        batchSize,
        beamSize,
        vocabSize: rowWidth,
        tokens: search.tokens(),
        parents: search.parents(),
        get out() {
          // Later the memory belongs to another step, or to another search.
          if (isOver || search.step !== step) throw staleInput(step);
          return search.out();
        },
      };
      const answer = model(input);
      const logits = isPromise(answer) ? await answer : answer;
      signal?.throwIfAborted();
      this.#open();
      const advanced = search.advance(logits);
      if (advanced) await advanced;
    }
    return toResult(storageOf(index), batchSize, beamSize, search.beams(), this.backend);
  }

  maskLogits(
    logits: Float32Array,
    prefixes: readonly ArrayLike<number>[],
    options?: MaskOptions,
  ): void {
    maskLogits(this.#open().index, logits, prefixes, options);
  }

  [Symbol.dispose](): void {
    this.#parts?.kernel[Symbol.dispose]();
    this.#parts = undefined;
  }

  /** @throws {EspalierError} with code `"disposed"`, also where the index has been disposed of. */
  #open(): { index: ConstraintIndex; kernel: Kernel } {
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
