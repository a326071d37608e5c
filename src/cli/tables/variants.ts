/** Other spellings under which a string may be found. */
import { UsageError } from "../errors.ts";

const CASES = {
  lower: (text: string) => text.toLowerCase(),
  upper: (text: string) => text.toUpperCase(),
  title: (text: string) => text.replace(/[\p{L}\p{M}\p{N}'’]+/gu, capitalized),
};

function capitalized(word: string): string {
  const [first] = word;
  return first.toUpperCase() + word.slice(first.length).toLowerCase();
}

/** A case, or a space in front. */
export type Variant = keyof typeof CASES | "space";

/** What `--variants` may list. */
export const VARIANTS: readonly Variant[] = ["space", "lower", "upper", "title"];

/**
 * Reads `--variants`.
 *
 * @throws {UsageError} for words that are none.
 */
export function parseVariants(flag: string): Variant[] {
  const words = flag.split(",").map((word) => word.trim());
  const unknown = words.find((word) => !VARIANTS.some((variant) => variant === word));
  if (unknown !== undefined) {
    throw new UsageError(`Expected --variants of ${VARIANTS.join(", ")}, found "${unknown}"`);
  }
  return VARIANTS.filter((variant) => words.includes(variant));
}

/** A string as it is, then its variants, each with and without a space in front. Always of one length. */
export function spellings(text: string, variants: readonly Variant[]): string[] {
  const cases = variants.flatMap((variant) => variant === "space" ? [] : CASES[variant](text));
  const all = [text, ...cases];
  return variants.includes("space") ? all.flatMap((spelling) => [spelling, ` ${spelling}`]) : all;
}

/** How many spellings every string has. */
export function spellingCount(variants: readonly Variant[]): number {
  return spellings("", variants).length;
}

/** Values of strings, one after the other for each spelling. */
export function perSpelling<T>(values: ArrayLike<T>, variants: readonly Variant[]): ArrayLike<T> {
  const count = spellingCount(variants);
  if (count === 1) return values;
  return Array.from({ length: count * values.length }, (_, i) => values[Math.floor(i / count)]);
}
