/** What `build` is told: its help, and its arguments. */
import { dirname } from "node:path";
import { MAX_VOCAB } from "../../index/format/layout.ts";
import { isFilterName, MAX_NAME_LENGTH } from "../../index/format/filter_shape.ts";
import { type ColumnFlags, namesColumns, namesTokens } from "../tables/columns.ts";
import { needsVocab } from "../tables/collect_rows.ts";
import { expandFiles } from "../io/files.ts";
import { checkOutputs } from "../io/outputs.ts";
import { checkIndexName, COMMON_OPTIONS, parseFlags, parseMemory } from "../args/flags.ts";
import { UsageError } from "../errors.ts";
import { parseText, TEXT_HELP, TEXT_OPTIONS } from "../args/text_flags.ts";
import type { TextArguments } from "../tables/encode_strings.ts";
import { tokenizerFile } from "../tokenizers/open.ts";
import { FORMAT_NAMES, type FormatName, isFormatName, isStreamFormat } from "../tables/formats.ts";

/** What `cli build --help` prints. */
export const BUILD_HELP = `Builds an index file from tables of token sequences

Usage: deno task cli build INPUT... -o OUT.safetensors [options]

INPUT is one of, or many, which are read in the order given; "part-*.parquet" in that of its numbers
  *.npy             matrix of integers, one sequence per row (any integer dtype, C or Fortran order)
  *.parquet *.pq    table with a column of lists, or with one column per token
  *.csv *.tsv       the same as text; names of the columns in the first line, lists as JSON: "[12, 7, 3]"
  *.jsonl *.ndjson  one JSON array of integers per line, or one object, whose fields are the columns
  -                 standard input: JSON lines, or what --format says

Rows may come in any order; duplicates are merged. 1 to 1024 tokens each. Padding is not taken away. Sequences of
different lengths go into lists; where every token has its column, empty cells at the end make a row shorter.

${TEXT_HELP.input}

Examples
  Semantic IDs from NumPy, for a model with 2048 codes per level:
    deno task cli build sids.npy -o catalogue.safetensors --vocab 2048
  From Parquet, with a column of lists, the ids of the items, and those that may be shown, in the index itself:
    deno task cli build "items-*.parquet" -o catalogue.safetensors --vocab 2048 --sequence sid \\
      --item-column id --filter-column in_stock=stock
  From CSV, with one column per token:
    deno task cli build items.csv -o catalogue.safetensors --vocab 2048 --columns c0,c1,c2
    deno task cli build items.csv -o catalogue.safetensors --vocab 2048 --columns "c*"
  From a pipe:
    gzip -dc items.jsonl.gz | deno task cli build - -o catalogue.safetensors --vocab 2048 --sequence sid
  With the number under which the index knows each row, to keep prices or titles in arrays:
    deno task cli build sids.npy -o catalogue.safetensors --vocab 2048 --ordinals ordinals.npy
${TEXT_HELP.example}
  A hundred million rows on a machine with 8 GB, sorted on the disk that has room:
    deno task cli build sids.npy -o catalogue.safetensors --vocab 2048 --memory 4GB --temp /mnt/scratch

Options
  -o, --out FILE    where the index goes. It appears when it is whole; until then the old file stays. A link is
                    followed and stays; the permissions of a file that is replaced stay, too
  --vocab N         tokens are integers in [0, N); 2 to ${MAX_VOCAB}. Give the model's own number. Without it the
                    largest token + 1 is taken
  --sequence COLUMN the column that holds whole sequences
  --columns A,B,C   the columns that hold one token each; * and ? stand for any characters: "c*" is c0, c1, … c10
  --item-column COLUMN
                    keeps an id for each row in the index: integers of 64 bits, or strings. Rows that share a
                    sequence share their ids
  --item-lookup     lets ids lead back to sequences, as --exclude-item needs, where there are more than a million, too;
                    --no-item-lookup where there are fewer: it saves up to 20 bits an id
  --filter-column NAME=COLUMN
                    keeps a filter in the index, by name: a column of booleans, or of 0 and 1. May be given several
                    times. A sequence is allowed where one of its rows is
  --items FILE      ids from a file of their own: a vector of integers (.npy), JSON strings or integers, one per
                    line (.jsonl), or text, of which each line is an id
  --filter NAME=FILE
                    a filter from a file of its own: a vector of booleans or integers (.npy), or text, 0, 1, true or
                    false per line, one for each row
${TEXT_HELP.options}
  --sorted          rows are in ascending order, prefixes first: saves the sort, is checked
  --format F        ${FORMAT_NAMES.join(", ")}, where the file's name does not tell
  --memory SIZE     rows that would take more are sorted on disk, by DuckDB, which is downloaded at first use
                    (default 4GB). The index itself is held in memory, twice while it is written
  --temp DIR        folder for temporary files (default: that of OUT). Nothing stays there
  --ordinals FILE   writes the ordinal of each input row as a vector of uint32 (.npy)
  --json            one JSON object instead of text
  -h, --help        this text

Exit codes: 0 built, 1 the input is bad (nothing is written), 2 wrong usage, 130 interrupted (nothing is written)
`;

/** Memory that sorting may take, if nothing is said. */
const DEFAULT_MEMORY = 4e9;

/** Arguments of `build`. */
export interface BuildArguments {
  /** Paths, patterns expanded, or `-`. */
  readonly inputs: readonly string[];
  readonly out: string;
  /** Undefined to infer it. */
  readonly vocab: number | undefined;
  readonly isSorted: boolean;
  /** Undefined to go by the name. */
  readonly format: FormatName | undefined;
  readonly columns: ColumnFlags;
  /** Where INPUT is strings. */
  readonly text: TextArguments | undefined;
  readonly ordinals: string | undefined;
  readonly items: string | undefined;
  /** Whether ids lead back; undefined to go by how many there are. */
  readonly itemLookup: boolean | undefined;
  /** Files by name of the filter. */
  readonly filters: ReadonlyMap<string, string>;
  readonly memory: number;
  readonly temp: string;
  readonly json: boolean;
}

/**
 * Reads the arguments of `build`; undefined where its help is asked for.
 *
 * @throws {UsageError} for wrong ones.
 * @throws {StorageError} for patterns that stand for no file.
 */
export async function parseBuild(args: string[]): Promise<BuildArguments | undefined> {
  const { values, positionals } = parseFlags(args, {
    out: { type: "string", short: "o" },
    vocab: { type: "string" },
    sequence: { type: "string" },
    columns: { type: "string" },
    column: { type: "string" },
    "item-column": { type: "string" },
    "filter-column": { type: "string", multiple: true, default: [] },
    items: { type: "string" },
    "item-lookup": { type: "boolean" },
    "no-item-lookup": { type: "boolean" },
    filter: { type: "string", multiple: true, default: [] },
    ...TEXT_OPTIONS,
    sorted: { type: "boolean", default: false },
    format: { type: "string" },
    memory: { type: "string" },
    temp: { type: "string" },
    ordinals: { type: "string" },
    ...COMMON_OPTIONS,
  });
  if (values.help) return undefined;
  if (positionals.length === 0) throw new UsageError("Expected INPUT, found none");
  const { out, format, ordinals, items, sorted: isSorted, json } = values;
  const vocab = values.vocab === undefined ? undefined : Number(values.vocab);
  if (vocab !== undefined && !(Number.isInteger(vocab) && vocab >= 2 && vocab <= MAX_VOCAB)) {
    throw new UsageError(`Expected --vocab from 2 to ${MAX_VOCAB}, found "${values.vocab}"`);
  }
  const columns = columnFlags(values);
  const text = parseText(values, columns);
  const isTable = !text || columns.strings !== undefined;
  const tableFormat = isTable ? format : undefined;
  if (tableFormat !== undefined && !isFormatName(tableFormat)) {
    throw new UsageError(`Expected --format ${FORMAT_NAMES.join(", ")}, found "${format}"`);
  }
  if (!out) throw new UsageError("Expected -o OUT.safetensors, where the index goes, found none");
  if (ordinals === "") throw new UsageError('Expected --ordinals FILE, found ""');
  if (out === "-" || ordinals === "-") {
    throw new UsageError(
      'Expected a file to write to, found "-": standard output is for the summary',
    );
  }
  if (values["item-lookup"] && values["no-item-lookup"]) {
    throw new UsageError("Expected --item-lookup or --no-item-lookup, found both");
  }
  const filters = parseFilters(values.filter, "--filter NAME=FILE");
  if ([items, ...filters.values()].includes("-")) {
    throw new UsageError('Expected a file for --items and --filter, found "-"');
  }
  if (items !== undefined && columns.item !== undefined) {
    throw new UsageError("Expected --items or --item-column, found both");
  }
  const twice = [...filters.keys()].find((name) => columns.filters.has(name));
  if (twice !== undefined) throw new UsageError(`Expected one source for the filter "${twice}"`);
  if (positionals.includes("-")) checkStandardInput(positionals, tableFormat, text ? 0 : vocab);
  const memory = values.memory === undefined ? DEFAULT_MEMORY : parseMemory(values.memory);
  const inputs = await expandFiles(positionals);
  await checkOutputs(
    [{ flag: "--out", path: out }, { flag: "--ordinals", path: ordinals }],
    [
      ...inputs.map((path) => ({ flag: "INPUT", path })),
      { flag: "--items", path: items },
      ...[...filters].map(([name, path]) => ({ flag: `--filter ${name}`, path })),
      { flag: "--tokenizer", path: text && tokenizerFile(text.tokenizer) },
    ],
  );
  checkIndexName(out);
  const temp = values.temp ?? dirname(out);
  return {
    inputs,
    out,
    vocab,
    itemLookup: values["item-lookup"] ?? (values["no-item-lookup"] ? false : undefined),
    isSorted,
    format: tableFormat,
    columns,
    text,
    ordinals,
    items,
    filters,
    memory,
    temp,
    json,
  };
}

function columnFlags(values: {
  sequence?: string;
  columns?: string;
  column?: string;
  "item-column"?: string;
  "filter-column": string[];
}): ColumnFlags {
  const { sequence, column: strings, "item-column": item } = values;
  const filters = parseFilters(values["filter-column"], "--filter-column NAME=COLUMN");
  const levels = values.columns?.split(",").map((name) => name.trim());
  if (levels?.includes("")) {
    throw new UsageError(`Expected --columns A,B,C, found "${values.columns}"`);
  }
  if ([sequence, levels, strings].filter((flag) => flag !== undefined).length > 1) {
    throw new UsageError("Expected --sequence, --columns or --column, found more than one");
  }
  const flags = { sequence, levels, strings, item, filters };
  if (namesColumns(flags) && !namesTokens(flags)) {
    throw new UsageError(
      "Expected --sequence COLUMN, --columns A,B,C or --column COLUMN beside --item-column and --filter-column, found none",
    );
  }
  return flags;
}

function checkStandardInput(
  inputs: readonly string[],
  format: FormatName | undefined,
  vocab: number | undefined,
): void {
  if (format !== undefined && !isStreamFormat(format)) {
    throw new UsageError(
      `Expected JSON lines on standard input, or CSV; give a .${format} file by its path`,
    );
  }
  if (vocab === undefined) throw needsVocab("standard input");
  if (inputs.filter((input) => input === "-").length > 1) {
    throw new UsageError("Expected standard input once, found it twice");
  }
}

function parseFilters(flags: readonly string[], usage: string): Map<string, string> {
  const filters = new Map<string, string>();
  for (const flag of flags) {
    const [, name, source] = /^([^=]*)=(.+)$/su.exec(flag) ?? [];
    if (source === undefined || !isFilterName(name)) {
      throw new UsageError(
        `Expected ${usage}, NAME of 1 to ${MAX_NAME_LENGTH} characters, found "${flag}"`,
      );
    }
    if (filters.has(name)) throw new UsageError(`Expected one file for the filter "${name}"`);
    filters.set(name, source);
  }
  return filters;
}
