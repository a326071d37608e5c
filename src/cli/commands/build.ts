/** `build`: an index file from tables of token sequences. */
import type { Command } from "./command.ts";
import { BuildInputError, printable } from "../../errors.ts";
import { buildIndex, type FilterValues, type ItemIds } from "../../build/mod.ts";
import type { ConstraintIndex } from "../../index/constraint_index.ts";
import { readFilter, readItems } from "../tables/value_files.ts";
import { ValueColumns } from "../tables/value_columns.ts";
import { BUILD_HELP, type BuildArguments, parseBuild } from "./build_arguments.ts";
import { entropyBits } from "../../index/entropy.ts";
import { type CollectedRows, collectRows } from "../tables/collect_rows.ts";
import { aboutFile, UsageError } from "../errors.ts";
import { saveIndex } from "../args/index_file.ts";
import { encodeNpy } from "../numpy/write.ts";
import type { Io } from "../io/terminal.ts";
import { bytesPerItem, counted, facts, grouped, megabytes } from "../io/format.ts";
import { ProgressLine } from "../io/progress_line.ts";
import { WholeFile } from "../io/whole_file.ts";
import type { RowSource } from "../tables/row_source.ts";
import { openRows } from "../tables/formats.ts";
import { removeAbandonedSorts } from "../tables/disk_sorter.ts";
import { openText, type StringInput } from "../tables/string_lists.ts";
import { shown } from "../tokenizers/open.ts";

export { BUILD_HELP };

/** A string takes about so much, with its place in an array, and a flag. */
const STRING_BYTES = 40;
const FLAG_BYTES = 8;

/** The command `build`. */
export const build: Command<BuildArguments> = { help: BUILD_HELP, parse: parseBuild, run };

/**
 * Runs the command; returns its exit code.
 *
 * @throws {EspalierError} naming the file, if the input cannot become an index or the output cannot be written.
 * @throws the reason of `io.signal`, once it is aborted; no file is left then.
 */
async function run(options: BuildArguments, io: Io): Promise<number> {
  const began = performance.now();
  using progress = new ProgressLine(io);
  const { item, filters: filterColumns } = options.columns;
  const hasItems = options.items !== undefined || item !== undefined;
  const strings = options.text && await openText(options.text, hasItems);
  const spelling = strings?.spelling;
  const isList = strings && options.columns.strings === undefined;
  const files = await readValueFiles(options, io, progress, strings);
  const sources: RowSource[] = [];
  for (const input of options.inputs) {
    sources.push(
      isList
        ? await strings.openList(input, io)
        : await openRows(input, options.format, options.columns, spelling, io),
    );
  }
  await removeAbandonedSorts(options.temp);
  await using out = await WholeFile.create(options.out);
  await using ordinalsOut = options.ordinals === undefined
    ? undefined
    : await WholeFile.create(options.ordinals);
  const hasColumns = item !== undefined || filterColumns.size > 0;
  const values = hasColumns
    ? new ValueColumns(item !== undefined, filterColumns.keys())
    : undefined;
  const keptStrings = spelling?.items;
  const hasFiles = files.items !== undefined || files.filters.length > 0;
  await using input = await collectRows(
    sources,
    {
      vocab: spelling?.tokenizer.vocabSize ?? options.vocab,
      isSorted: options.isSorted,
      isNumbered: hasColumns || hasFiles || keptStrings !== undefined || ordinalsOut !== undefined,
      values,
      otherBytes: () => files.bytes + STRING_BYTES * (keptStrings?.length ?? 0),
      memory: options.memory,
      temp: options.temp,
      say: (text) => options.json || io.err(`${progress.cleared()}${printable(text)}\n`),
    },
    io,
    progress,
  );

  const items = values?.items() ?? keptStrings ?? files.items;
  if (options.itemLookup && !items) {
    throw new UsageError(
      "Expected --item-lookup beside --item-column, --items or --ids, found no ids",
    );
  }
  let ordinals: Uint32Array | undefined;
  using index = await buildIndex(input.rows, {
    vocabSize: input.vocabSize,
    sorted: input.isSorted,
    reportOrdinals: ordinalsOut && ((reported) => ordinals = reported),
    items,
    itemLookup: options.itemLookup,
    tokenizer: spelling?.tokenizer,
    filters: Object.fromEntries([...files.filters, ...(values?.filters() ?? [])]),
    signal: io.signal,
    onProgress: (done, total) => {
      if (total) progress.show("building", done, total, { rows: done });
      else if (input.temporaryBytes() !== undefined) {
        progress.show("merging", done, input.count(), { rows: done });
      }
    },
  }).catch((error) => {
    const file = valueFileOf(error, options);
    throw file === undefined ? input.about(error) : aboutFile(error, file);
  });
  await saveIndex(index, out, io, progress);
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
  report(options, io, index, input, performance.now() - began);
  return 0;
}

async function readValueFiles(
  options: BuildArguments,
  io: Io,
  progress: ProgressLine,
  strings: StringInput | undefined,
) {
  let items: ItemIds | undefined;
  if (options.items !== undefined) items = await readItems(options.items, io, progress);
  const filters: [name: string, values: FilterValues][] = [];
  for (const [name, file] of options.filters) {
    filters.push([name, await readFilter(file, io, progress)]);
  }
  const rows = strings?.perRow(items, filters) ?? { items, filters };
  let bytes = bytesOf(rows.items ?? [], STRING_BYTES);
  for (const [, values] of rows.filters) bytes += bytesOf(values, FLAG_BYTES);
  return { ...rows, bytes };
}

function bytesOf(values: ItemIds | FilterValues, each: number): number {
  return ArrayBuffer.isView(values) ? values.byteLength : each * values.length;
}

/** The file of filters or ids that an error of the builder is about. */
function valueFileOf(error: unknown, { items, filters }: BuildArguments): string | undefined {
  if (!(error instanceof BuildInputError)) return undefined;
  if (error.filter !== undefined) return filters.get(error.filter);
  return error.code === "items-length" || error.code === "bad-item" ? items : undefined;
}

function report(
  { inputs, out, vocab, ordinals, json }: BuildArguments,
  io: Io,
  index: ConstraintIndex,
  input: Pick<CollectedRows, "count" | "temporaryBytes">,
  milliseconds: number,
): void {
  const { size, vocabSize, maxLength, byteLength, digest, levels, items, filterNames } = index;
  const { tokenizer } = index;
  const isVocabInferred = vocab === undefined && !tokenizer;
  const entropy = entropyBits(vocabSize, levels.map((level) => level.ends)) / 8;
  const rows = input.count();
  const temporaryBytes = input.temporaryBytes();
  if (json) {
    const result = {
      input: inputs[0],
      inputs: inputs.length > 1 ? inputs : undefined,
      output: out,
      ordinals,
      rows,
      sequences: size,
      vocabSize,
      isVocabInferred,
      tokenizer,
      maxLength,
      byteLength,
      bytesPerItem: byteLength / size,
      entropyBytesPerItem: entropy / size,
      items,
      filters: filterNames.length > 0 ? filterNames : undefined,
      temporaryBytes,
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
    [
      "sequences",
      grouped(size) + (merged > 0 ? `, and ${counted(merged, "duplicate")} merged` : ""),
    ],
    ["vocabulary", `${grouped(vocabSize)}${isVocabInferred ? ` (${inferred})` : ""}`],
    ...(tokenizer ? [["tokenizer", shown(tokenizer)] as const] : []),
    ["levels", String(maxLength)],
    ...(items ? [["item ids", `${grouped(items.count)}, ${items.type}`] as const] : []),
    ...(filterNames.length > 0 ? [["filters", filterNames.join(", ")] as const] : []),
    ["bytes", grouped(byteLength)],
    ["per item", bytesPerItem(byteLength, size)],
    ["entropy", `${bytesPerItem(entropy, size)}, for a random set of this size`],
    ["digest", digest],
    ...(temporaryBytes === undefined
      ? []
      : [["sorted", `on disk, with ${megabytes(temporaryBytes)} of temporary files`] as const]),
    ["time", `${(milliseconds / 1000).toFixed(2)} s`],
  ]));
}
