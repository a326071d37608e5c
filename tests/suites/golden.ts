/** Searches whose outcome was published: the same for every backend. */

import assert from "node:assert/strict";
import type { ConstraintIndex, Decoder, GpuModel, Model } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import golden from "./golden/constrained_beam_search.json" with { type: "json" };
import { goldenRule, modelOf } from "../support/models.ts";
import { oracleSearch, OracleSet, prefixOf } from "../support/oracle.ts";

type Case = typeof golden.cases[number];

/** Sequences and scores of one batch row, best first. */
interface Found {
  sequences: number[][];
  scores: number[];
  ordinals: number[];
}

const TOLERANCE = 1e-4;

function rowsOf({ seed, rows, vocabSize, length, levelModulo }: Case): number[][] {
  let x = seed;
  return Array.from({ length: rows }, () =>
    Array.from({ length }, (_, level) => {
      x = (Math.imul(1664525, x) + 1013904223) >>> 0;
      const token = (x >>> 8) % vocabSize;
      return levelModulo ? token % levelModulo[level] : token;
    }));
}

/** Equal in order, but neighbours that lie close together may be swapped. */
function assertFound(found: Found, { sequences, scores, ordinals }: Found): void {
  assert.equal(found.ordinals.length, ordinals.length);
  ordinals.forEach((ordinal, i) => {
    assert.ok(Math.abs(found.scores[i] - scores[i]) < TOLERANCE, `Score at rank ${i}`);
    const at = found.ordinals.indexOf(ordinal);
    assert.notEqual(at, -1, `Ordinal ${ordinal} of rank ${i} is absent`);
    assert.ok(Math.abs(at - i) <= 1, `Ordinal ${ordinal} of rank ${i} stands at ${at}`);
    if (at !== i) assert.ok(Math.abs(scores[at] - scores[i]) < TOLERANCE, `Order at rank ${i}`);
    assert.deepEqual(found.sequences[at], sequences[i]);
  });
}

/** Registers the cases for the oracle, and the file's own check. */
export function goldenOracle(): void {
  Deno.test("The golden model's logits begin as the file says", () => {
    const { vocabSize } = golden.cases.find(({ name }) => name === golden.check.case)!;
    golden.check.batchRow.forEach((batchRow, i) => {
      const row = { batchRow, step: golden.check.step, last: 0, history: 0 };
      const logits = golden.check.logits[i].map((_, token) => goldenRule(row, token));
      assert.deepEqual(logits, golden.check.logits[i]);
      assert.ok(vocabSize > logits.length);
    });
  });

  for (const wanted of golden.cases) {
    const { name, vocabSize, batchSize, beamSize, uniqueRows } = wanted;
    const rows = rowsOf(wanted);
    const expected = wanted.sequences.map((sequences, b) => ({
      sequences,
      scores: wanted.scores[b],
      ordinals: wanted.ordinals[b],
    }));

    Deno.test(`Golden case ${name}: the oracle`, async () => {
      const set = new OracleSet(rows, vocabSize);
      assert.equal(set.size, uniqueRows);
      const { beams } = await oracleSearch(set, modelOf(goldenRule), { batchSize, beamSize });
      beams.forEach((row, b) => {
        assertFound({
          sequences: row.map(({ node }) => prefixOf(node)),
          scores: row.map(({ score }) => score),
          ordinals: row.map(({ node }) => node.ordinal!),
        }, expected[b]);
      });
    });
  }
}

/**
 * Registers the cases for one backend.
 *
 * @param modelFor makes the file's model for B·M rows of W logits, where it is not to be the one on the CPU.
 */
export function goldenSuite(
  backend: string,
  open: (index: ConstraintIndex) => Promise<Decoder>,
  modelFor: (width: number, rows: number) => Model | GpuModel = () => modelOf(goldenRule),
): void {
  for (const wanted of golden.cases) {
    const { name, vocabSize, length, batchSize, beamSize, uniqueRows, maxBranch } = wanted;
    const rows = rowsOf(wanted);
    const expected = wanted.sequences.map((sequences, b) => ({
      sequences,
      scores: wanted.scores[b],
      ordinals: wanted.ordinals[b],
    }));

    Deno.test(`Golden case ${name}: ${backend}`, async () => {
      const matrix = { data: Uint16Array.from(rows.flat()), rows: rows.length, length };
      using index = await buildIndex(matrix, { vocabSize });
      assert.equal(index.size, uniqueRows);
      assert.deepEqual(index.levels.map((level) => level.maxBranch), maxBranch);
      using decoder = await open(index);
      const result = await decoder.beamSearch(modelFor(vocabSize, batchSize * beamSize), {
        batchSize,
        beamSize,
      });
      assert.deepEqual([...result.counts], expected.map(({ ordinals }) => ordinals.length));
      assert.equal(result.backend, decoder.backend);
      for (let b = 0; b < batchSize; b++) {
        const ranks = Array.from({ length: result.counts[b] }, (_, i) => b * beamSize + i);
        assertFound({
          sequences: ranks.map((r) => [...result.sequences.subarray(r * length, (r + 1) * length)]),
          scores: ranks.map((r) => result.scores[r]),
          ordinals: ranks.map((r) => result.ordinals[r]),
        }, expected[b]);
      }
    });
  }
}
