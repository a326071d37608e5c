/** Texts of sequences, for commands that show what is in an index. */
import { EspalierError } from "../../errors.ts";
import { UsageError } from "../errors.ts";
import { tokenizerOf } from "../tokenizers/open.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";

/** Flags, for `parseArgs`. */
export const SHOW_OPTIONS = {
  text: { type: "boolean", default: false },
  tokenizer: { type: "string" },
} as const;

/** What the help of `query` says of them. */
export const SHOW_HELP =
  `  --text          for indexes of strings: PREFIX is a text, and texts are shown beside tokens
  --tokenizer T   with --text: the tokenizer.json that the index was built with, or the name of a tokenizer, where
                  the index does not say which`;

/**
 * Opens the tokenizer of an index, if texts are asked for.
 *
 * @throws {UsageError} if `--tokenizer` is missing, or stands without `--text`.
 * @throws {EspalierError} if it is not that of the index; where the index does not say, once it meets tokens that stand
 * for no text.
 */
export async function textTokenizer(
  index: { readonly tokenizer: Parameters<typeof tokenizerOf>[0] },
  { text, tokenizer }: { readonly text: boolean; readonly tokenizer?: string },
): Promise<Tokenizer | undefined> {
  if (text) return strict(await tokenizerOf(index.tokenizer, tokenizer));
  if (tokenizer !== undefined) throw new UsageError("Expected --text beside --tokenizer");
  return undefined;
}

function strict(tokenizer: Tokenizer): Tokenizer {
  return {
    ...tokenizer,
    decode(tokens) {
      try {
        return tokenizer.decode(tokens);
      } catch (cause) {
        if (!(cause instanceof RangeError)) throw cause;
        const { name } = tokenizer;
        throw new EspalierError(
          "wrong-tokenizer",
          `${cause.message}: the index was not built with ${name}; give the tokenizer that it was`,
          { actual: name },
          { cause },
        );
      }
    },
  };
}
