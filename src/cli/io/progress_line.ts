/** A line on standard error that tells how far a command is. */
import type { Io } from "./terminal.ts";
import { duration, grouped } from "./format.ts";

const REDRAW_MS = 100;

/** Rates and the time left are told once a stage has taken so long. */
const RATE_AFTER_MS = 1000;

const BAR_WIDTH = 20;

/** What has been done so far, to tell how fast it goes. */
export interface Rates {
  readonly rows?: number;
  readonly bytes?: number;
}

/** One line on standard error that is drawn over and leaves nothing behind. */
export class ProgressLine implements Disposable {
  #io: Io;
  #last = -Infinity;
  #stage = "";
  #began = 0;
  /** What was done when the stage began. */
  #from: Rates & { readonly done: number } = { done: 0 };

  constructor(io: Io) {
    this.#io = io;
  }

  /** Shows how much is done, and how fast, at most ten times a second; nothing where nobody watches. */
  show(what: string, done: number, total?: number, rates: Rates = {}): void {
    const now = performance.now();
    if (!this.#io.showProgress || now - this.#last < REDRAW_MS) return;
    this.#last = now;
    if (what !== this.#stage) {
      this.#stage = what;
      this.#began = now;
      this.#from = { ...rates, done };
    }
    const share = total === undefined ? undefined : Math.min(1, done / Math.max(1, total));
    const parts = share === undefined
      ? [`${what} ${grouped(Math.floor(done))}`]
      : [`${what} ${Math.floor(100 * share)} %${this.#bar(share)}`];
    const seconds = (now - this.#began) / 1000;
    if (1000 * seconds >= RATE_AFTER_MS) {
      const { rows, bytes } = rates;
      const { rows: firstRows = 0, bytes: firstBytes = 0, done: first } = this.#from;
      if (rows) parts.push(`${grouped(Math.round((rows - firstRows) / seconds))} rows/s`);
      if (bytes) parts.push(`${((bytes - firstBytes) / seconds / 1e6).toFixed(1)} MB/s`);
      const left = (total! - done) * seconds / (done - first);
      if (Number.isFinite(left)) parts.push(`${duration(left)} left`);
    }
    this.#io.err(`\r\x1b[K${parts.join(", ")}`);
  }

  #bar(share: number): string {
    const full = Math.round(BAR_WIDTH * share);
    const [done, rest] = ["━".repeat(full), "─".repeat(BAR_WIDTH - full)];
    return this.#io.useColor ? ` \x1b[32m${done}\x1b[2;39m${rest}\x1b[0m` : ` ${done}${rest}`;
  }

  /** What clears the line, to be written in front of other text. */
  cleared(): string {
    const isShown = this.#last > -Infinity;
    this.#last = -Infinity;
    return isShown ? "\r\x1b[K" : "";
  }

  /** Clears the line. */
  [Symbol.dispose](): void {
    const clear = this.cleared();
    if (clear) this.#io.err(clear);
  }
}
