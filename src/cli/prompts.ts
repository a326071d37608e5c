/** Prompts, from arguments or from lines of standard input. */
import { BuildInputError } from "../errors.ts";
import type { Prompt } from "./decode_batches.ts";
import { readJsonLines } from "./jsonl.ts";
import { readLines } from "./lines.ts";
import type { Io } from "./output.ts";
import { parseNumbers } from "./search_flags.ts";
import type { Tokenizer } from "./text/tokenizer.ts";

/** Longest line of text, in characters. */
const MAX_LINE = 2 ** 20;

/**
 * Prompts in order. Those of standard input are read as they are asked for.
 *
 * @param args tokens, as `3,1,4` or JSON; `-` alone: one JSON array per line of standard input.
 * @param tokenizer arguments and lines are texts, of which it makes the tokens.
 * @throws {UsageError} if an argument is something else. @throws {BuildInputError} naming the line, if that is.
 */
export function promptsOf(
  args: readonly string[],
  { stdin, signal }: Io,
  tokenizer: Tokenizer | undefined,
): AsyncIterable<Prompt> {
  if (args.length === 1 && args[0] === "-") {
    return tokenizer ? textLines(stdin, signal, tokenizer) : promptLines(stdin, signal);
  }
  const prompts = args.map((arg, i): Prompt => ({
    ...(tokenizer ? spelt(arg, tokenizer) : { tokens: parseNumbers("PROMPT", arg) }),
    place: args.length > 1 ? `prompt ${i + 1}` : "the prompt",
  }));
  return (async function* () {
    yield* prompts;
  })();
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
  let line = 0;
  const tooLong = (characters: number) =>
    new BuildInputError(
      "not-a-row",
      `-, line ${
        line + 1
      }: expected a prompt, found ${characters} characters without an end; write one per line`,
      { expected: MAX_LINE, actual: characters },
    );
  for await (const text of readLines(stdin, { longest: MAX_LINE, tooLong, signal })) {
    line++;
    if (text !== "") yield { ...spelt(text, tokenizer), place: `-, line ${line}` };
  }
}
