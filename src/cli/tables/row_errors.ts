/** Errors about a row, a cell or a token, each with its place: file, row, line, column. */
import { BuildInputError, type ErrorFacts } from "../../errors.ts";
import { MAX_LENGTH, MAX_VOCAB } from "../../index/format/layout.ts";
import { safeJson } from "../io/json.ts";

/** A value as messages tell it. */
export function describe(value: unknown): string {
  if (value === null || typeof value === "number" || typeof value === "boolean") {
    return String(value);
  }
  if (typeof value === "string") return `the string ${excerpt(JSON.stringify(value))}`;
  return `${Array.isArray(value) ? "an array" : "an object"}, ${excerpt(safeJson(value))}`;
}

/** The start of a line, for messages. */
export function excerpt(text: string): string {
  const characters = text.trim();
  return characters.length > 40 ? `${characters.slice(0, 39)}…` : characters;
}

/** The error for a file of which so many lines were UTF-8, and those behind them are not. */
export function notUtf8(file: string, lines: number): BuildInputError {
  return new BuildInputError(
    "not-utf-8",
    `${file}: expected UTF-8, found other bytes behind line ${lines}; convert the file`,
    { file, expected: "UTF-8" },
  );
}

/** Where a row stands, for messages. */
export interface RowPlace {
  readonly file: string;
  /** From 0. */
  readonly row: number;
  /** From 1, where there are lines. */
  readonly line?: number;
}

/** The error for a row that is no sequence of tokens. */
export function badRow(
  { file, row, line }: RowPlace,
  found: string,
  {
    code = "not-a-row",
    expected = `a sequence of 1 to ${MAX_LENGTH} tokens`,
    advice = "mend the row",
    facts = {},
    cause,
  }: { code?: string; expected?: string; advice?: string; facts?: ErrorFacts; cause?: unknown } =
    {},
): BuildInputError {
  return new BuildInputError(
    code,
    `${file}, ${placeName(row, line)}: expected ${expected}, ${found}; ${advice}`,
    { expected, ...facts, file, row },
    { cause },
  );
}

/** A row as messages name it: by its line where there are lines, which editors count from 1. */
export function placeName(row: number, line: number | undefined): string {
  return line === undefined ? `row ${row} (counted from 0)` : `line ${line}`;
}

export function badToken(
  place: RowPlace,
  column: number,
  token: number,
  limit: number,
): BuildInputError {
  const advice = token < limit
    ? "mend the row, or leave padding out"
    : limit < MAX_VOCAB
    ? "mend the row or raise --vocab"
    : "mend the row";
  return badRow(place, `found ${token} at position ${column}`, {
    code: "token-out-of-range",
    expected: `tokens from 0 to ${limit - 1}`,
    advice,
    facts: { column, expected: limit, actual: token, token },
  });
}

/** Where a value stands, for messages. */
export interface CellPlace extends RowPlace {
  readonly column: string;
}

/** The error for a value that a column may not hold. */
export function badCell(
  code: string,
  value: unknown,
  expected: string,
  place: CellPlace,
  position?: number,
  advice = "mend the row",
): BuildInputError {
  const { file, row } = place;
  const at = position === undefined ? "" : ` at position ${position}`;
  const facts = position === undefined ? { row } : { row, column: position };
  return new BuildInputError(
    code,
    `${cellName(place)}: expected ${expected}, found ${shown(value)}${at}; ${advice}`,
    { ...facts, file, expected, actual: plain(value) },
  );
}

/** A cell as messages name it. */
export function cellName({ file, row, line, column }: CellPlace): string {
  return `${file}, ${placeName(row, line)}, column "${column}"`;
}

function shown(value: unknown): string {
  if (value === null || value === undefined || value === "") return "nothing";
  if (typeof value === "string") return `the string ${excerpt(JSON.stringify(value))}`;
  if (typeof value === "object") {
    const isList = Array.isArray(value) || ArrayBuffer.isView(value);
    return `${isList ? "a list" : "an object"}, ${excerpt(safeJson(value, "strings"))}`;
  }
  return String(value);
}

/** A value as JSON has it: integers of 64 bits as strings. */
function plain(value: unknown): unknown {
  return JSON.parse(safeJson(value, "strings"));
}
