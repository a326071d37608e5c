/** `bytes`: the UTF-8 of a text, a token per byte. */
import { rangeError } from "../../errors.ts";
import { MAX_VOCAB } from "../../index/format/layout.ts";
import { UsageError } from "../errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

const encoder = new TextEncoder();
// Without the option a text's own first character may be taken for a byte order mark.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** For all but long texts: small arrays of bytes, by the million, take most of the time. */
const scratch = new Uint8Array(2 ** 12);

/**
 * A token per byte.
 *
 * @param offset is added to every byte: models such as ByT5 keep the first tokens (3) for themselves.
 * @throws {UsageError} if the vocabulary would be too large.
 */
export function byteTokenizer(offset: number): Tokenizer {
  const vocabSize = offset + 256;
  if (vocabSize > MAX_VOCAB) {
    throw new UsageError(`Expected bytes+N with N up to ${MAX_VOCAB - 256}, found ${offset}`);
  }
  return {
    name: offset === 0 ? "bytes" : `bytes+${offset}`,
    vocabSize,
    isExact: true,
    special: new Map(),
    encode(text) {
      const fits = 3 * text.length <= scratch.length;
      const bytes = fits
        ? scratch.subarray(0, encoder.encodeInto(text, scratch).written)
        : encoder.encode(text);
      const tokens = new Array<number>(bytes.length);
      for (let i = 0; i < bytes.length; i++) tokens[i] = bytes[i] + offset;
      return tokens;
    },
    decode(tokens) {
      const bytes = new Uint8Array(tokens.length);
      for (let i = 0; i < tokens.length; i++) {
        const token = tokens[i];
        if (!(token >= offset && token < vocabSize)) {
          throw rangeError(`Token ${token} is no byte`, { token, expected: vocabSize });
        }
        bytes[i] = token - offset;
      }
      return decoder.decode(bytes);
    },
  };
}
