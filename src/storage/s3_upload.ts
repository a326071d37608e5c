/** Writes objects to S3, whole or not at all. */
import { StorageError } from "../errors.ts";
import { statusError } from "./http.ts";
import { safeCause, safeUrl } from "./redact.ts";
import { parseRetryAfter, Patience } from "./retry.ts";
import { type S3Access, s3Access, type S3Location } from "./s3_location.ts";
import { toHex } from "./safetensors.ts";

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
  /** Longest wait for an answer, milliseconds. Default 60 000. */
  stallTimeoutMs?: number;
  /** Stops the writing; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Stands in for the global `fetch`. */
  fetch?: typeof fetch;
  /** Called as bytes have been taken. */
  onProgress?: (bytes: number) => void;
}

const PART_BYTES = 2 ** 24;

/**
 * Writes a stream to an object: in one request if it is short, else in parts. Readers see the former object until all
 * bytes are there; after a failure it stays, and the parts are removed. The store checks the SHA-256 of every part. Memory:
 * one part.
 *
 * @throws {StorageError} if the store does not take it, after retries; the signal's reason.
 * @throws {TypeError} if the location makes no address or has no credentials.
 */
export async function uploadToS3(
  location: S3Location,
  bytes: ReadableStream<Uint8Array>,
  options: S3UploadOptions = {},
): Promise<void> {
  const { contentType = "application/octet-stream", cacheControl = "no-cache" } = options;
  const { partBytes = PART_BYTES, onProgress } = options;
  const store = new Writer(s3Access(location), options);
  const headers = { "content-type": contentType, "cache-control": cacheControl };
  const parts = inParts(bytes, partBytes);
  const first = (await parts.next()).value ?? new Uint8Array();
  if (first.length < partBytes) {
    await store.send("PUT", {}, first, headers);
    onProgress?.(first.length);
    return;
  }
  const answer = await store.send("POST", { uploads: "" }, undefined, headers);
  const uploadId = tagIn(await answer.text(), "UploadId");
  if (!uploadId) throw store.misunderstood("no UploadId");
  try {
    const tags: string[] = [];
    let sent = 0;
    for (let part: Uint8Array<ArrayBuffer> | undefined = first; part;) {
      const partNumber = String(tags.length + 1);
      const taken = await store.send("PUT", { partNumber, uploadId }, part);
      await taken.body?.cancel();
      tags.push(taken.headers.get("etag") ?? "");
      onProgress?.(sent += part.length);
      part = (await parts.next()).value ?? undefined;
    }
    const list = tags.map((tag, i) =>
      `<Part><PartNumber>${i + 1}</PartNumber><ETag>${escape(tag)}</ETag></Part>`
    );
    const xml = `<CompleteMultipartUpload>${list.join("")}</CompleteMultipartUpload>`;
    const end = await store.send("POST", { uploadId }, new TextEncoder().encode(xml), {
      "content-type": "application/xml",
    });
    // The status may come before the outcome.
    const outcome = await end.text();
    if (!outcome.includes("CompleteMultipartUploadResult")) {
      throw store.misunderstood(tagIn(outcome, "Code") ?? "no result");
    }
  } catch (error) {
    await parts.return(undefined);
    await store.abandon(uploadId);
    throw error;
  }
}

class Writer {
  readonly #access: S3Access;
  readonly #options: S3UploadOptions;
  readonly #name: string;

  constructor(access: S3Access, options: S3UploadOptions) {
    this.#access = access;
    this.#options = options;
    this.#name = safeUrl(access.url);
  }

  /** Sends a request until it is answered with success. The body must be read or cancelled. */
  async send(
    method: string,
    query: Record<string, string>,
    body?: Uint8Array<ArrayBuffer>,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const { retries = 5, signal = new AbortController().signal } = this.#options;
    const patience = new Patience(retries, signal);
    while (true) {
      try {
        return await this.#sendOnce(method, query, body, headers, signal);
      } catch (error) {
        await patience.after(error);
      }
    }
  }

  /** Removes the parts, as far as the store is there to do it. */
  async abandon(uploadId: string): Promise<void> {
    const signal = AbortSignal.timeout(10_000);
    await this.#sendOnce("DELETE", { uploadId }, undefined, {}, signal)
      .then((answer) => answer.body?.cancel())
      .catch(() => {});
  }

  misunderstood(what: string): StorageError {
    return new StorageError(
      "upload-failed",
      `Cannot write ${this.#name}: the store answered with ${what}; the object is as it was`,
      { url: this.#name, actual: what },
    );
  }

  async #sendOnce(
    method: string,
    query: Record<string, string>,
    body: Uint8Array<ArrayBuffer> | undefined,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Response> {
    const { fetch = globalThis.fetch, stallTimeoutMs = 60_000 } = this.#options;
    const url = new URL(this.#access.url);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const digest = toHex(await crypto.subtle.digest("SHA-256", body ?? new Uint8Array()));
    const request = await this.#access.sign(url.href, {
      method,
      body,
      headers: { ...headers, "x-amz-content-sha256": digest },
      signal: AbortSignal.any([signal, AbortSignal.timeout(stallTimeoutMs)]),
    });
    let answer: Response;
    try {
      answer = await fetch(request);
    } catch (cause) {
      signal.throwIfAborted();
      throw new StorageError(
        "fetch-failed",
        `Cannot write ${this.#name}: no answer; check the address, and that this process may reach it`,
        { url: this.#name },
        { cause: safeCause(cause) },
      );
    }
    if (answer.ok) return answer;
    const reason = tagIn(await answer.text().catch(() => ""), "Code");
    const retryAfterMs = parseRetryAfter(answer.headers.get("retry-after"));
    throw statusError(this.#name, answer.status, { retryAfterMs }, reason, "write");
  }
}

/** Cuts a stream into parts of equal length, the last one aside. Each is new memory. */
async function* inParts(
  stream: ReadableStream<Uint8Array>,
  partBytes: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>, undefined> {
  let part = new Uint8Array(partBytes);
  let filled = 0;
  for await (let chunk of stream) {
    while (chunk.length > 0) {
      const piece = chunk.subarray(0, partBytes - filled);
      part.set(piece, filled);
      filled += piece.length;
      chunk = chunk.subarray(piece.length);
      if (filled < partBytes) continue;
      yield part;
      part = new Uint8Array(partBytes);
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
