/** What a tokenizer does. */
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
