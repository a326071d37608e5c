/** What `build` is told about strings. */
import { type ColumnFlags, namesColumns } from "../tables/columns.ts";
import { UsageError } from "../errors.ts";
import { TOKENIZERS } from "../tokenizers/open.ts";
import { parseVariants } from "../tables/variants.ts";
import type { TextArguments } from "../tables/encode_strings.ts";

/** Flags, for `parseArgs`. */
export const TEXT_OPTIONS = {
  tokenizer: { type: "string" },
  variants: { type: "string" },
  ids: { type: "boolean", default: false },
} as const;

/** What the help of `build` says of INPUT, in examples, and of the flags. */
export const TEXT_HELP = {
  input: `With --tokenizer, INPUT is a list of strings instead, which become sequences of tokens
  *.jsonl *.ndjson  one JSON string per line
  any other, or -   text in UTF-8, of which each line is a string as it stands, spaces included
Empty lines are skipped, duplicates merged; longer than 1024 tokens none may be. With --column as well, INPUT is a
table as above, of which that column holds the strings; none may be empty. Each string gets the tokens that its
tokenizer gives it (canonical tokenization); models that spell it otherwise need --variants.`,
  example:
    `  A closed list of names for a language model, one per line, with and without a space in front:
    deno task cli build names.txt -o names.safetensors --tokenizer o200k --variants space
  The names in a column of a table, each with the id of what it names:
    deno task cli build products.parquet -o products.safetensors --tokenizer o200k --column name --item-column id`,
  options:
    `  --tokenizer T     INPUT is strings. T is o200k or cl100k (OpenAI), bytes (of UTF-8), bytes+N (the same with
                    tokens from N on, as in ByT5: bytes+3), or the path of a tokenizer.json (Hugging Face). It
                    says how large the vocabulary is, and the index keeps its name, and the digest of a file.
                    Without --column, --format is text or jsonl
  --column COLUMN   with --tokenizer: the column of a table that holds the strings
  --variants A,B    other spellings of every string: space (in front), lower, upper, title (case), each case with
                    and without the space. All have the string as their item id. With --ordinals, each
                    string has as many as spellings, one behind the other
  --ids             keeps the strings as item ids even where tokens alone bring them back. With --variants, and for
                    tokenizers that change case, spaces or characters, they are kept anyway, unless --items says
                    other ids`,
};

/**
 * Reads the flags; undefined where no strings are meant.
 *
 * @throws {UsageError} for flags that do not go together.
 */
export function parseText(
  values: {
    tokenizer?: string;
    variants?: string;
    ids: boolean;
    format?: string;
    vocab?: string;
    items?: string;
  },
  columns: ColumnFlags,
): TextArguments | undefined {
  const { tokenizer, variants, ids: keepIds, vocab, items } = values;
  if (tokenizer === undefined) {
    if (variants === undefined && !keepIds && columns.strings === undefined) return undefined;
    throw new UsageError("Expected --tokenizer beside --column, --variants and --ids, found none");
  }
  if (tokenizer === "") throw new UsageError(`Expected --tokenizer ${TOKENIZERS}, found ""`);
  if (namesColumns(columns) && columns.strings === undefined) {
    throw new UsageError(
      "Expected --column COLUMN, which holds strings, with --tokenizer, found other columns",
    );
  }
  const format = columns.strings === undefined ? values.format : undefined;
  if (format !== undefined && format !== "text" && format !== "jsonl") {
    throw new UsageError(`Expected --format text or jsonl with --tokenizer, found "${format}"`);
  }
  if (vocab !== undefined) {
    throw new UsageError("Expected --vocab or --tokenizer, which has its own, found both");
  }
  if (keepIds && (items ?? columns.item) !== undefined) {
    throw new UsageError("Expected --ids or other ids (--items, --item-column), found both");
  }
  return {
    tokenizer,
    variants: variants === undefined ? [] : parseVariants(variants),
    keepIds,
    format,
  };
}
