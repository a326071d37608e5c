/** Tables from CSV and TSV, with the names of the columns in the first line. */
import { Readable, type Transform } from "node:stream";
import { BuildInputError } from "../errors.ts";
import { type ColumnFlags, type ColumnPlan, planColumns } from "./columns.ts";
import { excerpt } from "./jsonl.ts";
import type { OpenStream } from "./lines.ts";
import type { RowSource } from "./row_source.ts";
import { Meter } from "./table_json.ts";
import { type Part, rowsOf } from "./table_rows.ts";

// In a variable, because its types bring those of Node, which would change those of all other modules.
const CSV_PARSE = "npm:csv-parse@7.0.3";

/** The part of it that is used. */
interface CsvParse {
  parse(options: Record<string, unknown>): Transform;
  CsvError: new () => Error & { lines?: number };
}

/** Records that are handed on together. */
const PART_ROWS = 2 ** 12;
/** Longest record, in characters: without a limit another kind of file would be read to its end. */
const MAX_RECORD = 2 ** 20;

/** Opens CSV; reads nothing yet. */
export function openCsvRows(
  name: string,
  byteLength: number | undefined,
  open: OpenStream,
  delimiter: "," | "\t",
  flags: ColumnFlags,
  signal: AbortSignal,
): RowSource {
  return {
    name,
    byteLength,
    read(attached) {
      let plan: ColumnPlan;
      const parts = readParts(name, open, delimiter, signal, (names) => {
        return plan = planColumns(flags, names, name);
      });
      return rowsOf(parts, () => plan, name, attached);
    },
  };
}

interface CsvRecord {
  record: string[];
  info: { lines: number };
}

async function* readParts(
  name: string,
  open: OpenStream,
  delimiter: string,
  signal: AbortSignal,
  planFor: (names: string[]) => ColumnPlan,
): AsyncGenerator<Part, void, void> {
  const { CsvError, parse }: CsvParse = await import(CSV_PARSE);
  const meter = new Meter(open);
  const parser = parse({
    bom: true,
    delimiter,
    info: true,
    max_record_size: MAX_RECORD,
    skip_empty_lines: true,
  });
  const source = Readable.fromWeb(await meter.open() as Parameters<typeof Readable.fromWeb>[0]);
  // A silent pipe ends with the signal, too.
  const stop = () => parser.destroy(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  source.on("error", (error) => parser.destroy(error));
  try {
    signal.throwIfAborted();
    let header: string[] | undefined;
    let places: number[] = [];
    let columns: string[][] = [];
    let lines: number[] = [];
    for await (const { record, info } of source.pipe(parser) as AsyncIterable<CsvRecord>) {
      if (!header) {
        header = checkHeader(record, name);
        places = planFor(header).names.map((column) => header!.indexOf(column));
        continue;
      }
      places.forEach((place, i) => (columns[i] ??= []).push(record[place]));
      lines.push(info.lines);
      if (lines.length < PART_ROWS) continue;
      yield { rows: lines.length, columns, lines, bytes: meter.bytes };
      columns = [];
      lines = [];
    }
    if (lines.length > 0) yield { rows: lines.length, columns, lines, bytes: meter.bytes };
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof CsvError ? badCsv(error, name) : error;
  } finally {
    signal.removeEventListener("abort", stop);
    parser.destroy();
    source.destroy();
  }
}

function checkHeader(header: string[], file: string): string[] {
  const twice = header.find((name, i) => header.indexOf(name) < i);
  const areNumbers = header.every((name) => /^\s*-?\d+\s*$/.test(name));
  if (!areNumbers && twice === undefined) return header;
  const found = areNumbers
    ? `found the numbers ${excerpt(header.join(", "))}`
    : `found "${twice}" twice`;
  throw new BuildInputError(
    "no-header",
    `${file}, line 1: expected the names of the columns, ${found}; put a line of names in front`,
    { file, expected: "names of columns", actual: header },
  );
}

/** The parser's error, naming the file. */
function badCsv(cause: Error & { lines?: number }, file: string): BuildInputError {
  const place = cause.lines === undefined ? file : `${file}, line ${cause.lines}`;
  return new BuildInputError(
    "bad-csv",
    `${place}: ${cause.message}; mend the line, or check the delimiter (--format csv or tsv)`,
    { file },
    { cause },
  );
}
