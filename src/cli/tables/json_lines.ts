/** Sequences from JSON lines: one array of integers per line, read as they come. */
import type { ErrorFacts } from "../../errors.ts";
import { type OpenStream, readLineBatches } from "../io/text_lines.ts";

import { badRow, describe, excerpt } from "./row_errors.ts";

const ROW = "one JSON array of integers, such as [12, 7, 3]";
/** What to do about a line that is something else. */
export const ADVICE = "mend the line or convert the file";

/** Where a reader is. */
export interface LinePosition {
  /** Row at hand, from 0: blank lines do not count. */
  row: number;
  /** Line at hand, from 1: all count. */
  line: number;
}

/**
 * Reads rows of tokens, one per line; blank lines are skipped. Memory: one chunk and one line. Integers are only
 * checked to be such, not to be tokens.
 *
 * @param open is called when the first row is asked for, so that nothing stays open where none is.
 * @param name of the file, for messages.
 * @param at is kept up to date: it tells the place of the row that was yielded last.
 * @throws {BuildInputError} naming file, row and position, for lines that are no array of integers.
 * @throws the reason of the signal, once it is aborted, even while it waits for input.
 */
export async function* readJsonLines(
  open: OpenStream,
  name: string,
  at: LinePosition = { row: -1, line: 0 },
  signal?: AbortSignal,
): AsyncGenerator<number[], void, void> {
  for await (const value of readJsonValues(open, name, at, signal)) yield toRow(value, name, at);
}

/**
 * Reads values of any kind, one per line; otherwise as {@linkcode readJsonLines}.
 *
 * @param expected is what messages ask for.
 */
export async function* readJsonValues(
  open: OpenStream,
  name: string,
  at: LinePosition = { row: -1, line: 0 },
  signal?: AbortSignal,
  expected = ROW,
): AsyncGenerator<unknown, void, void> {
  for await (const { first, lines } of readLineBatches(open, name, signal)) {
    for (const [i, line] of lines.entries()) {
      at.line = first + i;
      if (line.trim() === "") continue;
      at.row++;
      yield parse(line, name, at, expected);
    }
  }
}

function parse(line: string, name: string, at: LinePosition, expected: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    const column = positionOf(line);
    const shown = column === undefined ? "" : ` at position ${column}`;
    const found = `found ${excerpt(line)}, which is no JSON${shown}`;
    const facts = column === undefined ? {} : { column };
    throw badRow({ file: name, ...at }, found, { expected, advice: ADVICE, facts, cause });
  }
}

/** Makes sure that a value is an array of integers. */
export function toRow(row: unknown, name: string, at: LinePosition): number[] {
  const refuse = (found: string, facts: ErrorFacts) =>
    badRow({ file: name, ...at }, found, { expected: ROW, advice: ADVICE, facts });
  if (!Array.isArray(row)) throw refuse(`found ${describe(row)}`, {});
  const column = row.findIndex((token) => !Number.isInteger(token));
  if (column >= 0) {
    const found = row[column];
    const facts = { column, actual: found };
    throw refuse(`found ${describe(found)} at position ${column}`, facts);
  }
  return row;
}

/** Position of the first element that is no integer, in a line that is no JSON. */
function positionOf(line: string): number | undefined {
  const sound = /^\s*\[(?:\s*-?\d+\s*,)*/.exec(line);
  return sound ? sound[0].split(",").length - 1 : undefined;
}
