/** Two indexes, sequence by sequence: both are read in order of their ordinals, which is the same order in each. */
import type { ConstraintIndex } from "../index/constraint_index.ts";
import { allowedByAll, hasBit } from "./ordinal_bits.ts";

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
    /** In both, but what they allow differs: how many sequences are no longer allowed, or only now. */
    changed: { name: string; removed: number; added: number }[];
  };
}

/** Who is told what. */
export interface Listener {
  /** Called for every difference, in order. */
  changed(change: Change): void;
  /** Awaited at every turn, where it returns a promise. */
  turn(done: number, total: number): Promise<void> | undefined;
}

/** Compares indexes. Memory beside them: a bit for each sequence and filter. About a microsecond per sequence. */
export async function compareIndexes(
  before: ConstraintIndex,
  after: ConstraintIndex,
  { changed, turn }: Listener,
): Promise<Comparison> {
  const filters = before.filterNames.filter((name) => after.filterNames.includes(name))
    .map((name) => ({
      name,
      removed: 0,
      added: 0,
      before: allowedByAll(before, [name]),
      after: allowedByAll(after, [name]),
    }));
  const hasItems = before.items !== undefined && after.items !== undefined;
  let common = 0;
  let removed = 0;
  let added = 0;
  let itemsChanged = 0;
  let old = sequenceAt(before, 0);
  let now = sequenceAt(after, 0);
  for (let i = 0, k = 0; old || now;) {
    const order = !old ? 1 : !now ? -1 : compare(old, now);
    if (order < 0) {
      removed++;
      const items = before.items && before.itemsAt(i);
      changed({ change: "removed", sequence: old!, ordinal: i, items });
    } else if (order > 0) {
      added++;
      const items = after.items && after.itemsAt(k);
      changed({ change: "added", sequence: now!, ordinal: k, items });
    } else {
      common++;
      const items = hasItems && compareItems(before.itemsAt(i), after.itemsAt(k));
      if (items) {
        itemsChanged++;
        changed({ change: "items", sequence: old!, ...items });
      }
    }
    for (const filter of filters) {
      const was = order <= 0 && hasBit(filter.before, i);
      const is = order >= 0 && hasBit(filter.after, k);
      if (was && !is) filter.removed++;
      if (is && !was) filter.added++;
    }
    if (order <= 0) old = sequenceAt(before, ++i);
    if (order >= 0) now = sequenceAt(after, ++k);
    const pause = turn(i + k, before.size + after.size);
    if (pause) await pause;
  }
  const differing = filters.filter(({ removed, added }) => removed > 0 || added > 0)
    .map(({ name, removed, added }) => ({ name, removed, added }));
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

function sequenceAt(index: ConstraintIndex, ordinal: number): Uint32Array | undefined {
  return ordinal < index.size ? index.sequenceAt(ordinal) : undefined;
}

/** The order of ordinals: shorter first, then token by token. */
function compare(a: Uint32Array, b: Uint32Array): number {
  if (a.length !== b.length) return a.length - b.length;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return 0;
}

/** What one has and the other lacks; undefined if they have the same, in whatever order. */
function compareItems(before: Items, after: Items): { removed: Items; added: Items } | undefined {
  const removed = before.filter((item) => !after.includes(item));
  const added = after.filter((item) => !before.includes(item));
  return removed.length + added.length > 0 ? { removed, added } : undefined;
}
