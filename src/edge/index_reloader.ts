/** The index that is served: loaded by the first request, looked at again by later ones, replaced without a gap. */
import { EspalierError } from "../errors.ts";
import { checkMetadata, decodeShape } from "../index/format/header.ts";
import { SpareMemory } from "../index/spare_memory.ts";
import { orAborted, sleep } from "../storage/abort.ts";
import type { IndexSource } from "../storage/source.ts";
import { loadHeader } from "../storage/load/load.ts";
import { checkBeforehand, checkFit, type Lease, ServedIndex } from "./served_index.ts";
import type { LoadResult } from "./metrics.ts";
import type { Settings } from "./options.ts";
import { busy } from "./error_response.ts";
import { verifyStream } from "./verify_stream.ts";
import { LoadTask } from "./load_task.ts";

/** How often those who wait for an index look, milliseconds. */
const POLL_MS = 5;
/** Pause after a look that failed: doubled with each, up to the longest. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 5 * 60_000;
/** The same while there is no index: requests are sent away. */
const LONGEST_OUTAGE_MS = 10_000;
/** A new index takes more than its bytes: tables, workspaces, chunks on their way. */
const ROOM_BYTES = 2 ** 21;

/** A failure of the latest looks at the index. */
export interface LoadFailure {
  /** What it failed with. */
  code: string;
  /** Failures one after the other. */
  attempts: number;
  at: number;
  /** No look before, but by a request that cannot do without. */
  nextAt: number;
  /** The index that is refused, if its header could be read. */
  digest?: string;
}

/** Takes a promise that should not be cut short when the request is answered: `waitUntil`. */
export type Background = (promise: Promise<unknown>) => void;

/**
 * An index that requests lease. What is being done about it is plain state: who does it is one request, and the others
 * look at that state with timers of their own, because a Worker must not wait for what another request does. No promise
 * is kept.
 *
 * One load goes on at a time: the next begins when the one before has ended, or when its request has gone without an
 * end. A load that stands still is a failure at once. It may still go on during the pause after that, so the pause is
 * what a slow store has; then the first who needs the index asks it to end, which its own request does (see
 * {@linkcode LoadTask}).
 */
export class LeasedIndex {
  readonly #settings: Settings;
  readonly #loaded: (result: LoadResult) => void;
  #current: ServedIndex | undefined;
  #checkedAt = 0;
  readonly #retired = new Set<ServedIndex>();
  /** Memory of an index that has gone before its successor came, for that. */
  readonly #spare = new SpareMemory();
  #task: LoadTask | undefined;
  #failure: LoadFailure | undefined;
  /** Failures of which those who wait are told, ever. */
  #failures = 0;
  /** Digest of the index that was installed last. */
  #digest: string | undefined;
  #isClosed = false;

  constructor(settings: Settings, loaded: (result: LoadResult) => void) {
    this.#settings = settings;
    this.#loaded = loaded;
  }

  /** What is served, if anything. */
  get current(): ServedIndex | undefined {
    return this.#current;
  }

  /** When the index was last known to be the stored one. */
  get checkedAt(): number {
    return this.#checkedAt;
  }

  /** Why the index is not there, or not the newest. */
  get failure(): LoadFailure | undefined {
    return this.#failure;
  }

  /**
   * The index, as soon as there is one. Loads it if nobody does.
   *
   * @param until when the request is over at the latest.
   * @throws {Refusal} 503 if it cannot be loaded. The next request tries again, after a pause if the store stalled.
   * @throws the signal's reason.
   */
  async acquire(until: number, signal: AbortSignal, background: Background): Promise<Lease> {
    const failures = this.#failures;
    let own: Promise<void> | undefined;
    while (true) {
      signal.throwIfAborted();
      if (this.#isClosed) throw closed();
      if (this.#current) {
        this.look(background);
        return this.#current.lease(until);
      }
      if (this.#failures > failures || this.#isOut()) {
        throw busy("index-unavailable", "The index could not be loaded; try again later", {
          actual: this.#failure?.code,
        });
      }
      if (this.#mayBegin()) {
        const loading = this.#begin((task) => this.#replace(task), background);
        background(loading);
        own = loading.then(() => own = undefined);
      }
      // Its own load may stand still.
      const pause = sleep(POLL_MS, signal);
      await (own ? Promise.race([own, pause]) : pause);
    }
  }

  /** Has the index loaded, or looked at, if it is time and nobody does. Does not wait for it. */
  look(background: Background): void {
    this.#collect();
    const { now, revalidateAfterMs } = this.#settings;
    const isDue = this.#failure
      ? now() >= this.#failure.nextAt
      : !this.#current || now() - this.#checkedAt >= revalidateAfterMs;
    if (this.#isClosed || !isDue || !this.#mayBegin()) return;
    const run = (task: LoadTask) => this.#current ? this.#check(task) : this.#replace(task);
    background(this.#begin(run, background));
  }

  /** Serves no more, and gives the memory back when the load and the last request have ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (true) {
      this.#retire();
      if (this.#collect() && (!this.#task || this.#isGone(this.#task))) break;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    this.#spare.clear();
  }

  /** Whether the store has just stalled: nobody waits for it during the pause. */
  #isOut(): boolean {
    const isStalled = this.#task ? this.#task.isStalled : this.#failure?.code === "stalled";
    return isStalled && this.#settings.now() < this.#failure!.nextAt;
  }

  /** Whether nothing is being done about the index. What stands still is asked to end; no pause may go on. */
  #mayBegin(): boolean {
    const task = this.#task;
    if (!task) return true;
    task.isUnwanted ||= task.isStalled;
    if (!this.#isGone(task)) return false;
    const message = "The request that loaded the index has gone: another does";
    if (!task.isStalled) this.#fail(new EspalierError("taken-over", message), task);
    return true;
  }

  /** Whether a request has not been seen for so long that it must have been stopped, and its connections with it. */
  #isGone(task: LoadTask): boolean {
    return task.absence.lasts(this.#settings.takeOverMs);
  }

  /** Does something about the index. The promise settles with it and never rejects. */
  async #begin(run: (task: LoadTask) => Promise<void>, background: Background): Promise<void> {
    const task = this.#task = new LoadTask(this.#settings.now, background);
    const watch = setInterval(() => this.#watch(task), POLL_MS);
    try {
      await run(task);
    } catch (error) {
      const isEnded = this.#isClosed || this.#task !== task || task.stop.signal.aborted;
      if (!isEnded && !task.isStalled) {
        this.#failures++;
        this.#fail(error, task);
      }
    } finally {
      clearInterval(watch);
      if (this.#task === task) this.#task = undefined;
    }
  }

  /** Looks after a load in its own request: only that may end it in Workers. */
  #watch(task: LoadTask): void {
    task.absence.end();
    const { takeOverMs } = this.#settings;
    if (this.#isClosed || task.isUnwanted || this.#task !== task) task.stop.abort(superseded());
    else if (!task.isStalled && task.silence.lasts(takeOverMs)) {
      task.isStalled = true;
      this.#failures++;
      this.#fail(
        new EspalierError(
          "stalled",
          `The index does not come: too little for ${takeOverMs} ms; look at the store`,
        ),
        task,
      );
    }
  }

  #fail(error: unknown, { digest }: LoadTask): void {
    const { now, onError } = this.#settings;
    const attempts = (this.#failure?.attempts ?? 0) + 1;
    const longest = this.#current ? LONGEST_PAUSE_MS : LONGEST_OUTAGE_MS;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** (attempts - 1), longest);
    const code = error instanceof EspalierError ? error.code : "source-failed";
    this.#failure = { code, attempts, at: now(), nextAt: now() + pause, digest };
    this.#loaded("failed");
    onError(error, "loading the index");
  }

  /** Looks at the header, and gets the new index if there is one. */
  async #check(task: LoadTask): Promise<void> {
    const { open = {} } = this.#settings;
    const { index } = this.#current!;
    const { wasm: _, verify, ...transfer } = open;
    const { header } = await loadHeader(await this.#source(task), {
      ...transfer,
      onProgress: undefined,
      signal: task.stop.signal,
      digests: verify !== false,
      checkMetadata,
    });
    this.#claim(task);
    if (header.digest === index.digest) return this.#found("unchanged");
    task.digest = header.digest;
    checkFit(decodeShape(header).vocabSize, this.#settings);
    const byteLength = header.bytes.length + header.dataByteLength;
    this.#collect();
    const held = [this.#current!, ...this.#retired].reduce((sum, one) => sum + one.heldBytes, 0);
    if (held + byteLength + ROOM_BYTES <= this.#settings.memoryBytes) {
      const next = await this.#open(task);
      this.#retire();
      return this.#install(next);
    }
    checkBeforehand(decodeShape(header).levels, this.#settings);
    await verifyStream(await this.#source(task), {
      ...transfer,
      signal: task.stop.signal,
      onProgress: (bytes, total) => task.advance(bytes, total),
    });
    await this.#replace(task);
  }

  /** Loads the index when the one before, if any, has gone. */
  async #replace(task: LoadTask): Promise<void> {
    this.#claim(task);
    this.#retire();
    while (!this.#collect()) {
      await sleep(POLL_MS, task.stop.signal);
      task.goOn();
    }
    this.#install(await this.#open(task));
  }

  /** Functions of the caller's need not heed the signal. */
  #source({ stop: { signal } }: LoadTask): Promise<IndexSource> {
    return orAborted(this.#settings.source(signal), signal);
  }

  async #open(task: LoadTask): Promise<ServedIndex> {
    const { open } = this.#settings;
    const { signal } = task.stop;
    const index = await this.#spare.open(await this.#source(task), {
      ...open,
      progressive: false,
      signal,
      onProgress: (bytes, total) => {
        task.advance(bytes, total);
        open?.onProgress?.(bytes, total);
      },
    }, () => this.#task === task);
    // With a cache: its copy is still being made.
    task.background(index.ready.catch(() => {}));
    // All is there: what follows is not the store's.
    task.goOn(Infinity);
    const next = await orAborted(
      ServedIndex.of(index, this.#settings),
      signal,
      (late) => late.retire(),
    );
    try {
      this.#claim(task);
    } catch (error) {
      next.retire();
      throw error;
    }
    return next;
  }

  #install(next: ServedIndex): void {
    this.#current = next;
    this.#spare.clear();
    this.#found("loaded");
    const { digest, size, vocabSize, byteLength } = next.index;
    const previous = this.#digest;
    this.#digest = digest;
    this.#settings.onIndex?.({ digest, previous, size, vocabSize, byteLength });
  }

  #found(result: "loaded" | "unchanged"): void {
    this.#checkedAt = this.#settings.now();
    this.#failure = undefined;
    this.#loaded(result);
  }

  #retire(): void {
    if (!this.#current) return;
    const retired = this.#current;
    this.#current = undefined;
    this.#retired.add(retired);
    retired.retire();
  }

  /** Forgets retired indexes that no request uses, but for memory that can be used again. @returns whether none is left. */
  #collect(): boolean {
    for (const retired of this.#retired) {
      if (!retired.collect()) continue;
      this.#retired.delete(retired);
      if (!this.#current) retired.giveMemory(this.#spare);
    }
    return this.#retired.size === 0;
  }

  /** Makes sure that a load is the one that counts: its request may have been given up. @throws if it is not. */
  #claim(task: LoadTask): void {
    if (this.#isClosed || this.#task !== task) throw superseded();
    task.goOn();
  }
}

function closed() {
  return busy("closed", "The server is shutting down");
}

function superseded(): EspalierError {
  return new EspalierError("superseded", "Another request loads the index");
}
