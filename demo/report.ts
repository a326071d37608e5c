/** The demo's tables as plain text: pure functions from what was found to what is printed. */

import type { PlaceFilter } from "./filter.ts";
import type { Place } from "./places.ts";

/** Bold, dim, green, red: or nothing at all, where the output is no terminal or colours are unwanted. */
export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  green(text: string): string;
  red(text: string): string;
}

/** Paints with ANSI sequences if `enabled`. */
export function paint(enabled: boolean): Paint {
  const sgr = (on: number, off: number) => (text: string) =>
    enabled ? `\x1b[${on}m${text}\x1b[${off}m` : text;
  return { bold: sgr(1, 22), dim: sgr(2, 22), green: sgr(32, 39), red: sgr(31, 39) };
}

/** A folded name of the index that a search found. */
export interface Found {
  readonly key: string;
  readonly score: number;
  /** Its places that may be shown, at least one; the first gives the title. */
  readonly places: readonly Place[];
  /** Whether the model did not see it in training. */
  readonly isNew: boolean;
}

/** What is found for a query when less holds the model. */
export interface Looser {
  readonly text: string;
  readonly score: number;
  /** Whether it could stand in the first table. */
  readonly isAllowed: boolean;
}

/** What the two tables of a query show. */
export interface Titles {
  readonly found: string;
  readonly looser: string;
}

/** Marks names that the model did not see in training. */
export const NEW = "°";

const NAME = 22;
const SCORE = 8;
const LOOSER = 20;
/** Most places of one name that are listed. */
const LISTED = 3;
const WHERE = 52;
/** Columns of the first table without its last column, and of both tables side by side. */
const FIXED = 3 + NAME + SCORE + 2;
const BOTH = FIXED + WHERE + 2 + LOOSER + SCORE + 2;

/** The two tables of a query: beside each other where lines are long enough, else one below the other. */
export function queryReport(
  titles: Titles,
  found: readonly Found[],
  looser: readonly Looser[],
  columns: number,
  ink: Paint,
): string {
  const beside = columns >= BOTH;
  const room = beside ? WHERE : Math.max(columns - FIXED, 20);
  const left = [
    ink.dim(`   ${fit(titles.found, NAME)}${"score".padStart(SCORE)}  ${fit("where", room)}`),
    ...found.map(({ score, places, isNew }, i) => {
      const title = ink.bold(fit(places[0].name + (isNew ? NEW : ""), NAME));
      return ` ${i + 1} ${title}${fixed(score)}  ${fit(where(places, room), room)}`;
    }),
  ];
  const right = [
    ink.dim(`${fit(titles.looser, LOOSER)}${"score".padStart(SCORE)}`),
    ...looser.map(({ text, score, isAllowed }) => {
      const mark = isAllowed ? ink.green(" ✓") : ink.red(" ✗");
      return `${fit(text, LOOSER)}${fixed(score)}${mark}`;
    }),
  ];
  const lines = beside
    ? Array.from(
      { length: Math.max(left.length, right.length) },
      (_, i) => `${left[i] ?? " ".repeat(FIXED + WHERE)}  ${right[i] ?? ""}`,
    )
    : [...left, ...right.map((line) => `   ${line}`)];
  return lines.map((line) => line.trimEnd()).join("\n");
}

/** The first places, as many as fit, and how many more there are; with their names, if not those of the title. */
function where(places: readonly Place[], room: number): string {
  const all = places.map(({ name, country, latitude, longitude }) =>
    `${country} ${latitude.toFixed(2)},${longitude.toFixed(2)}` +
    (name === places[0].name ? "" : ` ${name}`)
  );
  for (let shown = Math.min(LISTED, all.length); shown > 1; shown--) {
    const text = listed(all, shown);
    if (width(text) <= room) return text;
  }
  return listed(all, 1);
}

function listed(places: readonly string[], shown: number): string {
  const more = places.length - shown;
  return places.slice(0, shown).join("; ") + (more > 0 ? ` +${more}` : "");
}

/** A table of labels and figures: labels to the left, figures to the right, remarks after them. */
export function figures(rows: readonly (readonly [string, string, string?])[], ink: Paint): string {
  const label = Math.max(...rows.map((row) => width(row[0])));
  const figure = Math.max(...rows.map((row) => width(row[1])));
  return rows.map(([name, value, remark]) => {
    const line = ` ${fit(name, label)}  ${" ".repeat(figure - width(value))}${value}`;
    return remark === undefined ? line : `${line}  ${ink.dim(remark)}`;
  }).join("\n");
}

/** What each rule of a filter allows, and what all of them do, of `size` names. */
export function filterReport(
  { parts, names, compiling }: Pick<PlaceFilter, "parts" | "names" | "compiling">,
  size: number,
  ink: Paint,
): string {
  const rows = parts.map(({ label, names }) => [label, names] as const);
  if (rows.length > 1) rows.push(["together", names]);
  // Exclusions alone are left to each search.
  const time = compiling > 0 ? `, compiled in ${milliseconds(compiling)}` : "";
  const remark = `of ${grouped(size)}${time}`;
  return figures(
    rows.map(([label, names], i) => {
      const figure = `${grouped(names)} names`;
      return i === rows.length - 1 ? [label, figure, remark] : [label, figure];
    }),
    ink,
  );
}

/** 1234567 as "1 234 567". */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, " ");
}

/** Milliseconds with as many digits as mean something. */
export function milliseconds(time: number): string {
  return `${time < 100 ? time.toFixed(1) : grouped(Math.round(time))} ms`;
}

function fixed(score: number): string {
  return score.toFixed(2).padStart(SCORE);
}

/** Exactly `columns` wide: padded, or cut with an ellipsis. What a model spells may not be printable. */
function fit(raw: string, columns: number): string {
  const text = raw.replace(/\p{C}/gu, "\uFFFD");
  const excess = width(text) - columns;
  if (excess <= 0) return text + " ".repeat(-excess);
  return Array.from(text).slice(0, columns - 1).join("") + "…";
}

/** Columns of a text: characters without the marks that combine with them. */
function width(text: string): number {
  return Array.from(text.replace(/\p{M}/gu, "")).length;
}
