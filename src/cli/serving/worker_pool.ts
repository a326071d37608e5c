/** Several workers that answer as one service: each has its own index and model, on a core of its own. */
import type { IndexChange } from "../../edge/mod.ts";
import { routeName } from "../../edge/route_names.ts";
import { EspalierError } from "../../errors.ts";
import type { Service, ServiceHooks, ServiceOptions } from "./service.ts";
import { metricsOf, type Part, readyOf, type WorkerCounts } from "./worker_answers.ts";
import { unavailable } from "./unavailable.ts";
import { errorOf, type FromWorker, type ResponseParts, type ToWorker } from "./worker_messages.ts";

/** Pause before a worker is replaced: doubled each time that it does not get ready, up to the longest. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;
/** What workers may take to end; requests have ended before. */
const END_MS = 2000;

/** One of the workers, or the place of one that died. */
interface Slot {
  /** From 1. */
  readonly number: number;
  worker?: Worker;
  isReady: boolean;
  /** Answers that it owes, by request. */
  readonly owed: Map<number, (response: Response) => void>;
  /** Called when it has ended as it was told to. */
  onClosed?: () => void;
  /** The last request that it was given, of those that not all are asked. */
  askedLast: number;
  pauseMs: number;
  timer?: ReturnType<typeof setTimeout>;
}

/**
 * Starts workers, and resolves when all are ready.
 *
 * Requests are read here, in one thread, and each goes to the worker that has the fewest: connections that stay open do
 * not tie clients to workers, and there is one port on every system. A worker that dies is told to `onError`; what it
 * was asked is answered with 503, the others go on, and another takes its place. One that hangs is not noticed.
 *
 * Workers share no memory. With the demo's model a worker takes 130 to 160 MB (`deno task bench:workers`), its index 1 MB
 * of them, so that one index for all would save little; it would need atomic reference counts and a workspace per thread.
 *
 * @param script the module of a worker.
 * @throws {EspalierError} if a worker cannot open index or model, or dies: then all are ended. @throws the signal's reason.
 */
export async function startWorkers(
  count: number,
  options: ServiceOptions,
  hooks: ServiceHooks,
  script: URL = new URL("./worker.ts", import.meta.url),
): Promise<Service> {
  const pool = new WorkerPool(count, options, hooks, script);
  try {
    const { index, place } = await pool.start();
    return {
      answer: (request) => pool.answer(request),
      index,
      place,
      [Symbol.asyncDispose]: () => pool.close(),
    };
  } catch (error) {
    pool.terminate();
    throw error;
  }
}

/** What a worker says when it is ready. */
type Ready = Extract<FromWorker, { type: "ready" }>;

class WorkerPool {
  readonly #slots: readonly Slot[];
  readonly #options: ServiceOptions;
  readonly #hooks: ServiceHooks;
  readonly #script: URL;
  #lost = 0;
  #lastId = 0;
  #isClosed = false;

  constructor(count: number, options: ServiceOptions, hooks: ServiceHooks, script: URL) {
    this.#slots = Array.from({ length: count }, (_, i) => ({
      number: i + 1,
      isReady: false,
      owed: new Map(),
      askedLast: 0,
      pauseMs: FIRST_PAUSE_MS,
    }));
    this.#options = options;
    this.#hooks = hooks;
    this.#script = script;
  }

  /** Starts all. @returns what the first says that is ready. */
  async start(): Promise<{ index: IndexChange; place: string | undefined }> {
    const { signal, onProgress } = this.#hooks;
    const aborted = Promise.withResolvers<never>();
    const abort = () => aborted.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    let count = 0;
    const opening = this.#slots.map(async (slot) => {
      const ready = await this.#open(slot);
      onProgress("starting workers", ++count, this.#slots.length);
      return ready;
    });
    try {
      signal.throwIfAborted();
      onProgress("starting workers", 0, this.#slots.length);
      const [first] = await Promise.race([Promise.all(opening), aborted.promise]);
      return first;
    } finally {
      signal.removeEventListener("abort", abort);
      for (const one of opening) one.catch(() => {}); // the first error is told
    }
  }

  /** Starts a worker in a slot. @throws if it does not get ready. */
  async #open(slot: Slot): Promise<Ready> {
    const worker = new Worker(this.#script, { type: "module", name: `serve ${slot.number}` });
    slot.worker = worker;
    const { promise, resolve, reject } = Promise.withResolvers<Ready>();
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.type === "ready") {
        slot.isReady = true;
        slot.pauseMs = FIRST_PAUSE_MS;
        resolve(data);
      } else if (data.type === "failed") reject(errorOf(data.error));
      else this.#take(slot, data);
    };
    worker.onerror = (event) => {
      event.preventDefault(); // else this thread ends, too
      const error = lostError(slot, event.message);
      if (slot.isReady) this.#replace(slot, error);
      else reject(error);
    };
    post(slot, {
      type: "open",
      options: this.#options,
      isLogged: this.#hooks.log !== undefined,
    });
    return await promise;
  }

  #take(slot: Slot, message: Exclude<FromWorker, { type: "ready" | "failed" }>): void {
    const { number } = slot;
    if (message.type === "response") {
      slot.owed.get(message.id)?.(responseOf(message.response));
      slot.owed.delete(message.id);
    } else if (message.type === "error") {
      this.#hooks.onError(errorOf(message.error), message.during, number);
    } else if (message.type === "index") this.#hooks.onIndex(message.change, number);
    else if (message.type === "log") {
      const { method, route } = message.entry;
      // Of those that all are asked, there is one line.
      if (!joinOf(method, route)) this.#hooks.log?.(message.entry, number);
    } else slot.onClosed?.();
  }

  /** Ends a worker that has died, and starts another after a pause. */
  #replace(slot: Slot, error: EspalierError): void {
    this.#lost++;
    this.#hooks.onError(error, "answering", slot.number);
    this.#end(slot);
    this.#startLater(slot);
  }

  #startLater(slot: Slot): void {
    if (this.#isClosed) return;
    const pause = slot.pauseMs;
    slot.pauseMs = Math.min(2 * pause, LONGEST_PAUSE_MS);
    slot.timer = setTimeout(async () => {
      try {
        await this.#open(slot);
      } catch (error) {
        if (this.#isClosed) return;
        this.#hooks.onError(error, "starting a worker", slot.number);
        this.#end(slot);
        this.#startLater(slot);
      }
    }, pause);
  }

  /** Ends a worker at once; what it owes is refused. */
  #end(slot: Slot): void {
    slot.worker?.terminate();
    slot.worker = undefined;
    slot.isReady = false;
    slot.onClosed?.();
    for (const answer of slot.owed.values()) {
      answer(unavailable("worker-lost", "The worker that had this request has died; ask again"));
    }
    slot.owed.clear();
  }

  get #counts(): WorkerCounts {
    const ready = this.#slots.filter(({ isReady }) => isReady).length;
    return { all: this.#slots.length, ready, lost: this.#lost };
  }

  /** Answers a request; never rejects. */
  async answer(request: Request): Promise<Response> {
    const ready = this.#slots.filter(({ isReady }) => isReady);
    const join = joinOf(request.method, routeName(request.url));
    if (ready.length > 0 && !join) {
      // Of those that owe as little, the one that was asked longest ago. Its handler tells the log.
      const order = (a: Slot, b: Slot) => a.owed.size - b.owed.size || a.askedLast - b.askedLast;
      const [slot] = ready.sort(order);
      slot.askedLast = this.#lastId + 1;
      return await this.#ask(slot, request);
    }
    const began = performance.now();
    const response = join && ready.length > 0
      ? await join(await this.#askAll(ready, request), this.#counts)
      : unavailable("no-worker", "There is no worker now; ask again");
    const { method } = request;
    const [route, durationMs] = [routeName(request.url), performance.now() - began];
    this.#hooks.log?.({ method, route, status: response.status, durationMs });
    return response;
  }

  async #askAll(slots: readonly Slot[], request: Request): Promise<Part[]> {
    return await Promise.all(slots.map(async (slot) => ({
      worker: slot.number,
      response: await this.#ask(slot, request),
    })));
  }

  async #ask(slot: Slot, request: Request): Promise<Response> {
    const id = ++this.#lastId;
    const { url, method, body } = request;
    const answered = new Promise<Response>((resolve) => slot.owed.set(id, resolve));
    const leave = () => post(slot, { type: "abort", id });
    // As in the handler: of requests without work nobody looks at the signal.
    const signal = method === "POST" ? request.signal : undefined;
    signal?.addEventListener("abort", leave, { once: true });
    post(
      slot,
      { type: "request", id, request: { url, method, headers: [...request.headers], body } },
      body ? [body] : [],
    );
    try {
      return await answered;
    } finally {
      signal?.removeEventListener("abort", leave);
    }
  }

  /** Ends all workers when what they do has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise((resolve) => timer = setTimeout(resolve, END_MS));
    const closed = this.#slots.filter(({ isReady }) => isReady).map((slot) =>
      new Promise<void>((resolve) => {
        slot.onClosed = resolve;
        post(slot, { type: "close" });
      })
    );
    await Promise.race([Promise.all(closed), late]);
    clearTimeout(timer);
    this.terminate();
  }

  /** Ends all workers at once. */
  terminate(): void {
    this.#isClosed = true;
    for (const slot of this.#slots) {
      clearTimeout(slot.timer);
      this.#end(slot);
    }
  }
}

/** Routes about the state of workers: all are asked. */
const JOINS: Partial<Record<string, typeof metricsOf>> = {
  "/readyz": readyOf,
  "/metrics": metricsOf,
};

function joinOf(method: string, route: string): typeof metricsOf | undefined {
  return method === "GET" ? JOINS[route] : undefined;
}

function post({ worker }: Slot, message: ToWorker, transfer: Transferable[] = []): void {
  worker?.postMessage(message, transfer);
}

function lostError({ number }: Slot, why: string): EspalierError {
  const message = `Worker ${number} has died: ${why}`;
  return new EspalierError("worker-lost", message, { actual: why });
}

function responseOf({ status, headers, body }: ResponseParts): Response {
  return new Response(body, { status, headers: headers as [string, string][] });
}
