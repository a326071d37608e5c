/** Keys by which rows are sorted on disk: in the order of the rows, and back without loss. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { RowKeys } from "../../../src/cli/tables/sort_keys.ts";
import { runs } from "../../support/long.ts";
import { hugeVocabulary, rowSets } from "../../support/sets.ts";

/** As DuckDB compares: the words, then the rest byte by byte, nothing first. */
function keysOf(rows: readonly number[][], keys: RowKeys) {
  const columns = Array.from({ length: keys.words }, () => new Uint32Array(rows.length));
  const rests = rows.map((row, i) => keys.pack([9, ...row], 1, row.length + 1, columns, i));
  const compare = (a: number, b: number) => {
    const column = columns.find((words) => words[a] !== words[b]);
    if (column) return column[a] - column[b];
    const [x, y] = [rests[a] ?? [], rests[b] ?? []];
    const at = Array.from(x).findIndex((byte, i) => byte !== y[i]);
    return at < 0 || at >= y.length ? x.length - y.length : x[at] - y[at];
  };
  return { columns, rests, compare };
}

function compareRows(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((token, i) => token !== b[i]);
  return at < 0 || at >= b.length ? a.length - b.length : a[at] - b[at];
}

function check(rows: readonly number[][], vocabSize: number, words: number): void {
  const keys = new RowKeys(vocabSize, words);
  const { columns, rests, compare } = keysOf(rows, keys);
  rows.forEach((row, i) => {
    const back: number[] = [];
    keys.unpack(columns, i, rests[i], (token) => back.push(token));
    assert.deepEqual(back, row);
    const isLong = Math.ceil(row.length * keys.bits / 32) > words;
    assert.equal(rests[i] !== undefined, isLong);
    if (i > 0) assert.equal(Math.sign(compare(i - 1, i)), Math.sign(compareRows(rows[i - 1], row)));
  });
}

Deno.test("Keys are in the order of their rows, and give them back", () => {
  fc.assert(
    fc.property(rowSets(), fc.integer({ min: 1, max: 16 }), ({ rows, vocabSize }, words) => {
      check(rows, vocabSize, words);
      const longest = Math.max(...rows.map((row) => row.length));
      check(rows, vocabSize, RowKeys.wordsFor(vocabSize, longest));
    }),
    { seed: 2, numRuns: runs(100) },
  );
  for (const vocabSize of [2, 3, 65535, 65536, 65537, 2 ** 20 - 1, 2 ** 20]) {
    for (const words of [1, 2, 3, 4]) check(hugeVocabulary(1, vocabSize).rows, vocabSize, words);
  }
});
