/** The heap of JavaScript, for methods that are made of objects: what those take can only be measured. */

/** Flags of a process that may have so much heap, and may ask for its garbage to be collected. */
export function heapFlags(bytes: number): string {
  return `--v8-flags=--expose-gc,--max-old-space-size=${Math.floor(bytes / 2 ** 20)}`;
}

/** Collects all garbage; false where V8 was not given `--expose-gc`. */
export function collectGarbage(): boolean {
  const { gc } = globalThis as { gc?: () => void };
  if (!gc) return false;
  // Buffers that the first one finds to be garbage are still counted, and freed, behind it.
  gc();
  gc();
  return true;
}

/**
 * Bytes of all objects of this process and of the buffers behind them, without garbage; WASM memories are left
 * out. undefined where V8 was not given `--expose-gc`. Takes two collections, seconds where the heap has gigabytes.
 */
export function heldBytes(): number | undefined {
  if (!collectGarbage()) return undefined;
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

/** Bytes that are held now and were not at an earlier look; undefined where one of both was not possible. */
export function heldSince(before: number | undefined): number | undefined {
  const now = before === undefined ? undefined : heldBytes();
  return now === undefined ? undefined : now - before!;
}
