/** From strings to rows of tokens, and why a string is none. */
import { BuildInputError, type ErrorFacts } from "../../errors.ts";
import { MAX_LENGTH } from "../../index/format/layout.ts";
import { excerpt } from "./row_errors.ts";
import type { LineBatch } from "../io/text_lines.ts";
import type { BatchWriter, Piece } from "./row_source.ts";

import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { spellings, type Variant } from "./variants.ts";

/** How to spell. */
export interface Spelling {
  readonly tokenizer: Tokenizer;
  readonly variants: readonly Variant[];
  /** Whether tokens have to bring the strings back. */
  readonly mustSpell: boolean;
  /** Takes the string of each row. */
  readonly items: string[] | undefined;
}

/** Longest string, in characters. No list means longer ones, and some tokenizers would take minutes for them. */
const MAX_CHARACTERS = 2 ** 14;

/**
 * Spells the strings of some lines: a row for each spelling of each string. Strings are taken as they are, spaces
 * included; empty lines are skipped.
 *
 * @param file of the lines, for messages.
 * @throws {BuildInputError} naming file and line, for what is no string, and for strings without a sequence of tokens.
 */
export function spellLines(
  { first, lines, bytes }: LineBatch,
  file: string,
  format: TextFormat,
  spelling: Spelling,
  writer: BatchWriter,
): Piece {
  const numbers: number[] = [];
  for (let i = 0; i < lines.length; i++) {
    const refuse: Refusal = (code, found, advice, facts) =>
      new BuildInputError(
        code,
        `${file}, line ${first + i}: expected a string to spell, found ${found}; ${advice}`,
        { expected: "a string", actual: lines[i].slice(0, 200), ...facts, file },
      );
    const string = format === "jsonl" ? parseString(lines[i], refuse) : lines[i];
    if (string === undefined || string === "") continue;
    pushString(string, spelling, writer, refuse);
    while (numbers.length < writer.count) numbers.push(first + i);
  }
  return { batch: writer.take(), lines: numbers, bytes };
}

/** Makes the error for the string at hand. */
export type Refusal = (code: string, found: string, advice: string, facts?: ErrorFacts) => Error;

/** Appends a row for each spelling of a string. */
export function pushString(
  string: string,
  { tokenizer, variants, mustSpell, items }: Spelling,
  writer: BatchWriter,
  refuse: Refusal,
): void {
  if (!string.isWellFormed()) {
    throw refuse("not-a-string", `half of a character in ${excerpt(string)}`, "mend it");
  }
  if (string.includes("\ufeff")) {
    // Nobody means it, and o200k and cl100k of the library spell it in an unusual way.
    throw refuse("byte-order-mark", "a byte order mark (U+FEFF), which is invisible", "remove it");
  }
  if (string.length > MAX_CHARACTERS) throw tooLong(`${string.length} characters`, refuse);
  for (const text of spellings(string, variants)) {
    const tokens = tokenizer.encode(text);
    checkTokens(tokens, text, tokenizer, refuse);
    if (mustSpell) checkSpelling(tokens, text, tokenizer, refuse);
    for (let t = 0; t < tokens.length; t++) writer.push(tokens[t]);
    writer.endRow();
    items?.push(string);
  }
}

/** The string that a line of JSON is; undefined for a blank one. */
function parseString(line: string, refuse: Refusal): string | undefined {
  if (line.trim() === "") return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw refuse("not-a-string", `${excerpt(line)}, which is no JSON`, 'write it as "…"');
  }
  if (typeof value === "string" && value !== "") return value;
  const isTable = typeof value === "object" && value !== null && !Array.isArray(value);
  const advice = isTable
    ? "name the field that holds the string with --column"
    : 'write one JSON string per line, such as "Oslo"';
  throw refuse("not-a-string", excerpt(line), advice);
}

function checkTokens(
  tokens: readonly number[],
  text: string,
  { special }: Tokenizer,
  refuse: Refusal,
): void {
  const { length } = tokens;
  if (length > MAX_LENGTH) {
    throw tooLong(`${length} tokens`, refuse, { expected: MAX_LENGTH, actual: length });
  }
  const at = tokens.findIndex((token) => token === undefined || special.has(token));
  if (at < 0 && length > 0) return;
  const name = special.get(tokens[at]);
  const what = name === undefined ? "no token" : `the token "${name}", which is no text`;
  throw refuse(
    "not-spellable",
    `${excerpt(text)}, for which the tokenizer has ${what}`,
    "remove it, or take another tokenizer",
  );
}

function checkSpelling(
  tokens: readonly number[],
  text: string,
  { decode }: Tokenizer,
  refuse: Refusal,
): void {
  const spelt = decode(tokens);
  if (spelt === text) return;
  throw refuse(
    "not-exact",
    `${excerpt(text)}, which its tokens bring back as ${excerpt(spelt)}`,
    "mend it, or keep the strings as they are with --ids",
  );
}

function tooLong(found: string, refuse: Refusal, facts?: ErrorFacts): Error {
  const limit = `at most ${MAX_LENGTH} tokens and ${MAX_CHARACTERS} characters are possible`;
  return refuse("bad-length", `one of ${found}`, `shorten it: ${limit}`, facts);
}

/** Formats of strings, as `--format` takes them. */
export type TextFormat = "text" | "jsonl";

/** Strings are to be read, and how. */
export interface TextArguments {
  /** As for `openTokenizer`. */
  readonly tokenizer: string;
  readonly variants: readonly Variant[];
  /** Whether to keep the strings as item ids even if their tokens spell them. */
  readonly keepIds: boolean;
  /** Of lists; undefined to go by the name: `.jsonl` and `.ndjson` are JSON lines, all else is text. */
  readonly format: TextFormat | undefined;
}
