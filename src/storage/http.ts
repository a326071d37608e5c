/** Objects behind HTTP: what statuses and headers mean. */
import { StorageError, typeError } from "../errors.ts";
import { redactCause, redactUrl } from "./redact.ts";
import { parseRetryAfter } from "./retry.ts";
import { type ByteRange, type GetOptions, type Part, StoredObject } from "./stored_object.ts";

/** Adds what a store wants to see, such as a signature, to a request. */
export type Sign = (url: string, init: RequestInit) => Promise<Request>;

/** An object at an address. `file:`, `data:` and `blob:` go as far as the platform's `fetch` goes. */
export class HttpObject extends StoredObject {
  readonly name: string;
  override readonly url: string;
  readonly #source: string | URL | Request;
  readonly #sign?: Sign;
  readonly #isNetwork: boolean;
  /** The store compresses what it was asked not to. Then there are no ranges. */
  #isEncoded = false;

  /** @throws {TypeError} if this is no address, or a request that does more than read. */
  constructor(source: string | URL | Request, sign?: Sign) {
    super();
    const address = source instanceof Request ? source.url : String(source);
    if (!URL.canParse(address)) {
      throw typeError(
        `Cannot open "${
          redactUrl(address)
        }": it is not an absolute URL; for a file use new URL(path, import.meta.url)`,
        { actual: redactUrl(address) },
      );
    }
    if (source instanceof Request && source.method !== "GET") {
      throw typeError(
        `Cannot open ${
          redactUrl(address)
        }: expected a request with method GET, found ${source.method}`,
        { expected: "GET", actual: source.method },
      );
    }
    this.url = address;
    this.name = redactUrl(address);
    this.#isNetwork = /^https?:/i.test(address);
    this.#source = source;
    this.#sign = sign;
  }

  async get(range: ByteRange | undefined, options: GetOptions): Promise<Part | undefined> {
    const response = await this.#fetch(range, options);
    if (response.status === 304 && options.unless !== undefined) {
      discard(response);
      return undefined;
    }
    if (!response.ok || !response.body) throw this.#refusal(response);
    const { headers } = response;
    const encoding = headers.get("content-encoding");
    if (encoding !== null && encoding !== "identity" && !this.#isEncoded) {
      // Whether it has been decoded is the platform's secret, once it was asked not to come like this.
      discard(response);
      this.#isEncoded = true;
      return await this.get(undefined, options);
    }
    const version = strongTag(headers.get("etag"));
    const stream = response.body;
    if (response.status !== 206) {
      const trustEnd = !this.#isNetwork;
      return { stream, start: 0, total: bodyLength(response), trustEnd, version };
    }
    const asked = range ?? { start: 0 };
    const said = headers.get("content-range");
    // A browser does not show it of another origin that does not expose it. The digests will tell.
    if (said === null && response.type === "cors") return { stream, ...asked, version };
    const [start, end, total] = contentRange(said);
    if (start !== asked.start || !(end! > start) || asked.end !== undefined && end! > asked.end) {
      discard(response);
      throw new StorageError(
        "wrong-range",
        `Cannot read ${this.name}: asked for the bytes from ${asked.start} on, got "${
          said ?? "no Content-Range"
        }"; the server or a proxy mistakes ranges`,
        { url: this.name, expected: asked.start, actual: start },
      );
    }
    return { stream, start, end, total, version };
  }

  async #fetch(
    range: ByteRange | undefined,
    { signal, unless, fetch = globalThis.fetch }: GetOptions,
  ): Promise<Response> {
    const headers: Record<string, string> = {};
    const isPlain = this.#isNetwork && !this.#isEncoded;
    if (isPlain && !this.#sign) headers["accept-encoding"] = "identity";
    if (unless !== undefined) headers["if-none-match"] = unless;
    if (range && !this.#isEncoded) {
      headers.range = `bytes=${range.start}-${range.end === undefined ? "" : range.end - 1}`;
    }
    // What fails here is the caller's own: wrong credentials, or the function that was to bring them.
    const signed = await this.#sign?.(this.url, { headers, signal });
    // No part of the signature: proxies rewrite it.
    if (isPlain) signed?.headers.set("accept-encoding", "identity");
    try {
      if (signed) return await fetch(signed);
      if (!(this.#source instanceof Request)) return await fetch(this.#source, { headers, signal });
      return await fetch(withHeaders(this.#source, headers, signal));
    } catch (cause) {
      signal?.throwIfAborted();
      const isRefused = cause instanceof Error && cause.name === "NotCapable";
      // Messages about the network may hold the whole address; those about files hold a path.
      const why = cause instanceof Error && (isRefused || this.name.startsWith("file:"))
        ? (redactCause(cause) as Error).message
        : "no answer; check the address, and that this process may reach it";
      throw new StorageError(
        isRefused ? "not-permitted" : "fetch-failed",
        `Cannot fetch ${this.name}: ${why}`,
        { url: this.name },
        { cause: redactCause(cause) },
      );
    }
  }

  #refusal(response: Response): StorageError {
    discard(response);
    const { status, headers } = response;
    const [, , total] = contentRange(headers.get("content-range"));
    return statusError(this.name, status, {
      retryAfterMs: parseRetryAfter(headers.get("retry-after")),
      // Says how long the object is that has no such range.
      ...status === 416 && total !== undefined ? { byteLength: total } : {},
    });
  }
}

/** What of a response that the caller has fetched is an index. @throws {StorageError} if nothing is. */
export function responsePart(response: Response): Part {
  const name = redactUrl(response.url);
  if (response.status !== 200 || !response.body) {
    discard(response);
    throw statusError(name, response.status);
  }
  return { stream: response.body, start: 0, total: bodyLength(response), trustEnd: true };
}

/**
 * The error for a status that is no success.
 *
 * @param reason the store's own word for it.
 */
export function statusError(
  name: string,
  status: number,
  facts: { retryAfterMs?: number; byteLength?: number } = {},
  reason = "",
  verb = "fetch",
): StorageError {
  const advice: Record<number, string> = {
    401: "; give credentials",
    403: "; check credentials, clock and permissions",
    404: "; check the address",
    429: "; it is asked too often",
  };
  const given = Object.entries(facts).filter(([, value]) => value !== undefined);
  return new StorageError(
    "http-status",
    `Cannot ${verb} ${name || "the index"}: expected status 200${
      verb === "fetch" ? " with a body" : ""
    }, got ${status}${reason && ` (${reason})`}${advice[status] ?? ""}`,
    { url: name, expected: 200, actual: status, ...Object.fromEntries(given) },
  );
}

/** A request with headers of ours beside the caller's, which decide. */
function withHeaders(
  request: Request,
  ours: Record<string, string>,
  signal: AbortSignal | undefined,
): Request {
  const headers = new Headers(ours);
  request.headers.forEach((value, name) => headers.set(name, value));
  return new Request(request, { headers, signal });
}

function discard({ body }: Response): void {
  body?.cancel().catch(() => {});
}

/** Length of a whole body. Nothing where it is compressed, which browsers do not show of another origin. */
function bodyLength({ type, headers }: Response): number | undefined {
  const isTold = type !== "cors" && !headers.has("content-encoding");
  return isTold ? count(headers.get("content-length")) : undefined;
}

/** A strong ETag; weak ones say nothing of bytes. */
function strongTag(etag: string | null): string | undefined {
  return etag !== null && etag.startsWith('"') ? etag : undefined;
}

function count(value: string | null): number | undefined {
  return value !== null && /^\d+$/.test(value) ? Number(value) : undefined;
}

/** Start, end (exclusive) and total of "bytes 0-99/1000". */
function contentRange(value: string | null): (number | undefined)[] & { 0: number } {
  const [, start, last, total] = value?.match(/^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/) ?? [];
  return [
    start === undefined ? -1 : Number(start),
    last === undefined ? undefined : Number(last) + 1,
    count(total ?? null),
  ];
}
