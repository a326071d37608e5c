/** What an index can be opened from. */
import { typeError } from "../errors.ts";
import { HttpObject, responsePart } from "./http.ts";
import {
  type ByteRange,
  type ByteSource,
  type GetOptions,
  type Part,
  StoredObject,
} from "./stored_object.ts";

/**
 * What an index can be opened from; open files of Deno have a `readable`. Strings and URLs are fetched (`file:`
 * too, in Deno). What can be asked again (addresses, requests and byte sources) continues where it broke off.
 *
 * In a browser, a store at another origin must send `Access-Control-Allow-Origin`. With `Access-Control-Expose-Headers:
 * ETag, Content-Range` a change is noticed before digests tell, and with `Access-Control-Allow-Headers: If-None-Match`
 * a `cache` is asked for by its ETag.
 */
export type IndexSource =
  | string
  | URL
  | Request
  | Response
  | Blob
  | ArrayBuffer
  | Uint8Array
  | ReadableStream<Uint8Array>
  | { readonly readable: ReadableStream<Uint8Array> }
  | ByteSource;

/** A source that can be asked again and again, or one that can be read once. */
export type OpenedSource = { object: StoredObject } | { once: Part };

/**
 * Tells the kinds of sources apart. Reads nothing yet.
 *
 * @throws {StorageError} if a response is no success.
 * @throws {TypeError} if the source is of no known kind.
 */
export function openSource(source: IndexSource): OpenedSource {
  if (source instanceof ArrayBuffer) return once(memory(new Uint8Array(source)), source.byteLength);
  if (source instanceof Uint8Array) return once(memory(source), source.length);
  if (source instanceof ReadableStream) return once(source);
  if (source instanceof Blob) return once(source.stream(), source.size);
  if (source instanceof Response) return { once: responsePart(source) };
  if (typeof source === "string" || source instanceof URL || source instanceof Request) {
    return { object: new HttpObject(source) };
  }
  if (source instanceof StoredObject) return { object: source };
  // An open file has a `read` of its own, which is another.
  if (typeof source === "object" && source && "readable" in source) return once(source.readable);
  if (typeof (source as ByteSource | undefined)?.read === "function") {
    return { object: new ForeignObject(source) };
  }
  throw typeError(
    "Cannot open an index from this: expected a URL, Request, Response, Blob, bytes, ReadableStream or ByteSource",
    { actual: Object.prototype.toString.call(source) },
  );
}

function once(stream: ReadableStream<Uint8Array>, total?: number): OpenedSource {
  return { once: { stream, start: 0, total, trustEnd: true } };
}

/** Bytes that are there already, without a copy. */
function memory(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(bytes);
      controller.close();
    },
  }, { highWaterMark: 0 });
}

/** A source of the caller's own. */
class ForeignObject extends StoredObject {
  readonly name = "";
  readonly #source: ByteSource;

  constructor(source: ByteSource) {
    super();
    this.#source = source;
  }

  async get(range: ByteRange | undefined, { signal }: GetOptions): Promise<Part> {
    const stream = await this.#source.read(range, signal);
    const { start = 0, end } = range ?? {};
    return { stream, start, end, total: this.#source.byteLength, trustEnd: true };
  }
}
