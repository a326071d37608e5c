/** A proxy that breaks what passes through it, request by request, as the test decides. */
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { bodyEvents, corrupted, Ended, type Fault, faultOf, shiftedRange, sleep } from "./fault.ts";
import { dial, field, type Head, setField, Wire } from "./wire.ts";

export type { Fault } from "./fault.ts";

/** A request that the proxy got, and what became of it. */
export interface ProxiedRequest {
  method: string;
  /** With the query, as it was sent. */
  path: string;
  range?: string;
  headers: Headers;
  faults: Fault[];
  /** What was answered, once it was. */
  status?: number;
  /** Of the body, without what frames it. */
  bytesSent: number;
  /**
   * `sent`: all of it; `fault`: a fault ended it; `left`: the client closed the connection first, or the
   * proxy was disposed of; `broken`: `error` says why. Nothing while it goes on.
   */
  outcome?: "sent" | "fault" | "left" | "broken";
  error?: unknown;
}

/** What happens to a request: one fault, several at once, or none. */
export type Faults = Fault | Fault[] | undefined;

const CHUNK_BYTES = 16384;
const CRLF = Buffer.from("\r\n");
/** So late may a timer be: what a link could have carried meanwhile is not lost. */
const LATE_MS = 20;

/** Starts a proxy in front of an `http:` origin. Each response has a connection of its own. */
export async function startProxy(target: string): Promise<FaultProxy> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return new FaultProxy(server, target);
}

/** A running proxy. Disposing closes every connection. */
export class FaultProxy implements AsyncDisposable {
  /** Without a slash at its end. What follows it is asked for below `target`. */
  readonly url: string;
  /** An address, with or without a path, that requests go to. May change at any time. */
  target: string;
  /** In the order of arrival. */
  readonly requests: ProxiedRequest[] = [];
  /** What all responses together get through. */
  bytesPerSecond = Infinity;
  /** From the request to whatever happens then. */
  latencyMs = 0;
  readonly #server: Server;
  readonly #next: Faults[] = [];
  #decide: (request: ProxiedRequest, n: number) => Faults = () => undefined;
  #linkFree = 0;
  readonly #open = new Map<Promise<void>, AbortController>();

  constructor(server: Server, target: string) {
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("Expected a TCP server");
    this.url = `http://127.0.0.1:${address.port}`;
    this.target = target;
    this.#server = server;
    server.on("connection", (socket: Socket) => {
      const leaving = new AbortController();
      const exchange = this.#serve(new Wire(socket), leaving).finally(() =>
        this.#open.delete(exchange)
      );
      this.#open.set(exchange, leaving);
    });
  }

  /** What happens to the next requests, one after the other; `undefined` lets one pass. */
  next(...faults: Faults[]): void {
    this.#next.push(...faults);
  }

  /** Decides for every request that `next` says nothing of; `n` counts all requests, from 0. */
  inject(decide: (request: ProxiedRequest, n: number) => Faults): void {
    this.#decide = decide;
  }

  /** Waits until no request is under way: then `requests` tells how all of them ended. */
  async idle(): Promise<void> {
    while (this.#open.size > 0) await Promise.all(this.#open.keys());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const leaving of this.#open.values()) leaving.abort();
    await this.idle();
    await closed;
  }

  async #serve(wire: Wire, leaving: AbortController): Promise<void> {
    // Whatever waits for the client ends with the proxy.
    const { signal } = leaving;
    signal.addEventListener("abort", () => wire.reset());
    const head = await wire.head().catch(() => undefined);
    if (!head) return wire.close();
    const [method, address] = head.start.split(" ");
    const request: ProxiedRequest = {
      method,
      // Raw, since signatures go by it; a client that knows of a proxy sends a whole URL.
      path: address.replace(/^http:\/\/[^/]*/, ""),
      range: field(head, "range"),
      headers: new Headers(head.fields),
      faults: [],
      bytesSent: 0,
    };
    this.requests.push(request);
    try {
      const faults = this.#next.length > 0
        ? this.#next.shift()
        : this.#decide(request, this.requests.length - 1);
      request.faults = [faults ?? []].flat();
      await this.#exchange(wire, head, request, leaving);
      await wire.close();
      request.outcome = "sent";
    } catch (error) {
      const isEnd = error instanceof Ended;
      request.outcome = isEnd ? "fault" : signal.aborted ? "left" : "broken";
      if (request.outcome === "broken") request.error = error;
      await (isEnd && !error.isReset ? wire.close() : wire.reset());
    }
  }

  async #exchange(
    wire: Wire,
    head: Head,
    request: ProxiedRequest,
    leaving: AbortController,
  ): Promise<void> {
    const { faults } = request;
    const { signal } = leaving;
    if (faultOf(faults, "reset")) throw new Ended(true);
    // A request without a length has no body; "until the end of the connection" is for responses.
    if (field(head, "content-length") === undefined) setField(head, "content-length", "0");
    const upload: Uint8Array[] = [];
    for await (const bytes of wire.body(head)) upload.push(bytes);
    wire.left().then(() => leaving.abort());
    await sleep(this.latencyMs, signal);
    await sleep(faultOf(faults, "slow-first-byte")?.ms ?? 0, signal);

    const status = faultOf(faults, "status");
    if (status) {
      const answer: Head = { start: `HTTP/1.1 ${status.status} Injected`, fields: [] };
      if (status.retryAfter !== undefined) setField(answer, "retry-after", `${status.retryAfter}`);
      const body = Buffer.from(status.body ?? `Status ${status.status}, as the test wants it\n`);
      setField(answer, "content-length", `${body.length}`);
      return await this.#respond(wire, answer, [body], request, signal);
    }
    const target = new URL(this.target);
    await using origin = await dial(target);
    signal.addEventListener("abort", () => origin.reset());
    const [method, , version] = head.start.split(" ");
    head.start = `${method} ${target.pathname.replace(/\/$/, "")}${request.path} ${version}`;
    setField(head, "connection", "close");
    if (faultOf(faults, "whole")) ["range", "if-range"].forEach((name) => setField(head, name));
    const shift = faultOf(faults, "wrong-range");
    if (shift && request.range) setField(head, "range", shiftedRange(request.range, shift.by));
    await origin.writeHead(head);
    for (const bytes of upload) await origin.write(bytes);
    const answer = await origin.head();
    if (!answer) throw new Error(`${this.target} has closed the connection`);
    await this.#respond(wire, answer, origin.body(answer), request, signal);
  }

  /** Sends a response, in the ways that `request.faults` spoil it. */
  async #respond(
    wire: Wire,
    { start, fields }: Head,
    body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    request: ProxiedRequest,
    signal: AbortSignal,
  ): Promise<void> {
    const { faults } = request;
    // A copy: the body that is still to be read goes by what the origin said.
    const head: Head = { start, fields };
    request.status = Number(start.split(" ")[1]);
    const isEmpty = request.method === "HEAD" || [204, 304].includes(request.status);
    setField(head, "connection", "close");
    const tag = field(head, "etag");
    if (faultOf(faults, "weak-etag") && tag) setField(head, "etag", tag.replace(/^(W\/)?/, "W/"));
    if (faultOf(faults, "hide-etag")) setField(head, "etag");
    const length = field(head, "content-length");
    const wrong = faultOf(faults, "wrong-length");
    if (wrong && length) setField(head, "content-length", `${Number(length) + wrong.by}`);
    const without = faultOf(faults, "no-length");
    if (without) setField(head, "content-length");
    const isChunked = !isEmpty && (without ? without.chunked === true : length === undefined);
    setField(head, "transfer-encoding", isChunked ? "chunked" : undefined);
    await wire.writeHead(head);

    const { bytes: burst = CHUNK_BYTES, everyMs = 0 } = faultOf(faults, "trickle") ?? {};
    const events = bodyEvents(faults);
    const happen = async () => {
      while (events[0]?.at === request.bytesSent) await events.shift()!.happen(signal);
    };
    for await (const bytes of isEmpty ? [] : body) {
      for (let done = 0; done < bytes.length;) {
        await happen();
        const room = (events[0]?.at ?? Infinity) - request.bytesSent;
        const raw = bytes.subarray(done, done + Math.min(CHUNK_BYTES, burst, room));
        const piece = corrupted(raw, request.bytesSent, faults);
        await sleep(everyMs, signal);
        await this.#throttle(piece.length, signal);
        await wire.write(isChunked ? chunk(piece) : piece);
        done += piece.length;
        request.bytesSent += piece.length;
      }
    }
    await happen();
    if (isChunked) await wire.write(chunk(new Uint8Array()));
  }

  /** Waits until the link, which all responses share, has carried so many bytes more. */
  async #throttle(bytes: number, signal: AbortSignal): Promise<void> {
    const now = performance.now();
    this.#linkFree = Math.max(now - LATE_MS, this.#linkFree) + 1000 * bytes / this.bytesPerSecond;
    if (this.#linkFree > now + 1) await sleep(this.#linkFree - now, signal);
  }
}

function chunk(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, CRLF]);
}
