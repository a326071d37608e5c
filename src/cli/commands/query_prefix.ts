/** What lies below a prefix: of tokens, or of text, in an index of strings. */
import {
  type Branch,
  branchesOf,
  type OrdinalRange,
  ordinalsBelow,
} from "../../index/descendants.ts";
import type { ConstraintIndex } from "../../index/constraint_index.ts";
import { type Allowed, allowedItems } from "../../index/ordinal_bits.ts";
import { tokensText } from "../io/listing.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";

/** What lies below a prefix. */
export interface Found {
  /** The prefix. */
  readonly asked: { readonly prefix: readonly number[] } | { readonly text: string };
  /** Ordinal of the sequence that goes no further, if there is one. */
  readonly ordinal: number | undefined;
  /** What goes further: none lies below another. */
  readonly next: readonly FoundBranch[];
  /** All of it, in order: that sequence, and what lies below the branches. */
  readonly ranges: readonly OrdinalRange[];
  /** As much of the prefix as some sequence begins with, for messages. */
  known(): string;
}

/** A branch; `tokens` and what they spell are all from the first on, where a text was asked for. */
export interface FoundBranch extends Branch {
  readonly tokens?: readonly number[];
  readonly text?: string;
}

/** Sequences of items, or those of them under which an item is allowed. */
export function withItems(
  index: ConstraintIndex,
  ids: readonly (bigint | string)[],
  allowed: Allowed | undefined,
): Found {
  const isListed = (id: bigint | string, ordinal: number) =>
    !allowed || allowedItems(index, allowed, ordinal)!.includes(id);
  const ordinals = ids.flatMap((id) =>
    index.ordinalsOfItem(id).filter((ordinal) => isListed(id, ordinal))
  );
  const sorted = [...new Set(ordinals)].sort((a, b) => a - b);
  return {
    asked: { prefix: [] },
    ordinal: undefined,
    next: [],
    ranges: sorted.map((start) => ({
      length: index.sequenceAt(start).length,
      start,
      end: start + 1,
    })),
    known: () => "",
  };
}

/** What lies below tokens. */
export function below(index: ConstraintIndex, prefix: readonly number[]): Found {
  return {
    asked: { prefix },
    ordinal: index.ordinalOf(prefix),
    next: branchesOf(index, prefix),
    ranges: ordinalsBelow(index, prefix),
    known() {
      const unknown = prefix.findIndex((_, i) =>
        ordinalsBelow(index, prefix.slice(0, i + 1)).length === 0
      );
      return tokensText(prefix.slice(0, Math.max(0, unknown)));
    },
  };
}

/**
 * What begins with a text, whichever tokens spell it. Those of a text that ends inside a token are no prefix of those of
 * a longer one ("rea", "react"), so tokens are tried one by one. Costs what `branchesOf` costs, for each prefix of
 * tokens that spells a beginning of the text.
 */
export function belowText(
  index: ConstraintIndex,
  given: string,
  { encode, decode, isExact }: Tokenizer,
): Found {
  // Without upper case, accents or spaces, where the tokenizer knows none.
  const text = isExact ? given : decode(encode(given));
  const next: FoundBranch[] = [];
  const ranges: OrdinalRange[] = [];
  let ordinal: number | undefined;
  let known = "";
  const walk = (prefix: readonly number[]) => {
    for (const branch of branchesOf(index, prefix)) {
      const tokens = [...prefix, branch.token];
      const spelt = decode(tokens);
      const common = commonStart(spelt, text);
      if (common.length > known.length) known = common;
      if (spelt !== text && spelt.startsWith(text)) {
        next.push({ ...branch, tokens, text: spelt });
        ranges.push(...branch.below);
        continue;
      }
      if (spelt === text && branch.ordinal !== undefined) {
        ordinal = branch.ordinal;
        ranges.push({ length: tokens.length, start: ordinal, end: ordinal + 1 });
      }
      // The last character may be incomplete.
      if (text.startsWith(spelt.replace(/\ufffd+$/, ""))) walk(tokens);
    }
  };
  walk([]);
  ranges.sort((a, b) => a.start - b.start);
  return { asked: { text }, ordinal, next, ranges, known: () => known && JSON.stringify(known) };
}

function commonStart(a: string, b: string): string {
  let length = 0;
  while (length < b.length && a[length] === b[length]) length++;
  return b.slice(0, length);
}
