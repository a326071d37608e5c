/** `convert`: between an index and the arrays of the published implementation. */
import type { Command } from "./command.ts";
import { buildIndex } from "../../build/mod.ts";
import { openIndex, saveIndex } from "../args/index_file.ts";
import { lookAt } from "../io/files.ts";
import { checkOutputs } from "../io/outputs.ts";
import { isAddress, shownName } from "../io/addresses.ts";
import { checkIndexName, COMMON_OPTIONS, onlyArgument, parseFlags } from "../args/flags.ts";
import { aboutFile, UsageError } from "../errors.ts";
import type { Io } from "../io/terminal.ts";
import { facts, grouped } from "../io/format.ts";
import { ProgressLine } from "../io/progress_line.ts";
import { WholeFile } from "../io/whole_file.ts";
import { checkS3Flags, S3_HELP, S3_OPTIONS, type S3Flags } from "../args/s3_flags.ts";

/** What `cli convert --help` prints. */
export const CONVERT_HELP =
  `Converts the arrays of the published implementation to an index, or an index to those

Usage: deno task cli convert IN.npz -o OUT.safetensors [options]
       deno task cli convert IN.safetensors -o OUT.npz [options]

The arrays are those that build_static_index of the published STATIC implementation returns, under their names:
packed_csr, indptr, layer_max_branches, start_mask, dense_mask, dense_states. They hold sequences of one length.
On the way in, all of them must agree with each other; packed_csr, indptr and start_mask suffice. An index in S3 or
behind a URL is read from there; - is one on standard input. Named filters and item ids have no place in the arrays
and stay behind. Memory: the arrays and the index on the way in, the index and the dense tables on the way out.

Examples
  From Python, where sids is the matrix of sequences, and then:
    names = "packed_csr indptr layer_max_branches start_mask dense_mask dense_states".split()
    np.savez("static.npz", **dict(zip(names, build_static_index(sids, vocab_size=2048))))
    deno task cli convert static.npz -o catalogue.safetensors
  To Python, and there: arrays = np.load("static.npz")
    deno task cli convert catalogue.safetensors -o static.npz
  Where the square of the vocabulary is too large for a table:
    deno task cli convert catalogue.safetensors -o static.npz --dense-levels 1

Options
  -o, --out FILE  where the result goes. It appears when it is whole; until then the old file stays. A link is
                  followed and stays; the permissions of a file that is replaced stay, too
  --dense-levels N
                  dimensions of the dense tables of OUT.npz, which take 5 · vocabulary^N bytes; default 2, as in the
                  published implementation, or 1 where sequences have two tokens
${S3_HELP}
  --json          one JSON object instead of text
  -h, --help      this text

JSON
  input, output, sequences, vocabSize, length, byteLength, denseLevels (of OUT.npz), digest (of OUT.safetensors),
  leftBehind

Exit codes: 0 converted, 1 the input is bad or cannot be converted (nothing is written), 2 wrong usage,
130 interrupted (nothing is written)
`;

interface Options {
  readonly input: string;
  readonly out: string;
  readonly denseLevels: number | undefined;
  readonly s3: S3Flags;
  readonly isJson: boolean;
}

/** What there is to say of a conversion. */
interface Result {
  sequences: number;
  vocabSize: number;
  length: number;
  byteLength: number;
  denseLevels?: number;
  digest?: string;
  /** What the arrays have no place for. */
  leftBehind?: string[];
}

/** The command `convert`. */
export const convert: Command<Options> = { help: CONVERT_HELP, parse, run };

/**
 * Runs the command; returns its exit code.
 *
 * @throws {EspalierError} naming the file, if the input cannot be converted or the output cannot be written.
 * @throws the reason of `io.signal`, once it is aborted; no file is left then.
 */
async function run(options: Options, io: Io): Promise<number> {
  const { input, out, isJson } = options;
  const name = shownName(input);
  const kind = isAddress(input) || input === "-" ? undefined : (await lookAt(input)).kind;
  const isArchive = /\.npz$/i.test(input) || kind?.startsWith("a zip archive") === true;
  checkTarget(options, isArchive);
  using progress = new ProgressLine(io);
  await using file = await WholeFile.create(out);
  const result = await (isArchive ? fromArrays : toArrays)(options, file, io, progress).catch(
    (error) => {
      throw aboutFile(error, name);
    },
  );
  await file.seal();
  io.signal.throwIfAborted();
  await file.publish();
  progress[Symbol.dispose]();
  if (isJson) {
    io.out(`${JSON.stringify({ input: name, output: out, ...result })}\n`);
    return 0;
  }
  const { sequences, vocabSize, length, byteLength, denseLevels, digest, leftBehind } = result;
  io.out(`Converted ${name} to ${out}\n`);
  io.out(facts([
    ["sequences", `${grouped(sequences)} of ${length} tokens`],
    ["vocabulary", grouped(vocabSize)],
    ...(denseLevels === undefined ? [] : [["dense", `${denseLevels} levels`]] as const),
    ["bytes", grouped(byteLength)],
    ...(digest === undefined ? [] : [["digest", digest]] as const),
    ...(leftBehind ? [["left behind", leftBehind.join(", ")]] as const : []),
  ]));
  return 0;
}

async function fromArrays(
  { input }: Options,
  out: WholeFile,
  io: Io,
  progress: ProgressLine,
): Promise<Result> {
  const { signal } = io;
  const { Npz } = await import("../numpy/npz.ts");
  const { countSequences, readStaticArrays, staticSequences } = await import("../static/read.ts");
  using archive = await Npz.open(
    input,
    signal,
    (bytes, total) => progress.show("reading", bytes, total, { bytes }),
  );
  const arrays = await readStaticArrays(archive);
  const count = countSequences(arrays);
  using index = await buildIndex(staticSequences(arrays), {
    vocabSize: arrays.vocabSize,
    sorted: true,
    signal,
    onProgress: (done, total) =>
      progress.show(total ? "building" : "taking apart", done, total ?? count, { rows: done }),
  });
  await saveIndex(index, out, io, progress);
  const { size: sequences, vocabSize, maxLength: length, byteLength, digest } = index;
  return { sequences, vocabSize, length, byteLength, digest };
}

async function toArrays(
  { input, s3, denseLevels }: Options,
  out: WholeFile,
  io: Io,
  progress: ProgressLine,
): Promise<Result> {
  const { writeNpz } = await import("../numpy/npz.ts");
  const { staticArrays } = await import("../static/write.ts");
  using index = await openIndex(input, s3, io, progress);
  const { size: sequences, vocabSize, maxLength: length, filterNames, items } = index;
  const dense = denseLevels ?? Math.max(1, Math.min(2, length - 1));
  let byteLength = 0;
  await writeNpz(out, staticArrays(index, dense), io.signal, (bytes, total) => {
    byteLength = bytes;
    progress.show("writing", bytes, total);
  });
  const leftBehind = [
    ...filterNames.map((name) => `filter ${name}`),
    ...(items ? [`${grouped(items.count)} item ids`] : []),
  ];
  return {
    sequences,
    vocabSize,
    length,
    byteLength,
    denseLevels: dense,
    leftBehind: leftBehind.length > 0 ? leftBehind : undefined,
  };
}

/** Refuses names and flags that do not fit the direction, which the input decides. @throws {UsageError} */
function checkTarget({ input, out, denseLevels }: Options, isArchive: boolean): void {
  const isToArchive = /\.npz$/i.test(out);
  if (isArchive && isToArchive) {
    throw new UsageError(
      `Expected -o OUT.safetensors, because ${input} holds arrays, found "${out}"`,
    );
  }
  if (!isArchive && !isToArchive) {
    throw new UsageError(
      `Expected -o OUT.npz, because ${shownName(input)} is no .npz archive, found "${out}"`,
    );
  }
  if (isArchive) checkIndexName(out);
  if (isArchive && denseLevels !== undefined) {
    throw new UsageError("Expected --dense-levels with OUT.npz only");
  }
}

async function parse(args: string[]): Promise<Options | undefined> {
  const { values, positionals } = parseFlags(args, {
    ...S3_OPTIONS,
    out: { type: "string", short: "o" },
    "dense-levels": { type: "string" },
    ...COMMON_OPTIONS,
  });
  if (values.help) return undefined;
  const input = onlyArgument(positionals, "IN.npz or IN.safetensors");
  checkS3Flags(input, values);
  const { out, "dense-levels": dense, json: isJson } = values;
  if (!out || out === "-") throw new UsageError("Expected -o FILE, where the result goes");
  await checkOutputs([{ flag: "--out", path: out }], [{ flag: "IN", path: input }]);
  if (dense !== undefined && !/^[1-9]\d{0,3}$/.test(dense)) {
    throw new UsageError(`Expected --dense-levels from 1 on, found "${dense}"`);
  }
  const denseLevels = dense === undefined ? undefined : Number(dense);
  return { input, out, denseLevels, s3: values, isJson };
}
