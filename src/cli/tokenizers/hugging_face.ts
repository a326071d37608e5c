/** A `tokenizer.json` of Hugging Face, by the library that transformers.js is built on. */
import { basename } from "node:path";
import { EspalierError, rangeError } from "../../errors.ts";
import { sha256 } from "../../storage/safetensors.ts";
import { lookAt, openFile } from "../io/files.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * Opens a tokenizer from its file alone; `tokenizer_config.json` is not asked for.
 *
 * @throws {StorageError} if the file cannot be read.
 * @throws {EspalierError} with code `"bad-tokenizer"` if it is none that the library knows.
 */
export async function fileTokenizer(path: string): Promise<Tokenizer> {
  await lookAt(path);
  const bytes = await new Response((await openFile(path)).readable).bytes();
  const digest = await sha256(bytes);
  // deno-lint-ignore no-import-prefix
  const { Tokenizer: Library } = await import("npm:@huggingface/tokenizers@0.2.0");
  const library = attempt(path, () => {
    const json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return new Library(json, { clean_up_tokenization_spaces: false });
  });
  const special = new Map<number, string>();
  for (const [token, { special: isSpecial, content }] of library.get_added_tokens_decoder()) {
    if (isSpecial) special.set(token, content);
  }
  const unknown = library.model?.unk_token_id;
  if (unknown !== undefined && unknown !== null) {
    special.set(unknown, library.id_to_token(unknown) ?? "unknown");
  }
  let vocabSize = 0;
  for (const token of library.get_vocab().values()) vocabSize = Math.max(vocabSize, token + 1);

  const encode = (text: string) => library.encode(text, { add_special_tokens: false }).ids;
  const decode = (tokens: ArrayLike<number>) => {
    const list = Array.from(tokens);
    const stray = list.findIndex((token) => library.id_to_token(token) === undefined);
    if (stray >= 0) {
      throw rangeError(`Token ${list[stray]} stands for no text`, { token: list[stray] });
    }
    return list.length === 0 ? "" : library.decode(list, { skip_special_tokens: false });
  };
  const isExact = attempt(path, () =>
    PROBES.every((text) => {
      const tokens: (number | undefined)[] = encode(text);
      return !tokens.includes(undefined) && decode(tokens as number[]) === text;
    }));
  return { name: basename(path), digest, vocabSize, isExact, special, encode, decode };
}

/** Texts that normalizers change, one way or another. */
const PROBES = [
  "React",
  "İstanbul, STRASSE und Straße",
  " two  spaces ",
  "it 's , not .",
  "\ttab\u00a0and\u3000wide",
  "caf\u00e9 cafe\u0301",
  "\uff21\ufb01\u2460\u2126",
  "東京 서울 قاهرة",
  "👩‍👩‍👧 \u{1f1e9}\u{1f1ea}",
];

function attempt<T>(file: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    const reason = (cause instanceof Error ? cause.message : String(cause)).replace(/\s+/g, " ");
    throw new EspalierError(
      "bad-tokenizer",
      `${file}: expected a tokenizer.json of Hugging Face, found what cannot be opened as one: ${reason}`,
      { file },
      { cause },
    );
  }
}
