/**
 * A character model that spells the place a query means, fitted when the demo starts.
 *
 * It is a noisy channel read from left to right. A byte n-gram model knows how places are spelt, a
 * channel knows how people misspell, and the logit of the next byte is
 *
 *     boldness · log P(byte | name so far) + log (outlook with the byte / outlook without)
 *
 * where the outlook weighs every way in which the name so far may have produced the query so far. The
 * model knows nothing of the index: what it spells on its own need not exist.
 *
 * Normalizing that alone would make a blind alley free of charge: where nothing fits, the least unfitting
 * byte would get all the probability (label bias). So what the bytes leave of the mass goes to a token
 * of its own, {@linkcode GIVE_UP}, and misfits keep their price.
 */

import type { Model, ModelInput } from "../../decode/types.ts";
import { Channel, type ChannelState } from "./channel.ts";
import { type ByteEffect, Characters, fold } from "./fold.ts";
import { END, fitNgrams, type NgramModel, START, TOKENS } from "./ngram.ts";

/** Bytes of context: beyond six, held-out names gain less than one part in five hundred. */
const ORDER = 6;
/** How much the language model's opinion counts against what the query says. */
const BOLDNESS = 0.6;
/** Natural logarithm of what a letter of the query still to come is expected to cost. */
const PATIENCE = 1.6;
/** Mass that the bytes of a row have where the query fits well: {@linkcode GIVE_UP} gets what is missing. */
const FITTING = 2.7;
/** Stands in for zero, so that even bytes that make no sense have a finite logit. */
const HOPELESS = 1e-30;

/** The byte that stands for "nothing that begins so fits the query". No name contains it. */
export const GIVE_UP = START;

/** What one beam has spelt, as the model sees it. */
interface Spelling {
  /** [ORDER] the last bytes, nearest last. */
  readonly context: Uint8Array;
  /** State of the UTF-8 automaton: 0 between characters. */
  readonly character: number;
  /** The channel after the last whole character. */
  readonly channel: ChannelState;
  /** Outlook of the character under way, relative to the channel's; 1 between characters. */
  readonly pending: number;
}

/** What was learnt from the names; queries make models of it. */
export class CharacterModel {
  readonly ngrams: NgramModel;
  readonly #characters: Characters;

  /** Fits n-grams and characters: a second for 150 000 names. `weights[i]` is how often name i counts. */
  constructor(names: readonly Uint8Array[], weights: ArrayLike<number>) {
    this.ngrams = fitNgrams(names, weights, ORDER);
    this.#characters = new Characters(names, weights);
  }

  /** The model of one query. Rows are 257 wide: 256 bytes and the end token. */
  forQuery(query: string): Model {
    const channel = new Channel(Array.from(fold(query)), this.#characters.letters, PATIENCE);
    const speller = new Speller(this.ngrams, this.#characters, channel);
    return (input) => speller.step(input);
  }
}

/** The states of all beams of one search. */
class Speller {
  #rows: (Spelling | undefined)[] = [];
  readonly #probabilities = new Float64Array(TOKENS);

  constructor(
    readonly ngrams: NgramModel,
    readonly characters: Characters,
    readonly channel: Channel,
  ) {}

  step(input: ModelInput): Float32Array {
    const start: Spelling = {
      context: new Uint8Array(ORDER).fill(START),
      character: 0,
      channel: this.channel.start(),
      pending: 1,
    };
    const before = this.#rows;
    this.#rows = Array.from({ length: input.rows }, (_, row) => {
      if (input.step === 0) return start;
      const parent = before[input.parents[row]];
      const token = input.tokens[row];
      // Rows without a live beam show the pad token, 0, and look like beams that gave up.
      return token === GIVE_UP ? undefined : this.#extend(parent, token);
    });
    const logits = input.out;
    this.#rows.forEach((spelling, row) => {
      const target = logits.subarray(row * input.vocabSize, (row + 1) * input.vocabSize);
      if (spelling === undefined) target.fill(Math.log(HOPELESS)).fill(0, END, END + 1);
      else this.#logits(spelling, target);
    });
    return logits;
  }

  #extend(parent: Spelling | undefined, byte: number): Spelling | undefined {
    if (parent === undefined) return undefined;
    const context = new Uint8Array(ORDER);
    context.set(parent.context.subarray(1));
    context[ORDER - 1] = byte;
    const effect = this.characters.states[parent.character].get(byte);
    if (effect === undefined) return { ...parent, context, character: 0, pending: 1 };
    if (effect.next !== 0) {
      const pending = this.#outlook(parent.channel, effect);
      return { ...parent, context, character: effect.next, pending };
    }
    const channel = this.channel.after(parent.channel, effect.outcomes[0].letters);
    return { context, character: 0, channel, pending: 1 };
  }

  #outlook(
    state: ChannelState,
    effect: ByteEffect,
    known: Map<string, number> = new Map(),
  ): number {
    let sum = 0;
    for (const { letters, share } of effect.outcomes) {
      let gain = known.get(letters);
      if (gain === undefined) {
        gain = this.channel.gain(state, letters);
        known.set(letters, gain);
      }
      sum += share * gain;
    }
    return sum;
  }

  #logits(spelling: Spelling, out: Float32Array): void {
    const { context, character, channel, pending } = spelling;
    const probabilities = this.#probabilities;
    this.ngrams.probabilities(context, context.length, probabilities);
    out.fill(Math.log(HOPELESS));
    let mass = 0;
    const price = (token: number, gain: number): void => {
      const logit = BOLDNESS * Math.log(probabilities[token]) + Math.log(Math.max(gain, HOPELESS));
      out[token] = logit;
      mass += Math.exp(logit);
    };
    const known = new Map<string, number>();
    for (const [byte, effect] of this.characters.states[character]) {
      price(byte, this.#outlook(channel, effect, known) / pending);
    }
    if (character === 0) price(END, this.channel.endGain(channel));
    // Inside a character nothing is decided: accented letters must not pay for their second byte.
    const fitting = character === 0 ? FITTING : 1;
    out[GIVE_UP] = Math.log(Math.max(fitting - mass, HOPELESS));
  }
}
