/** `diff`: what two indexes do not have in common. */
import type { Command } from "./command.ts";
import type { ConstraintIndex } from "../../index/constraint_index.ts";
import { type Change, compareIndexes, type Comparison } from "./diff_indexes.ts";
import { openIndex } from "../args/index_file.ts";
import { isS3, shownName } from "../io/addresses.ts";
import { COMMON_OPTIONS, parseFlags } from "../args/flags.ts";
import { aboutFile, UsageError } from "../errors.ts";
import { itemsText, jsonLine, limitOf, Listing, tokensText } from "../io/listing.ts";
import type { Io } from "../io/terminal.ts";
import { counted, facts, grouped } from "../io/format.ts";
import { ProgressLine } from "../io/progress_line.ts";
import { checkS3Flags, S3_HELP, S3_OPTIONS, type S3Flags } from "../args/s3_flags.ts";
import { SHOW_OPTIONS, textTokenizer } from "../args/text_output_flags.ts";
import { shown } from "../tokenizers/open.ts";

/** What `cli diff --help` prints. */
export const DIFF_HELP = `Compares two indexes: what was added, what was removed

Usage: deno task cli diff OLD NEW [options]

OLD and NEW are files or URLs, or one of them - for standard input. They are compared as sets, however
they were built and whatever their vocabularies:
  - 3 1 4            a sequence that only OLD has, with its item ids, where there are any
  + 3 1 5            one that only NEW has
  ~ 9 2 6  -17, +18  one that both have, with the item ids that only OLD and that only NEW has
Shorter sequences come first, then they are sorted. A summary follows, with the named filters that allow other
sequences than before. Takes about a second for five million sequences of 8 tokens, longer where both have item ids.
Memory: both indexes.

Examples
  deno task cli diff yesterday.safetensors today.safetensors
  deno task cli diff yesterday.safetensors https://cdn.example.com/catalogue.safetensors --summary
  deno task cli diff old-names.safetensors names.safetensors --text
  deno task cli diff old.safetensors new.safetensors --json | jq -c 'select(.change == "added") | .sequence'

Options
  --summary       counts only
  --limit N       lists at most so many differences, counts all; default 0: lists all
  --text          for indexes of strings: texts are shown beside tokens
  --tokenizer T   with --text: the tokenizer.json that both were built with, or the name of a tokenizer, where an index
                  does not say which
${S3_HELP}
  --json          one JSON object per line instead of text: for each difference, and last for the summary
  -h, --help      this text

JSON
  change ("removed", "added"), sequence, ordinal (in the index that has it), text, items
  change ("items"), sequence, text, removed, added (item ids)
  summary: same, old, new (where they are), common, removed, added, itemsChanged (null unless both have item ids),
  filters: removed, added (names), changed (each with name, and how many sequences are
         removed, added, or have an item that is no longer allowed, or only now: itemsChanged)

Exit codes: 0 same, 1 different, 2 not an index, or it cannot be read, or wrong usage, 130 interrupted
`;

interface Options {
  readonly before: string;
  readonly after: string;
  readonly s3: S3Flags;
  readonly texts: { readonly text: boolean; readonly tokenizer?: string };
  readonly limit: number;
  readonly isJson: boolean;
}

/** The command `diff`. */
export const diff: Command<Options> = { help: DIFF_HELP, errorCode: 2, parse, run };

/**
 * Runs the command; returns its exit code.
 *
 * @throws {EspalierError} naming the file, if one is no index or cannot be read.
 */
async function run(options: Options, io: Io): Promise<number> {
  const { s3, isJson } = options;
  using progress = new ProgressLine(io);
  using before = await openIndex(options.before, s3, io, progress);
  using after = await openIndex(options.after, s3, io, progress);
  const tokenizerOf = (index: ConstraintIndex, argument: string) =>
    textTokenizer(index, options.texts).catch((error) => {
      throw aboutFile(error, shownName(argument));
    });
  const tokenizers = {
    removed: await tokenizerOf(before, options.before),
    added: await tokenizerOf(after, options.after),
  };
  // Between lines of a listing there is no place for it.
  const showProgress = (done: number, total?: number) => progress.show("comparing", done, total);
  const listing = new Listing(io, options.limit > 0 ? undefined : showProgress);
  const comparison = await compareIndexes(before, after, {
    changed(change) {
      const { decode } = tokenizers[change.change === "removed" ? "removed" : "added"] ?? {};
      const text = decode?.(change.sequence);
      listing.line(isJson ? jsonLine({ ...change, text }) : changeText(change, text));
    },
    limit: options.limit,
    turn: (done, total) => listing.turn(done, total),
  });
  progress[Symbol.dispose]();
  const { removed, added, itemsChanged } = comparison;
  const left = removed + added + (itemsChanged ?? 0) - options.limit;
  if (!isJson && options.limit > 0 && left > 0) {
    listing.line(`… and ${grouped(left)} more; --limit 0 lists all`);
  }
  listing.flush();
  if (isJson) {
    const { same, ...counts } = comparison;
    const [old, now] = [options.before, options.after].map(shownName);
    const summary = { same, old, new: now, ...counts };
    io.out(`${jsonLine({ summary })}\n`);
  } else {
    io.out(summaryText(options, before, after, comparison));
  }
  return comparison.same ? 0 : 1;
}

function changeText(change: Change, text: string | undefined): string {
  const spelt = text === undefined ? "" : `  ${JSON.stringify(text)}`;
  const tokens = `${tokensText(change.sequence)}${spelt}`;
  if (change.change !== "items") {
    const sign = change.change === "removed" ? "-" : "+";
    return `${sign} ${tokens}${change.items ? `  ${itemsText(change.items)}` : ""}`;
  }
  const signed = (sign: string, items: typeof change.added) =>
    items.map((item) => sign + itemsText([item]));
  const items = [...signed("-", change.removed), ...signed("+", change.added)];
  return `~ ${tokens}  ${items.join(", ")}`;
}

function summaryText(
  options: Options,
  before: ConstraintIndex,
  after: ConstraintIndex,
  { same, common, removed, added, itemsChanged, filters }: Comparison,
): string {
  const plusMinus = (removed: number, added: number) => `-${grouped(removed)} +${grouped(added)}`;
  const vocabularies = [before, after].map(({ vocabSize }) => grouped(vocabSize));
  const [old, now] = [before, after].map(({ tokenizer }) => tokenizer ? shown(tokenizer) : "none");
  const types = [before, after].map(({ items }) => items ? `${items.type}s` : "none");
  const hasItems = before.items !== undefined || after.items !== undefined;
  return facts([
    ["old", `${shownName(options.before)}: ${counted(before.size, "sequence")}`],
    ["new", `${shownName(options.after)}: ${counted(after.size, "sequence")}`],
    ["verdict", same ? "same" : "different"],
    ["sequences", `${plusMinus(removed, added)}, ${grouped(common)} in both`],
    ...(hasItems
      ? [
        [
          "item ids",
          types[0] === types[1]
            ? itemsChanged
              ? `differ for ${grouped(itemsChanged)} of those`
              : "the same for all of those"
            : `${types[0]} in the old index, ${types[1]} in the new one`,
        ] as const,
      ]
      : []),
    ...filters.removed.map((name) => ["filter", `${name}: only in the old index`] as const),
    ...filters.added.map((name) => ["filter", `${name}: only in the new index`] as const),
    ...filters.changed.map(({ name, removed, added, itemsChanged }) => {
      const items = itemsChanged > 0
        ? `, ${grouped(itemsChanged)} in which an item is no longer allowed, or only now`
        : "";
      return ["filter", `${name}: ${plusMinus(removed, added)} sequences allowed${items}`] as const;
    }),
    ...(old === now ? [] : [
      ["tokenizer", `${old} and ${now}: equal tokens may mean different texts`],
    ] as const),
    ...(vocabularies[0] === vocabularies[1] ? [] : [
      ["vocabulary", `${vocabularies[0]} and ${vocabularies[1]}, which makes no difference`],
    ] as const),
  ]);
}

function parse(args: string[]): Options | undefined {
  const { values, positionals } = parseFlags(args, {
    ...S3_OPTIONS,
    ...SHOW_OPTIONS,
    summary: { type: "boolean", default: false },
    limit: { type: "string", default: "0" },
    ...COMMON_OPTIONS,
  });
  if (values.help) return undefined;
  if (positionals.length !== 2) {
    throw new UsageError(`Expected OLD and NEW, found ${counted(positionals.length, "argument")}`);
  }
  const [before, after] = positionals;
  if (before === "-" && after === "-") {
    throw new UsageError("Expected standard input once, as OLD or NEW, found both");
  }
  checkS3Flags(positionals.find(isS3) ?? before, values);
  const { summary, json: isJson } = values;
  const limit = summary ? 0 : limitOf(values.limit);
  return { before, after, s3: values, texts: values, limit, isJson };
}
