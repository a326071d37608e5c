/** The constraint index: a set of allowed token sequences, opened for lookups and searches. */
import { EspalierError, rangeError } from "../errors.ts";
import { load } from "../storage/load.ts";
import { type IndexSource, openSource } from "../storage/source.ts";
import { checkMetadata, decodeShape } from "./header.ts";
import {
  type Encoding,
  innerEdges,
  LEVEL_RECORD_BYTES,
  levelByteLength,
  NONE,
  type Starts,
  tokenBits,
} from "./layout.ts";
import {
  type IndexMemory,
  type IndexStorage,
  reserve,
  RESULT_BYTES,
  verifyStructure,
} from "./storage.ts";

/** One level of an index: all allowed prefixes of one length. */
export interface LevelInfo {
  /** Distinct prefixes of this length. */
  readonly edges: number;
  /** Prefixes, one token shorter, that go on: rows of the level. */
  readonly states: number;
  /** Sequences that end on this level. */
  readonly ends: number;
  /** Whether tokens are packed in `tokenBits` bits each, or rows are bitmaps. */
  readonly encoding: Encoding;
  /** How row starts are stored. */
  readonly starts: Starts;
  /** Most tokens that may follow one prefix. */
  readonly maxBranch: number;
  /** Smallest token of the level. */
  readonly tokenMin: number;
  /** Bits of a packed token, relative to `tokenMin`. */
  readonly tokenBits: number;
  /** Bytes of the level in the file. */
  readonly byteLength: number;
}

/** How to open an index. */
export interface OpenOptions {
  /** The compiled kernels (`src/wasm/module.gen.wasm`), on platforms that refuse to compile from bytes. */
  wasm?: WebAssembly.Module;
  /**
   * Default: header and SHA-256 digests are checked. `true`: the structure as well (one more pass over the
   * index). `false`: the header's counts and bounds only; reading stays safe, answers are not.
   */
  verify?: boolean;
  /** Stands in for the global `fetch`. */
  fetch?: typeof fetch;
  /** Stops the loading; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Called as bytes arrive. */
  onProgress?: (bytes: number, total?: number) => void;
}

let construct: (storage: IndexStorage) => ConstraintIndex;
let access: (index: ConstraintIndex) => IndexStorage;

/**
 * A set of allowed token sequences. Holds its bytes in one WASM memory, the only copy; give it back with
 * `using` or `index[Symbol.dispose]()`.
 *
 * Source of the layout: STATIC (Su et al., arXiv 2602.22647), level by level and with nothing stored that can
 * be computed.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { buildIndex } from "@espalier/espalier/build";
 * import { ConstraintIndex } from "@espalier/espalier";
 *
 * using built = await buildIndex([[1, 2, 3], [1, 2, 5], [4, 0, 0]], { vocabSize: 8 });
 * using index = await ConstraintIndex.open(built.toBytes());
 * assert(index.has([1, 2, 5]) && !index.has([1, 2, 4]));
 * assert(index.allowedTokens([1, 2]).join() === "3,5");
 * assert(index.ordinalOf([4, 0, 0]) === 2);
 * ```
 */
export class ConstraintIndex implements Disposable {
  /** Sequences in the set. */
  readonly size: number;
  /** Tokens are below this. */
  readonly vocabSize: number;
  /** Tokens of the longest sequence. */
  readonly maxLength: number;
  /** Bytes of the serialized index. */
  readonly byteLength: number;
  /** SHA-256 of the header, hex: identity of the whole index. */
  readonly digest: string;
  /** Resolves when all levels are there. */
  readonly ready: Promise<void> = Promise.resolve();
  /** What each level holds and takes. */
  readonly levels: readonly LevelInfo[];
  #storage: IndexStorage | undefined;

  static {
    construct = (storage) => new ConstraintIndex(storage);
    access = (index) => index.#open();
  }

  private constructor(storage: IndexStorage) {
    const { shape, header } = storage;
    this.#storage = storage;
    this.size = shape.size;
    this.vocabSize = shape.vocabSize;
    this.maxLength = shape.levels.length;
    this.byteLength = header.bytes.length + header.dataByteLength;
    this.digest = header.digest;
    this.levels = shape.levels.map((level, d) => ({
      edges: level.edges,
      states: level.states,
      ends: level.ends,
      encoding: level.encoding,
      starts: level.starts,
      maxBranch: level.maxBranch,
      tokenMin: level.tokenMin,
      tokenBits: tokenBits(level),
      byteLength: levelByteLength(level, innerEdges(shape.levels, d)),
    }));
  }

  /**
   * Reads an index from bytes, a stream, a `Blob`, a `Response`, an address or a {@linkcode ByteSource}, in
   * one pass and straight into the memory that the kernels use. Peak memory: the index and a few chunks.
   *
   * @throws {IndexFormatError} if the bytes are no index of this version.
   * @throws {IndexIntegrityError} if bytes are missing or do not match their digest.
   * @throws {StorageError} if the source cannot be read.
   */
  static async open(source: IndexSource, options: OpenOptions = {}): Promise<ConstraintIndex> {
    const { wasm, verify, signal, onProgress, fetch } = options;
    signal?.throwIfAborted();
    let memory: IndexMemory | undefined;
    const header = await load(
      await openSource(source, { signal, fetch }),
      async (header) => {
        const { heap, data } = memory = await reserve(decodeShape(header), wasm);
        return (offset, length) => heap.u8(data + offset, length);
      },
      { digests: verify !== false, checkMetadata, signal, onProgress },
    );
    const storage = { ...memory!, header };
    if (verify) verifyStructure(storage);
    return construct(storage);
  }

  /** Header and data in a new array: a second copy. `toStream` is cheaper. */
  toBytes(): Uint8Array<ArrayBuffer> {
    const { header, heap, data } = this.#open();
    const bytes = new Uint8Array(this.byteLength);
    bytes.set(header.bytes);
    bytes.set(heap.u8(data, header.dataByteLength), header.bytes.length);
    return bytes;
  }

  /** Header and data in chunks of at most 1 MiB, each copied when it is asked for. */
  toStream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    const { header } = this.#open();
    let next = -1;
    return new ReadableStream({
      pull: (controller) => {
        if (next < 0) {
          controller.enqueue(header.bytes.slice() as Uint8Array<ArrayBuffer>);
          next = 0;
        } else if (next < header.dataByteLength) {
          const { heap, data } = this.#open();
          const length = Math.min(2 ** 20, header.dataByteLength - next);
          controller.enqueue(heap.u8(data + next, length).slice());
          next += length;
        } else {
          controller.close();
        }
      },
    });
  }

  /** Whether the set holds a sequence. Anything that is no sequence of tokens is not in the set. */
  has(sequence: ArrayLike<number>): boolean {
    return this.ordinalOf(sequence) !== undefined;
  }

  /**
   * Number of a sequence in [0, size), or undefined: its rank among the sorted sequences when all are equally
   * long, otherwise shorter sequences first, sorted among themselves. O(length · log(branch)).
   */
  ordinalOf(sequence: ArrayLike<number>): number | undefined {
    const node = this.#walk(sequence);
    return !node || node.ordinal === NONE ? undefined : node.ordinal;
  }

  /**
   * The sequence with an ordinal: inverse of {@linkcode ordinalOf}. O(length · log(size)).
   *
   * @throws {RangeError} if the ordinal is not an integer in [0, size).
   */
  sequenceAt(ordinal: number): Uint32Array<ArrayBuffer> {
    const { heap, table, scratch } = this.#open();
    if (!Number.isInteger(ordinal) || ordinal < 0 || ordinal >= this.size) {
      throw rangeError(
        `Cannot find a sequence with ordinal ${ordinal}: expected an integer in [0, ${this.size})`,
        { expected: this.size, actual: ordinal },
      );
    }
    const out = scratch + RESULT_BYTES;
    const length = heap.exports.spell(table, this.maxLength, ordinal, out);
    return heap.u32(out, length).slice();
  }

  /** Tokens that may follow a prefix, ascending; none where the prefix is not in the set. */
  allowedTokens(prefix: ArrayLike<number>): Uint32Array<ArrayBuffer> {
    const node = this.#walk(prefix);
    if (!node || node.state === NONE || prefix.length >= this.maxLength) return new Uint32Array();
    const { heap, table, scratch } = this.#open();
    const level = table + prefix.length * LEVEL_RECORD_BYTES;
    const out = scratch + RESULT_BYTES;
    return heap.u32(out, heap.exports.children(level, node.state, out)).slice();
  }

  /** Whether a prefix is a whole sequence: the same as {@linkcode has}, in the words of decoding. */
  canEnd(prefix: ArrayLike<number>): boolean {
    return this.has(prefix);
  }

  /** Gives the memory back. Later use throws an `EspalierError` with code `"disposed"`. */
  [Symbol.dispose](): void {
    this.#storage = undefined;
  }

  #walk(tokens: ArrayLike<number>): { state: number; ordinal: number } | undefined {
    const { heap, table, scratch } = this.#open();
    const length = tokens?.length;
    if (!Number.isInteger(length) || length < 0 || length > this.maxLength) return undefined;
    const words = heap.u32(scratch, RESULT_BYTES / 4 + length);
    for (let i = 0; i < length; i++) {
      const token = tokens[i];
      if (!(Number.isInteger(token) && token >= 0 && token < this.vocabSize)) return undefined;
      words[RESULT_BYTES / 4 + i] = token;
    }
    const start = scratch + RESULT_BYTES;
    if (!heap.exports.walk(table, this.maxLength, start, length, scratch)) return undefined;
    return { state: words[1], ordinal: words[2] };
  }

  #open(): IndexStorage {
    if (!this.#storage) {
      throw new EspalierError(
        "disposed",
        "Cannot use the index: it has been disposed; open it again",
      );
    }
    return this.#storage;
  }
}

/** Wraps finished storage. For the builder. */
export function indexFrom(storage: IndexStorage): ConstraintIndex {
  return construct(storage);
}

/**
 * The storage behind an index. For kernels.
 *
 * @throws {EspalierError} with code `"disposed"`.
 */
export function storageOf(index: ConstraintIndex): IndexStorage {
  return access(index);
}
