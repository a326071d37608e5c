/** One opened index with all that belongs to it, and who is using it. */
import { createDecoder, type Decoder } from "../decode/decoder.ts";
import { checkEndToken, mayHold } from "../decode/options.ts";
import { type ErrorFacts, EspalierError } from "../errors.ts";
import { type ConstraintIndex, loadedIndexOf } from "../index/constraint_index.ts";
import type { LevelShape } from "../index/format/layout.ts";
import { SpareMemory } from "../index/spare_memory.ts";
import { FilterCache } from "./filter_cache.ts";
import type { Settings } from "./options.ts";

/** The use of an index by one request; dispose of it. */
export interface Lease extends Disposable {
  readonly index: ConstraintIndex;
  readonly decoder: Decoder;
  readonly filters: FilterCache;
}

/** An index that is served. When it is retired, it is disposed of with the last request that uses it. */
export class ServedIndex {
  readonly index: ConstraintIndex;
  readonly decoder: Decoder;
  /** Why the decoder searches where it does. */
  readonly reason: string;
  readonly loadedAt: number;
  readonly #filters: FilterCache;
  readonly #leases = new Set<{ until: number }>();
  readonly #now: () => number;
  #isRetired = false;
  #isDisposed = false;
  /** Whether a request was given up that may still run. */
  #hasLost = false;
  /** Its memory, once it is gone. */
  readonly #memory = new SpareMemory();

  /**
   * Makes an opened index ready to be served; the index is its own from now on, also where this fails.
   *
   * @throws {EspalierError} with code `"model-misfit"` if the model does not fit it. @throws {BackendError} if the backend asked for cannot run.
   */
  static async of(index: ConstraintIndex, settings: Settings): Promise<ServedIndex> {
    try {
      checkFit(index.vocabSize, settings);
      const endToken = settings.search?.endToken;
      if (endToken !== undefined) checkEnd(index, endToken);
      // Masks are made on the CPU: no GPU need be looked for.
      const options = settings.model ? settings.decoder : { backend: "wasm" as const };
      const decoder = await createDecoder(index, options);
      const reason = settings.model ? decoder.reason : "there is no model, only masks";
      return new ServedIndex(index, decoder, reason, settings);
    } catch (error) {
      index[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(
    index: ConstraintIndex,
    decoder: Decoder,
    reason: string,
    { now, limits }: Settings,
  ) {
    this.index = index;
    this.decoder = decoder;
    this.reason = reason;
    this.loadedAt = now();
    this.#now = now;
    this.#filters = new FilterCache(index, limits.filterBytes);
  }

  /** Bytes that it holds: the index, compiled filters, workspaces. */
  get heldBytes(): number {
    return this.#isDisposed ? 0 : loadedIndexOf(this.index).heap.memory.buffer.byteLength;
  }

  /** Whether no request uses it. Those that were stopped without an end are given up after their time. */
  get isIdle(): boolean {
    const now = this.#now();
    for (const lease of this.#leases) {
      if (lease.until <= now) this.#hasLost = this.#leases.delete(lease);
    }
    return this.#leases.size === 0;
  }

  /** @param until when the request is over at the latest. */
  lease(until: number): Lease {
    const held = { until };
    this.#leases.add(held);
    return {
      index: this.index,
      decoder: this.decoder,
      filters: this.#filters,
      [Symbol.dispose]: () => {
        if (!this.#leases.delete(held)) return;
        if (this.#isRetired) this.collect();
        else this.#filters.trim();
      },
    };
  }

  /** No request uses it any more but those that do already. */
  retire(): void {
    this.#isRetired = true;
    this.collect();
  }

  /** Disposes of it if it is retired and idle. @returns whether it is gone. */
  collect(): boolean {
    if (!this.#isRetired || !this.isIdle) return this.#isDisposed;
    if (!this.#isDisposed) {
      this.#isDisposed = true;
      this.#filters[Symbol.dispose]();
      this.decoder[Symbol.dispose]();
      inAnyRequest(() => this.#memory.keep(this.index));
    }
    return true;
  }

  /** Hands over its memory, once it is gone, if it is certain that nobody uses that any more. */
  giveMemory(spare: SpareMemory): void {
    if (!this.#hasLost) spare.takeFrom(this.#memory);
  }
}

/**
 * Ends what another request may have begun. Workers throw where that reaches signals of the other's: of a load that goes
 * on, or of an index whose copy for a cache is still being made. Ending them is the last thing that disposing does.
 */
export function inAnyRequest(end: () => void): void {
  try {
    end();
  } catch {
    // What is left goes with the request that began it.
  }
}

/** @throws {EspalierError} with code `"model-misfit"` if rows of the model are narrower than the vocabulary of an index. */
export function checkFit(tokens: number, { search }: Settings): void {
  if (search?.vocabSize === undefined || tokens <= search.vocabSize) return;
  throw misfit(
    `Cannot serve the index: it has ${tokens} tokens, and rows of the model ${search.vocabSize} logits`,
    { expected: search.vocabSize, actual: tokens },
  );
}

/**
 * Makes sure that an index that is only seen streaming by can be served: then the one before it is let go of first.
 *
 * @throws {EspalierError} with code `"memory-short"` where that cannot be told.
 */
export function checkBeforehand(levels: readonly LevelShape[], settings: Settings): void {
  const { open, decoder, search } = settings;
  const isUnknown = open?.verify === true || decoder?.backend === "webgpu" ||
    search?.endToken !== undefined && levels.some((level) => mayHold(level, search.endToken!));
  if (!isUnknown) return;
  throw new EspalierError(
    "memory-short",
    "Cannot replace the index: two do not fit into memoryBytes, and whether the new one can be served shows only when it is loaded; raise memoryBytes, or take an end token outside the range of its tokens",
    { expected: settings.memoryBytes },
  );
}

function checkEnd(index: ConstraintIndex, endToken: number): void {
  try {
    checkEndToken(index, endToken);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw misfit(error.message, { expected: "an end token in no sequence", actual: endToken });
  }
}

function misfit(message: string, facts: ErrorFacts): EspalierError {
  return new EspalierError("model-misfit", message, facts);
}
