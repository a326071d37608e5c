/** Sorts rows that do not fit into memory: DuckDB sorts their keys, with files in a folder of its own. */
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { LimitError, StorageError } from "../../errors.ts";
import type { RowBatch } from "../../build/row_cursor.ts";
import { createLocked, LOCK_NAME, removeAbandonedFolders } from "../io/stale_files.ts";
import {
  CHUNK_ROWS,
  type DuckAppender,
  type DuckChunk,
  type DuckConnection,
  type DuckInstance,
  loadDuckDB,
} from "./duckdb.ts";
import { megabytes } from "../io/format.ts";
import { RowKeys } from "./sort_keys.ts";
import { BatchWriter } from "./row_source.ts";

/** How to sort. */
export interface DiskSortOptions {
  /** Folder for temporary files; they go into one of their own there. */
  readonly folder: string;
  /** Bytes that DuckDB may take. */
  readonly memory: number;
  /** Tokens are below it. */
  readonly vocabSize: number;
  /** Words of a key. */
  readonly words: number;
  /** Whether some keys may be longer; those cost more. */
  readonly hasRest: boolean;
  /** Whether to remember which row is which. */
  readonly isNumbered: boolean;
  readonly signal: AbortSignal;
}

/** Least memory with which DuckDB sorts words, and bytes of any length. */
const LEAST_MEMORY = { words: 48e6, rests: 160e6 };
/** What one thread wants for itself. */
const MEMORY_PER_THREAD = 64e6;

const PREFIX = ".espalier-sort-";

/** Removes from a folder what sorts have left that were killed: their own files, and no others. */
export async function removeAbandonedSorts(folder: string): Promise<void> {
  await removeAbandonedFolders(folder, new RegExp(`^\\${PREFIX}`), /^duckdb_temp_/);
}

/** Bytes of temporary files for so many rows: they stand there twice, as they came and as sorted runs. */
export function diskBytes(rows: number, words: number, isNumbered: boolean): number {
  return 2 * rows * (4 * words + (isNumbered ? 4 : 0) + 4);
}

/**
 * Makes sure that a folder has room.
 *
 * @param free bytes; by default asks the system, and trusts in luck where that may not be asked.
 * @throws {StorageError} if it has not.
 */
export async function requireSpace(folder: string, needed: number, free?: number): Promise<void> {
  const room = free ??
    await statfs(folder).then((facts) => facts.bavail * facts.bsize, () => Infinity);
  if (room >= needed) return;
  throw new StorageError(
    "no-space",
    `Cannot sort in "${folder}": it has ${megabytes(room)} left, expected ${
      megabytes(needed)
    } for temporary files; make room, or name another folder with --temp`,
    { file: folder, expected: Math.ceil(needed), actual: room },
  );
}

/** What DuckDB holds while it sorts. */
interface Database {
  folder: string;
  lock: Deno.FsFile;
  instance: DuckInstance;
  connection: DuckConnection;
  appender: DuckAppender;
  chunk: DuckChunk;
}

/** Takes rows, then gives them back in order. Disposing of it removes its files. */
export class DiskSorter implements AsyncDisposable {
  /** Rows taken. */
  count = 0;
  /** Most bytes of temporary files that were seen. */
  temporaryBytes = 0;
  #database: Database | undefined;
  #options: DiskSortOptions;
  #keys: RowKeys;
  /** Words and numbers of the rows that wait to be appended. */
  #columns: Uint32Array[];
  #rests: (Uint8Array | undefined)[] = [];
  #waiting = 0;
  #interrupt = () => this.#database?.connection.interrupt();

  private constructor(database: Database, options: DiskSortOptions) {
    this.#database = database;
    this.#options = options;
    this.#keys = new RowKeys(options.vocabSize, options.words);
    const count = options.words + Number(options.isNumbered);
    this.#columns = Array.from({ length: count }, () => new Uint32Array(CHUNK_ROWS));
    options.signal.addEventListener("abort", this.#interrupt);
  }

  /**
   * Starts a sort.
   *
   * @throws {LimitError} if DuckDB cannot be loaded.
   * @throws {StorageError} if the folder cannot be written.
   */
  static async create(options: DiskSortOptions): Promise<DiskSorter> {
    const duckdb = await loadDuckDB();
    options.signal.throwIfAborted();
    const parent = options.folder;
    const folder = await Deno.makeTempDir({ dir: parent, prefix: PREFIX })
      .catch((cause) => {
        const what = "it is no folder that can be written; name one with --temp";
        const message = `Cannot sort in "${parent}": ${what}`;
        throw new StorageError("cannot-write", message, { file: parent }, { cause });
      });
    let lock: Deno.FsFile | undefined;
    let instance: DuckInstance | undefined;
    try {
      lock = await createLocked(join(folder, LOCK_NAME));
      instance = await duckdb.DuckDBInstance.create(":memory:", {
        memory_limit: limitOf(options.memory, options.hasRest),
        temp_directory: folder,
        threads: String(threadsFor(options.memory)),
        preserve_insertion_order: "false",
        autoinstall_known_extensions: "false",
        autoload_known_extensions: "false",
      });
      const connection = await instance.connect();
      const columns = columnsOf(options);
      const definitions = columns.map(([name, type]) => `${name} ${type}`).join(", ");
      await connection.run(`create table keys (${definitions})`);
      await connection.run("set enable_progress_bar = true");
      await connection.run("set enable_progress_bar_print = false");
      const appender = await connection.createAppender("keys");
      const chunk = duckdb.DuckDBDataChunk.create(columns.map(([, type]) => duckdb[type]));
      return new DiskSorter({ folder, lock, instance, connection, appender, chunk }, options);
    } catch (error) {
      instance?.closeSync();
      lock?.close();
      await Deno.remove(folder, { recursive: true });
      throw error;
    }
  }

  /** Appends rows, whose tokens have been checked. */
  append({ data, ends }: RowBatch): void {
    this.#options.signal.throwIfAborted();
    const { words, isNumbered } = this.#options;
    let start = 0;
    for (const end of ends) {
      const i = this.#waiting++;
      this.#rests[i] = this.#keys.pack(data, start, end, this.#columns, i);
      if (isNumbered) this.#columns[words][i] = this.count;
      this.count++;
      start = end;
      if (this.#waiting === CHUNK_ROWS) this.#flush();
    }
  }

  #flush(): void {
    const { chunk, appender } = this.#opened();
    const count = this.#waiting;
    this.#waiting = 0;
    try {
      chunk.reset();
      chunk.rowCount = count;
      this.#columns.forEach((values, column) => {
        const vector = chunk.getColumnVector(column);
        vector.items.set(values.subarray(0, count));
        vector.flush();
      });
      if (this.#options.hasRest) {
        const vector = chunk.getColumnVector(this.#columns.length);
        for (let i = 0; i < count; i++) {
          const bytes = this.#rests[i];
          vector.setItem(i, bytes ? { bytes } : null);
        }
        vector.flush();
      }
      appender.appendDataChunk(chunk);
    } catch (error) {
      throw this.#explained(error);
    }
  }

  /**
   * Sorts, and gives the rows in ascending order, with their numbers if they are to be remembered.
   *
   * @param memory bytes that DuckDB may take from here on.
   * @param onProgress is told rows of all while it sorts, before the first comes.
   */
  async *sorted(
    memory: number,
    onProgress: (done: number, total: number) => void,
  ): AsyncGenerator<RowBatch, void, void> {
    if (this.#waiting > 0) this.#flush();
    const { connection, appender } = this.#opened();
    const { words, isNumbered, hasRest } = this.#options;
    const writer = new BatchWriter();
    const push = (token: number) => writer.push(token);
    const timer = setInterval(() => {
      onProgress(Math.max(0, connection.progress.percentage) / 100 * this.count, this.count);
    }, 100);
    try {
      appender.closeSync();
      await connection.run(`set threads = ${threadsFor(memory)}`);
      await connection.run(`set memory_limit = '${limitOf(memory, this.#options.hasRest)}'`);
      const names = columnsOf(this.#options).map(([name]) => name);
      // A number ends the order, so that rows of one sequence stay in theirs.
      const order = names.filter((name) => name !== "number").map((name) => `${name} nulls first`);
      if (isNumbered) order.push("number");
      const result = await connection.stream(`select * from keys order by ${order.join(", ")}`);
      for (let rows = 0; rows < this.count;) {
        const chunk = await result.fetchChunk();
        this.#options.signal.throwIfAborted();
        if (!chunk || chunk.rowCount === 0) throw new Error(`The sort lost rows behind ${rows}`);
        if (rows === 0) {
          clearInterval(timer);
          this.temporaryBytes = await bytesIn(this.#opened().folder);
        }
        const count = chunk.rowCount;
        const columns = this.#columns.map((_, column) => chunk.getColumnVector(column).items);
        const rests = hasRest ? chunk.getColumnVector(columns.length) : undefined;
        for (let i = 0; i < count; i++) {
          this.#keys.unpack(columns, i, rests?.getItemBytes(i), push);
          writer.endRow();
        }
        rows += count;
        yield { ...writer.take(), numbers: isNumbered ? columns[words].slice() : undefined };
      }
    } catch (error) {
      throw this.#explained(error);
    } finally {
      clearInterval(timer);
    }
    await this[Symbol.asyncDispose]();
  }

  #opened(): Database {
    if (!this.#database) throw new Error("The sort has ended");
    return this.#database;
  }

  /** Turns what DuckDB says into what can be done about it. */
  #explained(error: unknown): unknown {
    const { signal, folder, memory } = this.#options;
    if (signal.aborted) return signal.reason;
    const message = error instanceof Error ? error.message : String(error);
    if (/max_temp_directory_size|No space left/i.test(message)) {
      const what = "there is no more room; make some, or name another folder with --temp";
      const text = `Cannot sort in "${folder}": ${what}`;
      return new StorageError("no-space", text, { file: folder }, { cause: error });
    }
    if (!/out of memory/i.test(message)) return error;
    const text = `Cannot sort on disk with ${megabytes(memory)} of memory; raise --memory`;
    return new LimitError("out-of-memory", text, { actual: memory }, { cause: error });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const database = this.#database;
    if (!database) return;
    this.#database = undefined;
    this.#options.signal.removeEventListener("abort", this.#interrupt);
    database.connection.closeSync();
    database.instance.closeSync();
    database.lock.close();
    await Deno.remove(database.folder, { recursive: true }).catch(() => {});
  }
}

/** Columns of the table: words of the key, the row's number, the rest of the key. */
function columnsOf({ words, isNumbered, hasRest }: DiskSortOptions) {
  const columns: [name: string, type: "UINTEGER" | "BLOB"][] = [];
  for (let word = 0; word < words; word++) columns.push([`word${word}`, "UINTEGER"]);
  if (isNumbered) columns.push(["number", "UINTEGER"]);
  if (hasRest) columns.push(["rest", "BLOB"]);
  return columns;
}

function limitOf(memory: number, hasRest: boolean): string {
  const least = hasRest ? LEAST_MEMORY.rests : LEAST_MEMORY.words;
  return `${Math.floor(Math.max(least, memory) / 1e6)}MB`;
}

function threadsFor(memory: number): number {
  const affordable = Math.floor(memory / MEMORY_PER_THREAD);
  return Math.max(1, Math.min(navigator.hardwareConcurrency, affordable));
}

async function bytesIn(folder: string): Promise<number> {
  let sum = 0;
  for await (const { name } of Deno.readDir(folder)) {
    sum += await Deno.stat(`${folder}/${name}`).then(({ size }) => size, () => 0);
  }
  return sum;
}
