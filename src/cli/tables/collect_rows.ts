/** Rows of all inputs, together: in memory, as they come, or sorted on disk where they do not fit. */
import { BuildInputError, EspalierError } from "../../errors.ts";
import type { RowBatch, SequenceMatrix } from "../../build/mod.ts";
import { MAX_VOCAB } from "../../index/format/layout.ts";
import type { ValueColumns } from "./value_columns.ts";
import { UsageError } from "../errors.ts";
import { matrixOf, memoryFor, memoryForSorted, RowStatistics } from "./memory_estimate.ts";
import type { Io } from "../io/terminal.ts";
import { megabytes } from "../io/format.ts";
import type { ProgressLine } from "../io/progress_line.ts";
import { RowKeys } from "./sort_keys.ts";
import { checkPiece, type RowSource } from "./row_source.ts";
import { placeName } from "./row_errors.ts";
import { diskBytes, DiskSorter, requireSpace } from "./disk_sorter.ts";

/** What to do with the rows. */
export interface GatherOptions {
  /** Vocabulary size; undefined to infer it. */
  readonly vocab: number | undefined;
  readonly isSorted: boolean;
  /** Whether ordinals, ids or filters are wanted. */
  readonly isNumbered: boolean;
  /** Takes ids and filters that are columns. */
  readonly values: ValueColumns | undefined;
  /** Bytes held beside the rows so far, but for what `attached` holds. */
  otherBytes(): number;
  /** Bytes beyond which rows are sorted on disk. */
  readonly memory: number;
  /** Folder for temporary files. */
  readonly temp: string;
  /** Tells in a sentence what is done about rows that do not fit. */
  say(text: string): void;
}

/** Rows for the builder. */
export interface CollectedRows extends AsyncDisposable {
  readonly rows: SequenceMatrix | AsyncIterable<RowBatch>;
  readonly vocabSize: number;
  readonly isSorted: boolean;
  /** Rows read. */
  count(): number;
  /** An error of the builder, naming the file, and its row, that it is about. */
  about(error: unknown): unknown;
  /** Most bytes that stood on disk, if the rows were sorted there. */
  temporaryBytes(): number | undefined;
}

/** Key words of a row on disk, at most: longer rows have the rest apart. */
const MOST_WORDS = 16;

/** So much of a file tells how many rows the rest has. Readers are some 0.1 MB ahead of the rows. */
const SAMPLE_BYTES = 2 ** 22;

/**
 * Reads all rows, or as far as is needed before the builder asks for them.
 *
 * @throws {BuildInputError} naming file and place of what is no row.
 * @throws {StorageError} if a file cannot be read, or there is no room for temporary ones.
 * @throws {LimitError} if rows have to be sorted on disk and cannot.
 */
export async function collectRows(
  sources: readonly RowSource[],
  options: GatherOptions,
  io: Io,
  progress: ProgressLine,
): Promise<CollectedRows> {
  const reader = new Reader(sources, options, progress);
  const result = {
    count: () => reader.statistics.rows,
    about: (error: unknown) => reader.about(error),
    temporaryBytes: (): number | undefined => undefined,
    [Symbol.asyncDispose]: async () => {},
  };
  if (!options.values && (options.isSorted || reader.surelyFits())) {
    const vocabSize = options.vocab ?? await reader.findVocab();
    const rows = reader.read("reading", false);
    return { ...result, rows, vocabSize, isSorted: options.isSorted };
  }

  const batches = reader.read("reading", true);
  const held: RowBatch[] = [];
  let fits = reader.fits();
  // Where the number of rows is not known, the first tell what room the others need.
  while (fits || !reader.isSized) {
    const { value, done } = await batches.next();
    if (done) break;
    held.push(value);
    fits = reader.fits();
  }
  const { statistics } = reader;
  if (fits) {
    const isFixed = statistics.shortest === statistics.longest;
    const rows = isFixed ? matrixOf(held, statistics) : drain(held);
    return { ...result, rows, vocabSize: reader.vocabSize, isSorted: options.isSorted };
  }
  const sorter = await startSort(reader, options, io.signal);
  try {
    for await (const batch of drain(held)) sorter.append(batch);
    for await (const batch of batches) sorter.append(batch);
  } catch (error) {
    await sorter[Symbol.asyncDispose]();
    throw error;
  }
  const known = { ...statistics, vocabSize: reader.limit, isFixed: true, ...options };
  const left = options.memory - memoryForSorted(known, reader.otherBytes);
  return {
    ...result,
    rows: sorter.sorted(0.7 * left, (done, total) => progress.show("sorting", done, total)),
    vocabSize: reader.vocabSize,
    isSorted: true,
    temporaryBytes: () => sorter.temporaryBytes,
    [Symbol.asyncDispose]: () => sorter[Symbol.asyncDispose](),
  };
}

/** Batches out of an array, which lets go of them. */
async function* drain(batches: RowBatch[]): AsyncGenerator<RowBatch, void, void> {
  batches.reverse();
  for (let batch = batches.pop(); batch; batch = batches.pop()) yield await Promise.resolve(batch);
}

async function startSort(
  reader: Reader,
  { temp, memory, isNumbered, say }: GatherOptions,
  signal: AbortSignal,
): Promise<DiskSorter> {
  const vocabSize = reader.limit;
  const { rows, tokens, longest } = reader.expected();
  const length = longest ?? Math.ceil(tokens / Math.max(1, rows));
  const needed = RowKeys.wordsFor(vocabSize, length);
  const words = Math.min(MOST_WORDS, Math.max(1, needed));
  // What does not fit into the words stands there, too, as it came and sorted.
  const rests = needed > words ? 2 * 4 * RowKeys.wordsFor(vocabSize, tokens) : 0;
  const room = diskBytes(rows, words, isNumbered) + rests;
  const takes = reader.isBounded
    ? `up to ${megabytes(room)} there`
    : `${megabytes(room / Math.max(1, rows) * 1e6)} there for every million rows`;
  say(
    `The rows do not fit into ${
      megabytes(memory)
    } of memory: sorting them in ${temp} with DuckDB, which takes ${takes}`,
  );
  await requireSpace(temp, room);
  const hasRest = reader.mostTokens === undefined || needed > words;
  return await DiskSorter.create({
    folder: temp,
    memory: memory / 2,
    vocabSize,
    words,
    hasRest,
    isNumbered,
    signal,
  });
}

/** Reads the rows of all files in order, checks them, and remembers which stood where. */
class Reader {
  readonly statistics = new RowStatistics();
  /** Most tokens of a row, where known of all files before they are read. */
  readonly mostTokens: number | undefined;
  /** Tokens are certainly below it. */
  readonly limit: number;
  readonly #sources: readonly RowSource[];
  readonly #options: GatherOptions;
  readonly #progress: ProgressLine;
  /** Number of the first row of each file. */
  readonly #firsts: number[] = [];
  readonly #totalBytes: number | undefined;
  /** Lines of the rows that the builder may still find out of order. */
  #lines: { first: number; lines: ArrayLike<number> }[] = [];
  #bytes = 0;

  constructor(sources: readonly RowSource[], options: GatherOptions, progress: ProgressLine) {
    this.#sources = sources;
    this.#options = options;
    this.#progress = progress;
    this.#totalBytes = sumOf(sources, ({ byteLength }) => byteLength);
    this.limit = options.vocab ??
      Math.max(...sources.map(({ tokenLimit = MAX_VOCAB }) => Math.min(tokenLimit, MAX_VOCAB)));
    const most = sources.map(({ mostTokens }) => mostTokens);
    this.mostTokens = most.includes(undefined) ? undefined : Math.max(...most as number[]);
  }

  /** Whether it is known about how many rows there are. */
  get isSized(): boolean {
    return this.#bytes >= SAMPLE_BYTES || this.#known("rows") !== undefined;
  }

  /** Whether all of them are in files that have an end. */
  get isBounded(): boolean {
    return this.#totalBytes !== undefined;
  }

  /** Bytes held beside the rows. */
  get otherBytes(): number {
    return this.#options.otherBytes() + (this.#options.values?.byteLength ?? 0);
  }

  /** The vocabulary given, or the smallest for what has been read. */
  get vocabSize(): number {
    return this.#options.vocab ?? Math.max(2, this.statistics.largestToken + 1);
  }

  /** @param isHeld whether the rows are kept until all are there, with ids and filters. */
  async *read(stage: string, isHeld: boolean): AsyncGenerator<RowBatch, void, void> {
    const values = isHeld ? this.#options.values : undefined;
    let before = 0;
    for (const source of this.#sources) {
      const first = this.statistics.rows;
      this.#firsts.push(first);
      for await (const piece of source.read(values)) {
        const row = this.statistics.rows - first;
        const largest = checkPiece(piece, source.name, row, this.#options.vocab);
        if (!isHeld) this.#lines = [];
        if (piece.lines && this.#options.isSorted) {
          this.#lines.push({ first: this.statistics.rows, lines: piece.lines });
        }
        this.statistics.add(piece.batch, largest);
        this.#bytes = before + (piece.bytes ?? 0);
        this.#show(stage);
        yield piece.batch;
      }
      before += source.byteLength ?? 0;
    }
  }

  /** Finds the vocabulary in a pass of its own. */
  async findVocab(): Promise<number> {
    if (this.#totalBytes === undefined) throw needsVocab("a pipe");
    const reader = new Reader(this.#sources, this.#options, this.#progress);
    const batches = reader.read("finding the largest token", false);
    while (!(await batches.next()).done) { /* It counts as it reads. */ }
    return reader.vocabSize;
  }

  #show(stage: string): void {
    const { rows } = this.statistics;
    const rates = { rows, bytes: this.#bytes };
    if (this.#totalBytes === undefined) this.#progress.show(`${stage} row`, rows, undefined, rates);
    else this.#progress.show(stage, this.#bytes, this.#totalBytes, rates);
  }

  /** Rows and tokens of all files: as known before, or as what has been read lets expect. */
  expected(): { rows: number; tokens: number; longest?: number } {
    const { rows, tokens, longest } = this.statistics;
    const all = { rows: this.#known("rows"), tokens: this.#known("tokens") };
    const share = this.#totalBytes === undefined ? 1 : this.#totalBytes / Math.max(1, this.#bytes);
    const factor = rows === 0 ? 0 : Math.max(1, share);
    return {
      rows: all.rows ?? Math.ceil(rows * factor),
      tokens: all.tokens ?? Math.ceil(tokens * factor),
      longest: this.mostTokens ?? (rows > 0 ? longest : undefined),
    };
  }

  #known(what: "rows" | "tokens"): number | undefined {
    return sumOf(this.#sources, (source) => source[what]);
  }

  /** Whether the rows, all that are known of, can be sorted in memory. */
  fits(): boolean {
    const { isNumbered, memory } = this.#options;
    const { shortest, longest, largestToken } = this.statistics;
    const rows = Math.max(this.statistics.rows, this.#known("rows") ?? 0);
    const tokens = Math.max(this.statistics.tokens, this.#known("tokens") ?? 0);
    // Before the first row, codebooks of the usual size are assumed.
    const likely = this.statistics.rows === 0 ? Math.min(this.limit, 2 ** 12) : largestToken + 1;
    const vocabSize = this.#options.vocab ?? Math.max(2, likely);
    const isFixed = shortest >= longest;
    const needed = memoryFor({ rows, tokens, vocabSize, isFixed, isNumbered }, this.otherBytes);
    return needed <= memory;
  }

  /** Whether the rows can be sorted in memory, whatever they are: then none has to be held until all are there. */
  surelyFits(): boolean {
    const { vocab, isNumbered, memory } = this.#options;
    const rows = sumOf(this.#sources, ({ most }) => most?.rows);
    const tokens = sumOf(this.#sources, ({ most }) => most?.tokens);
    if (vocab === undefined || rows === undefined || tokens === undefined) return false;
    const most = { rows, tokens, vocabSize: vocab, isFixed: false, isNumbered };
    return memoryFor(most, this.otherBytes) <= memory;
  }

  about(error: unknown): unknown {
    if (!(error instanceof EspalierError) || error.file !== undefined) return error;
    if (error.row === undefined || !(error instanceof BuildInputError)) {
      return this.#sources.length === 1 ? inFile(error, this.#sources[0].name) : error;
    }
    const file = Math.max(0, this.#firsts.findLastIndex((first) => first <= error.row!));
    const { name, rowsEach = 1 } = this.#sources[file];
    const row = Math.floor((error.row - this.#firsts[file]) / rowsEach);
    const piece = this.#lines.findLast(({ first }) => first <= error.row!);
    const line = piece?.lines[error.row - piece.first];
    if (line !== undefined) return inFile(error, name, `${name}, line ${line}`, row);
    return inFile(
      error,
      name,
      row === error.row ? name : `${name}, ${placeName(row, undefined)}`,
      row,
    );
  }
}

function inFile(error: EspalierError, file: string, place = file, row = error.row): EspalierError {
  const { name: _name, code, ...facts } = error;
  const kind = error.constructor as typeof EspalierError;
  const where = row === undefined ? { file } : { file, row };
  return new kind(code, `${place}: ${error.message}`, { ...facts, ...where }, { cause: error });
}

/** A sum, if all parts are known. */
function sumOf(
  sources: readonly RowSource[],
  part: (source: RowSource) => number | undefined,
): number | undefined {
  let sum = 0;
  for (const source of sources) {
    const value = part(source);
    if (value === undefined) return undefined;
    sum += value;
  }
  return sum;
}

/** Without --vocab the size may have to be found in a first pass, which what is read only once does not allow. */
export function needsVocab(what: string): UsageError {
  return new UsageError(`Expected --vocab N, because ${what} can be read only once; found none`);
}
