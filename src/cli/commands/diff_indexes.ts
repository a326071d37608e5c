/** Two indexes, sequence by sequence: both are read in order of their ordinals, which is the same order in each. */
import type { ConstraintIndex } from "../../index/constraint_index.ts";
import { SequenceCursor } from "../../index/sequence_cursor.ts";
import { type Allowed, allowedBy, allowedItems, isAllowed } from "../../index/ordinal_bits.ts";

/** Ids of the items of a sequence. */
export type Items = readonly (bigint | string)[];

/** One difference; `ordinal` is that of the index which has the sequence. */
export type Change =
  | { change: "removed" | "added"; sequence: Uint32Array; ordinal: number; items?: Items }
  /** Both have the sequence, each with ids that the other lacks. */
  | { change: "items"; sequence: Uint32Array; removed: Items; added: Items };

/** What is known in the end. */
export interface Comparison {
  /** Whether sequences, item ids and what filters allow are the same. Vocabularies may differ. */
  same: boolean;
  /** Sequences that both have, only the old one has, only the new one has. */
  common: number;
  removed: number;
  added: number;
  /** Sequences in both of which the item ids differ; null unless both have ids. */
  itemsChanged: number | null;
  filters: {
    removed: string[];
    added: string[];
    /**
     * In both, but what they allow differs: how many sequences are no longer allowed, or only now, or have an item that
     * is no longer allowed, or only now.
     */
    changed: { name: string; removed: number; added: number; itemsChanged: number }[];
  };
}

/** Who is told what. */
export interface Listener {
  /** Called for the first differences, in order. */
  changed(change: Change): void;
  /** How many of them. */
  limit: number;
  /** Awaited at every turn, where it returns a promise. */
  turn(done: number, total: number): Promise<void> | undefined;
}

/**
 * Compares indexes. Memory beside them: a bit for each sequence and filter, and one for each item that shares its
 * sequence. Some 100 ns per sequence; where both have
 * item ids, and for each difference that is told, about a microsecond.
 */
export async function compareIndexes(
  before: ConstraintIndex,
  after: ConstraintIndex,
  { changed, limit, turn }: Listener,
): Promise<Comparison> {
  const filters = before.filterNames.filter((name) => after.filterNames.includes(name))
    .map((name) => ({
      name,
      removed: 0,
      added: 0,
      itemsChanged: 0,
      before: allowedBy(before, name),
      after: allowedBy(after, name),
    }));
  const hasItems = before.items !== undefined && after.items !== undefined;
  let common = 0;
  let removed = 0;
  let added = 0;
  let itemsChanged = 0;
  const [old, now] = [new SequenceCursor(before), new SequenceCursor(after)];
  let hasOld = old.next();
  let hasNow = now.next();
  const isTold = () => removed + added + itemsChanged <= limit;
  // Apart, because a loop in a function that waits is compiled late.
  const goOn = (): Promise<void> | undefined => {
    while (hasOld || hasNow) {
      const order = !hasOld ? 1 : !hasNow ? -1 : compare(old, now);
      if (order < 0) {
        removed++;
        if (isTold()) changed({ change: "removed", ...whole(before, old) });
      } else if (order > 0) {
        added++;
        if (isTold()) changed({ change: "added", ...whole(after, now) });
      } else {
        common++;
        const items = hasItems &&
          compareItems(before.itemsAt(old.ordinal), after.itemsAt(now.ordinal));
        if (items) {
          itemsChanged++;
          if (isTold()) changed({ change: "items", sequence: old.sequence(), ...items });
        }
      }
      for (const filter of filters) {
        const was = order <= 0 && isAllowed(filter.before, old.ordinal);
        const is = order >= 0 && isAllowed(filter.after, now.ordinal);
        if (was && !is) filter.removed++;
        if (is && !was) filter.added++;
        if (was && is && hasItems && changesItems(before, after, filter, old, now)) {
          filter.itemsChanged++;
        }
      }
      if (order <= 0) hasOld = old.next();
      if (order >= 0) hasNow = now.next();
      const pause = turn(old.ordinal + now.ordinal, before.size + after.size);
      if (pause) return pause;
    }
  };
  for (let pause = goOn(); pause; pause = goOn()) await pause;
  const differing = filters
    .map(({ name, removed, added, itemsChanged }) => ({ name, removed, added, itemsChanged }))
    .filter(({ removed, added, itemsChanged }) => removed + added + itemsChanged > 0);
  const only = (one: ConstraintIndex, other: ConstraintIndex) =>
    one.filterNames.filter((name) => !other.filterNames.includes(name));
  const [gone, come] = [only(before, after), only(after, before)];
  return {
    same: removed + added + itemsChanged + differing.length + gone.length + come.length === 0 &&
      hasItems === (before.items !== undefined || after.items !== undefined),
    common,
    removed,
    added,
    itemsChanged: hasItems ? itemsChanged : null,
    filters: { removed: gone, added: come, changed: differing },
  };
}

/** Whether a filter that allows a sequence in both indexes allows an item that both have in one of them only. */
function changesItems(
  before: ConstraintIndex,
  after: ConstraintIndex,
  filter: { readonly before: Allowed; readonly after: Allowed },
  old: SequenceCursor,
  now: SequenceCursor,
): boolean {
  if (!filter.before.shared && !filter.after.shared) return false;
  const has = new Set<unknown>(after.itemsAt(now.ordinal));
  const was = new Set<unknown>(allowedItems(before, filter.before, old.ordinal));
  const is = new Set<unknown>(allowedItems(after, filter.after, now.ordinal));
  return before.itemsAt(old.ordinal).some((item: unknown) =>
    has.has(item) && was.has(item) !== is.has(item)
  );
}

/** The sequence at hand, with its items. */
function whole(index: ConstraintIndex, cursor: SequenceCursor) {
  const { ordinal } = cursor;
  return {
    sequence: cursor.sequence(),
    ordinal,
    items: index.items && index.itemsAt(ordinal),
  };
}

/** The order of ordinals: shorter first, then token by token. */
function compare(a: SequenceCursor, b: SequenceCursor): number {
  const { length, tokens, start } = a;
  if (length !== b.length) return length - b.length;
  for (let i = 0; i < length; i++) {
    const difference = tokens[start + i] - b.tokens[b.start + i];
    if (difference !== 0) return difference;
  }
  return 0;
}

/** What one has and the other lacks; undefined if they have the same, in whatever order. */
function compareItems(before: Items, after: Items): { removed: Items; added: Items } | undefined {
  const [had, has] = [new Set<unknown>(before), new Set<unknown>(after)];
  const removed = before.filter((item) => !has.has(item));
  const added = after.filter((item) => !had.has(item));
  return removed.length + added.length > 0 ? { removed, added } : undefined;
}
