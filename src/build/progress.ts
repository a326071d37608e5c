/** Keeps long synchronous work polite: progress, abort, and a turn of the event loop now and then. */

/** How the builder reports. */
export interface ProgressOptions {
  signal?: AbortSignal;
  onProgress?: (done: number, total?: number) => void;
}

const TURN_MS = 50;
/** Rows between two looks at the clock. */
const ROWS_PER_TICK = 2 ** 16;

/** One per build. Work is so many passes over the rows; progress is told as rows of the whole. */
export class Progress {
  /** Passes over all rows, from here on; reading a stream is none. */
  passes = 1;
  #options: ProgressOptions;
  #lastTurn = performance.now();
  #finished = -1;
  #stage = "";

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  /** Whether it is time to {@linkcode tick}, for work that comes in small pieces. */
  get isDue(): boolean {
    return performance.now() - this.#lastTurn > TURN_MS;
  }

  /**
   * Makes a pass over `count` things in slices [from, to), with a {@linkcode tick} after each.
   *
   * @param rows what progress is told in, where the things are not the rows.
   */
  async over(
    pass: string,
    count: number,
    visit: (from: number, to: number) => void,
    rows = count,
  ): Promise<void> {
    for (let from = 0; from < count; from += ROWS_PER_TICK) {
      const to = Math.min(count, from + ROWS_PER_TICK);
      visit(from, to);
      await this.tick(pass, Math.floor(to / count * rows), rows);
    }
  }

  /**
   * Reports `done` of `total` rows of a pass (no total while reading a stream), lets timers run from time
   * to time.
   *
   * @throws the reason of the signal, once it is aborted.
   */
  async tick(pass: string, done: number, total?: number): Promise<void> {
    const { signal, onProgress } = this.#options;
    if (pass !== this.#stage && total !== undefined) {
      this.#finished++;
      this.#stage = pass;
    }
    if (this.isDue) {
      if (total === undefined) onProgress?.(done);
      else onProgress?.(Math.floor((this.#finished * total + done) / this.passes), total);
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.#lastTurn = performance.now();
    }
    signal?.throwIfAborted();
  }
}
