/** From columns of a table to rows of tokens, ids and filters. */
import { type Attached, badCell, type CellPlace } from "./attached_columns.ts";
import type { ColumnPlan } from "./columns.ts";
import { BatchWriter, type Piece, pushToken } from "./row_source.ts";

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
 * token has its column, empty cells at the end make a row shorter.
 *
 * @param plan is called when the first part is there, for formats that know their columns only then.
 * @throws {BuildInputError} naming file, row, column and position of what is no token, id or flag.
 */
export async function* rowsOf(
  parts: AsyncIterable<Part>,
  plan: () => ColumnPlan,
  file: string,
  attached: Attached | undefined,
): AsyncGenerator<Piece, void, void> {
  const writer = new BatchWriter();
  let first = 0;
  for await (const part of parts) {
    const { names, tokens, isList, item, filters } = plan();
    for (let from = 0; from < part.rows; from += BATCH_ROWS) {
      const to = Math.min(part.rows, from + BATCH_ROWS);
      for (let i = from; i < to; i++) {
        const place = (column: number): CellPlace => ({
          file,
          row: first + i,
          line: part.lines?.[i],
          column: names[column],
        });
        if (isList) pushList(part.columns[tokens[0]][i], writer, () => place(tokens[0]));
        else pushLevels(part.columns, tokens, i, writer, place);
        writer.endRow();
        if (!attached) continue;
        if (item !== undefined) attached.addItem(part.columns[item][i], place(item));
        for (const [filter, column] of filters) {
          attached.addFlag(filter, part.columns[column][i], place(column));
        }
      }
      const lines = part.lines && Array.prototype.slice.call(part.lines, from, to);
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
  place: (column: number) => CellPlace,
): void {
  let end = levels.length;
  while (end > 1 && isEmpty(columns[levels[end - 1]][row])) end--;
  for (let i = 0; i < end; i++) {
    const value = columns[levels[i]][row];
    const token = toToken(typeof value === "string" ? numberOf(value) : value);
    if (token === undefined) throw badCell("not-a-row", value, "an integer", place(levels[i]), i);
    pushToken(writer, token, () => place(levels[i]));
  }
}

function isEmpty(value: unknown): boolean {
  return value === null || value === undefined || value === "";
}

function numberOf(text: string): number | undefined {
  return /^\s*[+-]?\d+\s*$/.test(text) ? Number(text) : undefined;
}

/** A value as an integer, of any size. */
function toToken(value: unknown): number | undefined {
  const token = typeof value === "bigint" ? Number(value) : value;
  return typeof token === "number" && Number.isInteger(token) ? token : undefined;
}
