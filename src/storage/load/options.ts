/** What a load is asked for, and what it gives. */
import { rangeError } from "../../errors.ts";
import type { Destination } from "./chunk_writer.ts";
import type { Header } from "../safetensors.ts";

/** How to reach a source. */
export interface TransferOptions {
  /**
   * Requests at a time, 1 … 32. Default 1: one streaming GET. More are faster where a store limits the rate of a
   * connection, and need a store that does ranges; others are read with one.
   */
  parallel?: number;
  /** Stands in for the global `fetch`, for addresses and requests. */
  fetch?: typeof fetch;
  /**
   * Keeps a copy, by URL: as long as the store says that it is current (strong ETag, or an equal header), it
   * is read in place of the object. Its digests are checked like any others; what is damaged comes from the store.
   */
  cache?: Cache;
  /**
   * Attempts after the first, where nothing comes in between (default 5, which is about 3 s). Only what may
   * succeed later is retried: no answer, 429, 5xx, streams that break off or stall.
   */
  retries?: number;
  /** Longest wait for an answer, or for more of it, before the next attempt, milliseconds. Default 10 000. */
  stallTimeoutMs?: number;
  /** Deadline for the whole index, milliseconds from the call. Default none. */
  timeoutMs?: number;
  /** Stops the loading, as the signal of a `Request` does; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Called as bytes arrive. A restart begins at 0. */
  onProgress?: (bytes: number, total?: number) => void;
}

/** How to load. */
export interface LoadOptions extends TransferOptions {
  /** False to skip the digests. */
  digests?: boolean;
  /** Throws if the metadata is that of another kind of file. */
  checkMetadata: (metadata: Record<string, unknown>) => void;
  /**
   * Called with the checked header and the size of the object, where the store says; answers where the data goes. Called
   * again if the object has changed.
   */
  prepare: (header: Header, total?: number) => Promise<Destination>;
  /** Ask for no more than the header at first, and accept it whatever comes behind. */
  isHeaderOnly?: boolean;
  /** Whether the loading may still begin anew with another version. Default: yes. */
  canRestart?: () => boolean;
}

/** A file that is in its place. */
export interface Loaded {
  header: Header;
  /** Settles when the cache has its copy, or has failed to take one. Never rejects. */
  cached: Promise<void>;
}

export function checkOptions(
  { parallel, retries, stallTimeoutMs, timeoutMs }: TransferOptions,
): void {
  const check = (name: string, value: number | undefined, least: number, most: number) => {
    if (value === undefined || value >= least && value <= most) return;
    throw rangeError(`Cannot open the index: ${name} is ${value}, expected ${least} to ${most}`, {
      expected: most,
      actual: value,
    });
  };
  if (parallel !== undefined && !Number.isInteger(parallel)) {
    throw rangeError(`Cannot open the index: parallel is ${parallel}, expected a whole number`, {
      expected: "a whole number",
      actual: parallel,
    });
  }
  check("parallel", parallel, 1, 32);
  check("retries", retries, 0, 1000);
  check("stallTimeoutMs", stallTimeoutMs, 1, 2 ** 31 - 1);
  check("timeoutMs", timeoutMs, 0, 2 ** 31 - 1);
}
