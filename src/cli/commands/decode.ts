/** `decode`: the best sequences of an index for a prompt, as a model sees it. */
import type { Command } from "./command.ts";
import { createDecoder } from "../../decode/decoder.ts";
import { type Duplicates, foundItems } from "../../decode/found_items.ts";
import { type FoundSequence, sequencesOf } from "../../decode/found_sequences.ts";
import type { BeamSearchOptions } from "../../decode/types.ts";
import type { ConstraintIndex } from "../../index/constraint_index.ts";
import type { ItemFilter } from "../../index/item_filter.ts";
import { type Cost, type FoundBatch, searchBatches } from "./decode_batches.ts";
import { openIndex } from "../args/index_file.ts";
import { isS3, shownName } from "../io/addresses.ts";
import { COMMON_OPTIONS, parseFlags } from "../args/flags.ts";
import { itemIds } from "../args/item_ids.ts";
import { aboutFile, UsageError } from "../errors.ts";
import { itemsText, jsonLine, tokensText } from "../io/listing.ts";
import {
  checkVocabulary,
  MODEL_HELP,
  MODEL_OPTIONS,
  type ModelArguments,
  openModel,
  parseModel,
} from "../args/model_flags.ts";
import type { Io } from "../io/terminal.ts";
import { grouped, table } from "../io/format.ts";
import { ProgressLine } from "../io/progress_line.ts";
import {
  type Frame,
  parseFrame,
  PROMPT_HELP,
  PROMPT_OPTIONS,
  promptsOf,
} from "../args/prompt_flags.ts";
import { checkS3Flags, S3_HELP, S3_OPTIONS, type S3Flags } from "../args/s3_flags.ts";
import {
  parseNumbers,
  parseSearch,
  SEARCH_HELP,
  SEARCH_OPTIONS,
  wholeFlag,
} from "../args/search_flags.ts";
import { SHOW_OPTIONS, textTokenizer } from "../args/text_output_flags.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";

const DEFAULT_BEAMS = 10;
const DEFAULT_BATCH = 16;

/** What `cli decode --help` prints. */
export const DECODE_HELP =
  `Finds the best sequences of an index for each prompt, as an ONNX model sees it

Usage: deno task cli decode FILE|URL|- --model MODEL.onnx PROMPT… [options]        (- is standard input)

PROMPT is the tokens that the model goes on from, as 3,1,4 or [3,1,4]; - alone: JSON lines on standard input, one array
of tokens each, which are searched in batches. For each: rank, score (the sum of natural log-probabilities), ordinal,
tokens and, where the index has them, item ids. Nothing outside the index can be found. The last line says where the
search ran and what a step took.

Examples
  deno task cli decode catalogue.safetensors --model decoder.onnx 3,1,4
  deno task cli decode catalogue.safetensors --model decoder.onnx 3,1,4 --beams 5 --filter "in stock" --exclude 0,2
  deno task cli decode catalogue.safetensors --model decoder.onnx --json - < prompts.jsonl
  deno task cli decode s3://indexes/catalogue.safetensors --region eu-central-1 --model decoder.onnx 3,1 9
  deno task cli decode catalogue.safetensors --model t5.onnx --encoder encoder.onnx --start-token 0 "[3, 1, 4]"
  deno task cli decode names.safetensors --model gpt.onnx --text "The package for web servers is called"
  deno task cli decode names.safetensors --model t5.onnx --encoder encoder.onnx --start-token 0 --prompt-end-token 1 \\
    --text "bird"

Options
${MODEL_HELP}
  --beams N       sequences to find for each prompt, and width of the search, 1 to 1024; default ${DEFAULT_BEAMS}
  --results K     results for each prompt; default as many as there are. The search stops as soon as they cannot change
                  any more, which saves most of the model's work where sequences differ in length
  --filter NAME   only what a named filter of the index allows; given several times, what all allow
  --exclude N,N   not the sequences with these ordinals
  --exclude-item ID    not the item with this id: others of its sequence are still found. May be given several times;
                  ids that the index does not have exclude nothing
  --duplicates D  what becomes of an item that several sequences lead to, as --variants of build makes them: best
                  (default): one place, by the sequence that ranks first; sum: one place, by all probabilities;
                  keep: a place for each
${SEARCH_HELP}
  --text          for indexes of strings: each PROMPT, or line, is a text, and so is what is found
  --tokenizer T   with --text: the tokenizer.json that the index was built with, or the name of a tokenizer, where
                  the index does not say which
${PROMPT_HELP}
  --batch N       prompts that are searched together; default ${DEFAULT_BATCH}
${S3_HELP}
  --json          one JSON object for each prompt instead of text
  -h, --help      this text

JSON
  prompt (its tokens), text, backend, batch (prompts that were searched together), steps (calls of the model),
  msPerStep, modelShare (of that time; not on a GPU), and results, best first: ordinal, score, text, sequence, items

Exit codes: 0 searched, also where nothing is found, 1 no index, model, prompt or filter, or it cannot be read, 2 wrong
usage, 130 interrupted
`;

interface Options {
  readonly argument: string;
  readonly s3: S3Flags;
  readonly model: ModelArguments;
  readonly prompts: readonly string[];
  readonly frame: Frame;
  readonly texts: { readonly text: boolean; readonly tokenizer?: string };
  readonly filters: readonly string[];
  readonly exclude: readonly number[] | undefined;
  readonly excludeItems: readonly string[];
  readonly duplicates: Duplicates;
  readonly results: number | undefined;
  readonly search: BeamSearchOptions;
  readonly batch: number;
  readonly isJson: boolean;
}

/** The command `decode`. */
export const decode: Command<Options> = { help: DECODE_HELP, parse, run };

/**
 * Runs the command; returns its exit code.
 *
 * @throws {EspalierError} naming the file, if it is no index or no model, lacks a filter or cannot be read.
 */
async function run(options: Options, io: Io): Promise<number> {
  const name = shownName(options.argument);
  using progress = new ProgressLine(io);
  using index = await openIndex(options.argument, options.s3, io, progress);
  const tokenizer = await textTokenizer(index, options.texts).catch((error) => {
    throw aboutFile(error, name);
  });
  const prompts = promptsOf(options.prompts, io, tokenizer, options.frame);
  using filter = filterOf(index, name, options.filters);
  await using model = await openModel(options.model, options.s3, io, progress);
  checkVocabulary(model, index, name);
  using decoder = await createDecoder(index, model.decoder);
  progress[Symbol.dispose]();
  const { results, duplicates } = options;
  // Which sums are best is only known of all.
  const isWhole = results === undefined || index.items !== undefined && duplicates === "sum";
  const search = {
    ...options.search,
    ...(!isWhole && { results, duplicates: duplicates === "keep" ? duplicates : "best" as const }),
    filter,
    signal: io.signal,
  };
  const all: Cost = { steps: 0, total: 0, model: undefined };
  let count = 0;
  let backend: string = decoder.backend;
  const shown = { tokenizer, duplicates, results };
  const { batch, exclude, excludeItems } = options;
  const excluded = {
    exclude,
    excludeItems: excludeItems.length > 0
      ? itemIds(index, "--exclude-item", excludeItems)
      : undefined,
  };
  for await (const found of searchBatches(decoder, model, prompts, batch, search, excluded)) {
    io.out(options.isJson ? jsonOf(index, found, shown) : textOf(index, found, shown));
    count += found.prompts.length;
    backend = found.result.backend;
    all.steps += found.cost.steps;
    all.total += found.cost.total;
    if (found.cost.model !== undefined) all.model = (all.model ?? 0) + found.cost.model;
  }
  if (!options.isJson) {
    const many = count === 1 ? "1 prompt" : `${grouped(count)} prompts`;
    io.out(`${many}, searched on ${backend}, model on ${model.place}; ${costText(all)}\n`);
  }
  return 0;
}

/** What all of some named filters allow; undefined for none. */
function filterOf(
  index: ConstraintIndex,
  name: string,
  names: readonly string[],
): ItemFilter | undefined {
  if (names.length === 0) return undefined;
  try {
    return index.filter({ all: [...names] });
  } catch (error) {
    throw aboutFile(error, name);
  }
}

/** What was found for a prompt of a batch, best first. */
function foundFor(
  index: ConstraintIndex,
  found: readonly FoundSequence[],
  { tokenizer, duplicates, results }: Shown,
) {
  const rows = index.items
    ? foundItems(index, found, duplicates)
    : found.map(({ items: _, ...one }) => ({ ...one, items: undefined }));
  return rows.slice(0, results).map(({ ordinal, score, sequence, items }) => ({
    ordinal,
    score,
    text: tokenizer?.decode(sequence),
    sequence,
    items,
  }));
}

/** How results are shown. */
interface Shown {
  readonly tokenizer: Tokenizer | undefined;
  readonly duplicates: Duplicates;
  readonly results: number | undefined;
}

function jsonOf(index: ConstraintIndex, found: FoundBatch, shown: Shown): string {
  const { prompts, result, cost } = found;
  const { backend } = result;
  const sequences = sequencesOf(result);
  return prompts.map(({ tokens, text }, row) => {
    const { steps, total, model } = cost;
    const line = {
      prompt: tokens,
      text,
      backend,
      batch: prompts.length,
      steps,
      msPerStep: round(total / Math.max(1, steps)),
      modelShare: model === undefined ? undefined : round(model / total),
      results: foundFor(index, sequences[row], shown),
    };
    return `${jsonLine(line)}\n`;
  }).join("");
}

function textOf(index: ConstraintIndex, found: FoundBatch, how: Shown): string {
  const names = [how.tokenizer ? "text" : "sequence", ...(index.items ? ["item ids"] : [])];
  const sequences = sequencesOf(found.result);
  return found.prompts.map((prompt, row) => {
    const results = foundFor(index, sequences[row], how);
    const rows = results.map(({ ordinal, score, text, sequence, items }, i) => [
      String(i + 1),
      score.toFixed(4),
      String(ordinal),
      text === undefined ? tokensText(sequence) : JSON.stringify(text),
      ...(items ? [itemsText(items)] : []),
    ]);
    const nothing = "  nothing: no sequence that is allowed has a finite score\n";
    const listed = rows.length > 0 ? table(["rank", "score", "ordinal", ...names], rows) : nothing;
    const shown = prompt.text === undefined
      ? tokensText(prompt.tokens)
      : JSON.stringify(prompt.text);
    return `prompt ${shown}\n${listed}\n`;
  }).join("");
}

function costText({ steps, total, model }: Cost): string {
  if (steps === 0) return "no steps";
  const share = model === undefined
    ? ""
    : `, ${(100 * model / total).toFixed(0)} % of it the model`;
  return `${grouped(steps)} steps, ${(total / steps).toFixed(2)} ms each${share}`;
}

function round(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}

function parse(args: string[]): Options | undefined {
  const { values, positionals } = parseFlags(args, {
    ...S3_OPTIONS,
    ...MODEL_OPTIONS,
    ...SEARCH_OPTIONS,
    ...SHOW_OPTIONS,
    ...PROMPT_OPTIONS,
    beams: { type: "string", default: String(DEFAULT_BEAMS) },
    results: { type: "string" },
    batch: { type: "string", default: String(DEFAULT_BATCH) },
    filter: { type: "string", multiple: true, default: [] },
    exclude: { type: "string" },
    duplicates: { type: "string", default: "best" },
    "exclude-item": { type: "string", multiple: true, default: [] },
    ...COMMON_OPTIONS,
  });
  if (values.help) return undefined;
  const [argument, ...prompts] = positionals;
  if (argument === undefined) throw new UsageError("Expected FILE or URL, found none");
  const model = parseModel(values);
  if (!model) throw new UsageError("Expected --model MODEL.onnx, found none");
  if (prompts.length === 0) {
    throw new UsageError("Expected PROMPT, such as 3,1,4, or - for standard input, found none");
  }
  if (prompts.length > 1 && prompts.includes("-")) {
    throw new UsageError("Expected - alone, found other prompts beside it");
  }
  if (argument === "-" && prompts[0] === "-") {
    throw new UsageError("Expected standard input once, for the index or the prompts, found both");
  }
  // What is wrong with them is said before anything is read.
  if (!values.text && prompts[0] !== "-") {
    for (const prompt of prompts) parseNumbers("PROMPT", prompt);
  }
  checkS3Flags([argument, model.model].find(isS3) ?? argument, values);
  const { filter: filters, exclude, json: isJson } = values;
  const beams = wholeFlag("--beams", values.beams, 1, 1024);
  const results = wholeFlag("--results", values.results, 1, 1024);
  if (results !== undefined && results > beams) {
    throw new UsageError(`Expected --results of at most --beams, ${beams}, found "${results}"`);
  }
  return {
    argument,
    s3: values,
    model,
    prompts,
    frame: parseFrame(values),
    texts: values,
    filters,
    exclude: exclude === undefined ? undefined : parseNumbers("--exclude", exclude),
    excludeItems: values["exclude-item"],
    duplicates: parseDuplicates(values.duplicates),
    results,
    search: {
      ...parseSearch(values),
      beamSize: beams,
      padToken: model.padToken,
    },
    batch: wholeFlag("--batch", values.batch, 1, 1024),
    isJson,
  };
}

function parseDuplicates(text: string): Duplicates {
  if (text === "best" || text === "sum" || text === "keep") return text;
  throw new UsageError(`Expected --duplicates best, sum or keep, found "${text}"`);
}
