/** From columns of a table to rows of tokens, ids and filters. */
import { BuildInputError } from "../../errors.ts";
import type { ValueColumns } from "./value_columns.ts";
import { badCell, cellName, type CellPlace } from "./row_errors.ts";
import { type ColumnFlags, type ColumnPlan, patternOf } from "./columns.ts";
import type { FileFacts } from "../io/files.ts";
import type { OpenStream } from "../io/text_lines.ts";
import { BatchWriter, type Piece, pushToken } from "./row_source.ts";
import { pushString, type Refusal, type Spelling } from "./encode_strings.ts";

/** A table to be read, and how. */
export interface TableFile extends FileFacts {
  /** Path, as messages show it. */
  readonly name: string;
  /** Opens it from the start. */
  readonly open: OpenStream;
  readonly columns: ColumnFlags;
  /** How strings become rows, where a column of them is named. */
  readonly spelling?: Spelling;
  readonly signal: AbortSignal;
}

/** Some rows of a table: the values of the columns that were planned, in their order. */
export interface Part {
  readonly rows: number;
  readonly columns: readonly ArrayLike<unknown>[];
  readonly lines?: ArrayLike<number>;
  readonly bytes?: number;
}

/** Rows of a batch, so that what is held and what is shown of progress stay small. */
const BATCH_ROWS = 2 ** 14;

/**
 * Makes rows of the parts of a table. A column of sequences holds lists of integers or their JSON text; where every
 * token has its column, empty cells at the end make a row shorter; a string makes a row of each of its spellings.
 *
 * @param plan is called when the first part is there, for formats that know their columns only then.
 * @throws {BuildInputError} naming file, row, column and position of what is no token, string, id or flag.
 */
export async function* rowsOf(
  parts: AsyncIterable<Part>,
  plan: () => ColumnPlan,
  { name: file, columns: flags, spelling }: TableFile,
  values: ValueColumns | undefined,
): AsyncGenerator<Piece, void, void> {
  const writer = new BatchWriter();
  let first = 0;
  for await (const part of parts) {
    const { names, kind, tokens, item, filters } = plan();
    for (let from = 0; from < part.rows; from += BATCH_ROWS) {
      const to = Math.min(part.rows, from + BATCH_ROWS);
      const lines: number[] | undefined = part.lines && [];
      for (let i = from; i < to; i++) {
        const place = (column: number): CellPlace => ({
          file,
          row: first + i,
          line: part.lines?.[i],
          column: names[column],
        });
        const before = writer.count;
        if (kind === "levels") pushLevels(part.columns, tokens, i, writer, flags, place);
        else {
          const value = part.columns[tokens[0]][i];
          if (kind === "list") pushList(value, writer, () => place(tokens[0]));
          else pushText(value, spelling!, writer, () => place(tokens[0]));
        }
        for (let row = before; row < writer.count; row++) {
          lines?.push(part.lines![i]);
          if (!values) continue;
          if (item !== undefined) values.addItem(part.columns[item][i], place(item));
          for (const [filter, column] of filters) {
            values.addFlag(filter, part.columns[column][i], place(column));
          }
        }
      }
      yield { batch: writer.take(), lines, bytes: part.bytes };
    }
    first += part.rows;
  }
}

function pushList(value: unknown, writer: BatchWriter, place: () => CellPlace): void {
  const list = typeof value === "string" ? listOf(value) : value;
  if (!Array.isArray(list) && !ArrayBuffer.isView(list)) {
    throw badCell("not-a-row", value, "a list of integers, such as [12, 7, 3]", place());
  }
  const tokens = list as ArrayLike<unknown>;
  for (let i = 0; i < tokens.length; i++) {
    const token = toToken(tokens[i]);
    if (token === undefined) throw badCell("not-a-row", tokens[i], "an integer", place(), i);
    pushToken(writer, token, place);
  }
  writer.endRow();
}

/** Strings are taken as they are, spaces included; a cell without one is an error. */
function pushText(
  value: unknown,
  spelling: Spelling,
  writer: BatchWriter,
  place: () => CellPlace,
): void {
  if (typeof value !== "string" || value === "") {
    throw badCell("not-a-string", value, "a string", place());
  }
  const refuse: Refusal = (code, found, advice, facts) => {
    const { file, row, ...cell } = place();
    return new BuildInputError(
      code,
      `${cellName({ file, row, ...cell })}: expected a string to spell, found ${found}; ${advice}`,
      { expected: "a string", actual: value.slice(0, 200), ...facts, file, row },
    );
  };
  pushString(value, spelling, writer, refuse);
}

function listOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function pushLevels(
  columns: readonly ArrayLike<unknown>[],
  levels: readonly number[],
  row: number,
  writer: BatchWriter,
  flags: ColumnFlags,
  place: (column: number) => CellPlace,
): void {
  let end = levels.length;
  while (end > 1 && isEmpty(columns[levels[end - 1]][row])) end--;
  for (let i = 0; i < end; i++) {
    const value = columns[levels[i]][row];
    const token = toToken(typeof value === "string" ? numberOf(value) : value);
    if (token === undefined) {
      const at = place(levels[i]);
      const pattern = patternOf(flags, at.column);
      const advice = pattern &&
        `mend the row, or name the columns one by one, if "${pattern}" should not take "${at.column}"`;
      throw badCell("not-a-row", value, "an integer", at, i, advice);
    }
    pushToken(writer, token, () => place(levels[i]));
  }
  writer.endRow();
}

function isEmpty(value: unknown): boolean {
  return value === null || value === undefined || value === "";
}

/** An integer; "3.0" is one, because pandas writes so where a column has empty cells. */
function numberOf(text: string): number | undefined {
  return /^\s*[+-]?\d+(?:\.0*)?\s*$/.test(text) ? Number(text) : undefined;
}

/** A value as an integer, of any size. */
function toToken(value: unknown): number | undefined {
  const token = typeof value === "bigint" ? Number(value) : value;
  return typeof token === "number" && Number.isInteger(token) ? token : undefined;
}
