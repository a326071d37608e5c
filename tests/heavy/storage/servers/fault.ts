/** What can go wrong with a response, and when. Offsets are bytes of that response's body. */

/** One thing that goes wrong. Where a body is shorter than an offset, nothing happens. */
export type Fault =
  /** Ends the connection after so many bytes; with a reset, which may overtake some of them. */
  | { kind: "cut"; after: number; reset?: boolean }
  /** Sends nothing more after so many bytes, but leaves the connection open. */
  | { kind: "stall"; after: number }
  /** Waits before it asks the origin; for ever if `ms` is `Infinity`. */
  | { kind: "slow-first-byte"; ms: number }
  /** Adds to Content-Length, or takes away from it, while the body stays whole. */
  | { kind: "wrong-length"; by: number }
  /** No Content-Length: the body ends with the connection, or comes in chunks. */
  | { kind: "no-length"; chunked?: boolean }
  /** Answers with this status in place of the origin. `retryAfter` is seconds or a date. */
  | { kind: "status"; status: number; retryAfter?: number | string; body?: string }
  /** Resets the connection before any response. */
  | { kind: "reset" }
  /** Inverts the byte at this offset. */
  | { kind: "wrong-bytes"; at: number }
  /** Ignores the range that was asked for: 200 and the whole object. */
  | { kind: "whole" }
  /** No ETag. */
  | { kind: "hide-etag" }
  /** A weak ETag in place of a strong one. */
  | { kind: "weak-etag" }
  /**
   * Awaits `change` before it sends the byte at this offset: there the test replaces the object, or sets
   * the `target` of the proxy. The response under way goes on as the origin sends it.
   */
  | { kind: "change"; at: number; change: () => void | Promise<void> }
  /** Sends so many bytes at a time, and waits before each. */
  | { kind: "trickle"; bytes: number; everyMs: number }
  /** Answers the range so many bytes further on; Content-Range tells the truth about it. */
  | { kind: "wrong-range"; by: number };

/** The fault of that kind, if it is there. */
export function faultOf<K extends Fault["kind"]>(
  faults: Fault[],
  kind: K,
): Extract<Fault, { kind: K }> | undefined {
  return faults.find((fault): fault is Extract<Fault, { kind: K }> => fault.kind === kind);
}

/** Ends a response as a fault wants it. */
export class Ended extends Error {
  /** Whether the connection is reset. */
  readonly isReset: boolean;

  constructor(isReset: boolean) {
    super("Ended by a fault");
    this.isReset = isReset;
  }
}

/** What happens before the byte at offset `at` is sent, or after the last one. */
export interface BodyEvent {
  at: number;
  /** @throws {Ended} */
  happen(signal: AbortSignal): void | Promise<void>;
}

/** All that happens within a body, in order. */
export function bodyEvents(faults: Fault[]): BodyEvent[] {
  return faults.flatMap((fault): BodyEvent[] => {
    switch (fault.kind) {
      case "cut":
        return [{
          at: fault.after,
          happen: () => {
            throw new Ended(fault.reset ?? false);
          },
        }];
      case "stall":
        return [{ at: fault.after, happen: (signal) => sleep(Infinity, signal) }];
      case "change":
        return [{ at: fault.at, happen: () => fault.change() }];
      default:
        return [];
    }
  }).sort((a, b) => a.at - b.at);
}

/** The bytes from `offset` of the body on, with `wrong-bytes` done to them. */
export function corrupted(bytes: Uint8Array, offset: number, faults: Fault[]): Uint8Array {
  const copy = bytes.slice();
  for (const fault of faults) {
    const at = fault.kind === "wrong-bytes" ? fault.at - offset : -1;
    if (at >= 0 && at < copy.length) copy[at] ^= 0xff;
  }
  return copy;
}

/** A Range header for bytes further on; a suffix gets longer. */
export function shiftedRange(range: string, by: number): string {
  return range.replace(/\d+/g, (number) => `${Number(number) + by}`);
}

/** Waits, for ever if that is `Infinity`. @throws the signal's reason, once it is aborted. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0) return Promise.resolve();
  return new Promise((done, fail) => {
    const timer = ms === Infinity ? undefined : setTimeout(() => {
      signal.removeEventListener("abort", leave);
      done();
    }, ms);
    const leave = () => {
      clearTimeout(timer);
      fail(signal.reason);
    };
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave, { once: true });
  });
}
