/** `build`: an index file from a matrix or from JSON lines. */
import { resolve } from "node:path";
import { BuildInputError } from "../errors.ts";
import { buildIndex, type FilterValues } from "../index/build.ts";
import type { ConstraintIndex } from "../index/constraint_index.ts";
import { MAX_VOCAB } from "../index/layout.ts";
import { isFilterName, MAX_NAME_LENGTH } from "../index/named_filters.ts";
import { readFilter, readItems } from "./attached.ts";
import { entropyBits } from "./entropy.ts";
import { aboutFile, onlyArgument, parseFlags, UsageError } from "./input.ts";
import { encodeNpy } from "./npy.ts";
import { bytesPerItem, facts, grouped, type Io, ProgressLine, WholeFile } from "./output.ts";
import { type InputOptions, needsVocab, openRows } from "./rows.ts";

/** What `cli build --help` prints. */
export const BUILD_HELP = `Builds an index file from a table of token sequences

Usage: cli build INPUT -o OUT.safetensors [options]

INPUT is one of
  *.npy             matrix of integers, one sequence per row (any integer dtype, C or Fortran order)
  *.jsonl *.ndjson  one JSON array of integers per line; lengths may differ, blank lines are skipped
  -                 JSON lines from standard input

Rows may come in any order; duplicates are merged. 1 to 1024 tokens each. Padding is not taken away: sequences
of different lengths go into JSON lines, without it.

Examples
  Semantic IDs from NumPy, for a model with 2048 codes per level:
    cli build sids.npy -o catalogue.safetensors --vocab 2048
  From a database, sorted there, so that memory stays about the size of the index:
    duckdb -noheader -list -c "select to_json(tokens) from sids order by tokens" |
      cli build - -o catalogue.safetensors --vocab 2048 --sorted
  With the number under which the index knows each row, to keep prices or titles in arrays:
    cli build sids.npy -o catalogue.safetensors --vocab 2048 --ordinals ordinals.npy
  With the ids of the items, and those that may be shown, in the index itself:
    cli build sids.npy -o catalogue.safetensors --vocab 2048 --items ids.npy \\
      --filter in_stock=stock.npy --filter adult=adult.txt

Options
  -o, --out FILE    where the index goes. It appears when it is whole; until then what stood there stays
  --vocab N         tokens are integers in [0, N); 2 to ${MAX_VOCAB}. Give the model's own number. Without it the
                    largest token + 1 is taken, which for JSON lines costs another pass over the file
  --sorted          rows are in ascending order, prefixes first: saves the sort, is checked
  --format F        npy or jsonl, where the file's name does not tell
  --ordinals FILE   writes the ordinal of each input row as a vector of uint32 (.npy)
  --items FILE      keeps an id for each input row in the index: a vector of integers (.npy), JSON strings or
                    integers, one per line (.jsonl), or text, of which each line is an id. Rows that share a
                    sequence share their ids
  --filter NAME=FILE
                    keeps a filter in the index, by name: a vector of booleans or integers (.npy), or text, 0, 1,
                    true or false per line, one for each input row. May be given several times. A sequence is
                    allowed where one of its rows is
  --json            one JSON object instead of text
  -h, --help        this text

Exit codes: 0 built, 1 the input is bad (nothing is written), 2 wrong usage, 130 interrupted (nothing is written)
`;

interface Options extends InputOptions {
  readonly out: string;
  readonly sorted: boolean;
  readonly ordinals: string | undefined;
  readonly items: string | undefined;
  /** Files by name of the filter. */
  readonly filters: ReadonlyMap<string, string>;
  readonly json: boolean;
}

/**
 * Runs the command; returns its exit code.
 *
 * @throws {UsageError} for wrong arguments.
 * @throws {EspalierError} naming the file, if the input cannot become an index or the output cannot be written.
 * @throws the reason of `io.signal`, once it is aborted; no file is left then.
 */
export async function build(args: string[], io: Io): Promise<number> {
  const options = parse(args);
  if (!options) {
    io.out(BUILD_HELP);
    return 0;
  }
  const began = performance.now();
  using progress = new ProgressLine(io);
  const items = options.items === undefined
    ? undefined
    : await readItems(options.items, io, progress);
  const filters: [name: string, values: FilterValues][] = [];
  for (const [name, file] of options.filters) {
    filters.push([name, await readFilter(file, io, progress)]);
  }
  const input = await openRows(options, io, progress);
  await using out = await WholeFile.create(options.out);
  await using ordinalsOut = options.ordinals === undefined
    ? undefined
    : await WholeFile.create(options.ordinals);
  let ordinals: Uint32Array | undefined;
  using index = await buildIndex(input.rows, {
    vocabSize: input.vocabSize,
    sorted: options.sorted,
    reportOrdinals: ordinalsOut && ((reported) => ordinals = reported),
    items,
    filters: Object.fromEntries(filters),
    signal: io.signal,
    onProgress: (done, total) => progress.show(total ? "building" : "reading row", done, total),
  }).catch((error) => {
    const file = fileOf(error, options);
    const isAtHand = file === options.input && error instanceof BuildInputError &&
      error.row === input.at?.row;
    throw aboutFile(error, file, isAtHand ? input.at?.line : undefined);
  });
  let written = 0;
  for await (const chunk of index.toStream()) {
    io.signal.throwIfAborted();
    await out.write(chunk);
    progress.show("writing", written += chunk.length, index.byteLength);
  }
  if (ordinalsOut && ordinals) {
    for (const bytes of encodeNpy(ordinals as Uint32Array<ArrayBuffer>)) {
      await ordinalsOut.write(bytes);
    }
  }
  await out.seal();
  await ordinalsOut?.seal();
  io.signal.throwIfAborted();
  await ordinalsOut?.publish();
  await out.publish();
  progress[Symbol.dispose]();
  report(options, io, index, input.count(), performance.now() - began);
  return 0;
}

/** The file that an error of the builder is about. */
function fileOf(error: unknown, { input, items, filters }: Options): string {
  if (!(error instanceof BuildInputError)) return input;
  if (error.filter !== undefined) return filters.get(error.filter) ?? input;
  return error.code === "items-length" || error.code === "bad-item" ? items ?? input : input;
}

function report(
  { input, out, vocab, ordinals, json }: Options,
  io: Io,
  index: ConstraintIndex,
  rows: number,
  milliseconds: number,
): void {
  const { size, vocabSize, maxLength, byteLength, digest, levels, items, filterNames } = index;
  const entropy = entropyBits(vocabSize, levels.map((level) => level.ends)) / 8;
  if (json) {
    const result = {
      input,
      output: out,
      ordinals,
      rows,
      sequences: size,
      vocabSize,
      isVocabInferred: vocab === undefined,
      maxLength,
      byteLength,
      bytesPerItem: byteLength / size,
      entropyBytesPerItem: entropy / size,
      items,
      filters: filterNames.length > 0 ? filterNames : undefined,
      digest,
      milliseconds: Math.round(milliseconds),
    };
    io.out(`${JSON.stringify(result)}\n`);
    return;
  }
  const merged = rows - size;
  const inferred = "inferred: largest token + 1; give --vocab to fix it";
  io.out(`Built ${out}\n`);
  io.out(facts([
    ["sequences", grouped(size) + (merged > 0 ? `, and ${grouped(merged)} duplicates merged` : "")],
    ["vocabulary", `${grouped(vocabSize)}${vocab === undefined ? ` (${inferred})` : ""}`],
    ["levels", String(maxLength)],
    ...(items ? [["item ids", `${grouped(items.count)}, ${items.type}`] as const] : []),
    ...(filterNames.length > 0 ? [["filters", filterNames.join(", ")] as const] : []),
    ["bytes", grouped(byteLength)],
    ["per item", bytesPerItem(byteLength, size)],
    ["entropy", `${bytesPerItem(entropy, size)}, the least for such a set`],
    ["digest", digest],
    ["time", `${(milliseconds / 1000).toFixed(2)} s`],
  ]));
}

function parse(args: string[]): Options | undefined {
  const { values, positionals } = parseFlags({
    args,
    allowPositionals: true,
    options: {
      out: { type: "string", short: "o" },
      vocab: { type: "string" },
      sorted: { type: "boolean", default: false },
      format: { type: "string" },
      ordinals: { type: "string" },
      items: { type: "string" },
      filter: { type: "string", multiple: true, default: [] },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return undefined;
  const input = onlyArgument(positionals, "INPUT");
  const { out, format, ordinals, items, sorted, json } = values;
  const vocab = values.vocab === undefined ? undefined : Number(values.vocab);
  if (vocab !== undefined && !(Number.isInteger(vocab) && vocab >= 2 && vocab <= MAX_VOCAB)) {
    throw new UsageError(`Expected --vocab from 2 to ${MAX_VOCAB}, found "${values.vocab}"`);
  }
  if (format !== undefined && format !== "npy" && format !== "jsonl") {
    throw new UsageError(`Expected --format npy or jsonl, found "${format}"`);
  }
  if (!out) throw new UsageError("Expected -o OUT.safetensors, where the index goes, found none");
  if (out === "-" || ordinals === "-") {
    throw new UsageError(
      'Expected a file to write to, found "-": standard output is for the summary',
    );
  }
  const filters = parseFilters(values.filter);
  const sources = [input, items, ...filters.values()].filter((path) => path !== undefined);
  if (sources.slice(1).includes("-")) {
    throw new UsageError('Expected a file for --items and --filter, found "-"');
  }
  const targets = [out, ordinals].filter((path) => path !== undefined).map((path) => resolve(path));
  const read = new Set(sources.map((path) => resolve(path)));
  if (new Set(targets).size < targets.length || targets.some((path) => read.has(path))) {
    throw new UsageError(
      "Expected different files for --out, --ordinals and what is read: INPUT, --items, --filter",
    );
  }
  if (input === "-" && format === "npy") {
    throw new UsageError("Expected JSON lines on standard input; give a .npy file by its path");
  }
  if (input === "-" && vocab === undefined) throw needsVocab("standard input");
  return { input, out, vocab, sorted, format, ordinals, items, filters, json };
}

function parseFilters(flags: readonly string[]): Map<string, string> {
  const filters = new Map<string, string>();
  for (const flag of flags) {
    const [, name, file] = /^([^=]*)=(.+)$/su.exec(flag) ?? [];
    if (file === undefined || !isFilterName(name)) {
      throw new UsageError(
        `Expected --filter NAME=FILE, NAME of 1 to ${MAX_NAME_LENGTH} characters, found "${flag}"`,
      );
    }
    if (filters.has(name)) throw new UsageError(`Expected one file for the filter "${name}"`);
    filters.set(name, file);
  }
  return filters;
}
