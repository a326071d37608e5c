/**
 * The noisy channel: how likely a query is, given the name that was meant.
 *
 * The writer goes through the folded letters of the name and mostly types them; now and then a letter is
 * mistaken, left out, typed too much or swapped with its neighbour. This is edit distance as a hidden
 * Markov model. Its forward vector `alpha[j]`, the probability that the letters so far produced the
 * first j letters of the query, grows letter by letter, which is what a left-to-right model needs.
 */

/** Probabilities of the slips, per letter. */
const SLIP = {
  /** Another letter typed. */
  mistaken: 0.04,
  /** Share of those mistakes that go to a letter which sounds or looks alike. */
  alike: 0.87,
  /** Left out; more often the second of two equal letters, and signs that few people type. */
  dropped: 0.012,
  droppedTwin: 0.15,
  droppedSign: 0.1,
  /** One too many; more often a repeated letter or a space. */
  extra: 0.001,
  extraTwin: 0.012,
  extraSign: 0.04,
  /** The e of ae, oe, ue, which is how umlauts are typed without their dots. */
  extraUmlaut: 0.004,
  /** Two neighbours swapped. */
  swapped: 0.008,
} as const;

/** Groups of letters taken for one another: by sound, across languages. */
const ALIKE = [
  "aeiouy",
  "ckqg",
  "szcx",
  "vwfub",
  "dt",
  "bp",
  "ijy",
  "mn",
  "lr",
  "gjh",
  "kh",
] as const;

const SIGN = /[^\p{L}\p{N}]/u;
/** About how many letters there are to mistake one for. */
const ALPHABET = 30;

/** Where the writer may be in the query after the letters of a name's prefix. */
export interface ChannelState {
  /** [m + 1] forward vector, scaled so that the outlook is 1. */
  readonly alpha: Float64Array;
  /** [m + 1] forward vector before the last letter, on the same scale: what swaps start from. */
  readonly before: Float64Array;
  /** The last letter; empty at the start. */
  readonly last: string;
}

/** What the channel makes of one letter of a name, for one query. */
interface LetterOdds {
  /** [m] probability that the letter comes out as the query's letter j. */
  readonly typed: Float64Array;
  /** Probability that it is left out. */
  readonly dropped: number;
}

/** The channel of one query. */
export class Channel {
  /** The folded query; its length is m. */
  readonly query: readonly string[];
  readonly #odds = new Map<string, LetterOdds>();
  readonly #extra: Float64Array;
  readonly #future: Float64Array;

  /**
   * `patience` is the cost of each letter of the query that is still unexplained: about what the
   * language model will ask for it. Without it, beams that skip letters look cheap.
   */
  constructor(query: readonly string[], letters: Iterable<string>, patience: number) {
    this.query = query;
    const m = query.length;
    for (const letter of letters) {
      this.#odds.set(letter, {
        typed: Float64Array.from(query, (typed) => typing(letter, typed)),
        dropped: SIGN.test(letter) ? SLIP.droppedSign : SLIP.dropped,
      });
    }
    this.#extra = Float64Array.from(query, (typed, j) => adding(typed, query[j - 1]));
    this.#future = Float64Array.from({ length: m + 1 }, (_, j) => Math.exp(-patience * (m - j)));
  }

  /** Before the first letter of the name. */
  start(): ChannelState {
    const alpha = new Float64Array(this.query.length + 1);
    alpha[0] = 1;
    for (let j = 1; j < alpha.length; j++) alpha[j] = alpha[j - 1] * this.#extra[j - 1];
    return this.#scaled({ alpha, before: new Float64Array(alpha.length), last: "" });
  }

  /** After more letters of the name (most characters fold to one, some to none or two). */
  after(state: ChannelState, letters: string): ChannelState {
    return this.#scaled(this.#unscaled(state, letters));
  }

  /** How the letters change the outlook of the state: above 1 it brightens, below 1 it darkens. */
  gain(state: ChannelState, letters: string): number {
    return this.#value(this.#unscaled(state, letters).alpha);
  }

  /** The same for ending the name here. */
  endGain(state: ChannelState): number {
    return state.alpha[this.query.length];
  }

  #unscaled(state: ChannelState, letters: string): ChannelState {
    let { alpha, before, last } = state;
    for (const letter of letters) {
      const next = this.#advance(alpha, before, last, letter);
      before = alpha;
      alpha = next;
      last = letter;
    }
    return { alpha, before, last };
  }

  #advance(alpha: Float64Array, before: Float64Array, last: string, letter: string): Float64Array {
    const query = this.query;
    const extra = this.#extra;
    const next = new Float64Array(alpha.length);
    const odds = this.#odds.get(letter);
    if (odds === undefined) return next;
    const typed = odds.typed;
    const twin = letter === last;
    const dropped = twin ? SLIP.droppedTwin : odds.dropped;
    next[0] = alpha[0] * dropped;
    for (let j = 1; j < next.length; j++) {
      let sum = alpha[j] * dropped + alpha[j - 1] * typed[j - 1] + next[j - 1] * extra[j - 1];
      if (j > 1 && !twin && query[j - 1] === last && query[j - 2] === letter) {
        sum += before[j - 2] * SLIP.swapped;
      }
      next[j] = sum;
    }
    return next;
  }

  #value(alpha: Float64Array): number {
    let sum = 0;
    for (let j = 0; j < alpha.length; j++) sum += alpha[j] * this.#future[j];
    return sum;
  }

  /** Long queries that fit badly would underflow: only ratios matter, so every state is worth 1. */
  #scaled({ alpha, before, last }: ChannelState): ChannelState {
    const scale = 1 / Math.max(this.#value(alpha), 1e-300);
    return { alpha: alpha.map((p) => p * scale), before: before.map((p) => p * scale), last };
  }
}

/** P(typed | letter): the letter itself, one that is alike, or any. */
function typing(letter: string, typed: string): number {
  if (letter === typed) return 1 - SLIP.mistaken - SLIP.dropped;
  const alike = new Set(ALIKE.filter((group) => group.includes(letter)).join(""));
  if (alike.has(typed)) return SLIP.mistaken * SLIP.alike / (alike.size - 1);
  return SLIP.mistaken * (1 - SLIP.alike) / ALPHABET;
}

/** P(one letter too many), the letter typed before it given. */
function adding(typed: string, previous: string | undefined): number {
  if (typed === previous) return SLIP.extraTwin;
  if (typed === "e" && previous !== undefined && "aou".includes(previous)) return SLIP.extraUmlaut;
  return SIGN.test(typed) ? SLIP.extraSign : SLIP.extra;
}
