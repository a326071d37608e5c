/** Rules about places, compiled to an item filter over their names. */

import type { ConstraintIndex, ItemFilter } from "../mod.ts";
import { EspalierError } from "../src/errors.ts";
import type { Place, Places } from "./places.ts";
import type { Rules } from "./rules.ts";
import type { SearchFilter } from "./search.ts";
import { tokensOf } from "./speller.ts";

/** A compiled filter; dispose of it after the searches. */
export interface PlaceFilter extends Disposable {
  /** Holds a search of one query to it. */
  readonly search: SearchFilter & { readonly filter: ItemFilter | undefined };
  /** How many names each rule allows by itself, then each exclusion. */
  readonly parts: readonly { readonly label: string; readonly names: number }[];
  /** How many names are allowed by all rules, without the excluded ones. */
  readonly names: number;
  /** Milliseconds that the index took to compile the rules and to combine them. */
  readonly compiling: number;
  /** Whether a place passes all rules. */
  passes(place: Place): boolean;
  /** Whether a folded name may be found. */
  allows(key: string): boolean;
}

/**
 * Compiles rules. A name is allowed if one of its places passes all of them.
 *
 * @throws {EspalierError} with code `"nothing-allowed"` if no name is.
 */
export function compileFilter(
  index: ConstraintIndex,
  { keys, called }: Places,
  { rules, excluded }: Rules,
): PlaceFilter {
  using made = new DisposableStack();
  let compiling = 0;
  const compiled = (make: () => ItemFilter) => {
    const began = performance.now();
    const filter = made.use(make());
    compiling += performance.now() - began;
    return filter;
  };
  const ordinalOf = (key: string) => index.ordinalOf(tokensOf(key))!;
  const namesWhere = (test: (places: readonly Place[]) => boolean) => {
    const ordinals = keys.filter((key) => test(called(key))).map(ordinalOf);
    return compiled(() => index.filter(ordinals));
  };

  const filters = rules.map(({ alternatives }) =>
    alternatives
      .map((passes) => namesWhere((places) => places.some(passes)))
      .reduce((all, one) => compiled(() => all.or(one)))
  );
  const passes = (place: Place) =>
    rules.every(({ alternatives }) => alternatives.some((passes) => passes(place)));
  const together = () => {
    const all = filters.reduce((all, one) => compiled(() => all.and(one)));
    if (filters.length === 1) return all;
    // A name of several places may pass each rule by another of them; none of those is what was asked for.
    const strays = namesWhere((places) => places.length > 1 && !places.some(passes));
    return compiled(() => all.andNot(strays));
  };
  const filter = filters.length > 0 ? together() : undefined;

  const gone = new Set(excluded);
  const ordinals = Array.from(gone, ordinalOf);
  const everything = filter?.size ?? index.size;
  const names = everything - ordinals.filter((ordinal) => filter?.has(ordinal) ?? true).length;
  const parts = rules.map(({ label }, i) => ({ label, names: filters[i].size }));
  for (const key of gone) {
    parts.push({ label: `other than ${called(key)[0].name}`, names: index.size - 1 });
  }
  if (names === 0) throw nothingAllowed(parts);
  const held = made.move();
  return {
    search: { filter, exclude: ordinals.length > 0 ? [ordinals] : undefined },
    parts,
    names,
    compiling,
    passes,
    allows: (key) => !gone.has(key) && called(key).some(passes),
    [Symbol.dispose]: () => held.dispose(),
  };
}

function nothingAllowed(parts: PlaceFilter["parts"]): EspalierError {
  const allowed = parts.map(({ label, names }) => `${label} (${names} names)`);
  return new EspalierError(
    "nothing-allowed",
    `No place passes all filters: ${allowed.join(", ")}; leave one out, or widen it`,
  );
}
