/** Prompts, from arguments or from lines of standard input. */

import { readJsonLines } from "../tables/json_lines.ts";
import { readLineBatches } from "../io/text_lines.ts";
import type { Io } from "../io/terminal.ts";
import { MAX_TOKEN, parseNumbers, wholeFlag } from "./search_flags.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";

/** Flags of prompts, for `parseFlags`. */
export const PROMPT_OPTIONS = {
  "prompt-start-token": { type: "string" },
  "prompt-end-token": { type: "string" },
} as const;

/** The same, for the help of a command. */
export const PROMPT_HELP =
  `  --prompt-start-token N  goes before each prompt: <s> or <bos>, where the model expects it
  --prompt-end-token N    goes behind each prompt: </s>, as T5 and other encoders expect it`;

/** What goes before and behind each prompt. */
export interface Frame {
  readonly start: readonly number[];
  readonly end: readonly number[];
}

/** Reads the flags. @throws {UsageError} if one is no token. */
export function parseFrame(values: { [Name in keyof typeof PROMPT_OPTIONS]?: string }): Frame {
  const tokens = (name: keyof typeof PROMPT_OPTIONS) => {
    const token = wholeFlag(`--${name}`, values[name], 0, MAX_TOKEN);
    return token === undefined ? [] : [token];
  };
  return { start: tokens("prompt-start-token"), end: tokens("prompt-end-token") };
}

/**
 * Prompts in order. Those of standard input are read as they are asked for.
 *
 * @param args tokens, as `3,1,4` or JSON; `-` alone: one JSON array per line of standard input.
 * @param tokenizer arguments and lines are texts, of which it makes the tokens.
 * @throws {UsageError} if an argument is something else. @throws {BuildInputError} naming the line, if that is.
 */
export async function* promptsOf(
  args: readonly string[],
  io: Io,
  tokenizer: Tokenizer | undefined,
  { start, end }: Frame,
): AsyncGenerator<Prompt, void, void> {
  for await (const { tokens, ...prompt } of barePrompts(args, io, tokenizer)) {
    yield { tokens: [...start, ...tokens, ...end], ...prompt };
  }
}

function barePrompts(
  args: readonly string[],
  { stdin, signal }: Io,
  tokenizer: Tokenizer | undefined,
): AsyncIterable<Prompt> | Iterable<Prompt> {
  if (args.length === 1 && args[0] === "-") {
    return tokenizer ? textLines(stdin, signal, tokenizer) : promptLines(stdin, signal);
  }
  return args.map((arg, i) => ({
    ...(tokenizer ? spelt(arg, tokenizer) : { tokens: parseNumbers("PROMPT", arg) }),
    place: args.length > 1 ? `prompt ${i + 1}` : "the prompt",
  }));
}

function spelt(text: string, { encode }: Tokenizer): Pick<Prompt, "tokens" | "text"> {
  return { tokens: encode(text), text };
}

async function* promptLines(stdin: Io["stdin"], signal: AbortSignal): AsyncGenerator<Prompt> {
  const at = { row: -1, line: 0 };
  for await (const tokens of readJsonLines(stdin, "-", at, signal)) {
    yield { tokens, place: `-, line ${at.line}` };
  }
}

/** Lines as they stand; empty ones are skipped. */
async function* textLines(
  stdin: Io["stdin"],
  signal: AbortSignal,
  tokenizer: Tokenizer,
): AsyncGenerator<Prompt> {
  for await (const { first, lines } of readLineBatches(stdin, "-", signal)) {
    for (const [i, text] of lines.entries()) {
      if (text !== "") yield { ...spelt(text, tokenizer), place: `-, line ${first + i}` };
    }
  }
}

/** What a search starts from. */
export interface Prompt {
  readonly tokens: readonly number[];
  /** What it was made of, if that was text. */
  readonly text?: string;
  /** How messages call it: "prompt 2", or "-, line 7". */
  readonly place: string;
}
