/**
 * Misspells names for the evaluation. It shares no code or seed with the generator that the model was trained on
 * (demo/speller/train/misspell.py): that one must not be what is measured. What people mishear is the same:
 * 25 of the 41 rules in EARS are pairs of its SOUNDS, too, and both take vowels for one another.
 */
import { random } from "../lib/support.ts";

/** A misspelt name and how it came about. */
export interface Misspelling {
  readonly query: string;
  readonly kinds: readonly Kind[];
}

/** The kinds of slips. */
export type Kind = keyof typeof SLIPS;

/** Random choices. */
interface Draw {
  /** A whole number below `count`. */
  below(count: number): number;
  /** One of the items, of which there must be one. */
  of<T>(items: ArrayLike<T>): T;
}

/** Turns folded text into other text, or into the same where it finds nothing to work on. */
type Slip = (text: string, draw: Draw) => string;

/** The classes of Soundex: consonants of a class are taken for one another. Vowels, which it drops, are one more. */
const ALIKE = ["bfpv", "cgjkqsxz", "dt", "mn", "lr", "aeiouy"];

/** Letters about as often as Latin script has them. */
const FREQUENT = "aaaaaaaeeeeeeeiiiiiioooounnnnnrrrrrsssstttllldddcchhmmppggbkkyvwfzjxq";

/** How speakers of other languages write what they hear: sound/letters, in turn. */
const EARS = [
  String.raw`sch/sh tz/ts w/v j/y ei/igh eau/o ou/oo gn/ni qu/k c(?=[eiy])/s`, // English
  String.raw`sh/sch c?ch/tsch v/w oo/u ee/ie c(?![eihk])/k y/i x/chs`, // German
  String.raw`k(?=[ei])/qu k/c w/gu sh/ch z/s v/b ^s(?=[ptck])/es (.)\1/$1`, // Spanish
  String.raw`sh/ch u/ou k\b/que k/c w/ou o\b/eau j/dj e\b/`, // French
  String.raw`x/ks w/v h/kh th/t ph/f y/i (.)\1/$1`, // Russian, and back into Latin letters
].map((rules) =>
  rules.split(" ").map((rule): [RegExp, string] => {
    const [sound, letters] = rule.split("/");
    return [new RegExp(sound, "g"), letters];
  })
);

/** Positions of letters, without the first of the text: that one people rarely miss. */
function inner(text: string): number[] {
  return Array.from({ length: text.length - 1 }, (_, i) => i + 1)
    .filter((i) => /\p{L}/u.test(text[i]));
}

/** `text` with `removed` characters at `at` replaced. */
function splice(text: string, at: number, removed: number, added = ""): string {
  return text.slice(0, at) + added + text.slice(at + removed);
}

/** Slips by kind, each with how many of a hundred are of it. */
const SLIPS = {
  /** A letter left out. */
  omitted: [22, (text, draw) => splice(text, draw.of(inner(text)), 1)],
  /** A letter typed once more, where it stands or up to two places on. */
  repeated: [14, (text, draw) => {
    const at = draw.of(inner(text));
    return splice(text, Math.min(at + draw.below(3), text.length), 0, text[at]);
  }],
  /** A letter for one of its class. */
  confused: [24, (text, draw) => {
    const at = draw.of(inner(text));
    const others = ALIKE.find((letters) => letters.includes(text[at]))?.replace(text[at], "");
    return others === undefined ? text : splice(text, at, 1, draw.of(others));
  }],
  /** Any other letter in its place. */
  mistaken: [8, (text, draw) => splice(text, draw.of(inner(text)), 1, draw.of(FREQUENT))],
  /** Two neighbours in the wrong order. */
  swapped: [10, (text, draw) => {
    const at = draw.of(inner(text));
    return splice(text, at, 2, (text[at + 1] ?? "") + text[at]);
  }],
  /** The whole name as it sounds to speakers of another language. */
  byEar: [
    14,
    (text, draw) =>
      draw.of(EARS).reduce((spelt, [sound, letters]) => spelt.replace(sound, letters), text),
  ],
  /** Two letters in a row lost, or typed twice. */
  syllable: [4, (text, draw) => {
    const at = draw.of(inner(text));
    const two = text.slice(at, at + 2);
    return draw.below(2) === 0 ? splice(text, at, 2) : splice(text, at, 0, two);
  }],
  /** A word of up to three letters forgotten, or a space. */
  word: [4, (text, draw) => {
    const short = text.split(" ").filter((word) => word.length <= 3);
    if (short.length === 0 || draw.below(2) === 0) return text.replace(" ", "");
    const forgotten = draw.of(short);
    return text.split(" ").filter((word) => word !== forgotten).join(" ");
  }],
} as const satisfies Record<string, readonly [number, Slip]>;

const KINDS = (Object.keys(SLIPS) as Kind[]).flatMap((kind): Kind[] =>
  Array(SLIPS[kind][0]).fill(kind)
);

/** Whether a folded name is to be misspelt: it has at least four Latin letters. */
export function canMisspell(key: string): boolean {
  return latinLetters(key) >= 4;
}

function latinLetters(text: string): number {
  return text.match(/[a-z]/g)?.length ?? 0;
}

/**
 * A misspeller of folded names: one slip, in every fourth name from 6 letters on a second one, and in
 * every fourth of those from 10 letters on a third. It never returns the name itself.
 */
export function misspeller(seed: number): (key: string) => Misspelling {
  const next = random(seed);
  const below = (count: number) => Math.floor(next() / 2 ** 32 * count);
  const draw: Draw = { below, of: (items) => items[below(items.length)] };
  return (key) => {
    const most = key.length >= 10 ? 3 : key.length >= 6 ? 2 : 1;
    let slips = 1;
    while (slips < most && draw.below(4) === 0) slips++;
    for (;;) {
      let query = key;
      const kinds: Kind[] = [];
      while (kinds.length < slips) {
        const kind = draw.of(KINDS);
        const slip: Slip = SLIPS[kind][1];
        const worse = slip(query, draw).replace(/\s+/g, " ").trim();
        if (worse === query || latinLetters(worse) < 3) continue;
        query = worse;
        kinds.push(kind);
      }
      // A second slip may undo the first.
      if (query !== key) return { query, kinds };
    }
  };
}
