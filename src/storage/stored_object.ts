/** Objects that can be read more than once, and in part. */

/** Anything with ranges: implement it to read from a store of your own. */
export interface ByteSource {
  /** Size of the whole, if known. */
  readonly byteLength?: number;
  /**
   * Streams a range of bytes, `end` exclusive, or everything. A stream that breaks off is continued with another
   * read. Errors are the caller's own and end the loading, but a {@linkcode StorageError} that says "later" is retried.
   */
  read(
    range?: ByteRange,
    signal?: AbortSignal,
  ): Promise<ReadableStream<Uint8Array>>;
}

/** Bytes of an object, `end` exclusive; without one to its end. */
export interface ByteRange {
  /** First byte. */
  start: number;
  /** Byte after the last. */
  end?: number;
}

/** What a store answers. */
export interface Part {
  stream: ReadableStream<Uint8Array>;
  /** Where in the object the stream starts: before what was asked for where the store does not do ranges. */
  start: number;
  /** Where it ends, exclusive; undefined for the end of the object. */
  end?: number;
  /** Size of the whole object, where the store says. */
  total?: number;
  /** Whether a stream that ends has ended, rather than been cut. Default false: there are such servers. */
  trustEnd?: boolean;
  /** What no two versions of the object share, byte for byte: a strong ETag. */
  version?: string;
}

/** How to ask. */
export interface GetOptions {
  signal?: AbortSignal;
  /** Nothing is wanted if the object is still this version. */
  unless?: string;
  /** Stands in for the global `fetch`. */
  fetch?: typeof fetch;
}

/** An object in a store that says more than bytes. */
export abstract class StoredObject implements ByteSource {
  /** For messages: an address without secrets, or what stands for it. */
  abstract readonly name: string;
  /** Address, where there is one; may hold secrets. */
  readonly url?: string;

  /**
   * Asks once for the object or a part of it.
   *
   * @returns undefined if it is the version that `unless` names.
   * @throws {StorageError} if the store does not give it; nothing in it is secret.
   */
  abstract get(range: ByteRange | undefined, options: GetOptions): Promise<Part | undefined>;

  /** Streams a range of bytes, `end` exclusive, or everything. Asks once. */
  async read(range?: ByteRange, signal?: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const part = (await this.get(range, { signal }))!;
    const skip = (range?.start ?? 0) - part.start;
    const isExact = skip === 0 && (range?.end === undefined || part.end === range.end);
    if (isExact) return part.stream;
    return part.stream.pipeThrough(cut(skip, (range?.end ?? Infinity) - (range?.start ?? 0)));
  }
}

/** Lets through `length` bytes after `skip`. */
function cut(skip: number, length: number): TransformStream<Uint8Array, Uint8Array> {
  return new TransformStream({
    transform(chunk, controller) {
      const rest = chunk.subarray(Math.min(skip, chunk.length));
      skip -= chunk.length - rest.length;
      const kept = rest.subarray(0, Math.min(length, rest.length));
      length -= kept.length;
      if (kept.length > 0) controller.enqueue(kept);
      if (length === 0) controller.terminate();
    },
  });
}
