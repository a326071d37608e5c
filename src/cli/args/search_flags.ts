/** How a search is to be made, as flags say it: for `decode`, and for requests that `serve` answers. */
import type { BeamSearchOptions } from "../../decode/types.ts";
import { UsageError } from "../errors.ts";

/** Flags of searches, for `parseFlags`. */
export const SEARCH_OPTIONS = {
  normalize: { type: "string" },
  "end-token": { type: "string" },
  "length-penalty": { type: "string" },
  "tokens-per-beam": { type: "string" },
} as const;

/** The same, for the help of a command. */
export const SEARCH_HELP =
  `  --normalize N   vocab (default): probabilities over all tokens of the model; allowed: over those that may follow;
                  none: the model returns log-probabilities
  --end-token N   ending a sequence costs the log-probability of this token, which occurs in no sequence
  --length-penalty P   ranks by score / length^P; 0 to 8, default 0
  --tokens-per-beam N  looks only at the best N tokens of each beam; default all, which is exact`;

/** What those flags say. */
export type SearchFlags = Pick<
  BeamSearchOptions,
  "normalize" | "endToken" | "lengthPenalty" | "tokensPerBeam"
>;

/** Largest token that anything takes. */
export const MAX_TOKEN = 2 ** 31 - 1;

/** Reads the flags. @throws {UsageError} if one makes no sense. */
export function parseSearch(
  values: { [Name in keyof typeof SEARCH_OPTIONS]?: string },
): SearchFlags {
  const { normalize } = values;
  const isKnown = normalize === undefined || normalize === "vocab" || normalize === "allowed" ||
    normalize === "none";
  if (!isKnown) {
    throw new UsageError(`Expected --normalize vocab, allowed or none, found "${normalize}"`);
  }
  return {
    normalize,
    endToken: wholeFlag("--end-token", values["end-token"], 0, MAX_TOKEN),
    lengthPenalty: numberFlag("--length-penalty", values["length-penalty"], 0, 8),
    tokensPerBeam: wholeFlag("--tokens-per-beam", values["tokens-per-beam"], 1, MAX_TOKEN),
  };
}

/** The whole number that a flag gives. @throws {UsageError} if it is none from `least` to `most`. */
export function wholeFlag(flag: string, text: string, least: number, most: number): number;
/** The same; undefined where the flag is not given. */
export function wholeFlag(
  flag: string,
  text: string | undefined,
  least: number,
  most: number,
): number | undefined;
export function wholeFlag(flag: string, text: string | undefined, least: number, most: number) {
  if (text === undefined) return undefined;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  const range = most >= MAX_TOKEN ? `a whole number from ${least} on` : `${least} to ${most}`;
  throw new UsageError(`Expected ${flag} as ${range}, found "${text}"`);
}

/** The number that a flag gives, undefined without it. @throws {UsageError} if it is none from `least` to `most`. */
export function numberFlag(
  flag: string,
  text: string | undefined,
  least: number,
  most: number,
): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  throw new UsageError(`Expected ${flag} as a number from ${least} to ${most}, found "${text}"`);
}

/**
 * Reads `3,1,4` or `[3,1,4]`, with or without spaces.
 *
 * @param name of the argument or flag, for messages.
 * @throws {UsageError} if it is something else.
 */
export function parseNumbers(name: string, text: string): number[] {
  const [, inner] = /^\s*\[(.*)\]\s*$/s.exec(text) ?? [, text];
  if (inner.trim() === "") return [];
  return inner.split(",").map((part) => {
    if (/^\s*\d{1,15}\s*$/.test(part)) return Number(part);
    throw new UsageError(`Expected ${name} as 3,1,4 or [3,1,4], found "${text}"`);
  });
}
