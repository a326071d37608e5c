/** The constraint index: a set of allowed token sequences, opened for lookups and searches. */
import { checkOptionNames, EspalierError, rangeError } from "../errors.ts";
import { load } from "../storage/load/load.ts";
import type { TransferOptions } from "../storage/load/options.ts";
import { streamFile } from "../storage/safetensors.ts";
import type { IndexSource } from "../storage/source.ts";
import { compiledModule } from "../wasm/kernels.ts";
import { completeLoading, LevelLoading } from "./level_loading.ts";
import { filtersByItem } from "./named_filters.ts";
import { type AllowedItems, filterBitsOf, type ItemFilter, makeFilter } from "./item_filter.ts";
import {
  checkMetadata,
  decodeShape,
  type IndexShape,
  partCount,
  planData,
} from "./format/header.ts";
import { ItemFinder } from "./item_finder.ts";
import { itemsAt } from "./item_lookup.ts";
import { innerEdges, levelByteLength, NONE } from "./format/layout.ts";
import { type IndexMemory, type LoadedIndex, reserve, RESULT_BYTES } from "./index_memory.ts";
import { verifyStructure } from "./verify.ts";
import { type LevelInfo, levelInfos } from "./level_info.ts";
import { Lookups, type Place } from "./lookups.ts";

/** How to open an index. */
export interface OpenOptions extends TransferOptions {
  /**
   * The compiled kernels (`src/wasm/kernels.gen.wasm`), on platforms that refuse to compile from bytes. Those do without
   * fused multiply-add, unless they load Espalier's bundle for them.
   */
  wasm?: WebAssembly.Module;
  /**
   * Default: header and SHA-256 digests are checked. `true`: the structure as well (one more pass over the
   * index). `false`: the header's counts and bounds only; reading stays safe, answers are not.
   */
  verify?: boolean;
  /**
   * True to have the index as soon as header and first level are there; `ready` says when the rest is. Searches wait for
   * levels as they reach them (on a GPU: for all); calls that do not wait throw code `"not-loaded"`. An object that
   * changes in the meantime is an error, since its identity has been given out.
   */
  progressive?: boolean;
}

const OPEN_OPTIONS = [
  "wasm",
  "verify",
  "progressive",
  "parallel",
  "fetch",
  "cache",
  "retries",
  "stallTimeoutMs",
  "timeoutMs",
  "signal",
  "onProgress",
] as const satisfies readonly (keyof OpenOptions)[];

let construct: (loaded: LoadedIndex, stop?: AbortController) => ConstraintIndex;
let access: (index: ConstraintIndex) => LoadedIndex;
let find: (index: ConstraintIndex) => Lookups;
let release: (index: ConstraintIndex) => IndexMemory | undefined;

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
  /**
   * Resolves when everything is there and, with `cache`, the copy has been kept: something for `waitUntil`. Rejects with
   * what the loading failed with.
   */
  readonly ready: Promise<void>;
  /** What each level holds and takes. */
  readonly levels: readonly LevelInfo[];
  /** Names of the filters that are stored in the index: see {@linkcode namedFilter}. */
  readonly filterNames: readonly string[];
  /**
   * For each of these filters, whether it says which of several items of a sequence it allows. If not, it allows all
   * items of its sequences: so do filters of files that an earlier version wrote.
   */
  readonly filtersByItem: ReadonlyMap<string, boolean>;
  /** Type and number of the item ids that are stored in the index, if there are any: see {@linkcode itemsAt}. */
  readonly items: { readonly type: "integer" | "string"; readonly count: number } | undefined;
  /**
   * What made the sequences, if they are texts and the builder was told: `"o200k"`, or the name of a file and its
   * SHA-256, hex.
   */
  readonly tokenizer: { readonly name: string; readonly digest?: string } | undefined;
  #loaded: LoadedIndex | undefined;
  #lookups: Lookups | undefined;
  /** Ends the loading. */
  #stop: AbortController | undefined;

  static {
    construct = (loaded, stop) => new ConstraintIndex(loaded, stop);
    access = (index) => index.#open();
    find = (index) => index.#find();
    release = (index) => {
      // While it loads, or is copied for a cache, somebody reads or writes.
      const memory = index.#stop ? undefined : index.#loaded;
      index[Symbol.dispose]();
      return memory;
    };
  }

  private constructor(loaded: LoadedIndex, stop?: AbortController) {
    const { shape, header, loading } = loaded;
    this.#loaded = loaded;
    this.#stop = stop;
    this.ready = loading.over;
    // In Workers a request may not touch what belongs to another, as the loading does.
    const forget = () => this.#stop = undefined;
    loading.over.then(forget, forget);
    this.size = shape.size;
    this.vocabSize = shape.vocabSize;
    this.maxLength = shape.levels.length;
    this.byteLength = header.bytes.length + header.dataByteLength;
    this.digest = header.digest;
    this.filterNames = shape.filters?.map(({ name }) => name) ?? [];
    this.filtersByItem = filtersByItem(shape);
    this.items = shape.items && { type: shape.items.type, count: shape.items.count };
    this.tokenizer = shape.tokenizer && { ...shape.tokenizer };
    this.levels = levelInfos(shape.levels);
  }

  /**
   * Reads an index from bytes, a stream, a `Blob`, a `Response`, an address, an S3 or R2 object or a
   * {@linkcode ByteSource}, in one pass and straight into the memory that the kernels use. Peak memory: the index,
   * up to 1 MiB per request, and up to 4 MiB that WebCrypto copies while it digests.
   *
   * What can be asked again is continued where it broke off, and asked again where the store was busy. The index
   * is always one version, and every bit of it has been checked: see `verify`.
   *
   * @throws {IndexFormatError} if the bytes are no index of this version.
   * @throws {IndexIntegrityError} if bytes are missing or do not match their digest.
   * @throws {IndexChangedError} if the object changed while it was read, and again when it was begun anew.
   * @throws {StorageError} if the source cannot be read, after retries: code `"http-status"` (with the status as
   * `actual`), `"fetch-failed"`, `"read-failed"`, `"stalled"`, `"wrong-range"`, `"timeout"`, `"not-permitted"`.
   * @throws {RangeError} or {TypeError} for options that make no sense; the signal's reason.
   */
  static open(source: IndexSource, options: OpenOptions = {}): Promise<ConstraintIndex> {
    return openIn(undefined, source, options);
  }

  /** Header and data in a new array: a second copy. `toStream` is cheaper. */
  toBytes(): Uint8Array<ArrayBuffer> {
    const { header, heap, data, loading } = this.#open();
    loading.requireAll("all bytes");
    const bytes = new Uint8Array(this.byteLength);
    bytes.set(header.bytes);
    bytes.set(heap.u8(data, header.dataByteLength), header.bytes.length);
    return bytes;
  }

  /** Header and data in chunks of at most 1 MiB, each copied when it is asked for. */
  toStream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    const { header, loading } = this.#open();
    loading.requireAll("all bytes");
    return streamFile(header, (offset, length) => {
      const { heap, data } = this.#open();
      return heap.u8(data + offset, length);
    });
  }

  /**
   * Whether the set holds a sequence, of numbers or bigints. Anything that is no sequence of tokens is not in the set.
   */
  has(sequence: ArrayLike<number | bigint>): boolean {
    return this.ordinalOf(sequence) !== undefined;
  }

  /**
   * Number of a sequence in [0, size), or undefined: its rank among the sorted sequences when all are equally
   * long, otherwise shorter sequences first, sorted among themselves. O(length · log(branch)).
   */
  ordinalOf(sequence: ArrayLike<number | bigint>): number | undefined {
    const lookups = this.#find();
    if (!lookups.walk(sequence)) return undefined;
    const ordinal = lookups.words[2];
    return ordinal === NONE ? undefined : ordinal;
  }

  /**
   * The sequence with an ordinal: inverse of {@linkcode ordinalOf}. O(length · log(size)).
   *
   * @throws {RangeError} if the ordinal is not an integer in [0, size).
   */
  sequenceAt(ordinal: number): Uint32Array<ArrayBuffer> {
    const { heap, table, scratch, loading } = this.#open();
    this.#checkOrdinal(ordinal);
    loading.require(this.maxLength);
    const length = heap.exports.spell(table, this.maxLength, ordinal, scratch + RESULT_BYTES);
    return this.#find().words.slice(RESULT_BYTES / 4, RESULT_BYTES / 4 + length);
  }

  /**
   * Ids of the items of a sequence, at least one, in the order of the ids: `bigint` where `items.type` is
   * `"integer"`. (Files of version 0.1 have them in the order in which the builder was given them.) About a microsecond, and less for each id more.
   *
   * @param most how many to read at most. Default: all.
   * @param filter reads only the items that it allows: none if the sequence is not allowed.
   * @throws {RangeError} if the ordinal is not an integer in [0, size).
   * @throws {EspalierError} with code `"no-items"` if the index was built without; `"not-loaded"` before `ready`.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { buildIndex } from "@espalier/espalier/build";
   *
   * using index = await buildIndex([[1, 2], [0, 3], [1, 2]], { vocabSize: 4, items: [70n, 80n, 71n] });
   * assert.deepEqual(index.itemsAt(index.ordinalOf([1, 2])!), [70n, 71n]);
   * ```
   */
  itemsAt(ordinal: number, most = Infinity, filter?: ItemFilter): bigint[] | string[] {
    const loaded = this.#open();
    this.#checkOrdinal(ordinal);
    const bits = filter === undefined ? undefined : filterBitsOf(filter, loaded);
    const ids = itemsAt(loaded, ordinal, bits?.has(ordinal) === false ? 0 : most, bits?.shared);
    return ids as bigint[] | string[];
  }

  /**
   * Ordinals of the sequences with an item, ascending; none if the index has no such item. A few microseconds, for 10
   * million items, too.
   *
   * @param item its id: a `bigint` where `items.type` is `"integer"`, else a string.
   * @throws {TypeError} for an id of another type than those of the index.
   * @throws {EspalierError} with code `"no-items"` or `"no-item-lookup"` if the index was built without; `"not-loaded"`
   * before `ready`.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { buildIndex } from "@espalier/espalier/build";
   *
   * using index = await buildIndex([[1, 2], [0, 3], [1, 2]], { vocabSize: 4, items: [70n, 80n, 71n] });
   * assert.deepEqual(index.ordinalsOfItem(71n), [1]);
   * assert.deepEqual(index.ordinalsOfItem(9n), []);
   * ```
   */
  ordinalsOfItem(item: bigint | string): number[] {
    return ItemFinder.of(this.#open()).placesOf(item).map(({ ordinal }) => ordinal);
  }

  /**
   * Tokens that may follow a prefix, ascending; none where the prefix is not in the set.
   *
   * @param filter counts only sequences that it allows.
   */
  allowedTokens(prefix: ArrayLike<number | bigint>, filter?: ItemFilter): Uint32Array<ArrayBuffer> {
    const bits = filter === undefined ? undefined : filterBitsOf(filter, this.#open());
    const lookups = this.#find();
    lookups.begin();
    const { firstToken } = lookups;
    const count = lookups.nextTokens(0, prefix, firstToken, bits);
    return lookups.words.slice(firstToken, firstToken + count);
  }

  /**
   * Whether a prefix is a whole sequence: the same as {@linkcode has}, in the words of decoding.
   *
   * @param filter counts only sequences that it allows.
   */
  canEnd(prefix: ArrayLike<number | bigint>, filter?: ItemFilter): boolean {
    const bits = filter === undefined ? undefined : filterBitsOf(filter, this.#open());
    const ordinal = this.ordinalOf(prefix);
    return ordinal !== undefined && (!bits || bits.has(ordinal));
  }

  /**
   * Compiles a filter: only what it allows counts where it is used. It belongs to the caller, and to
   * this index. Needs all levels. It may let memory grow: a model that makes one reads `input.out` afresh. Cost: one pass
   * over row starts and bitmaps, 20 ms for 10 million sequences, whatever is allowed; ordinals one by one cost more than
   * bits.
   *
   * @param allowed ordinals in any order, repeated or not; or `{ bits }`: bit i of byte i >> 3 is ordinal i,
   * ceil(size / 8) bytes, as `numpy.packbits(mask, bitorder="little")` makes them; or `{ items }`: item ids, of which those
   * that the index does not have are counted (`unknownItems`); or the name of a filter that is
   * stored in the index, or several combined: `{ all: ["fresh", { not: "adult" }] }`.
   * @throws {RangeError} for ordinals outside [0, size), and bits of another length.
   * @throws {TypeError} for item ids of another type than those of the index.
   * @throws {EspalierError} with code `"unknown-filter"`, `"no-items"`, `"no-item-lookup"`; `"not-loaded"` before `ready`.
   */
  filter(allowed: AllowedItems): ItemFilter {
    const loaded = this.#open();
    loaded.loading.require(this.maxLength);
    return makeFilter(loaded, allowed);
  }

  /**
   * Compiles a filter that is stored in the index. It belongs to the caller: keep it, to use it in many searches. Costs
   * what {@linkcode filter} costs.
   *
   * @throws {EspalierError} with code `"unknown-filter"`; `"not-loaded"` before `ready`.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { buildIndex } from "@espalier/espalier/build";
   *
   * const options = { vocabSize: 4, filters: { fresh: [true, false, false] } };
   * using index = await buildIndex([[2, 0], [1, 3], [1, 2]], options);
   * using fresh = index.namedFilter("fresh");
   * assert.deepEqual([...index.allowedTokens([], fresh)], [2]);
   * ```
   */
  namedFilter(name: string): ItemFilter {
    return this.filter(name);
  }

  /** Gives the memory back, and ends the loading. Later use throws an `EspalierError` with code `"disposed"`. */
  [Symbol.dispose](): void {
    this.#loaded = undefined;
    this.#lookups = undefined;
    this.#stop?.abort(disposed());
  }

  #checkOrdinal(ordinal: number): void {
    if (Number.isInteger(ordinal) && ordinal >= 0 && ordinal < this.size) return;
    throw rangeError(
      `Cannot find a sequence with ordinal ${ordinal}: expected an integer in [0, ${this.size})`,
      { expected: this.size, actual: ordinal },
    );
  }

  #find(): Lookups {
    if (!this.#loaded) throw disposed();
    return this.#lookups ??= new Lookups(this.#loaded);
  }

  #open(): LoadedIndex {
    if (!this.#loaded) throw disposed();
    return this.#loaded;
  }
}

/**
 * Opens an index as {@linkcode ConstraintIndex.open} does, in the memory of one before it that {@linkcode releaseMemory}
 * gave.
 *
 * @param reserved told of the memory, which nobody uses any more if opening fails and is not progressive.
 */
export async function openIn(
  previous: IndexMemory | undefined,
  source: IndexSource,
  options: OpenOptions,
  reserved?: (memory: IndexMemory) => void,
): Promise<ConstraintIndex> {
  checkOptionNames("ConstraintIndex.open", options, OPEN_OPTIONS);
  const { wasm, verify, progressive, signal, ...transfer } = options;
  signal?.throwIfAborted();
  const stop = new AbortController();
  const abort = () => stop.abort(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  // While the first bytes are on their way.
  const compiling = wasm ? Promise.resolve(wasm) : compiledModule();
  compiling.catch(() => {}); // awaited below
  const early = Promise.withResolvers<ConstraintIndex>();
  let loaded: LoadedIndex | undefined;
  let index: ConstraintIndex | undefined;
  let ends: number[];
  const arrived = (length: number) => {
    const { loading } = loaded!;
    let { levels } = loading;
    while (ends[levels] <= length) levels++;
    if (levels === loading.levels) return;
    if (verify) verifyStructure(loaded!, loading.levels, levels);
    loading.reached(levels);
    if (progressive) early.resolve(index ??= construct(loaded!, stop));
  };
  const loading = load(source, {
    ...transfer,
    signal: stop.signal,
    digests: verify !== false,
    checkMetadata,
    canRestart: () => !index,
    prepare: async (header) => {
      const memory = await reserve(
        decodeShape(header),
        await compiling,
        loaded ?? previous,
        header.dataByteLength,
      );
      reserved?.(memory);
      const { heap, data, shape } = memory;
      const loading = new LevelLoading(partCount(shape));
      loaded = { ...memory, header, loading };
      ends = endsOfParts(shape);
      arrived(0); // levels may take no bytes
      return { view: (offset, length) => heap.u8(data + offset, length), arrived };
    },
  }).then(({ header, cached }) => {
    const { loading } = loaded!;
    arrived(header.dataByteLength); // levels may take no bytes
    index ??= construct(loaded!, stop);
    cached.then(() => loading.end());
    return index;
  }).catch((error) => {
    loaded?.loading.fail(error);
    throw error;
  }).finally(() => signal?.removeEventListener("abort", abort));
  loading.catch(() => {}); // seen here, or in `ready`
  return await Promise.race([early.promise, loading]);
}

/**
 * Disposes of an index and gives its memory, for {@linkcode openIn}. Filters and decoders of it must have been disposed of
 * before: what they hold would be overwritten. Undefined while the memory may still be in use.
 */
export function releaseMemory(index: ConstraintIndex): IndexMemory | undefined {
  return release(index);
}

function disposed(): EspalierError {
  return new EspalierError("disposed", "Cannot use the index: it has been disposed; open it again");
}

/** Byte of the data at which each level ends, and filters and items where there are any. */
function endsOfParts(shape: IndexShape): number[] {
  const { levels } = shape;
  let end = 0;
  const ends = levels.map((level, d) => end += levelByteLength(level, innerEdges(levels, d)));
  if (partCount(shape) > levels.length) ends.push(planData(shape).byteLength);
  return ends;
}

/** Wraps a finished index. For the builder. */
export function indexFrom(loaded: Omit<LoadedIndex, "loading">): ConstraintIndex {
  return construct({ ...loaded, loading: completeLoading(partCount(loaded.shape)) });
}

/**
 * the loaded index behind an index. For kernels.
 *
 * @throws {EspalierError} with code `"disposed"`.
 */
export function loadedIndexOf(index: ConstraintIndex): LoadedIndex {
  return access(index);
}

/**
 * Lookups in an index, for what asks for many rows.
 *
 * @throws {EspalierError} with code `"disposed"`.
 */
export function lookupsOf(index: ConstraintIndex): Lookups {
  return find(index);
}

/** Follows a prefix from the root, one lookup per token; undefined if it is not in the set. */
export function placeOf(
  index: ConstraintIndex,
  prefix: ArrayLike<number | bigint>,
): Place | undefined {
  const lookups = find(index);
  if (!lookups.walk(prefix)) return undefined;
  const { words } = lookups;
  return { edge: words[0], state: words[1], ordinal: words[2] };
}
