/** `build`: an index file from a matrix or from JSON lines. */
import { resolve } from "node:path";
import { BuildInputError } from "../errors.ts";
import { buildIndex } from "../index/build.ts";
import type { ConstraintIndex } from "../index/constraint_index.ts";
import { MAX_VOCAB } from "../index/layout.ts";
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

Options
  -o, --out FILE    where the index goes. It appears when it is whole; until then what stood there stays
  --vocab N         tokens are integers in [0, N); 2 to ${MAX_VOCAB}. Give the model's own number. Without it the
                    largest token + 1 is taken, which for JSON lines costs another pass over the file
  --sorted          rows are in ascending order, prefixes first: saves the sort, is checked
  --format F        npy or jsonl, where the file's name does not tell
  --ordinals FILE   writes the ordinal of each input row as a vector of uint32 (.npy)
  --json            one JSON object instead of text
  -h, --help        this text

Exit codes: 0 built, 1 the input is bad (nothing is written), 2 wrong usage, 130 interrupted (nothing is written)
`;

interface Options extends InputOptions {
  readonly out: string;
  readonly sorted: boolean;
  readonly ordinals: string | undefined;
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
    signal: io.signal,
    onProgress: (done, total) => progress.show(total ? "building" : "reading row", done, total),
  }).catch((error) => {
    const isAtHand = error instanceof BuildInputError && error.row === input.at?.row;
    throw aboutFile(error, options.input, isAtHand ? input.at?.line : undefined);
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

function report(
  { input, out, vocab, ordinals, json }: Options,
  io: Io,
  index: ConstraintIndex,
  rows: number,
  milliseconds: number,
): void {
  const { size, vocabSize, maxLength, byteLength, digest, levels } = index;
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
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return undefined;
  const input = onlyArgument(positionals, "INPUT");
  const { out, format, ordinals, sorted, json } = values;
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
  const files = [input, out, ordinals].filter((path) => path !== undefined);
  if (new Set(files.map((path) => resolve(path))).size < files.length) {
    throw new UsageError("Expected different files for INPUT, --out and --ordinals");
  }
  if (input === "-" && format === "npy") {
    throw new UsageError("Expected JSON lines on standard input; give a .npy file by its path");
  }
  if (input === "-" && vocab === undefined) throw needsVocab("standard input");
  return { input, out, vocab, sorted, format, ordinals, json };
}
