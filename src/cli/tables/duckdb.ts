/** The part of DuckDB that sorts, loaded when it is needed and not before. */
import { LimitError } from "../../errors.ts";

// In a variable, so that who never sorts on disk neither downloads nor locks it.
const DUCKDB = "npm:@duckdb/node-api@1.5.5-r.5";

/** A column of a chunk; what is written takes effect with `flush`. */
export interface DuckVector {
  /** Of a column of integers. */
  readonly items: Uint32Array;
  /** Of a column of bytes. */
  setItem(i: number, value: { bytes: Uint8Array } | null): void;
  getItemBytes(i: number): Uint8Array | null;
  flush(): void;
}

/** Up to 2048 rows. */
export interface DuckChunk {
  rowCount: number;
  reset(): void;
  getColumnVector(column: number): DuckVector;
}

/** Takes chunks into a table. */
export interface DuckAppender {
  appendDataChunk(chunk: DuckChunk): void;
  flushSync(): void;
  closeSync(): void;
}

/** A connection. */
export interface DuckConnection {
  readonly progress: { percentage: number };
  run(sql: string): Promise<{ getRows(): Promise<unknown[][]> }>;
  stream(sql: string): Promise<{ fetchChunk(): Promise<DuckChunk | null> }>;
  createAppender(table: string): Promise<DuckAppender>;
  interrupt(): void;
  closeSync(): void;
}

/** A database. */
export interface DuckInstance {
  connect(): Promise<DuckConnection>;
  closeSync(): void;
}

/** The package. */
export interface DuckDB {
  readonly UINTEGER: unknown;
  readonly BLOB: unknown;
  readonly DuckDBInstance: {
    create(path: string, config: Record<string, string>): Promise<DuckInstance>;
  };
  readonly DuckDBDataChunk: { create(types: readonly unknown[]): DuckChunk };
}

/** Rows of a chunk. */
export const CHUNK_ROWS = 2048;

/**
 * Loads DuckDB: at first use from the registry, 60 MB.
 *
 * @throws {LimitError} if it cannot be loaded, with what to do instead.
 */
export async function loadDuckDB(): Promise<DuckDB> {
  try {
    return await import(DUCKDB);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new LimitError(
      "needs-duckdb",
      `Cannot sort on disk: ${DUCKDB} cannot be loaded: ${reason}; allow it (deno run --allow-ffi), raise --memory, or sort the rows elsewhere and give --sorted`,
      { expected: DUCKDB, actual: reason },
      { cause },
    );
  }
}
