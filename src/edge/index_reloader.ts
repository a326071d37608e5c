/** The index that is served: loaded by the first request, looked at again by later ones, replaced without a gap. */
import { EspalierError } from "../errors.ts";
import { checkMetadata, decodeShape } from "../index/format/header.ts";
import { SpareMemory } from "../index/spare_memory.ts";
import { sleep } from "../storage/abort.ts";
import { loadHeader } from "../storage/load/load.ts";
import {
  checkBeforehand,
  checkFit,
  inAnyRequest,
  type Lease,
  ServedIndex,
} from "./served_index.ts";
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
 * look at that state with timers of their own, because a Worker must not wait for what another request does. Where it
 * does not change for a while, another request begins anew (see {@linkcode LoadTask}). No promise is kept.
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
  /** Failures ever. */
  #failures = 0;
  /** How often the current index has come or gone. */
  #changes = 0;
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
   * @throws {Refusal} 503 if it cannot be loaded. The next request tries again. @throws the signal's reason.
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
      if (this.#failures > failures) {
        throw busy("index-unavailable", "The index could not be loaded; try again later", {
          actual: this.#failure?.code,
        });
      }
      if (!this.#task || this.#isAbandoned(this.#task)) {
        const loading = this.#begin((task) => this.#replace(task), background);
        background(loading);
        own = loading.then(() => own = undefined);
      }
      // Its own load may have been taken over, too.
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
    if (this.#isClosed || !isDue) return;
    if (this.#task && !this.#isAbandoned(this.#task)) return;
    const run = (task: LoadTask) => this.#current ? this.#check(task) : this.#replace(task);
    background(this.#begin(run, background));
  }

  /** Serves no more, and gives the memory back when the last request has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const task = this.#task;
    this.#task = undefined;
    if (task) inAnyRequest(() => task.stop.abort(closed()));
    this.#retire();
    while (!this.#collect()) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    this.#spare.clear();
  }

  /** Does something about the index. The promise settles with it and never rejects. */
  async #begin(run: (task: LoadTask) => Promise<void>, background: Background): Promise<void> {
    const task = this.#task = new LoadTask(this.#settings.now, background, this.#changes);
    try {
      await run(task);
    } catch (error) {
      if (this.#task === task) this.#fail(error, task);
    } finally {
      if (this.#task === task) this.#task = undefined;
    }
  }

  #fail(error: unknown, { digest }: LoadTask): void {
    const { now, onError } = this.#settings;
    const attempts = (this.#failure?.attempts ?? 0) + 1;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** (attempts - 1), LONGEST_PAUSE_MS);
    const code = error instanceof EspalierError ? error.code : "source-failed";
    this.#failures++;
    this.#failure = { code, attempts, at: now(), nextAt: now() + pause, digest };
    this.#loaded("failed");
    onError(error, "loading the index");
  }

  /** Looks at the header, and gets the new index if there is one. */
  async #check(task: LoadTask): Promise<void> {
    const { open = {}, source } = this.#settings;
    const { index } = this.#current!;
    const { wasm: _, verify, ...transfer } = open;
    const { header } = await loadHeader(await source(), {
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
    await verifyStream(await source(), {
      ...transfer,
      signal: task.stop.signal,
      onProgress: (bytes) => this.#advance(task, bytes),
    });
    await this.#replace(task);
  }

  /** Loads the index when the one before, if any, has gone. */
  async #replace(task: LoadTask): Promise<void> {
    this.#claim(task);
    this.#retire();
    task.changes = this.#changes;
    while (!this.#collect()) {
      await sleep(POLL_MS, task.stop.signal);
      this.#advance(task, task.bytes);
    }
    this.#install(await this.#open(task));
  }

  async #open(task: LoadTask): Promise<ServedIndex> {
    const { open, source } = this.#settings;
    const from = await source();
    const index = await this.#spare.open(from, {
      ...open,
      progressive: false,
      signal: task.stop.signal,
      onProgress: (bytes, total) => {
        this.#advance(task, bytes);
        open?.onProgress?.(bytes, total);
      },
    }, () => this.#task === task);
    // With a cache: its copy is still being made.
    task.background(index.ready.catch(() => {}));
    const next = await ServedIndex.of(index, this.#settings);
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
    this.#changes++;
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
    this.#changes++;
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

  #advance(task: LoadTask, bytes: number): void {
    this.#claim(task);
    task.advance(bytes);
  }

  /** Whether a piece of work has stood still for so long that its request may have been stopped. */
  #isAbandoned(task: LoadTask): boolean {
    return task.isIdleFor(this.#settings.takeOverMs);
  }

  /**
   * Makes sure that a piece of work is the one that counts. Of two (one took the place of the other, which was slow and
   * not gone) it is the one that first got something.
   *
   * @throws if the other does.
   */
  #claim(task: LoadTask): void {
    if (this.#task === task) return;
    const isLate = this.#changes !== task.changes || (this.#task?.bytes ?? 0) > 0;
    if (this.#isClosed || isLate) throw superseded();
    this.#task = task;
  }
}

function closed() {
  return busy("closed", "The server is shutting down");
}

function superseded(): EspalierError {
  return new EspalierError("superseded", "Another request loads the index");
}
