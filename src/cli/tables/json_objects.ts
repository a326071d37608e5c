/** Tables from JSON lines: an array of integers per line, or an object whose fields are the columns. */
import { BuildInputError } from "../../errors.ts";
import {
  type ColumnFlags,
  type ColumnPlan,
  namesColumns,
  patternOf,
  planColumns,
} from "./columns.ts";
import { ADVICE, type LinePosition, readJsonValues, toRow } from "./json_lines.ts";
import { badRow, describe } from "./row_errors.ts";
import { Meter } from "../io/text_lines.ts";
import { BatchWriter, type Piece, pushToken, type RowSource } from "./row_source.ts";
import { type Part, rowsOf, type TableFile } from "./table_rows.ts";

/** Lines that are handed on together. */
const PART_ROWS = 2 ** 12;

/** Opens JSON lines; reads nothing yet. */
export function openJsonRows(file: TableFile): RowSource {
  const { name, byteLength, columns } = file;
  if (!namesColumns(columns)) return { name, byteLength, read: () => readArrays(file) };
  return {
    name,
    byteLength,
    read(values) {
      let plan: ColumnPlan;
      const parts = readObjects(file, (names) => plan = planColumns(columns, names, name));
      return rowsOf(parts, () => plan, file, values);
    },
  };
}

async function* readArrays(
  { name, open, columns, signal }: TableFile,
): AsyncGenerator<Piece, void, void> {
  const at = { row: -1, line: 0 };
  const meter = new Meter(open);
  const writer = new BatchWriter();
  let lines: number[] = [];
  const place = () => ({ file: name, ...at });
  for await (const value of readJsonValues(meter.open, name, at, signal)) {
    if (at.row === 0) checkArrays(value, columns, name, at);
    for (const token of toRow(value, name, at)) pushToken(writer, token, place);
    writer.endRow();
    lines.push(at.line);
    if (lines.length < PART_ROWS) continue;
    yield { batch: writer.take(), lines, bytes: meter.bytes };
    lines = [];
  }
  yield { batch: writer.take(), lines, bytes: meter.bytes };
}

/** @throws {BuildInputError} for the first line of another kind of list, saying which flag that needs. */
function checkArrays(value: unknown, columns: ColumnFlags, name: string, at: LinePosition): void {
  if (Array.isArray(value) || value === null) return;
  if (typeof value === "object") planColumns(columns, Object.keys(value), name);
  if (typeof value !== "string") return;
  const expected = "one JSON array of integers";
  const advice = "a list of strings needs --tokenizer";
  throw badRow({ file: name, ...at }, `found ${describe(value)}`, { expected, advice });
}

async function* readObjects(
  { name, open, columns: flags, signal }: TableFile,
  planFor: (names: string[]) => ColumnPlan,
): AsyncGenerator<Part, void, void> {
  const expected = "one JSON object, because columns are named";
  const at: LinePosition = { row: -1, line: 0 };
  const meter = new Meter(open);
  let plan: ColumnPlan | undefined;
  const known = new Set<string>();
  let columns: unknown[][] = [];
  let lines: number[] = [];
  for await (const value of readJsonValues(meter.open, name, at, signal, expected)) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw badRow({ file: name, ...at }, `found ${describe(value)}`, { expected, advice: ADVICE });
    }
    // Fields of the first line are the columns; others may lack some, or have more that nobody means.
    const fields = Object.keys(value);
    const late = plan &&
      fields.find((field) => !known.has(field) && patternOf(flags, field) !== undefined);
    if (late !== undefined) throw lateField(name, at, late);
    fields.forEach((field) => known.add(field));
    const { names } = plan ??= planFor(fields);
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

/** The error for a field that a pattern means, and that would be lost because the first line lacks it. */
function lateField(file: string, { row, line }: LinePosition, field: string): BuildInputError {
  return new BuildInputError(
    "late-column",
    `${file}, line ${line}: expected no other column for --columns than the first line has, found "${field}"; put null there, where rows end early`,
    { file, row, expected: "the fields of the first line", actual: field },
  );
}
