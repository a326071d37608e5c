/** From lines of text to rows of tokens, and why a line is none. */
import { BuildInputError, type ErrorFacts } from "../../errors.ts";
import { MAX_LENGTH } from "../../index/layout.ts";
import { excerpt } from "../jsonl.ts";
import type { TextFormat } from "./arguments.ts";
import type { LineBatch } from "./lines.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { spellingCount, spellings, type Variant } from "./variants.ts";

/** Strings that are read together, as rows of tokens, one row behind the other. */
export interface StringBatch {
  readonly data: Uint32Array;
  /** Where each row ends in `data`. */
  readonly ends: Uint32Array;
  /** Line of each row, from 1. */
  readonly lines: Uint32Array;
  /** Bytes of the file that have been read. */
  readonly bytes: number;
}

/** What to spell, and how. */
export interface Spelling {
  /** Path, for messages. */
  readonly file: string;
  readonly format: TextFormat;
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
 * @throws {BuildInputError} naming file and line, for what is no string, and for strings without a sequence of tokens.
 */
export function spell(
  { first, lines, bytes }: LineBatch,
  { file, format, tokenizer, variants, mustSpell, items }: Spelling,
): StringBatch {
  const data: number[] = [];
  const ends = new Uint32Array(lines.length * spellingCount(variants));
  const numbers = new Uint32Array(ends.length);
  let count = 0;
  for (let i = 0; i < lines.length; i++) {
    const refuse: Refusal = (code, found, advice, facts) =>
      new BuildInputError(
        code,
        `${file}, line ${first + i}: expected a string to spell, found ${found}; ${advice}`,
        { expected: "a string", actual: lines[i].slice(0, 200), ...facts, file },
      );
    const string = format === "jsonl" ? parseString(lines[i], refuse) : lines[i];
    if (string === undefined || string === "") continue;
    if (string.includes("\ufeff")) {
      // Nobody means it, and o200k and cl100k of the library spell it in an unusual way.
      throw refuse(
        "byte-order-mark",
        "a byte order mark (U+FEFF), which is invisible",
        "remove it",
      );
    }
    if (string.length > MAX_CHARACTERS) throw tooLong(`${string.length} characters`, refuse);
    for (const text of spellings(string, variants)) {
      const tokens = tokenizer.encode(text);
      checkTokens(tokens, text, tokenizer, refuse);
      if (mustSpell) checkSpelling(tokens, text, tokenizer, refuse);
      for (let t = 0; t < tokens.length; t++) data.push(tokens[t]);
      numbers[count] = first + i;
      ends[count++] = data.length;
      items?.push(string);
    }
  }
  return {
    data: Uint32Array.from(data),
    ends: ends.slice(0, count),
    lines: numbers.slice(0, count),
    bytes,
  };
}

/** Makes the error for the line at hand. */
type Refusal = (code: string, found: string, advice: string, facts?: ErrorFacts) => Error;

/** The string that a line of JSON is; undefined for a blank one. */
function parseString(line: string, refuse: Refusal): string | undefined {
  if (line.trim() === "") return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw refuse("not-a-string", `${excerpt(line)}, which is no JSON`, 'write it as "…"');
  }
  if (typeof value !== "string" || value === "") {
    throw refuse("not-a-string", excerpt(line), 'write one JSON string per line, such as "Oslo"');
  }
  if (!value.isWellFormed()) {
    throw refuse("not-a-string", `half of a character in ${excerpt(line)}`, "mend the line");
  }
  return value;
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
    "remove the line, or take another tokenizer",
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
    "mend the line, or keep the strings as they are with --ids",
  );
}

function tooLong(found: string, refuse: Refusal, facts?: ErrorFacts): Error {
  const limit = `at most ${MAX_LENGTH} tokens and ${MAX_CHARACTERS} characters are possible`;
  return refuse("bad-length", `one of ${found}`, `shorten it: ${limit}`, facts);
}
