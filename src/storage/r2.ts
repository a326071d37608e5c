/** Objects in a bucket that is bound to a Cloudflare Worker. */
import { StorageError } from "../errors.ts";
import { redactCause } from "./redact.ts";
import {
  type ByteRange,
  type ByteSource,
  type GetOptions,
  type Part,
  StoredObject,
} from "./stored_object.ts";

/** What is needed of a bucket: the part of Cloudflare's `R2Bucket` that reads. */
export interface R2Bucket {
  /** An object or a part of it; null if there is none. */
  get(
    key: string,
    options?: { range?: { offset: number; length?: number } },
  ): Promise<R2ObjectBody | null>;
}

/** What is needed of an object. */
export interface R2ObjectBody {
  /** Its bytes, or the part of them that was asked for. */
  readonly body: ReadableStream<Uint8Array>;
  /** Bytes of the whole. */
  readonly size: number;
  /** Strong ETag, without quotes. */
  readonly etag: string;
}

/**
 * An object of a bucket to open an index from.
 *
 * @example
 * ```ts
 * import { ConstraintIndex, type R2Bucket, r2Source } from "@espalier/espalier";
 *
 * const worker = { // export default worker;
 *   async fetch(_request: Request, env: { INDEXES: R2Bucket }): Promise<Response> {
 *     using index = await ConstraintIndex.open(r2Source(env.INDEXES, "catalogue.safetensors"));
 *     return Response.json({ sequences: index.size });
 *   },
 * };
 * ```
 */
export function r2Source(bucket: R2Bucket, key: string): ByteSource {
  return new R2Object(bucket, key);
}

/** R2 tells its errors apart by numbers in their messages: https://developers.cloudflare.com/r2/api/error-codes/ */
const NO_SUCH_RANGE = /\(10039\)/;
/** Of credentials, permissions, and names of buckets and objects. */
const REFUSED = /\((?:10002|10003|10005|10006|10018|10020|10029|10035|10042)\)/;

class R2Object extends StoredObject {
  readonly name: string;
  readonly #bucket: R2Bucket;
  readonly #key: string;

  constructor(bucket: R2Bucket, key: string) {
    super();
    this.#bucket = bucket;
    this.#key = key;
    this.name = `R2 object "${key}"`;
  }

  async get(range: ByteRange | undefined, { signal }: GetOptions): Promise<Part> {
    let object: R2ObjectBody | null;
    const { start = 0, end } = range ?? {};
    try {
      object = await this.#bucket.get(this.#key, {
        range: range && { offset: start, ...end === undefined ? {} : { length: end - start } },
      });
    } catch (cause) {
      signal?.throwIfAborted();
      if (cause instanceof Error && NO_SUCH_RANGE.test(cause.message)) {
        throw new StorageError(
          "no-such-range",
          `Cannot read ${this.name}: it has no byte ${start}; it may have changed, open it again`,
          { url: this.name, offset: start, actual: 416 },
        );
      }
      const isRefused = cause instanceof Error && REFUSED.test(cause.message);
      throw new StorageError(
        isRefused ? "refused" : "read-failed",
        `Cannot read ${this.name}: ${
          isRefused ? "R2 refuses it; look at the cause" : "the bucket failed; try again"
        }`,
        { url: this.name },
        { cause: redactCause(cause) },
      );
    }
    if (!object) {
      throw new StorageError(
        "not-found",
        `Cannot read ${this.name}: there is no such object; check the key and the binding`,
        { url: this.name },
      );
    }
    const { body, size, etag } = object;
    const last = range && Math.min(end ?? size, size);
    return { stream: body, start, end: last, total: size, version: etag };
  }
}
