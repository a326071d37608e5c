/** When to try again, and how long to wait before. */
import { StorageError } from "../errors.ts";
import { sleep } from "./abort.ts";

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;
/** A store that asks for more patience than this is not waited for. */
const LONGEST_RETRY_AFTER_MS = 60_000;

/**
 * Whether the same request may succeed later: the store is busy or failing, there was no answer, or its bytes
 * stopped coming. What the client did wrong stays wrong.
 */
export function isTransient(error: unknown): error is StorageError {
  if (!(error instanceof StorageError)) return false;
  const { code, actual, url } = error;
  if (code === "http-status") {
    return actual === 429 || typeof actual === "number" && actual >= 500 && actual < 600;
  }
  // What is no network answers the same for ever.
  if (code === "fetch-failed") return /^https?:/.test(url ?? "");
  return ["read-failed", "stalled", "timeout", "wrong-range"].includes(code);
}

/** Milliseconds until what a `Retry-After` header says, seconds or a date; undefined if it says nothing. */
export function parseRetryAfter(value: string | null, now = Date.now()): number | undefined {
  if (value === null || value.trim() === "") return undefined;
  const seconds = Number(value);
  const milliseconds = Number.isNaN(seconds) ? Date.parse(value) - now : seconds * 1000;
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds);
}

/**
 * How long to wait before the next attempt: doubling from 100 ms to 5 s, the later half of it by chance, so that
 * clients that failed together do not come back together; but as long as the store asked for.
 *
 * @param failures failures in a row so far, from 1.
 * @returns undefined if the store asks for too much patience.
 */
export function retryDelay(
  failures: number,
  retryAfterMs: number | undefined,
  random = Math.random,
): number | undefined {
  if (retryAfterMs !== undefined && retryAfterMs > LONGEST_RETRY_AFTER_MS) return undefined;
  const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (failures - 1));
  return Math.max(delay * (0.5 + 0.5 * random()), retryAfterMs ?? 0);
}

/** Attempts at one thing: counts failures in a row, and waits between them. */
export class Backoff {
  #failures = 0;
  readonly #retries: number;
  readonly #signal: AbortSignal;
  readonly #deadline: number;

  /** @param deadline when all must be over, as `performance.now` counts; waiting beyond it makes no sense. */
  constructor(retries: number, signal: AbortSignal, deadline = Infinity) {
    this.#retries = retries;
    this.#signal = signal;
    this.#deadline = deadline;
  }

  /** Something was achieved: the next failure is the first again. */
  progress(): void {
    this.#failures = 0;
  }

  /**
   * Waits until it is time to try again.
   *
   * @throws the error, if there is no sense in it; the signal's reason, at once.
   */
  async after(error: unknown): Promise<void> {
    this.#signal.throwIfAborted();
    if (!isTransient(error) || ++this.#failures > this.#retries) throw error;
    const delay = retryDelay(this.#failures, error.retryAfterMs);
    if (delay === undefined || performance.now() + delay > this.#deadline) throw error;
    await sleep(delay, this.#signal);
  }
}
