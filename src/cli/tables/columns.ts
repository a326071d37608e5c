/** Which columns of a table hold what. */
import { BuildInputError } from "../../errors.ts";
import { byNumber, wildcards } from "../io/files.ts";
import { UsageError } from "../errors.ts";

/** What the flags say of columns. */
export interface ColumnFlags {
  /** Column that holds whole sequences. */
  readonly sequence?: string;
  /** Names and patterns of the columns that hold one token each. */
  readonly levels?: readonly string[];
  /** Column that holds strings, of which a tokenizer makes sequences. */
  readonly strings?: string;
  /** Column of item ids. */
  readonly item?: string;
  /** Columns by name of the filter. */
  readonly filters: ReadonlyMap<string, string>;
}

/** Columns of one table, each by its place in `names`. */
export interface ColumnPlan {
  /** Columns to read. */
  readonly names: readonly string[];
  readonly kind: "list" | "levels" | "strings";
  /** One column of whole sequences or of strings, or one for each level. */
  readonly tokens: readonly number[];
  readonly item?: number;
  readonly filters: ReadonlyMap<string, number>;
}

/** Whether flags name columns at all. */
export function namesColumns({ item, filters, ...flags }: ColumnFlags): boolean {
  return namesTokens(flags) || item !== undefined || filters.size > 0;
}

/** Whether flags say where the sequences are. */
export function namesTokens(
  { sequence, levels, strings }: Pick<ColumnFlags, "sequence" | "levels" | "strings">,
): boolean {
  return (sequence ?? levels ?? strings) !== undefined;
}

/**
 * Finds the columns of a table that the flags name. Those of a pattern come in the order of their numbers: c2 before
 * c10.
 *
 * @param columns that the table has.
 * @throws {BuildInputError} naming those that it lacks, and what they may be meant to be.
 */
export function planColumns(
  flags: ColumnFlags,
  columns: readonly string[],
  file: string,
): ColumnPlan {
  const names: string[] = [];
  const placeOf = (name: string) => {
    if (!columns.includes(name)) throw noColumn(name, columns, file);
    if (!names.includes(name)) names.push(name);
    return names.indexOf(name);
  };
  const { sequence, levels, strings, item, filters } = flags;
  if (!namesTokens(flags)) {
    throw new BuildInputError(
      "no-columns-named",
      `${file}: expected --sequence COLUMN, or --columns with one column per token, to say where the tokens are; ${
        known(columns)
      }`,
      { file, expected: "--sequence, --columns", actual: columns },
    );
  }
  const whole = sequence ?? strings;
  const wanted = whole !== undefined ? [whole] : levels!.flatMap((name) => {
    return columns.includes(name) || !/[*?]/.test(name) ? name : matching(name, columns, file);
  });
  const twice = wanted.find((name, i) => wanted.indexOf(name) < i);
  if (twice !== undefined) {
    throw new UsageError(`Expected each column once, found "${twice}" twice`);
  }
  return {
    tokens: wanted.map(placeOf),
    kind: strings !== undefined ? "strings" : levels ? "levels" : "list",
    item: item === undefined ? undefined : placeOf(item),
    filters: new Map(Array.from(filters, ([filter, name]) => [filter, placeOf(name)])),
    names,
  };
}

/** The pattern by which the flags mean a column, if it is by one. */
export function patternOf({ levels = [] }: ColumnFlags, name: string): string | undefined {
  if (levels.includes(name)) return undefined;
  return levels.find((level) => /[*?]/.test(level) && wildcards(level).test(name));
}

function matching(pattern: string, columns: readonly string[], file: string): string[] {
  const expression = wildcards(pattern);
  const found = columns.filter((name) => expression.test(name));
  if (found.length === 0) {
    throw new BuildInputError(
      "no-such-column",
      `${file}: no column matches "${pattern}"; ${known(columns)}`,
      { file, expected: pattern, actual: columns },
    );
  }
  return found.sort(byNumber);
}

function noColumn(name: string, columns: readonly string[], file: string): BuildInputError {
  const near = nearest(name, columns);
  const meant = near.length > 0 ? ` (${near.map((other) => `"${other}"`).join(" or ")}?)` : "";
  return new BuildInputError(
    "no-such-column",
    `${file}: there is no column "${name}"${meant}; ${known(columns)}`,
    { file, expected: name, actual: columns },
  );
}

function known(columns: readonly string[]): string {
  const shown = columns.slice(0, 30).map((name) => `"${name}"`).join(", ");
  return `the columns are ${shown}${
    columns.length > 30 ? `, and ${columns.length - 30} more` : ""
  }`;
}

/** Names that differ in case or in up to a third of their letters, the nearest first. */
export function nearest(name: string, others: readonly string[]): string[] {
  const limit = Math.max(1, Math.floor(name.length / 3));
  return others
    .map((other) => ({ other, distance: distance(name.toLowerCase(), other.toLowerCase()) }))
    .filter((candidate) => candidate.distance <= limit)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ other }) => other);
}

/** Letters to add, drop or change (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      next.push(Math.min(next[j] + 1, row[j + 1] + 1, row[j] + Number(a[i] !== b[j])));
    }
    row = next;
  }
  return row[b.length];
}
