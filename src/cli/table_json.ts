/** Tables from JSON lines: an array of integers per line, or an object whose fields are the columns. */
import { type ColumnFlags, type ColumnPlan, namesColumns, planColumns } from "./columns.ts";
import { badRow, describe, type LinePosition, readJsonValues, toRow } from "./jsonl.ts";
import type { OpenStream } from "./lines.ts";
import { BatchWriter, type Piece, pushToken, type RowSource } from "./row_source.ts";
import { type Part, rowsOf } from "./table_rows.ts";

/** Lines that are handed on together. */
const PART_ROWS = 2 ** 12;

/** Opens JSON lines; reads nothing yet. */
export function openJsonRows(
  name: string,
  byteLength: number | undefined,
  open: OpenStream,
  flags: ColumnFlags,
  signal: AbortSignal,
): RowSource {
  if (!namesColumns(flags)) {
    return { name, byteLength, read: () => readArrays(name, open, signal) };
  }
  return {
    name,
    byteLength,
    read(attached) {
      let plan: ColumnPlan;
      const parts = readObjects(
        name,
        open,
        signal,
        (names) => plan = planColumns(flags, names, name),
      );
      return rowsOf(parts, () => plan, name, attached);
    },
  };
}

async function* readArrays(
  name: string,
  open: OpenStream,
  signal: AbortSignal,
): AsyncGenerator<Piece, void, void> {
  const at = { row: -1, line: 0 };
  const meter = new Meter(open);
  const writer = new BatchWriter();
  let lines: number[] = [];
  const place = () => ({ file: name, ...at });
  for await (const value of readJsonValues(meter.open, name, at, signal)) {
    for (const token of toRow(value, name, at)) pushToken(writer, token, place);
    writer.endRow();
    lines.push(at.line);
    if (lines.length < PART_ROWS) continue;
    yield { batch: writer.take(), lines, bytes: meter.bytes };
    lines = [];
  }
  yield { batch: writer.take(), lines, bytes: meter.bytes };
}

async function* readObjects(
  name: string,
  open: OpenStream,
  signal: AbortSignal,
  planFor: (names: string[]) => ColumnPlan,
): AsyncGenerator<Part, void, void> {
  const expected = "one JSON object, because columns are named";
  const at: LinePosition = { row: -1, line: 0 };
  const meter = new Meter(open);
  let plan: ColumnPlan | undefined;
  let columns: unknown[][] = [];
  let lines: number[] = [];
  for await (const value of readJsonValues(meter.open, name, at, signal, expected)) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw badRow(name, at, `found ${describe(value)}`, { expected }, expected);
    }
    // Fields of the first line are the columns; others may lack some, or have more.
    const { names } = plan ??= planFor(Object.keys(value));
    names.forEach((field, i) =>
      (columns[i] ??= []).push((value as Record<string, unknown>)[field])
    );
    lines.push(at.line);
    if (lines.length < PART_ROWS) continue;
    yield { rows: lines.length, columns, lines, bytes: meter.bytes };
    columns = [];
    lines = [];
  }
  if (lines.length > 0) yield { rows: lines.length, columns, lines, bytes: meter.bytes };
}

/** Counts the bytes of a stream as they are read. */
export class Meter {
  bytes = 0;
  readonly open: OpenStream;

  constructor(open: OpenStream) {
    this.open = async () =>
      (await open()).pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          transform: (chunk, controller) => {
            this.bytes += chunk.length;
            controller.enqueue(chunk);
          },
        }),
      );
  }
}
