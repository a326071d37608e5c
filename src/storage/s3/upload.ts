/** Writes objects to S3, whole or not at all. */
import { checkOptionNames, rangeError, StorageError } from "../../errors.ts";
import { statusError } from "../http.ts";
import { redactCause, redactUrl } from "../redact.ts";
import { Backoff, parseRetryAfter } from "../retry.ts";
import { type S3Access, s3Access, type S3Location } from "./location.ts";
import { toHex } from "../safetensors.ts";

/** How to write. */
export interface S3UploadOptions {
  /** Default `application/octet-stream`: safetensors has no type of its own. */
  contentType?: string;
  /** Default `no-cache`: keep copies, but ask whether they are current. */
  cacheControl?: string;
  /** Bytes of a part, where the object is larger; S3 wants at least 5 MiB and at most 10 000 parts. Default 16 MiB. */
  partBytes?: number;
  /** Attempts after the first, for each request. Default 5. */
  retries?: number;
  /**
   * Longest time for a request, from its first byte to its answer, milliseconds: `fetch` does not tell how far it has
   * come. Default 60 000, and one second more for every 50 kB of it.
   */
  requestTimeoutMs?: number;
  /** Stops the writing; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Stands in for the global `fetch`. */
  fetch?: typeof fetch;
  /** Called as bytes have been taken. */
  onProgress?: (bytes: number) => void;
}

const UPLOAD_OPTIONS = [
  "contentType",
  "cacheControl",
  "partBytes",
  "retries",
  "requestTimeoutMs",
  "signal",
  "fetch",
  "onProgress",
] as const satisfies readonly (keyof S3UploadOptions)[];

const PART_BYTES = 2 ** 24;
const LEAST_TIMEOUT_MS = 60_000;
/** Slower links are taken for dead. */
const LEAST_BYTES_PER_MS = 50;

/**
 * Writes a stream to an object: in one request if it is short, else in parts. Readers see the former object until all
 * bytes are there; after a failure it stays, and the parts are removed. (Where only the last answer got lost, the new
 * object may be there all the same.) The store checks the SHA-256 of every part. Memory: two parts.
 *
 * @throws {StorageError} if the store does not take it, after retries; the signal's reason.
 * @throws {TypeError} if the location makes no address or has no credentials.
 * @throws {RangeError} for parts of no bytes.
 */
export async function uploadToS3(
  location: S3Location,
  bytes: ReadableStream<Uint8Array>,
  options: S3UploadOptions = {},
): Promise<void> {
  checkOptionNames("uploadToS3", options, UPLOAD_OPTIONS);
  const { contentType = "application/octet-stream", cacheControl = "no-cache" } = options;
  const { partBytes = PART_BYTES, signal, onProgress } = options;
  if (!(Number.isInteger(partBytes) && partBytes > 0)) {
    throw rangeError(`Cannot write in parts: partBytes is ${partBytes}, expected at least 1`, {
      expected: 1,
      actual: partBytes,
    });
  }
  const store = new Writer(s3Access(location), options);
  const headers = { "content-type": contentType, "cache-control": cacheControl };
  // The pipe ends a stream that brings nothing when the signal says so.
  const parts = inParts(bytes.pipeThrough(new TransformStream(), { signal }), partBytes);
  let uploadId: string | undefined;
  try {
    let part: Uint8Array<ArrayBuffer> | undefined = (await parts.next()).value;
    if (part === undefined || part.length < partBytes) {
      await store.send("PUT", {}, part, headers);
      onProgress?.(part?.length ?? 0);
      return;
    }
    const begun = await store.send("POST", { uploads: "" }, undefined, headers);
    uploadId = tagIn(begun.text, "UploadId");
    if (!uploadId) throw store.misunderstood("no UploadId");
    const tags: string[] = [];
    for (let sent = 0; part; part = (await parts.next()).value) {
      const partNumber = String(tags.length + 1);
      const taken = await store.send("PUT", { partNumber, uploadId }, part);
      const tag = taken.headers.get("etag");
      if (!tag) throw store.misunderstood("no ETag for a part");
      tags.push(tag);
      onProgress?.(sent += part.length);
    }
    const list = tags.map((tag, i) =>
      `<Part><PartNumber>${i + 1}</PartNumber><ETag>${escape(tag)}</ETag></Part>`
    );
    const xml = `<CompleteMultipartUpload>${list.join("")}</CompleteMultipartUpload>`;
    const end = await store.send("POST", { uploadId }, new TextEncoder().encode(xml), {
      "content-type": "application/xml",
    });
    if (!end.text.includes("CompleteMultipartUploadResult")) throw store.misunderstood("no result");
  } catch (error) {
    await parts.return(undefined).catch(() => {}); // what the stream failed with is known
    if (uploadId) await store.abandon(uploadId);
    throw error;
  }
}

/** An answer that has been read to its end. */
interface Answer {
  headers: Headers;
  text: string;
}

class Writer {
  readonly #access: S3Access;
  readonly #options: S3UploadOptions;
  readonly #name: string;

  constructor(access: S3Access, options: S3UploadOptions) {
    this.#access = access;
    this.#options = options;
    this.#name = redactUrl(access.url);
  }

  /** Sends a request until it is answered with success. */
  async send(
    method: string,
    query: Record<string, string>,
    body?: Uint8Array<ArrayBuffer>,
    headers: Record<string, string> = {},
    signal = this.#options.signal ?? new AbortController().signal,
  ): Promise<Answer> {
    const backoff = new Backoff(this.#options.retries ?? 5, signal);
    while (true) {
      try {
        return await this.#sendOnce(method, query, body, headers, signal);
      } catch (error) {
        await backoff.after(error);
      }
    }
  }

  /** Removes the parts, as far as the store is there to do it. */
  async abandon(uploadId: string): Promise<void> {
    // The caller's signal may be what ended the upload.
    const signal = AbortSignal.timeout(10_000);
    await this.send("DELETE", { uploadId }, undefined, {}, signal).catch(() => {});
  }

  misunderstood(what: string): StorageError {
    return new StorageError(
      "upload-failed",
      `Cannot write ${this.#name}: the store answered with ${what}; does it speak S3?`,
      { url: this.#name, actual: what },
    );
  }

  #tooLate(expected: number, byteLength: number): StorageError {
    return new StorageError(
      "timeout",
      `Cannot write ${this.#name}: no answer within ${expected} ms to ${byteLength} bytes; allow more time, or send smaller parts`,
      { url: this.#name, expected, byteLength },
    );
  }

  async #sendOnce(
    method: string,
    query: Record<string, string>,
    body: Uint8Array<ArrayBuffer> | undefined,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Answer> {
    const ownTime = LEAST_TIMEOUT_MS + Math.ceil((body?.length ?? 0) / LEAST_BYTES_PER_MS);
    const { fetch = globalThis.fetch, requestTimeoutMs = ownTime } = this.#options;
    const late = AbortSignal.timeout(requestTimeoutMs);
    const url = new URL(this.#access.url);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const digest = toHex(await crypto.subtle.digest("SHA-256", body ?? new Uint8Array()));
    const request = await this.#access.sign(url.href, {
      method,
      body,
      headers: { ...headers, "x-amz-content-sha256": digest },
      signal: AbortSignal.any([signal, late]),
    });
    let answer: Response;
    let text: string;
    try {
      answer = await fetch(request);
      text = await answer.text();
    } catch (cause) {
      signal.throwIfAborted();
      if (late.aborted) throw this.#tooLate(requestTimeoutMs, body?.length ?? 0);
      const isRefused = cause instanceof Error && cause.name === "NotCapable";
      throw new StorageError(
        isRefused ? "not-permitted" : "fetch-failed",
        `Cannot write ${this.#name}: no answer; check the address, and that this process may reach it`,
        { url: this.#name },
        { cause: redactCause(cause) },
      );
    }
    // The status of a long piece of work comes before its outcome, which may be a failure.
    const isFailed = !answer.ok || /<Error[\s>]/.test(text);
    if (!isFailed) return { headers: answer.headers, text };
    throw statusError(
      this.#name,
      answer.ok ? 500 : answer.status,
      { retryAfterMs: parseRetryAfter(answer.headers.get("retry-after")) },
      text.match(/<Code>(\w{1,100})<\/Code>/)?.[1],
      "write",
    );
  }
}

/** Cuts a stream into parts of equal length, the last one aside. Each is valid until the next is asked for. */
async function* inParts(
  stream: ReadableStream<Uint8Array>,
  partBytes: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>, undefined> {
  const part = new Uint8Array(partBytes);
  let filled = 0;
  for await (let chunk of stream) {
    while (chunk.length > 0) {
      const piece = chunk.subarray(0, partBytes - filled);
      part.set(piece, filled);
      filled += piece.length;
      chunk = chunk.subarray(piece.length);
      if (filled < partBytes) continue;
      yield part;
      filled = 0;
    }
  }
  if (filled > 0) yield part.subarray(0, filled);
}

/** Text of an element. */
function tagIn(xml: string, name: string): string | undefined {
  const text = xml.match(new RegExp(`<${name}>([^<]*)</${name}>`))?.[1];
  return text?.replace(/&(?:quot|#34);/g, '"').replace(/&lt;/g, "<").replace(/&gt;/g, ">")
    .replace(/&amp;/g, "&");
}

function escape(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}
