/** Tables from Parquet files, read row group by row group. */
import { BuildInputError, EspalierError } from "../../errors.ts";
import { planColumns } from "./columns.ts";
import { openFile, type ReadFile, readFully } from "../io/files.ts";
import type { RowSource } from "./row_source.ts";
import { type Part, rowsOf, type TableFile } from "./table_rows.ts";
import { spellingCount } from "./variants.ts";

type Hyparquet = typeof import("npm:hyparquet@1.31.5");
type Metadata = Awaited<ReturnType<Hyparquet["parquetMetadataAsync"]>>;

/**
 * Opens a Parquet file; reads its metadata.
 *
 * @throws {BuildInputError} if it is none, or lacks a column.
 */
export async function openParquetRows(file: TableFile): Promise<RowSource> {
  const { name, byteLength, kind = "another file", spelling, signal } = file;
  if (byteLength === undefined || kind !== "a Parquet file") {
    const actual = byteLength === undefined ? "a pipe" : kind;
    throw new BuildInputError(
      "not-parquet",
      `${name}: expected a Parquet file, found ${actual}; write it again, or say what it is with --format`,
      { file: name, expected: "PAR1", actual },
    );
  }
  // deno-lint-ignore no-import-prefix -- run-time code may be imported by URL, without an import map
  const parquet = await import("npm:hyparquet@1.31.5");
  using opened = await openFile(name);
  const metadata = await parquet.parquetMetadataAsync(bufferOf(opened, byteLength, signal))
    .catch((cause) => {
      throw unreadable(name, cause, signal);
    });
  const columns = parquet.parquetSchema(metadata).children.map((child) => child.element.name);
  const plan = planColumns(file.columns, columns, name);
  const used = new Set(plan.tokens.map((place) => plan.names[place]));
  const values = chunksOf(metadata, used).reduce((sum, chunk) => sum + Number(chunk.num_values), 0);
  const rowsEach = spelling ? spellingCount(spelling.variants) : 1;
  return {
    name,
    rows: Number(metadata.num_rows) * rowsEach,
    rowsEach,
    tokens: spelling ? undefined : values,
    mostTokens: plan.kind === "levels" ? plan.tokens.length : undefined,
    byteLength,
    read: (values) => {
      const parts = readParts(parquet, name, byteLength, metadata, plan.names, signal);
      return rowsOf(parts, () => plan, file, values);
    },
  };
}

async function* readParts(
  parquet: Hyparquet,
  name: string,
  byteLength: number,
  metadata: Metadata,
  names: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<Part, void, void> {
  // deno-lint-ignore no-import-prefix -- run-time code may be imported by URL, without an import map
  const { compressors } = await import("npm:hyparquet-compressors@1.1.2");
  using opened = await openFile(name);
  const file = bufferOf(opened, byteLength, signal);
  const parsers = { stringFromBytes };
  const options = { file, metadata, columns: [...names], compressors, parsers };
  const scan = await parquet.parquetScan(options);
  let bytes = 0;
  for (const [group, range] of scan.ranges.entries()) {
    const columns: ArrayLike<unknown>[] = [];
    for (const column of names) {
      signal.throwIfAborted();
      try {
        columns.push(await scan.readColumn({ column, ...range }));
      } catch (cause) {
        throw unreadable(name, cause, signal, column);
      }
    }
    bytes += Number(metadata.row_groups[group]?.total_compressed_size ?? 0);
    const rows = range.rowEnd - range.rowStart;
    const short = columns.findIndex((values) => values.length !== rows);
    if (short >= 0) {
      const found = `${columns[short].length} values for ${rows} rows`;
      throw unreadable(name, new Error(found), signal, names[short]);
    }
    yield { rows, columns, bytes: Math.min(bytes, byteLength) };
  }
}

// Byte order marks are part of the text.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** That of the library puts U+FFFD in the place of what is no UTF-8. */
function stringFromBytes(bytes: Uint8Array | undefined): string | undefined {
  try {
    return bytes && decoder.decode(bytes);
  } catch {
    throw new Error("a string that is no UTF-8");
  }
}

function chunksOf({ row_groups }: Metadata, columns: ReadonlySet<string>) {
  return row_groups.flatMap((group) => group.columns.map((column) => column.meta_data))
    .filter((chunk) => chunk !== undefined)
    .filter((chunk) => columns.has(chunk.path_in_schema[0]));
}

/** The file as the library reads it: ranges, one after the other, because a file has one position. */
function bufferOf(file: ReadFile, byteLength: number, signal: AbortSignal) {
  let last: Promise<unknown> = Promise.resolve();
  const read = async (start: number, end: number) => {
    const bytes = new Uint8Array(end - start);
    await file.seek(start, Deno.SeekMode.Start);
    const count = await readFully(file, bytes, signal);
    if (count < bytes.length) throw new Error(`expected ${bytes.length} bytes, found ${count}`);
    return bytes.buffer;
  };
  return {
    byteLength,
    slice(start: number, end = byteLength): Promise<ArrayBuffer> {
      const from = start < 0 ? byteLength + start : start;
      const result = last.then(() => read(from, Math.min(end, byteLength)));
      last = result.catch(() => {});
      return result;
    },
  };
}

function unreadable(file: string, cause: unknown, signal: AbortSignal, column?: string): unknown {
  if (signal.aborted) return signal.reason;
  if (cause instanceof EspalierError) return cause;
  const where = column === undefined ? file : `${file}, column "${column}"`;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new BuildInputError(
    "bad-parquet",
    `${where}: expected a Parquet file that can be read, found: ${reason}; write it again`,
    { file },
    { cause },
  );
}
