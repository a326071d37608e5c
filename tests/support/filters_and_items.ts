/** Named filters and item ids: random ones, and what an index should answer. */

import assert from "node:assert/strict";
import type { ConstraintIndex } from "../../mod.ts";
import { buildIndex, type BuildOptions } from "../../src/build/mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import type { IndexShape } from "../../src/index/format/header.ts";
import { namedFilterBits } from "../../src/index/named_filters.ts";
import { Cage, damage } from "./corrupt.ts";
import type { Random } from "./models.ts";
import type { OracleSet } from "./oracle.ts";

type Items = NonNullable<BuildOptions["items"]>;
type Ids = readonly (bigint | string)[];

const WORDS = ["", "a", "é", "\ufeff", "日本語", "😀", "x".repeat(700), "0", '"', "\n", "e\u0301"];
const TOP = 2n ** 64n;

function bigint(random: Random): bigint {
  return BigInt(random.uint32()) << 32n | BigInt(random.uint32());
}

/** Every kind of ids that a builder takes. */
export const ITEM_KINDS: Record<string, (rows: number, random: Random) => Items> = {
  signed: (rows, random) => BigInt64Array.from({ length: rows }, () => bigint(random)),
  unsigned: (rows, random) => BigUint64Array.from({ length: rows }, () => bigint(random)),
  extremes: (rows, random) =>
    Array.from({ length: rows }, () => random.pick([0n, 2n ** 63n, TOP - 1n, TOP - 2n, 7])),
  lowest: (rows, random) =>
    Array.from({ length: rows }, () => random.pick([-(2n ** 63n), 2n ** 63n - 1n, -1, 0n])),
  numbers: (rows, random) =>
    Array.from({ length: rows }, () => random.pick([1, -1]) * random.uint32() * 2 ** 21),
  small: (rows, random) => Int32Array.from({ length: rows }, () => random.between(-3, 4)),
  one: (rows) => new Array(rows).fill(-9),
  running: (rows) => Float64Array.from({ length: rows }, (_, row) => 10 ** 10 + row),
  words: (rows, random) => Array.from({ length: rows }, () => random.pick(WORDS)),
  names: (rows, random) => Array.from({ length: rows }, () => `item ${random.below(2 * rows)}`),
  empty: (rows) => new Array<string>(rows).fill(""),
};

/** The order of ids: integers as numbers, strings by the bytes of their UTF-8. */
export function compareIds(a: bigint | string, b: bigint | string): number {
  if (typeof a === "bigint" || typeof b === "bigint") return a < b ? -1 : Number(a > b);
  const [x, y] = [a, b].map((id) => new TextEncoder().encode(id));
  const i = x.findIndex((byte, i) => byte !== y[i]);
  return i < 0 ? x.length - y.length : x[i] - (y[i] ?? -1);
}

/** Ids by ordinal, as they should come out. */
export function itemsOf(rows: readonly number[][], set: OracleSet, items: Items): Ids[] {
  const found: Set<bigint | string>[] = Array.from({ length: set.size }, () => new Set());
  rows.forEach((row, i) => {
    const id = items[i];
    found[set.ordinalOf(row)!].add(typeof id === "string" ? id : BigInt(id));
  });
  return found.map((ids) => [...ids].sort(compareIds));
}

/** Which ordinals should be allowed. */
export function allowedOf(
  rows: readonly number[][],
  set: OracleSet,
  values: ArrayLike<number | boolean>,
): boolean[] {
  const allowed = new Array<boolean>(set.size).fill(false);
  rows.forEach((row, i) => allowed[set.ordinalOf(row)!] ||= Boolean(values[i]));
  return allowed;
}

export function assertItems(index: ConstraintIndex, expected: readonly Ids[]): void {
  const type = typeof expected[0][0] === "string" ? "string" : "integer";
  const count = expected.reduce((sum, ids) => sum + ids.length, 0);
  assert.deepEqual(index.items, { type, count });
  expected.forEach((ids, ordinal) => assert.deepEqual(index.itemsAt(ordinal), ids));
  const ordinals = new Map<bigint | string, number[]>();
  expected.forEach((ids, ordinal) => {
    for (const id of ids) ordinals.set(id, [...ordinals.get(id) ?? [], ordinal]);
  });
  for (const [id, found] of ordinals) assert.deepEqual(index.ordinalsOfItem(id), found);
  const others = type === "string" ? ["", "\uffff", "\u{10ffff}", "item"] : [
    -(2n ** 63n),
    2n ** 64n,
    -1n,
    0n,
    3n,
  ];
  for (const id of others) assert.deepEqual(index.ordinalsOfItem(id), ordinals.get(id) ?? []);
}

export function assertFilter(index: ConstraintIndex, name: string, expected: boolean[]): void {
  const bits = namedFilterBits(loadedIndexOf(index), name);
  const packed = new Uint8Array(Math.ceil(expected.length / 8));
  expected.forEach((isAllowed, i) => packed[i >> 3] |= Number(isAllowed) << (i & 7));
  assert.deepEqual(bits, packed, name);
}

/** Everything that filters and items answer, whatever they hold. */
export function answersOf(index: ConstraintIndex): unknown[] {
  const answers: unknown[] = index.filterNames.map((name) => {
    const bits = namedFilterBits(loadedIndexOf(index), name);
    assert.equal(bits.length, Math.ceil(index.size / 8));
    const rest = index.size % 8;
    assert.ok(rest === 0 || bits.at(-1)! >> rest === 0, "Bits behind the last ordinal");
    return bits;
  });
  for (let ordinal = 0; index.items && ordinal < index.size; ordinal++) {
    const ids = index.itemsAt(ordinal);
    assert.ok(ids.length <= index.items.count);
    answers.push(ids);
  }
  return answers;
}

/** Damages filters and items of a caged index over and over, under changing surroundings. */
export async function fuzz(
  shape: IndexShape,
  data: Uint8Array<ArrayBuffer>,
  start: number,
  times: number,
  random: Random,
): Promise<void> {
  const cage = await Cage.create(shape);
  for (let i = 0; i < times; i++) {
    const damaged = data.slice();
    if (i > 0) damaged.set(damage(data.subarray(start), random, true), start);
    cage.fill(damaged);
    let expected: unknown;
    for (const poison of [0, 0xffffffff, 0x42c80000]) {
      cage.poison(poison);
      const answers = answersOf(cage.index);
      assert.deepEqual(answers, expected ??= answers, `Damage ${i}: depends on other memory`);
    }
    cage.assertClosed();
  }
}

/** A set of several MiB of which the levels end in the first. */
export async function largeAttached(kind: "integer" | "string"): Promise<{
  index: ConstraintIndex;
  /** Id of the item with an ordinal. */
  idOf: (ordinal: number) => bigint | string;
}> {
  const size = 300_000;
  const data = Uint16Array.from(
    { length: 2 * size },
    (_, i) => i % 2 ? (i >> 1) % 500 : Math.floor((i >> 1) / 500),
  );
  const idOf = (ordinal: number) => {
    const integer = BigInt.asIntN(64, BigInt(ordinal + 1) * 0x9e3779b97f4a7c15n);
    return kind === "integer" ? integer : `id ${integer}`;
  };
  const ids = Array.from({ length: size }, (_, i) => idOf(i));
  const index = await buildIndex({ data, rows: size, length: 2 }, {
    vocabSize: 600,
    items: ids as Items,
    filters: { even: Uint8Array.from({ length: size }, (_, i) => Number(i % 2 === 0)) },
  });
  return { index, idOf };
}
