/**
 * Items of shared sequences: what a filter, an expression or a search shows of them, against a plain list of pairs of a
 * sequence and an item: the same for every backend.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  ConstraintIndex,
  type Decoder,
  type FilterExpression,
  type ItemFilter,
  itemsOf,
} from "../../mod.ts";
import { buildIndex, type ItemIds } from "../../src/build/mod.ts";
import { compareIds } from "../support/filters_and_items.ts";
import { runs } from "../support/long.ts";
import { Random } from "../support/models.ts";

const NAMES = ["a", "b", "c"];

/** A pair of a sequence and an item, and which filters allow it. */
interface Entry {
  readonly sequence: string;
  readonly item: bigint | string;
  readonly allowed: Set<string>;
}

/** Rows of which many share a sequence, some of these the item as well. */
interface Catalogue {
  readonly rows: number[][];
  readonly items: (bigint | string)[];
  readonly filters: Record<string, boolean[]>;
  /** Distinct pairs, in the order of the rows that bring them first. */
  readonly entries: Entry[];
}

function catalogue(random: Random): Catalogue {
  const length = random.between(1, 3);
  const isFixed = random.below(2) === 0;
  const sequences = Array.from(
    { length: random.between(1, 12) },
    () =>
      Array.from({ length: isFixed ? length : random.between(1, length) }, () => random.below(5)),
  );
  const most = random.pick([1, 2, 5, 65]);
  const rows = sequences.flatMap((sequence) =>
    Array.from({ length: random.between(1, most) }, () => sequence)
  );
  for (let i = rows.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [rows[i], rows[j]] = [rows[j], rows[i]];
  }
  const ids = random.pick([4, 1000]);
  const isText = random.below(2) === 0;
  const items = rows.map(() => {
    const id = random.below(ids);
    return isText ? `item ${id}` : BigInt(id) - 7n;
  });
  const density = random.pick([10, 50, 90]);
  const filters = Object.fromEntries(
    NAMES.map((name) => [name, rows.map(() => random.below(100) < density)]),
  );
  const entries = new Map<string, Entry>();
  rows.forEach((row, i) => {
    const sequence = row.join();
    const key = `${sequence}/${items[i]}`;
    if (!entries.has(key)) entries.set(key, { sequence, item: items[i], allowed: new Set() });
    for (const name of NAMES) if (filters[name][i]) entries.get(key)!.allowed.add(name);
  });
  return { rows, items, filters, entries: [...entries.values()] };
}

function expressionOf(random: Random, depth: number): FilterExpression {
  const kind = depth === 0 ? 0 : random.below(4);
  if (kind === 0) return random.pick(NAMES);
  if (kind === 1) return { not: expressionOf(random, depth - 1) };
  const parts = Array.from({ length: random.between(1, 3) }, () => expressionOf(random, depth - 1));
  return kind === 2 ? { all: parts } : { any: parts };
}

function holds(expression: FilterExpression, { allowed }: Entry): boolean {
  if (typeof expression === "string") return allowed.has(expression);
  if ("not" in expression) return !holds(expression.not, { allowed } as Entry);
  return "all" in expression
    ? expression.all.every((part) => holds(part, { allowed } as Entry))
    : expression.any.some((part) => holds(part, { allowed } as Entry));
}

/** Asserts that a filter allows just these entries. */
function assertAllows(index: ConstraintIndex, filter: ItemFilter, wanted: readonly Entry[]): void {
  const bySequence = Map.groupBy(wanted, ({ sequence }) => sequence);
  assert.equal(filter.size, bySequence.size);
  assert.equal(filter.itemCount, wanted.length);
  for (let ordinal = 0; ordinal < index.size; ordinal++) {
    const expected = bySequence.get(index.sequenceAt(ordinal).join()) ?? [];
    const items = index.itemsAt(ordinal, Infinity, filter);
    assert.equal(filter.has(ordinal), expected.length > 0);
    assert.deepEqual([...items], expected.map(({ item }) => item).sort(compareIds));
  }
  for (const { item } of wanted.slice(0, 20)) assert.ok(filter.hasItem(item));
}

/** Some ids: of items that are there, and of others. */
function someIds(random: Random, entries: readonly Entry[]): (bigint | string)[] {
  const isText = typeof entries[0].item === "string";
  return Array.from({ length: random.between(0, 8) }, () => {
    if (random.below(4) > 0) return random.pick(entries).item;
    return isText
      ? random.pick(["", "item", "item 1001", "items"])
      : BigInt(random.pick([-8, 993, 2 ** 40]));
  });
}

/** @param count cases, in a short run and in a long one. */
export function itemSuite(
  name: string,
  open: (index: ConstraintIndex) => Promise<Decoder>,
  short: number,
  long: number,
): void {
  Deno.test(`${name}: of items that share a sequence only those are shown that pass`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const random = new Random(seed);
        const { rows, items, filters, entries } = catalogue(random);
        const options = { vocabSize: 5, items: items as ItemIds, filters };
        using built = await buildIndex(rows, options);
        using index = await ConstraintIndex.open(built.toBytes(), { verify: true });
        assert.deepEqual([...index.filtersByItem], NAMES.map((name) => [name, true]));

        const [left, right] = [expressionOf(random, 3), expressionOf(random, 2)];
        const [isLeft, isRight] = [left, right].map((expression) => (entry: Entry) =>
          holds(expression, entry)
        );
        using one = index.filter(left);
        using other = index.filter(right);
        assertAllows(index, one, entries.filter(isLeft));
        using both = one.and(other);
        assertAllows(index, both, entries.filter((entry) => isLeft(entry) && isRight(entry)));
        using either = one.or(other);
        assertAllows(index, either, entries.filter((entry) => isLeft(entry) || isRight(entry)));
        using rest = one.andNot(other);
        assertAllows(index, rest, entries.filter((entry) => isLeft(entry) && !isRight(entry)));
        using none = one.not();
        assertAllows(index, none, entries.filter((entry) => !isLeft(entry)));

        // Ordinals allow all items of their sequences.
        const ordinals = Array.from({ length: index.size }, (_, i) => i)
          .filter(() => random.below(2) === 0);
        const some = new Set(ordinals.map((ordinal) => index.sequenceAt(ordinal).join()));
        using whole = index.filter(ordinals);
        assertAllows(index, whole, entries.filter(({ sequence }) => some.has(sequence)));
        using mixed = one.and(whole);
        const isMixed = (entry: Entry) => isLeft(entry) && some.has(entry.sequence);
        assertAllows(index, mixed, entries.filter(isMixed));

        // Ids allow their items alone, in all of their sequences.
        const ids = someIds(random, entries);
        using listed = index.filter({ items: new Set(ids) });
        const isListed = ({ item }: Entry) => ids.includes(item);
        assertAllows(index, listed, entries.filter(isListed));
        const isThere = (id: bigint | string) => entries.some(({ item }) => item === id);
        assert.equal(listed.unknownItems, new Set(ids.filter((id) => !isThere(id))).size);
        for (const id of ids) {
          assert.equal(
            one.hasItem(id),
            entries.some((entry) => entry.item === id && isLeft(entry)),
          );
        }
        using listedAndMore = listed.or(one);
        const isEither = (entry: Entry) => isListed(entry) || isLeft(entry);
        assertAllows(index, listedAndMore, entries.filter(isEither));

        using decoder = await open(index);
        const goneItems = someIds(random, entries);
        const excluded = Array.from({ length: index.size }, (_, i) => i)
          .filter(() => random.below(5) === 0);
        const gone = new Set(excluded.map((ordinal) => index.sequenceAt(ordinal).join()));
        const filter = index.filter(left);
        const searching = decoder.beamSearch(({ out }) => out.fill(0), {
          batchSize: 5,
          beamSize: Math.min(1024, index.size + 1),
          filter: [filter, undefined, filter, undefined, filter],
          exclude: [undefined, undefined, excluded, undefined, excluded],
          excludeItems: [undefined, undefined, undefined, goneItems, goneItems],
        });
        filter[Symbol.dispose]();
        const result = await searching;
        const wanted = [
          isLeft,
          () => true,
          (entry: Entry) => isLeft(entry) && !gone.has(entry.sequence),
          ({ item }: Entry) => !goneItems.includes(item),
          (entry: Entry) =>
            isLeft(entry) && !gone.has(entry.sequence) && !goneItems.includes(entry.item),
        ].map((passes) => entries.filter(passes));
        for (const copy of [result, { ...result }, structuredClone(result)]) {
          const found = itemsOf(index, copy, { duplicates: "keep" });
          found.forEach((list, row) => {
            const shown = list.map(({ item, ordinal }) => `${index.sequenceAt(ordinal)}/${item}`);
            const expected = wanted[row].map(({ sequence, item }) => `${sequence}/${item}`);
            assert.deepEqual(shown.sort(), expected.sort());
          });
        }
        const { items: _, ...cut } = result;
        assert.throws(() => itemsOf(index, cut as typeof result), TypeError);
      }),
      { seed: 17, numRuns: runs(short, long) },
    );
  });
}
