/** Tables from CSV and TSV, with the names of the columns in the first line. */
import { Readable, type Transform } from "node:stream";
import { BuildInputError } from "../../errors.ts";
import { type ColumnPlan, planColumns } from "./columns.ts";
import { excerpt, notUtf8 } from "./row_errors.ts";
import { Meter } from "../io/text_lines.ts";
import type { RowSource } from "./row_source.ts";
import { type Part, rowsOf, type TableFile } from "./table_rows.ts";

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

const LF = 10;

/** Opens CSV; reads nothing yet. */
export function openCsvRows(file: TableFile, delimiter: "," | "\t"): RowSource {
  const { name, byteLength } = file;
  return {
    name,
    byteLength,
    read(values) {
      let plan: ColumnPlan;
      const parts = readParts(file, delimiter, (names) => {
        return plan = planColumns(file.columns, names, name);
      });
      return rowsOf(parts, () => plan, file, values);
    },
  };
}

interface CsvRecord {
  record: string[];
  info: { lines: number };
}

async function* readParts(
  { name, open, signal }: TableFile,
  delimiter: string,
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
  const text = (await meter.open()).pipeThrough(checkUtf8(name));
  const source = Readable.fromWeb(text as Parameters<typeof Readable.fromWeb>[0]);
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
        header = checkHeader(record.map((cell) => cell.trim()), delimiter, name);
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

/** Passes bytes on, and refuses those that are no UTF-8, for which the parser would put U+FFFD. */
function checkUtf8(file: string): TransformStream<Uint8Array, Uint8Array> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let lines = 0;
  const check = (chunk?: Uint8Array) => {
    try {
      decoder.decode(chunk, { stream: chunk !== undefined });
    } catch {
      throw notUtf8(file, lines);
    }
  };
  return new TransformStream({
    transform(chunk, controller) {
      check(chunk);
      for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, at + 1)) lines++;
      controller.enqueue(chunk);
    },
    flush: () => check(),
  });
}

/** What else may stand between the cells, and what to do then. */
const OTHER_DELIMITERS = [
  [",", "give --format csv"],
  ["\t", "give --format tsv"],
  [";", "write it again with commas"],
];

function checkHeader(header: string[], delimiter: string, file: string): string[] {
  const twice = header.find((name, i) => header.indexOf(name) < i);
  const areNumbers = header.every((name) => /^\s*-?\d+\s*$/.test(name));
  const other = header.length > 1
    ? undefined
    : OTHER_DELIMITERS.find(([other]) => other !== delimiter && header[0].includes(other));
  const [found, wayOut] = areNumbers
    ? [`the numbers ${excerpt(header.join(", "))}`, "put a line of names in front"]
    : other
    ? [`one, ${JSON.stringify(header[0])}`, other[1]]
    : twice !== undefined
    ? [`"${twice}" twice`, "name each column once"]
    : [];
  if (found === undefined) return header;
  throw new BuildInputError(
    "no-header",
    `${file}, line 1: expected the names of the columns, found ${found}; ${wayOut}`,
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
