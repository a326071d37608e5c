/** Small tokenizers of the usual kinds, as Hugging Face stores them. */

const LETTERS = Array.from("abcdefghijklmnopqrstuvwxyz");

function numbered(tokens: readonly string[]): Record<string, number> {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

function special(id: number, content: string) {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return { id, content, ...flags, special: true };
}

function bpe(tokens: readonly string[], pairs: readonly string[], rest: object) {
  const merged = pairs.map((pair) => pair.replace(" ", ""));
  return {
    type: "BPE",
    dropout: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    vocab: numbered([...tokens, ...merged]),
    merges: pairs.map((pair) => pair.split(" ")),
    ...rest,
  };
}

/** Characters that stand for bytes in vocabularies such as GPT-2's. */
function byteCharacters(): string[] {
  const isShown = (byte: number) => byte > 32 && byte < 127 || byte > 160 && byte !== 173;
  let other = 256;
  return Array.from(
    { length: 256 },
    (_, byte) => String.fromCodePoint(isShown(byte) ? byte : other++),
  );
}

/** Like GPT-2, Llama 3 and Qwen: exact, without unknown characters. */
export function byteLevelTokenizer() {
  const byteLevel = {
    type: "ByteLevel",
    add_prefix_space: false,
    trim_offsets: true,
    use_regex: true,
  };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [special(260, "<|endoftext|>")],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: byteLevel,
    decoder: byteLevel,
    model: bpe(byteCharacters(), ["r e", "a c", "re ac", "Ġ re"], {
      unk_token: null,
      byte_fallback: false,
    }),
  };
}

/** Like Llama 2: a space in front of everything, bytes for unknown characters. Exact. */
export function metaspaceTokenizer() {
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  );
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) => special(id, content)),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: bpe(
      ["<unk>", "<s>", "</s>", ...bytes, "▁", ...LETTERS],
      ["r e", "a c", "re ac", "▁ reac"],
      { unk_token: "<unk>", byte_fallback: true },
    ),
  };
}

/** Like BERT: lower case, no accents, and a token for what it does not know. */
export function wordPieceTokenizer() {
  const tokens = ["[UNK]", "[CLS]", "[SEP]", ...LETTERS, ...LETTERS.map((letter) => `##${letter}`)];
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: ["[UNK]", "[CLS]", "[SEP]"].map((content, id) => special(id, content)),
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: {
      type: "TemplateProcessing",
      single: ["[CLS]", "A", "[SEP]"].map((id) =>
        id === "A" ? { Sequence: { id, type_id: 0 } } : { SpecialToken: { id, type_id: 0 } }
      ),
      pair: [],
      special_tokens: {
        "[CLS]": { id: "[CLS]", ids: [1], tokens: ["[CLS]"] },
        "[SEP]": { id: "[SEP]", ids: [2], tokens: ["[SEP]"] },
      },
    },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: numbered([...tokens, "react"]),
    },
  };
}
