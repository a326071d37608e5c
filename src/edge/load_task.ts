/** Something that one request does for all: plain state, by which others see whether it goes on. */

/** So many looks, at least so far apart (milliseconds), before nothing is taken to have happened: the process may have stood still. */
const LOOKS = 10;
const BETWEEN_LOOKS_MS = 4;
/** A load goes on while so many bytes come, or a thousandth of a small index: a byte now and then is none. */
const LEAST_BYTES = 2 ** 14;

/** How long something has not happened, as those see it who look. */
class Silence {
  readonly #now: () => number;
  #since: number;
  #lookedAt: number;
  #looks = 0;

  constructor(now: () => number) {
    this.#now = now;
    this.#since = this.#lookedAt = now();
  }

  /** It has happened. @param since from when on it should happen again. */
  end(since: number = this.#now()): void {
    this.#since = since;
    this.#looks = 0;
  }

  lasts(milliseconds: number): boolean {
    const now = this.#now();
    if (now - this.#lookedAt >= BETWEEN_LOOKS_MS) {
      this.#looks++;
      this.#lookedAt = now;
    }
    return this.#looks >= LOOKS && now - this.#since >= milliseconds;
  }
}

/** A load or a look at the index. */
export class LoadTask {
  /** Ends it. Only for its own request. */
  readonly stop = new AbortController();
  readonly background: (promise: Promise<unknown>) => void;
  /** The index that it has found, as far as known. */
  digest?: string;
  /** Whether it stands still, and has been counted as a failure. */
  isStalled = false;
  /** Whether another request asks its own to end it. */
  isUnwanted = false;
  /** Of the store. For its own request. */
  readonly silence: Silence;
  /** Of its request. For others. */
  readonly absence: Silence;
  #bytes = 0;

  constructor(now: () => number, background: (promise: Promise<unknown>) => void) {
    this.background = background;
    this.silence = new Silence(now);
    this.absence = new Silence(now);
  }

  /** Bytes have come. */
  advance(bytes: number, total = Infinity): void {
    const more = bytes - this.#bytes;
    // Fewer than before: it has begun anew.
    if (more >= 0 && more < Math.min(LEAST_BYTES, total / 1000)) return;
    this.#bytes = bytes;
    this.goOn();
  }

  /** It does not stand still. @param since from when on the store may be silent. */
  goOn(since?: number): void {
    this.isStalled = false;
    this.silence.end(since);
  }
}
