/** How results of the search under test are held against the oracle's, and its models watched. */

import assert from "node:assert/strict";
import type { BeamSearchResult, Model, ModelInput } from "../../src/decode/types.ts";
import { NONE, type OracleResult, type OracleSet, type OracleShown, prefixOf } from "./oracle.ts";

/** Scores of two implementations agree within so much, relative to max(1, |score|). */
export const TOLERANCE = 1e-5;

/** What the search under test showed to its model, by step. */
export type Shown = Pick<ModelInput, "tokens" | "parents">;

/** What a search may show to its model besides live beams. */
export interface WatchOptions {
  batchSize?: number;
  beamSize: number;
  vocabSize: number;
  padToken?: number;
}

/**
 * Passes calls on to `model`, asserts that every input is as documented, and keeps the inputs: not
 * copies, since they belong to the model.
 */
export function watched(
  model: Model,
  set: OracleSet,
  { batchSize = 1, beamSize, vocabSize, padToken = 0 }: WatchOptions,
): { model: Model; shown: Shown[] } {
  const shown: Shown[] = [];
  let prefixes: (number[] | undefined)[] = [];

  /** The prefix of a row; nothing where the row shows no beam that can go on or end. */
  function prefixOfRow(input: ModelInput, row: number): number[] | undefined {
    if (input.step === 0) return [];
    const parent = input.parents[row];
    const batchRow = Math.floor(row / beamSize);
    const owner = input.step === 1 ? parent : Math.floor(parent / beamSize);
    assert.ok(parent < prefixes.length, `Parent ${parent} of row ${row} is no row`);
    assert.equal(owner, batchRow, `Parent ${parent} of row ${row} is another batch row's`);
    const prefix = prefixes[parent];
    const token = input.tokens[row];
    const longer = prefix && [...prefix, token];
    if (longer && set.find(longer)) return longer;
    assert.equal(token, padToken, `Row ${row} shows ${token} at step ${input.step}`);
    return undefined;
  }

  const watching: Model = (input) => {
    const rows = input.step === 0 ? batchSize : batchSize * beamSize;
    assert.equal(input.step, shown.length);
    assert.equal(input.rows, rows);
    assert.equal(input.batchSize, batchSize);
    assert.equal(input.beamSize, beamSize);
    assert.equal(input.vocabSize, vocabSize);
    for (const ids of [input.tokens, input.parents]) {
      assert.ok(ids instanceof Uint32Array);
      assert.equal(ids.length, input.step === 0 ? 0 : rows);
    }
    assert.ok(input.out instanceof Float32Array);
    assert.equal(input.out.length, rows * vocabSize);
    prefixes = Array.from({ length: rows }, (_, row) => prefixOfRow(input, row));
    shown.push({ tokens: input.tokens, parents: input.parents });
    return model(input);
  };
  return { model: watching, shown };
}

/** What rows show that live; the others show `padToken`, whichever their parent. */
export function assertShown(shown: Shown[], expected: OracleShown[], padToken = 0): void {
  assert.equal(shown.length, expected.length, "Steps");
  shown.forEach(({ tokens, parents }, step) => {
    tokens.forEach((token, row) => {
      const wanted = expected[step];
      const place = `row ${row} of step ${step}`;
      assert.equal(token, wanted.live[row] ? wanted.tokens[row] : padToken, `Token of ${place}`);
      if (wanted.live[row]) assert.equal(parents[row], wanted.parents[row], `Parent of ${place}`);
    });
  });
}

/** Whatever the logits: sizes, padding, no sequence twice, none from outside the set. */
export function assertLayout(
  result: BeamSearchResult,
  set: OracleSet,
  { batchSize = 1, beamSize }: { batchSize?: number; beamSize: number },
): void {
  const { sequences, lengths, scores, ordinals, counts } = result;
  const slots = batchSize * beamSize;
  assert.equal(result.batchSize, batchSize);
  assert.equal(result.beamSize, beamSize);
  assert.equal(result.maxLength, set.maxLength);
  assert.ok(sequences instanceof Uint32Array && sequences.length === slots * set.maxLength);
  assert.ok(lengths instanceof Uint32Array && lengths.length === slots);
  assert.ok(scores instanceof Float32Array && scores.length === slots);
  assert.ok(ordinals instanceof Uint32Array && ordinals.length === slots);
  assert.ok(counts instanceof Uint32Array && counts.length === batchSize);

  for (let slot = 0; slot < slots; slot++) {
    const tokens = [...sequences.subarray(slot * set.maxLength, (slot + 1) * set.maxLength)];
    const found = slot % beamSize < counts[Math.floor(slot / beamSize)];
    const sequence = tokens.slice(0, lengths[slot]);
    assert.ok(tokens.slice(lengths[slot]).every((token) => token === NONE), `Padding of ${slot}`);
    if (found) {
      assert.equal(ordinals[slot], set.ordinalOf(sequence), `Ordinal of ${slot}: ${sequence}`);
      assert.ok(Number.isFinite(scores[slot]), `Score of ${slot}`);
    } else {
      assert.equal(lengths[slot], 0, `Length of the dead ${slot}`);
      assert.equal(ordinals[slot], NONE, `Ordinal of the dead ${slot}`);
      assert.equal(scores[slot], -Infinity, `Score of the dead ${slot}`);
    }
  }
  counts.forEach((count, b) => {
    const own = ordinals.subarray(b * beamSize, b * beamSize + count);
    assert.equal(new Set(own).size, count, `Sequences twice in batch row ${b}`);
  });
}

/** The same beams in the same places, with the same scores to the last bit. */
export function assertSame(result: BeamSearchResult, expected: OracleResult): void {
  const { beamSize, counts, ordinals, scores } = result;
  assert.deepEqual([...counts], expected.beams.map(({ length }) => length), "Counts");
  expected.beams.forEach((beams, b) => {
    const slots = beams.map((_, i) => b * beamSize + i);
    assert.deepEqual(slots.map((slot) => ordinals[slot]), beams.map(({ node }) => node.ordinal));
    assert.deepEqual(slots.map((slot) => scores[slot]), beams.map(({ score }) => score));
  });
}

/**
 * The same beams, unless some step's last winner and first loser were too close for float32 to tell;
 * neighbours that close may be swapped. `resolution` is an absolute error that logits of large
 * magnitude make.
 *
 * @returns how many batch rows were compared to the end.
 */
export function assertClose(
  result: BeamSearchResult,
  expected: OracleResult,
  resolution = 0,
): number {
  const { beamSize, counts, ordinals, scores } = result;
  const close = (a: number, b: number) =>
    Math.abs(a - b) <= Math.max(resolution, TOLERANCE * Math.max(1, Math.abs(b)));
  let compared = 0;
  expected.beams.forEach((beams, b) => {
    if (expected.gaps[b] <= Math.max(resolution, TOLERANCE)) return;
    compared++;
    assert.equal(counts[b], beams.length, `Count of batch row ${b}`);
    const byOrdinal = new Map(beams.map((beam) => [beam.node.ordinal!, beam]));
    beams.forEach((beam, i) => {
      const slot = b * beamSize + i;
      const found = byOrdinal.get(ordinals[slot]);
      assert.ok(found, `Ordinal ${ordinals[slot]} at ${slot}, wanted ${prefixOf(beam.node)}`);
      assert.ok(
        close(scores[slot], found.score),
        `Score of ordinal ${ordinals[slot]}: ${scores[slot]}, wanted ${found.score}`,
      );
      assert.ok(close(found.key, beam.key), `Order at ${slot}: ${found.key}, wanted ${beam.key}`);
    });
  });
  return compared;
}
