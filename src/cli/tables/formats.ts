/** The formats that `build` reads: which a file has, and who reads it. */
import { BuildInputError } from "../../errors.ts";
import { type ColumnFlags, namesColumns } from "./columns.ts";
import { lookAt, openFile } from "../io/files.ts";
import { UsageError } from "../errors.ts";
import type { Io } from "../io/terminal.ts";
import type { RowSource } from "./row_source.ts";
import { openCsvRows } from "./csv.ts";
import { openJsonRows } from "./json_objects.ts";
import { openNpyRows } from "./npy_rows.ts";
import { openParquetRows } from "./parquet.ts";
import type { TableFile } from "./table_rows.ts";
import type { Spelling } from "./encode_strings.ts";

interface Format {
  readonly names: RegExp;
  /** What the first bytes say; undefined for text, of which they say nothing. */
  readonly kind?: string;
  /** Whether it can be read from standard input. */
  readonly isStream: boolean;
  open(file: TableFile): RowSource | Promise<RowSource>;
}

const FORMATS = {
  npy: {
    names: /\.npy$/i,
    kind: "a NumPy array (.npy)",
    isStream: false,
    open: (file) => {
      if (namesColumns(file.columns)) {
        throw new UsageError(`Expected a table with columns, found the matrix ${file.name}`);
      }
      return openNpyRows(file.name, file, file.signal);
    },
  },
  parquet: {
    names: /\.(parquet|pq)$/i,
    kind: "a Parquet file",
    isStream: false,
    open: openParquetRows,
  },
  jsonl: {
    names: /\.(jsonl|ndjson)$/i,
    isStream: true,
    open: openJsonRows,
  },
  csv: {
    names: /\.csv$/i,
    isStream: true,
    open: (file) => openCsvRows(file, ","),
  },
  tsv: {
    names: /\.(tsv|tab)$/i,
    isStream: true,
    open: (file) => openCsvRows(file, "\t"),
  },
} as const satisfies Record<string, Format>;

/** Names of formats, as `--format` takes them. */
export type FormatName = keyof typeof FORMATS;

/** All formats. */
export const FORMAT_NAMES = Object.keys(FORMATS) as FormatName[];

/** Whether this names a format. */
export function isFormatName(name: string): name is FormatName {
  return Object.hasOwn(FORMATS, name);
}

/** Whether a format can be read from standard input. */
export function isStreamFormat(name: FormatName): boolean {
  return FORMATS[name].isStream;
}

/**
 * Opens a file for reading its rows; reads what stands in front of them, at most.
 *
 * @param input path, or `-` for standard input, which is JSON lines if nothing else is said.
 * @param format undefined to go by the name.
 * @param spelling for a column of strings.
 * @throws {BuildInputError} if it is of another kind, or lacks a column.
 * @throws {StorageError} if it cannot be read.
 */
export async function openRows(
  input: string,
  format: FormatName | undefined,
  columns: ColumnFlags,
  spelling: Spelling | undefined,
  { signal, stdin }: Io,
): Promise<RowSource> {
  const how = { name: input, columns, spelling, signal };
  if (input === "-") return await FORMATS[format ?? "jsonl"].open({ ...how, open: stdin });
  const facts = await lookAt(input);
  const found = FORMATS[formatOf(input, format, facts.kind)];
  const open = async () => (await openFile(input)).readable;
  return await found.open({ ...facts, ...how, open });
}

/** Goes by the flag, then by the name; in both cases the first bytes must not say otherwise. */
function formatOf(
  input: string,
  format: FormatName | undefined,
  kind: string | undefined,
): FormatName {
  const found = format ?? FORMAT_NAMES.find((name) => FORMATS[name].names.test(input));
  const wanted: Format | undefined = found && FORMATS[found];
  // The readers of binary files say themselves what they found instead.
  if (found && (wanted?.kind || kind === undefined || kind === "JSON")) return found;
  const other = FORMAT_NAMES.find((name) => (FORMATS[name] as Format).kind === kind);
  const wayOut = kind === "a gzip file"
    ? `unpack it: gzip -dc "${input}" | deno task cli build - --vocab N …`
    : kind !== undefined && other
    ? `name it *.${other} or give --format ${other}`
    : kind === undefined
    ? "give --format if it is one of these; a list of strings needs --tokenizer"
    : "convert it to one of these";
  const names = FORMAT_NAMES.map((name) => `.${name}`).join(", ");
  throw new BuildInputError(
    "wrong-file-type",
    `${input}: expected ${names}, found ${kind ?? "another kind"}; ${wayOut}`,
    { file: input, expected: names, actual: kind },
  );
}
