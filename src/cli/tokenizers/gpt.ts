/** `o200k` and `cl100k`: the vocabularies of OpenAI's models, by gpt-tokenizer. */
import { rangeError } from "../../errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

// The full specifiers: import maps do not apply to whoever runs this from a URL. Each loads one vocabulary.
const ENCODINGS = {
  o200k: {
    // The `n_vocab` of tiktoken, where the library knows fewer special tokens.
    vocabSize: 200_019,
    load: () =>
      Promise.all([
        // deno-lint-ignore no-import-prefix
        import("npm:gpt-tokenizer@4.0.0/encoding/o200k_base"),
        // deno-lint-ignore no-import-prefix
        import("npm:gpt-tokenizer@4.0.0/bpeRanks/o200k_base"),
      ]),
  },
  cl100k: {
    vocabSize: 100_277,
    load: () =>
      Promise.all([
        // deno-lint-ignore no-import-prefix
        import("npm:gpt-tokenizer@4.0.0/encoding/cl100k_base"),
        // deno-lint-ignore no-import-prefix
        import("npm:gpt-tokenizer@4.0.0/bpeRanks/cl100k_base"),
      ]),
  },
};

/** Whether this names one of them. */
export function isGptEncoding(name: string): name is keyof typeof ENCODINGS {
  return Object.hasOwn(ENCODINGS, name);
}

// Names of special tokens are text like any other, and refused by default.
const AS_TEXT = { disallowedSpecial: new Set<string>() };

/** Words that are remembered. More, such as the 100 000 of the library, take memory and were no faster on long lists. */
const MERGE_CACHE = 4096;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Loads a vocabulary, some 0.2 s and 60 MB. */
export async function gptTokenizer(name: keyof typeof ENCODINGS): Promise<Tokenizer> {
  const { vocabSize, load } = ENCODINGS[name];
  const [{ encode, setMergeCacheSize }, { default: pieces }] = await load();
  setMergeCacheSize(MERGE_CACHE);
  return {
    name,
    vocabSize,
    isExact: true,
    special: new Map(),
    encode: (text) => encode(text, AS_TEXT),
    // That of the library keeps the bytes of a character cut off for the next call.
    decode(tokens) {
      let text = "";
      let bytes: number[] = [];
      const flush = () => {
        if (bytes.length > 0) text += decoder.decode(Uint8Array.from(bytes));
        bytes = [];
      };
      for (let i = 0; i < tokens.length; i++) {
        const piece = pieces[tokens[i]];
        if (piece === undefined) {
          throw rangeError(`Token ${tokens[i]} of ${name} stands for no text`, {
            token: tokens[i],
          });
        }
        if (typeof piece !== "string") {
          bytes.push(...piece);
          continue;
        }
        flush();
        text += piece;
      }
      flush();
      return text;
    },
  };
}
