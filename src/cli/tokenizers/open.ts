/** Tokenizers by name or file: from text to tokens when an index is built, and back when it is asked. */
import { EspalierError } from "../../errors.ts";
import { UsageError } from "../errors.ts";
import { byteTokenizer } from "./bytes.ts";
import { gptTokenizer, isGptEncoding } from "./gpt.ts";
import { fileTokenizer } from "./hugging_face.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What `--tokenizer` may be, for help and messages. */
export const TOKENIZERS = "o200k, cl100k, bytes, bytes+N or a tokenizer.json";

const BYTES = /^bytes(?:\+(\d+))?$/;

/** The file that `--tokenizer` means; undefined if it names a tokenizer that needs none. */
export function tokenizerFile(argument: string): string | undefined {
  return isGptEncoding(argument) || BYTES.test(argument) ? undefined : argument;
}

/**
 * Opens the tokenizer that `--tokenizer` names. Loads no other.
 *
 * @throws {UsageError} if it is neither a name nor the path of a file.
 * @throws {EspalierError} if the file cannot be read, or is no tokenizer.
 */
export async function openTokenizer(argument: string): Promise<Tokenizer> {
  if (isGptEncoding(argument)) return await gptTokenizer(argument);
  const bytes = BYTES.exec(argument);
  if (bytes) return byteTokenizer(Number(bytes[1] ?? 0));
  try {
    return await fileTokenizer(argument);
  } catch (error) {
    const isMissing = error instanceof EspalierError && error.code === "not-found";
    if (!isMissing || /[./\\]/.test(argument)) throw error;
    throw new UsageError(`Expected --tokenizer ${TOKENIZERS}, found "${argument}"`);
  }
}

/**
 * Opens the tokenizer that an index was built with, to read its sequences.
 *
 * @param stored what the index says: `index.tokenizer`.
 * @param argument of `--tokenizer`: where the file is now. Names need none.
 * @throws {UsageError} if neither says which, or the flag names another.
 * @throws {EspalierError} with code `"wrong-tokenizer"` if the file is not the one.
 */
export async function tokenizerOf(
  stored: { readonly name: string; readonly digest?: string } | undefined,
  argument?: string,
): Promise<Tokenizer> {
  if (argument === undefined) {
    if (stored && stored.digest === undefined) return await openTokenizer(stored.name);
    throw new UsageError(
      stored
        ? `Expected --tokenizer, the file "${stored.name}" that the index was built with; the index does not hold it`
        : `Expected an index of strings with --text, found one that was built from tokens; if they spell texts, give --tokenizer, ${TOKENIZERS}`,
    );
  }
  const tokenizer = await openTokenizer(argument);
  const { name, digest } = tokenizer;
  if (!stored || (digest === undefined ? name === stored.name : digest === stored.digest)) {
    return tokenizer;
  }
  throw new EspalierError(
    "wrong-tokenizer",
    `The index was built with ${shown(stored)}, found ${shown(tokenizer)}; give the same`,
    { expected: stored.digest ?? stored.name, actual: digest ?? name },
  );
}

/** A tokenizer as people are shown it. */
export function shown({ name, digest }: { name: string; digest?: string }): string {
  return digest === undefined ? name : `${name} (SHA-256 ${digest.slice(0, 12)}…)`;
}
