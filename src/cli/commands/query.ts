/** `query`: what may follow a prefix, and how much lies below it. */
import type { Command } from "./command.ts";
import type { OrdinalRange } from "../../index/descendants.ts";
import type { ConstraintIndex } from "../../index/constraint_index.ts";
import { countOnes } from "../../index/bits/bit_vector.ts";
import { SequenceCursor } from "../../index/sequence_cursor.ts";
import { openIndex } from "../args/index_file.ts";
import { shownName } from "../io/addresses.ts";
import { COMMON_OPTIONS, parseFlags } from "../args/flags.ts";
import { itemIds } from "../args/item_ids.ts";
import { aboutFile, UsageError } from "../errors.ts";
import { itemsText, jsonLine, limitOf, Listing, tokensText } from "../io/listing.ts";
import { type Allowed, allowedBy, allowedItems, isAllowed } from "../../index/ordinal_bits.ts";
import type { Io } from "../io/terminal.ts";
import { facts, grouped, table } from "../io/format.ts";
import { ProgressLine } from "../io/progress_line.ts";
import { below, belowText, type Found, withItems } from "./query_prefix.ts";
import { checkS3Flags, S3_HELP, S3_OPTIONS, type S3Flags } from "../args/s3_flags.ts";
import { parseNumbers } from "../args/search_flags.ts";
import { SHOW_HELP, SHOW_OPTIONS, textTokenizer } from "../args/text_output_flags.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";

/** Rows that are shown where nothing else is asked for. */
const DEFAULT_LIMIT = 20;

/** What `cli query --help` prints. */
export const QUERY_HELP = `Shows what may follow a prefix, and how many sequences lie below it

Usage: deno task cli query FILE|URL|- [PREFIX] [options]        (- is standard input)

PREFIX is the tokens so far, as 3,1,4 or [3,1,4]; none for the first token. For each token that may follow: how many
sequences begin so, what share that is of those below the prefix, and the ordinal, where one ends with that token,
with its item ids, where the index has them. Counts are exact, and take milliseconds, whatever the size of the index.

With --item, and no PREFIX: the sequences of the item with an id, by ordinal.

With --text, PREFIX is a text, which may end within a token, and what is shown are the texts of a token more: "reac"
leads to "react", and that to "react-dom" and "reactive".

Examples
  deno task cli query catalogue.safetensors
  deno task cli query catalogue.safetensors 3,1 --filter "in stock" --filter fresh
  deno task cli query catalogue.safetensors 3,1 --sequences --limit 100
  deno task cli query catalogue.safetensors --item 1003
  deno task cli query names.safetensors --text "react"
  deno task cli query s3://indexes/catalogue.safetensors 3 --region eu-central-1
  deno task cli query catalogue.safetensors 3 --json --limit 0 | jq '.next[] | select(.sequences > 1000) | .token'

Options
  --filter NAME   counts and lists only what a named filter of the index allows; given several times, what all allow
  --item ID       the sequences of the item with this id, with all their items; with --filter, of those that it allows.
                  May be given several times
  --sort ORDER    count (default): what leads to most sequences first; token: ascending
  --limit N       at most so many tokens, or sequences; default ${DEFAULT_LIMIT}, 0 for all
  --sequences     lists the sequences that begin with the prefix, by ordinal: shorter ones first, then sorted
${SHOW_HELP}
${S3_HELP}
  --json          one JSON object instead of text; with --sequences, one for each
  -h, --help      this text

JSON
  file, prefix (with --text: text), filters, sequences, canEnd, ordinal, items, tokens (how many may follow), and next,
  up to --limit of them: token (with --text: tokens, text), sequences, ordinal, items
  with --sequences, or --item: ordinal, sequence, text, items

Exit codes: 0 shown, also where nothing begins so, 1 not an index, no such filter, or it cannot be read, 2 wrong usage,
130 interrupted
`;

interface Options {
  readonly argument: string;
  readonly s3: S3Flags;
  /** As it was given. */
  readonly prefix: string;
  readonly texts: { readonly text: boolean; readonly tokenizer?: string };
  readonly filters: readonly string[];
  readonly items: readonly string[];
  readonly sort: "count" | "token";
  readonly limit: number;
  readonly listSequences: boolean;
  readonly isJson: boolean;
}

/** The command `query`. */
export const query: Command<Options> = { help: QUERY_HELP, parse, run };

/**
 * Runs the command; returns its exit code.
 *
 * @throws {EspalierError} naming the file, if it is no index, lacks a filter or cannot be read.
 */
async function run(options: Options, io: Io): Promise<number> {
  const name = shownName(options.argument);
  try {
    using progress = new ProgressLine(io);
    using index = await openIndex(options.argument, options.s3, io, progress);
    progress[Symbol.dispose]();
    const { filters, texts, prefix, items } = options;
    const tokenizer = await textTokenizer(index, texts);
    const allowed = filters.length > 0 ? allowedBy(index, { all: [...filters] }) : undefined;
    const found = items.length > 0
      ? withItems(index, itemIds(index, "--item", items), allowed)
      : tokenizer
      ? belowText(index, prefix, tokenizer)
      : below(index, parsePrefix(prefix));
    if (options.listSequences) await list(index, allowed, found, options, tokenizer?.decode, io);
    else show(name, index, allowed, found, options, io);
  } catch (error) {
    throw aboutFile(error, name);
  }
  return 0;
}

/** Sequences in ranges of ordinals, or those of them that are allowed. */
function count(ranges: readonly OrdinalRange[], allowed: Allowed | undefined): number {
  return ranges.reduce(
    (sum, { start, end }) => sum + (allowed ? countOnes(allowed.words, start, end) : end - start),
    0,
  );
}

function passes(allowed: Allowed | undefined, ordinal: number): boolean {
  return !allowed || isAllowed(allowed, ordinal);
}

function show(
  name: string,
  index: ConstraintIndex,
  allowed: Allowed | undefined,
  found: Found,
  { filters, sort, limit, isJson }: Options,
  io: Io,
): void {
  const { asked, ordinal } = found;
  const whole = (ordinal: number | undefined) => ({
    ordinal,
    items: ordinal !== undefined && passes(allowed, ordinal)
      ? allowedItems(index, allowed, ordinal)
      : undefined,
  });
  const all = found.next
    .map((branch) => ({ ...branch, sequences: count(branch.below, allowed) }))
    .filter(({ sequences }) => sequences > 0);
  if (sort === "count") all.sort((a, b) => b.sequences - a.sequences);
  const next = all.slice(0, limit).map(({ token, tokens, text, sequences, ordinal }) => ({
    token: tokens ? undefined : token,
    tokens,
    text,
    sequences,
    ...whole(ordinal !== undefined && passes(allowed, ordinal) ? ordinal : undefined),
  }));
  const sequences = count(found.ranges, allowed);
  const canEnd = ordinal !== undefined && passes(allowed, ordinal);
  if (isJson) {
    const result = {
      file: name,
      ...asked,
      filters: filters.length > 0 ? filters : undefined,
      sequences,
      canEnd,
      ...whole(ordinal),
      tokens: all.length,
      next,
    };
    io.out(`${jsonLine(result)}\n`);
    return;
  }
  const { items } = whole(ordinal);
  const verdict = canEnd ? "yes" : ordinal === undefined ? "no" : "no, not allowed";
  const hasText = "text" in asked;
  const prefix = hasText ? JSON.stringify(asked.text) : tokensText(asked.prefix);
  io.out(`${name}\n`);
  io.out(facts([
    ["prefix", prefix || "none"],
    ...(filters.length > 0 ? [["filters", filters.join(" and ")] as const] : []),
    ["sequences", sequences > 0 ? grouped(sequences) : `0${reason(found, filters)}`],
    ["may end", ordinal === undefined ? verdict : `${verdict}: ordinal ${ordinal}`],
    ...(items ? [["item ids", itemsText(items)] as const] : []),
  ]));
  if (next.length === 0) return;
  const hasOrdinals = next.some(({ ordinal }) => ordinal !== undefined);
  const hasItems = next.some(({ items }) => items !== undefined);
  const head = [
    ...(hasText ? ["text", "tokens"] : ["token"]),
    "sequences",
    "percent",
    ...(hasOrdinals ? ["ordinal"] : []),
    ...(hasItems ? ["item ids"] : []),
  ];
  const rows = next.map(({ token, tokens, text, sequences: below, ordinal, items }) => [
    ...(tokens ? [JSON.stringify(text), tokensText(tokens)] : [String(token!)]),
    grouped(below),
    (100 * below / Math.max(sequences, below)).toFixed(1),
    ...(hasOrdinals ? [String(ordinal ?? "")] : []),
    ...(hasItems ? [items ? itemsText(items) : ""] : []),
  ]);
  io.out(`\n${table(head, rows)}`);
  const hidden = all.length - next.length;
  if (hidden > 0) io.out(`  … and ${grouped(hidden)} more; --limit 0 shows all\n`);
}

/** Why nothing that is allowed lies below a prefix. */
function reason({ ranges, known }: Found, filters: readonly string[]): string {
  if (ranges.length > 0) {
    return `; ${filters.length > 1 ? "the filters allow" : "the filter allows"} none of ${
      grouped(count(ranges, undefined))
    }`;
  }
  const start = known();
  return `; no sequence begins so${start ? `, but some with ${start}` : ""}`;
}

async function list(
  index: ConstraintIndex,
  allowed: Allowed | undefined,
  { ranges }: Found,
  { items: ids, filters, limit, isJson }: Options,
  decode: Tokenizer["decode"] | undefined,
  io: Io,
): Promise<void> {
  const total = count(ranges, allowed);
  if (!isJson && total === 0 && ids.length > 0) {
    io.out(`no sequence ${filters.length > 0 ? "that is allowed " : ""}has such an item\n`);
  }
  const width = Math.max("ordinal".length, String(ranges.at(-1)?.end ?? "").length);
  const listing = new Listing(io);
  if (!isJson && total > 0) {
    listing.line(
      `${"ordinal".padStart(width)}  sequence${decode ? "  text" : ""}${
        index.items ? "  item ids" : ""
      }`,
    );
  }
  const cursor = new SequenceCursor(index);
  let done = 0;
  for (const { start, end } of ranges) {
    for (let ordinal = start; ordinal < end && done < limit; ordinal++) {
      if (!passes(allowed, ordinal)) continue;
      done++;
      cursor.seek(ordinal);
      const sequence = cursor.sequence();
      const items = allowedItems(index, allowed, ordinal);
      listing.line(
        isJson
          ? jsonLine({ ordinal, text: decode?.(sequence), sequence, items })
          : `${String(ordinal).padStart(width)}  ${tokensText(sequence)}${
            decode ? `  ${JSON.stringify(decode(sequence))}` : ""
          }${items ? `  ${itemsText(items)}` : ""}`,
      );
      const pause = listing.turn(done, total);
      if (pause) await pause;
    }
  }
  if (!isJson && done < total) {
    listing.line(`… and ${grouped(total - done)} more; --limit 0 lists all`);
  }
  listing.flush();
}

function parse(args: string[]): Options | undefined {
  const { values, positionals } = parseFlags(args, {
    ...S3_OPTIONS,
    ...SHOW_OPTIONS,
    filter: { type: "string", multiple: true, default: [] },
    item: { type: "string", multiple: true, default: [] },
    sort: { type: "string" },
    limit: { type: "string", default: String(DEFAULT_LIMIT) },
    sequences: { type: "boolean", default: false },
    ...COMMON_OPTIONS,
  });
  if (values.help) return undefined;
  const [argument, prefix = "", ...surplus] = positionals;
  if (argument === undefined) throw new UsageError("Expected FILE or URL, found none");
  if (surplus.length > 0) {
    throw new UsageError(
      `Expected FILE or URL and one PREFIX, such as 3,1,4, found ${positionals.length} arguments`,
    );
  }
  checkS3Flags(argument, values);
  const { filter: filters, item: items, sort = "count", json: isJson } = values;
  if (items.length > 0 && positionals.length > 1) {
    throw new UsageError("Expected PREFIX or --item, found both");
  }
  const listSequences = values.sequences || items.length > 0;
  if (sort !== "count" && sort !== "token") {
    throw new UsageError(`Expected --sort count or token, found "${sort}"`);
  }
  if (listSequences && values.sort !== undefined) {
    throw new UsageError("Expected --sort, or --sequences or --item, which are listed by ordinal");
  }
  // What is wrong with it is said before anything is read.
  if (!values.text) parsePrefix(prefix);
  return {
    argument,
    s3: values,
    prefix,
    texts: values,
    filters,
    items,
    sort,
    limit: limitOf(values.limit),
    listSequences,
    isJson,
  };
}

function parsePrefix(text: string): number[] {
  return parseNumbers("PREFIX", text);
}
