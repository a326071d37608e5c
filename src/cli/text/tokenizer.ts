/** Tokenizers by name or file: from text to tokens when an index is built, and back when it is asked. */
import { EspalierError } from "../../errors.ts";
import { UsageError } from "../input.ts";
import { byteTokenizer } from "./bytes.ts";
import { gptTokenizer, isGptEncoding } from "./gpt.ts";
import { fileTokenizer } from "./hugging_face.ts";

/** Turns text into tokens, always the same way, and back. */
export interface Tokenizer {
  /** As `--tokenizer` takes it; of a file its name without folders. */
  readonly name: string;
  /** SHA-256 of its file, hex. */
  readonly digest?: string;
  /** Tokens are below this; the special ones count. */
  readonly vocabSize: number;
  /** Whether tokens bring back every text as it was: without lower case, unknown characters or other spaces. */
  readonly isExact: boolean;
  /** Tokens that stand for no text, such as that for unknown characters, and what they are called. */
  readonly special: ReadonlyMap<number, string>;
  /** The canonical tokens of a text, without those that mark its begin or end. */
  encode(text: string): readonly number[];
  /**
   * The text of tokens. Characters of which bytes are missing become U+FFFD.
   *
   * @throws {RangeError} for tokens that stand for no text.
   */
  decode(tokens: ArrayLike<number>): string;
}

/** What `--tokenizer` may be, for help and messages. */
export const TOKENIZERS = "o200k, cl100k, bytes, bytes+N or a tokenizer.json";

/**
 * Opens the tokenizer that `--tokenizer` names. Loads no other.
 *
 * @throws {UsageError} if it is neither a name nor the path of a file.
 * @throws {EspalierError} if the file cannot be read, or is no tokenizer.
 */
export async function openTokenizer(argument: string): Promise<Tokenizer> {
  if (isGptEncoding(argument)) return await gptTokenizer(argument);
  const bytes = /^bytes(?:\+(\d+))?$/.exec(argument);
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
