/** From the INPUT of `build` to rows that the builder takes. */
import { BuildInputError } from "../errors.ts";
import type { SequenceMatrix } from "../index/build.ts";
import { MAX_VOCAB } from "../index/layout.ts";
import { lookAt, openFile, UsageError } from "./input.ts";
import { type LinePosition, readJsonLines } from "./jsonl.ts";
import { readNpy } from "./npy.ts";
import type { Io, ProgressLine } from "./output.ts";

/** What is to be read. */
export interface InputOptions {
  /** Path, or `-` for JSON lines on standard input. */
  readonly input: string;
  /** Vocabulary size; undefined to infer it. */
  readonly vocab: number | undefined;
  /** Undefined to go by the name. */
  readonly format: "npy" | "jsonl" | undefined;
}

/** Rows, and what is known of them. */
export interface InputRows {
  readonly rows: SequenceMatrix | AsyncIterable<ArrayLike<number>>;
  readonly vocabSize: number;
  /** Where the reader of lines is; undefined for a matrix. */
  readonly at?: LinePosition;
  /** Rows read. */
  count(): number;
}

/**
 * Opens the input; reads it, if it is a matrix, or if the vocabulary size has to be inferred from it.
 *
 * @throws {BuildInputError} if it is of another kind, or no matrix or lines of integers.
 * @throws {StorageError} if it cannot be read.
 * @throws {UsageError} if it can be read only once and the vocabulary size is missing.
 */
export async function openRows(
  options: InputOptions,
  { signal, stdin }: Io,
  progress: ProgressLine,
): Promise<InputRows> {
  const { input, vocab } = options;
  const at = { row: -1, line: 0 };
  const count = () => at.row + 1;
  if (input === "-") {
    if (vocab === undefined) throw needsVocab("standard input");
    return { rows: readJsonLines(stdin, "-", at, signal), vocabSize: vocab, at, count };
  }
  const { kind, byteLength } = await lookAt(input);
  if (formatOf(options, kind) === "npy") {
    using file = await openFile(input);
    const onProgress = (bytes: number, total: number) => progress.show("reading", bytes, total);
    const rows = await readNpy(file, input, { byteLength, signal, onProgress });
    return { rows, vocabSize: vocab ?? vocabOf(rows.data), count: () => rows.rows };
  }
  const open = async () => (await openFile(input)).readable;
  const lines = (at?: LinePosition) => readJsonLines(open, input, at, signal);
  let vocabSize = vocab;
  if (vocabSize === undefined) {
    if (byteLength === undefined) throw needsVocab("a pipe");
    vocabSize = 2;
    let done = 0;
    for await (const row of lines()) {
      vocabSize = Math.max(vocabSize, vocabOf(row));
      progress.show("finding the largest token: row", ++done);
    }
  }
  return { rows: lines(at), vocabSize, at, count };
}

/** Without --vocab the size is found in a first pass, which what is read only once does not allow. */
export function needsVocab(what: string): UsageError {
  return new UsageError(`Expected --vocab N, because ${what} can be read only once; found none`);
}

/** Smallest vocabulary for these tokens. Those beyond every vocabulary are left for the builder to refuse. */
function vocabOf(tokens: ArrayLike<number>): number {
  let largest = 1;
  for (let i = 0; i < tokens.length; i++) if (tokens[i] > largest) largest = tokens[i];
  return Math.min(largest + 1, MAX_VOCAB);
}

/** Goes by the flag, then by the name; in both cases the first bytes must not say otherwise. */
function formatOf({ input, format }: InputOptions, kind: string | undefined): "npy" | "jsonl" {
  const byName = /\.npy$/i.test(input)
    ? "npy"
    : /\.(jsonl|ndjson)$/i.test(input)
    ? "jsonl"
    : undefined;
  const found = format ?? byName;
  // The reader of matrices says itself what it found instead.
  if (found === "npy" || (found === "jsonl" && (kind === undefined || kind === "JSON"))) {
    return found;
  }
  const wayOut = kind === "a gzip file"
    ? `unpack it: gzip -dc "${input}" | cli build - --vocab N …`
    : kind?.includes("npy")
    ? "name it *.npy or give --format npy"
    : "convert it to one of these, or give --format if it is one";
  throw new BuildInputError(
    "wrong-file-type",
    `${input}: expected a .npy, .jsonl or .ndjson file, found ${kind ?? "another kind"}; ${wayOut}`,
    { file: input, expected: "npy, jsonl", actual: kind },
  );
}
