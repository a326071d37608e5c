/** Which levels of an index are there, while it loads. Filters and items count as one more behind the last. */
import { type ErrorFacts, EspalierError } from "../errors.ts";

interface Waiting {
  levels: number;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** Counts levels as they arrive, in order. */
export class LevelLoading {
  /** Levels that are there: 0 … levels - 1. */
  levels = 0;
  /** Resolves when the loading is over, rejects if it fails. */
  readonly over: Promise<void>;
  readonly #total: number;
  #settle: { resolve: () => void; reject: (error: unknown) => void };
  #waiting: Waiting[] = [];
  #failure: { error: unknown } | undefined;

  constructor(total: number) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    promise.catch(() => {}); // who waits for it will see
    this.over = promise;
    this.#settle = { resolve, reject };
    this.#total = total;
  }

  /** Whether all levels are there. */
  get isComplete(): boolean {
    return this.levels === this.#total;
  }

  /** So many levels are there now. */
  reached(levels: number): void {
    this.levels = levels;
    // Who is answered leaves the list, for a new one.
    for (const waiting of this.#waiting) if (waiting.levels <= levels) waiting.resolve();
  }

  /** The loading is over. */
  end(): void {
    this.#settle.resolve();
  }

  /** The loading has failed: nothing more will come. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#settle.reject(error);
    for (const { reject } of this.#waiting) reject(error);
  }

  /**
   * Waits for the first `levels` levels.
   *
   * @throws what the loading failed with; the signal's reason.
   */
  wait(levels: number, signal?: AbortSignal): Promise<void> {
    if (levels <= this.levels) return Promise.resolve();
    if (this.#failure) return Promise.reject(this.#failure.error);
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const abort = () => waiting.reject(signal?.reason);
      const done = () => {
        signal?.removeEventListener("abort", abort);
        this.#waiting = this.#waiting.filter((other) => other !== waiting);
      };
      const waiting: Waiting = {
        levels,
        resolve: () => (done(), resolve()),
        reject: (error) => (done(), reject(error)),
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.push(waiting);
    });
  }

  /** @throws {EspalierError} with code `"not-loaded"` if the first `levels` levels are not all there. */
  require(levels: number): void {
    if (levels <= this.levels) return;
    throw this.#notLoaded(`level ${levels - 1}`, levels, { level: levels - 1 });
  }

  /**
   * @param what is wanted, for the message.
   * @throws {EspalierError} with code `"not-loaded"` if not everything is there.
   */
  requireAll(what: string): void {
    if (!this.isComplete) throw this.#notLoaded(what, this.#total);
  }

  #notLoaded(what: string, expected: number, facts: ErrorFacts = {}): EspalierError {
    return new EspalierError(
      "not-loaded",
      this.#failure
        ? `Cannot look at ${what}: the loading of the index has failed; open it again`
        : `Cannot look at ${what}: the index is still loading; await index.ready`,
      { ...facts, expected, actual: this.levels },
      this.#failure && { cause: this.#failure.error },
    );
  }
}

/** That of an index that is whole. */
export function completeLoading(total: number): LevelLoading {
  const loading = new LevelLoading(total);
  loading.reached(total);
  loading.end();
  return loading;
}
