/** The memory of an index that is gone, for the next one: the runtime collects unused WASM memories late. */
import type { IndexSource } from "../storage/source.ts";
import {
  type ConstraintIndex,
  openIn,
  type OpenOptions,
  releaseMemory,
} from "./constraint_index.ts";
import type { IndexMemory } from "./index_memory.ts";

/** Memory in which one more index can be opened. */
export class SpareMemory {
  #memory: IndexMemory | undefined;

  /**
   * Disposes of an index and keeps its memory. Its filters and decoders must have been disposed of before: what they hold
   * would be overwritten. Nothing is kept while the memory may still be in use.
   */
  keep(index: ConstraintIndex): void {
    this.#memory = releaseMemory(index);
  }

  /** Takes over what another one holds. */
  takeFrom(other: SpareMemory): void {
    this.#memory = other.#memory;
    other.clear();
  }

  /** Holds nothing any more. */
  clear(): void {
    this.#memory = undefined;
  }

  /**
   * Opens an index as `ConstraintIndex.open` does, in the memory that is held, if there is any and it is not far too
   * large. Holds nothing then.
   *
   * @param mayKeep asked where opening fails: whether the memory that was reserved is held for the next one.
   */
  async open(
    source: IndexSource,
    options: OpenOptions,
    mayKeep: () => boolean,
  ): Promise<ConstraintIndex> {
    let memory = this.#memory;
    this.clear();
    try {
      return await openIn(memory, source, options, (reserved) => memory = reserved);
    } catch (error) {
      if (mayKeep()) this.#memory = memory;
      throw error;
    }
  }
}
