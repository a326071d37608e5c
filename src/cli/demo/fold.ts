/** Letters as a keyboard without accents has them, and the UTF-8 characters that stand for them. */

/** Letters that Unicode does not decompose, as people type them. */
const PLAIN: ReadonlyMap<string, string> = new Map(Object.entries({
  "ß": "ss",
  "æ": "ae",
  "œ": "oe",
  "ø": "o",
  "ł": "l",
  "đ": "d",
  "ð": "d",
  "þ": "th",
  "ħ": "h",
  "ı": "i",
  "ə": "e",
  "’": "'",
  "‘": "'",
  "ʻ": "'",
  "-": " ",
  "–": " ",
}));

/** Without accents and case; hyphens become spaces. May be longer or shorter than the text. */
export function fold(text: string): string {
  const bare = text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return Array.from(bare, (character) => PLAIN.get(character) ?? character).join("");
}

/** What a byte does to a character that is under way. */
export interface ByteEffect {
  /** The state after it: 0 between characters, else the character that has begun. */
  readonly next: number;
  /** What the finished character, or those that may come of it, fold to, and how likely each is. */
  readonly outcomes: readonly { readonly letters: string; readonly share: number }[];
}

/**
 * The UTF-8 characters of a data set as an automaton over bytes. Between characters the state is 0; a
 * lead byte leads to a state of its own, which knows the characters that begin so and their frequency.
 */
export class Characters {
  /** [states] effects by byte; a byte that continues no known character has none. */
  readonly states: readonly ReadonlyMap<number, ByteEffect>[];
  /** Every folded letter that occurs. */
  readonly letters: ReadonlySet<string>;

  /** Counts each name `weights[i]` times. */
  constructor(names: readonly Uint8Array[], weights: ArrayLike<number>) {
    const decoder = new TextDecoder();
    const frequency = new Map<string, number>();
    names.forEach((name, i) => {
      for (const character of decoder.decode(name)) {
        frequency.set(character, (frequency.get(character) ?? 0) + weights[i]);
      }
    });
    this.states = automaton(frequency);
    this.letters = new Set(Array.from(frequency.keys(), fold).join(""));
  }
}

function automaton(frequency: ReadonlyMap<string, number>): Map<number, ByteEffect>[] {
  interface Draft {
    next: number;
    weights: Map<string, number>;
  }
  const drafts: Map<number, Draft>[] = [new Map()];
  const encoder = new TextEncoder();
  for (const [character, weight] of frequency) {
    const letters = fold(character);
    const bytes = encoder.encode(character);
    let state = 0;
    bytes.forEach((byte, i) => {
      let draft = drafts[state].get(byte);
      if (draft === undefined) {
        const last = i + 1 === bytes.length;
        draft = { next: last ? 0 : drafts.push(new Map()) - 1, weights: new Map() };
        drafts[state].set(byte, draft);
      }
      draft.weights.set(letters, (draft.weights.get(letters) ?? 0) + weight);
      state = draft.next;
    });
  }
  return drafts.map((state) =>
    new Map(Array.from(state, ([byte, { next, weights }]) => {
      let total = 0;
      for (const weight of weights.values()) total += weight;
      const outcomes = Array.from(weights, ([letters, w]) => ({ letters, share: w / total }));
      return [byte, { next, outcomes }];
    }))
  );
}
