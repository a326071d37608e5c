/** Something that one request does for all: plain state, by which others see whether it goes on. */

/** So many looks, at least so far apart (milliseconds), before nothing is taken to have happened: the process may have stood still. */
const LOOKS = 10;
const BETWEEN_LOOKS_MS = 4;

/** A load or a look at the index. */
export class LoadTask {
  /** Ends it. Only for its own request, and for the end of all. */
  readonly stop = new AbortController();
  readonly background: (promise: Promise<unknown>) => void;
  /** How often the index had come or gone when it began. */
  changes: number;
  /** Bytes that have come. */
  bytes = 0;
  /** The index that it has found, as far as known. */
  digest?: string;
  readonly #now: () => number;
  #advancedAt: number;
  #lookedAt: number;
  #looks = 0;

  constructor(
    now: () => number,
    background: (promise: Promise<unknown>) => void,
    changes: number,
  ) {
    this.#now = now;
    this.changes = changes;
    this.background = background;
    this.#advancedAt = this.#lookedAt = now();
  }

  /** It goes on. */
  advance(bytes: number): void {
    this.bytes = bytes;
    this.#advancedAt = this.#now();
    this.#looks = 0;
  }

  /** Whether it has not gone on for so long, as others see it. */
  isIdleFor(milliseconds: number): boolean {
    const now = this.#now();
    if (now - this.#lookedAt >= BETWEEN_LOOKS_MS) {
      this.#looks++;
      this.#lookedAt = now;
    }
    return this.#looks >= LOOKS && now - this.#advancedAt >= milliseconds;
  }
}
