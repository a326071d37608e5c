/** How many requests are worked on at a time, and how many wait. */
import { sleep } from "../storage/abort.ts";
import type { Limits } from "./options.ts";
import { busy, type Refusal } from "./error_response.ts";

/** How often those who wait look, milliseconds. */
const POLL_MS = 4;
/** Who has not looked for so long does not hold up those behind. */
const ABSENT_MS = 1000;

interface Place {
  /** When it is free again at the latest. */
  until: number;
  seenAt: number;
}

/**
 * Lets so many in at a time, first come, first served. All of it is plain state that each request looks at with its own
 * timer: a Worker must not wait for what another request does, and is stopped at times without an end. Who was stopped
 * loses its place when its time is over.
 */
export class AdmissionQueue {
  readonly #limits: Limits;
  readonly #now: () => number;
  readonly #running = new Set<Place>();
  readonly #waiting = new Set<Place>();
  readonly #reading = new Set<Place>();
  /** Requests that were sent away. */
  rejected = 0;

  constructor(limits: Limits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Requests that are worked on. */
  get running(): number {
    this.#sweep();
    return this.#running.size;
  }

  /** Requests that wait. */
  get waiting(): number {
    this.#sweep();
    return this.#waiting.size;
  }

  /** Requests whose body is on its way. */
  get reading(): number {
    this.#sweep();
    return this.#reading.size;
  }

  /**
   * Lets a body in. Disposing of what it gives says that the body is there.
   *
   * @throws {Refusal} 503 if too many are on their way, or if too many requests wait already and nobody would look at it.
   */
  enterBody(): Disposable {
    this.#sweep();
    const isFull = this.#running.size >= this.#limits.concurrency &&
      this.#waiting.size >= this.#limits.queue;
    if (isFull || this.#reading.size >= this.#limits.bodies) throw this.#refuse();
    const now = this.#now();
    const place = { until: now + 2 * this.#limits.deadlineMs, seenAt: now };
    this.#reading.add(place);
    return { [Symbol.dispose]: () => void this.#reading.delete(place) };
  }

  /**
   * Waits for its turn.
   *
   * @throws {Refusal} 503 if too many wait already; the signal's reason.
   */
  async enter(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    const now = this.#now();
    // A search that does not heed its deadline keeps its place so long, that others do not pile up on it.
    const place = { until: now + 2 * this.#limits.deadlineMs, seenAt: now };
    this.#sweep();
    if (this.#running.size >= this.#limits.concurrency || this.#waiting.size > 0) {
      if (this.#waiting.size >= this.#limits.queue) throw this.#refuse();
      this.#waiting.add(place);
      try {
        do {
          await sleep(POLL_MS, signal);
          place.seenAt = this.#now();
          this.#sweep();
        } while (this.#running.size >= this.#limits.concurrency || this.#first() !== place);
      } finally {
        this.#waiting.delete(place);
      }
    }
    this.#running.add(place);
    return { [Symbol.dispose]: () => void this.#running.delete(place) };
  }

  /** The first of those who wait and are still there. */
  #first(): Place | undefined {
    const now = this.#now();
    for (const place of this.#waiting) if (now - place.seenAt < ABSENT_MS) return place;
  }

  #sweep(): void {
    const now = this.#now();
    for (const places of [this.#running, this.#waiting, this.#reading]) {
      for (const place of places) if (place.until <= now) places.delete(place);
    }
  }

  #refuse(): Refusal {
    this.rejected++;
    return busy("too-busy", "Too many requests are waiting; try again later");
  }
}
