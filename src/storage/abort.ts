/** Waits that end when a signal says so. */

/**
 * Waits for an answer, or for the signal: sources and caches may not know it.
 *
 * @param late lets go of what is answered afterwards.
 * @throws the signal's reason.
 */
export function orAborted<T>(
  answer: Promise<T>,
  signal: AbortSignal,
  late: (value: T) => unknown = () => {},
): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      reject(signal.reason);
      answer.then(late).catch(() => {});
    };
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    answer.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Waits so long. @throws the signal's reason, at once. */
export function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = () => {
      signal.removeEventListener("abort", abort);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener("abort", abort, { once: true });
  });
}
