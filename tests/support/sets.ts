/** Random constraint sets of every shape that the index treats in its own way. */

import fc from "fast-check";
import { Random } from "./models.ts";

/** Rows of tokens below `vocabSize`; some come twice, in no order. */
export interface RowSet {
  shape: string;
  vocabSize: number;
  rows: number[][];
}

type Maker = (random: Random) => { vocabSize: number; rows: number[][] };

const table = (count: number, row: () => number[]) => Array.from({ length: count }, row);

/** Every row of `length` tokens below `vocabSize`. */
export function allRows(vocabSize: number, length: number): number[][] {
  let rows: number[][] = [[]];
  for (let i = 0; i < length; i++) {
    rows = rows.flatMap((row) => Array.from({ length: vocabSize }, (_, token) => [...row, token]));
  }
  return rows;
}

function fixed(random: Random, count: number, vocabSize: number, length: number): number[][] {
  return table(count, () => rowOf(length, () => random.below(vocabSize)));
}

/** One row, token by token. */
function rowOf(length: number, token: () => number): number[] {
  return Array.from({ length }, token);
}

/** Rows of 1 … `longest` tokens; half of them continue or cut another row. */
function mixed(random: Random, count: number, vocabSize: number, longest: number): number[][] {
  const token = () => random.below(vocabSize);
  const rows: number[][] = [rowOf(random.between(1, longest), token)];
  while (rows.length < count) {
    const other = random.pick(rows);
    const kind = random.below(4);
    if (kind === 0) rows.push(other.slice(0, random.between(1, other.length)));
    else if (kind === 1 && other.length < longest) {
      rows.push([...other, ...rowOf(random.between(1, longest - other.length), token)]);
    } else rows.push(rowOf(random.between(1, longest), token));
  }
  return rows;
}

/** Shapes by name. All stay small enough for the oracle. */
export const SHAPES = {
  fixed: (random) => {
    const vocabSize = random.pick([2, 3, 7, 8, 31, 32, 33, 64, 100, 257]);
    const length = random.between(1, 6);
    return { vocabSize, rows: fixed(random, random.between(1, 300), vocabSize, length) };
  },
  mixed: (random) => {
    const vocabSize = random.pick([2, 3, 5, 16, 40, 130]);
    return {
      vocabSize,
      rows: mixed(random, random.between(1, 200), vocabSize, random.between(1, 7)),
    };
  },
  /** SIDs that were added to a vocabulary: a window per level. */
  window: (random) => {
    const length = random.between(1, 4);
    const width = random.between(1, 40);
    const base = random.between(0, 3000);
    const rows = fixed(random, random.between(1, 200), width, length);
    return {
      vocabSize: base + width * length + random.below(50) + 1,
      rows: rows.map((row) => row.map((token, level) => base + level * width + token)),
    };
  },
  /** Everything is allowed. */
  dense: (random) => {
    const [vocabSize, length] = random.pick([[2, 1], [2, 8], [3, 4], [33, 2], [65, 1], [128, 2]]);
    return { vocabSize, rows: allRows(vocabSize, length) };
  },
  /** Nearly full rows, whose gaps matter. */
  nearlyDense: (random) => {
    const [vocabSize, length] = random.pick([[2, 8], [3, 5], [32, 2], [70, 2]]);
    const rows = allRows(vocabSize, length).filter(() => random.below(8) > 0);
    return { vocabSize, rows: rows.length ? rows : [rowOf(length, () => 1)] };
  },
  /** Levels of as many edges as fill a word or a block of the bit vectors, or one more or less. */
  boundary: (random) => {
    const edges = random.pick([32, 64, 512, 1024]) + random.between(-1, 1);
    const vocabSize = random.pick([47, 300, 4000]);
    const rows = new Map<string, number[]>();
    while (rows.size < edges) {
      const row = rowOf(2, () => random.below(vocabSize));
      if (random.below(3) === 0) row.push(random.below(vocabSize));
      rows.set(row.slice(0, 2).join(), row);
    }
    return { vocabSize, rows: [...rows.values()] };
  },
  single: (random) => {
    const vocabSize = random.between(2, 300);
    return { vocabSize, rows: fixed(random, 1, vocabSize, random.between(1, 9)) };
  },
  /** Rows differ at the first levels only, then each is alone. */
  tails: (random) => {
    const vocabSize = random.between(2, 60);
    const heads = mixed(random, random.between(2, 60), vocabSize, 2);
    const longest = random.between(3, 12);
    const same = random.below(2) === 0;
    return {
      vocabSize,
      rows: heads.map((head) => {
        const length = same ? longest : random.between(2, longest);
        return [...head, ...rowOf(length - head.length, () => random.below(vocabSize))];
      }),
    };
  },
  /** Up to the longest sequence that there can be. */
  long: (random) => {
    const vocabSize = random.between(2, 9);
    const length = random.pick([255, 256, 1023, 1024]);
    const rows = fixed(random, random.between(1, 4), vocabSize, length);
    const cut = rows.map((row) => row.slice(0, random.between(1, length)));
    return { vocabSize, rows: random.below(2) ? rows : [...rows, ...cut] };
  },
} satisfies Record<string, Maker>;

/** Name of a shape. */
export type Shape = keyof typeof SHAPES;

/** All of them. */
export const SHAPE_NAMES = Object.keys(SHAPES) as Shape[];

/** The set of that shape and seed, its rows shuffled and some of them repeated. */
export function rowSet(shape: Shape, seed: number): RowSet {
  const random = new Random(seed);
  const { vocabSize, rows } = SHAPES[shape](random);
  const repeated = rows.filter(() => random.below(10) === 0);
  return { shape, vocabSize, rows: random.shuffle([...rows, ...repeated]) };
}

/** Sets that shrink token by token. */
export const smallSets: fc.Arbitrary<RowSet> = fc.integer({ min: 2, max: 6 }).chain((vocabSize) =>
  fc.array(fc.array(fc.nat(vocabSize - 1), { minLength: 1, maxLength: 4 }), {
    minLength: 1,
    maxLength: 12,
  }).map((rows) => ({ shape: "small", vocabSize, rows }))
);

/** Sets of the named shapes, besides small ones that shrink. */
export function rowSets(shapes: readonly Shape[] = SHAPE_NAMES): fc.Arbitrary<RowSet> {
  const shaped = fc.record({ shape: fc.constantFrom(...shapes), seed: fc.nat() })
    .map(({ shape, seed }) => rowSet(shape, seed));
  return fc.oneof({ arbitrary: smallSets, weight: 1 }, { arbitrary: shaped, weight: 3 });
}

/** A few rows over a very large vocabulary, its first and last token among them. */
export function hugeVocabulary(seed: number, vocabSize: number): RowSet {
  const random = new Random(seed);
  const token = () => random.pick([0, vocabSize - 1, random.below(vocabSize)]);
  return {
    shape: "huge vocabulary",
    vocabSize,
    rows: [[0, vocabSize - 1], ...table(40, () => rowOf(random.between(1, 3), token))],
  };
}

/** Rows as a matrix, if all are equally long. */
export function flatten(
  rows: readonly number[][],
): { data: Uint32Array; rows: number; length: number } {
  return { data: Uint32Array.from(rows.flat()), rows: rows.length, length: rows[0].length };
}

/** Whether all rows are equally long. */
export function equallyLong(rows: readonly number[][]): boolean {
  return rows.every((row) => row.length === rows[0].length);
}
