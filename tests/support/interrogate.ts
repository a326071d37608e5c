/** Asks an index everything, and demands of the answers only that they are in bounds. */

import assert from "node:assert/strict";
import type { ConstraintIndex } from "../../mod.ts";
import { maskLogits } from "../../src/decode/mask.ts";
import { searchShape } from "../../src/decode/options.ts";
import { ResultRules, toResult } from "../../src/decode/result.ts";
import type { BeamSearchOptions } from "../../src/decode/types.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { BEAM_BITS } from "../../src/kernels/constants.ts";
import type { KernelSearch, Logits } from "../../src/kernels/kernel.ts";
import { WasmKernel } from "../../src/kernels/wasm/kernel.ts";
import { mix, Random } from "./models.ts";
import { NONE } from "./oracle.ts";

/** What was answered, in an order that depends on the seed and the answers. */
export type Answers = (number | string | undefined)[];

function lookUp(index: ConstraintIndex, random: Random, answers: Answers): void {
  const { size, vocabSize, maxLength } = index;
  const take = (ordinal: number | undefined) => {
    answers.push(ordinal);
    assert.ok(ordinal === undefined || ordinal < size, `Ordinal ${ordinal} of ${size}`);
  };
  const takeTokens = (tokens: Uint32Array, most: number) => {
    answers.push(tokens.length, ...tokens);
    assert.ok(tokens.length <= most, `${tokens.length} tokens`);
    assert.ok(tokens.every((token) => token < vocabSize), `Tokens ${tokens}`);
  };
  for (let i = 0; i < 8; i++) {
    const sequence = index.sequenceAt(random.pick([0, size - 1, random.below(size)]));
    takeTokens(sequence, maxLength);
    take(index.ordinalOf(sequence));
    const cut = sequence.subarray(0, random.below(sequence.length));
    takeTokens(index.allowedTokens(cut), index.levels[cut.length].maxBranch);
    take(index.ordinalOf(Array.from(sequence, () => random.below(vocabSize))));
  }
  const prefix: number[] = [];
  while (prefix.length < maxLength) {
    const tokens = index.allowedTokens(prefix);
    takeTokens(tokens, index.levels[prefix.length].maxBranch);
    if (tokens.length === 0) break;
    prefix.push(random.pick([...tokens]));
    take(index.ordinalOf(prefix));
  }
  const prefixes = [[], prefix, prefix.slice(0, -1)];
  const logits = Float32Array.from({ length: prefixes.length * vocabSize }, (_, i) => i);
  maskLogits(index, logits, prefixes);
  answers.push(logits.reduce((sum, x) => mix(sum + (x === -Infinity ? 1 : x)), 0));
}

/** Logits by any way in which a model may hand them over. */
function logitsOf(search: KernelSearch, width: number, seed: number): Logits {
  const logit = (_: unknown, i: number) => {
    const h = mix(seed + i * 31);
    return h % 16 === 0 ? -Infinity : h % 16 === 1 ? NaN : (h >>> 8) * 2 ** -21 - 4;
  };
  const length = search.rows * width;
  if (seed % 3 === 0) return Float32Array.from({ length }, logit);
  if (seed % 3 === 1) return new Uint16Array(Float16Array.from({ length }, logit).buffer);
  const out = search.out();
  for (let i = 0; i < length; i++) out[i] = logit(undefined, i);
  return out;
}

function assertBeams(index: ConstraintIndex, search: KernelSearch, width: number): void {
  const { step, rows } = search;
  const { scores, states, edges, lengths, status } = search.beams();
  const states1 = index.levels[step]?.states ?? 0;
  search.tokens().forEach((token, row) => {
    assert.ok(token < width, `Token ${token} in row ${row} of step ${step}, width ${width}`);
    if (status[row] & BEAM_BITS.LIVE) {
      assert.ok(token < index.vocabSize, `Token ${token} in row ${row} of step ${step}`);
    }
  });
  for (let row = 0; row < rows; row++) {
    if (status[row] === 0) continue;
    const state = states[row];
    const isInside = state < states1 || state === NONE && !(status[row] & BEAM_BITS.LIVE);
    assert.ok(isInside, `State ${state} of ${states1} in row ${row} of step ${step}`);
    assert.ok(lengths[row] >= 1 && lengths[row] <= index.maxLength, `Length ${lengths[row]}`);
    assert.ok(edges[row] < index.levels[lengths[row] - 1].edges, `Edge ${edges[row]}`);
    assert.ok(Number.isFinite(scores[row]), `Score ${scores[row]}`);
  }
}

function search(
  index: ConstraintIndex,
  options: BeamSearchOptions,
  seed: number,
  answers: Answers,
): void {
  const loaded = loadedIndexOf(index);
  const { beamSize, endToken } = options;
  const width = options.vocabSize ?? index.vocabSize;
  const shape = searchShape(index, options);
  using search = new WasmKernel(loaded).begin(shape);
  const steps = index.maxLength + (endToken === undefined ? 0 : 1);
  while (search.step < steps && search.isLive) {
    search.advance(logitsOf(search, width, seed + search.step));
    assertBeams(index, search, width);
    answers.push(...search.tokens(), ...search.parents());
  }
  const result = toResult(
    loaded,
    shape,
    search.beams(),
    new ResultRules(loaded, [], "keep"),
    "wasm",
  );
  const { sequences, ordinals, counts, scores, lengths } = result;
  const beams = ordinals.length;
  for (let beam = 0; beam < beams; beam++) {
    if (beam % beamSize >= counts[Math.floor(beam / beamSize)]) continue;
    assert.ok(ordinals[beam] < index.size, `Ordinal ${ordinals[beam]}`);
    const first = beam * index.maxLength;
    const tokens = sequences.subarray(first, first + lengths[beam]);
    assert.ok(tokens.every((token) => token < index.vocabSize), `Tokens ${tokens}`);
  }
  answers.push(...sequences, ...ordinals, ...counts, ...scores);
}

/** Options that reach every branch of the step. */
export function someOptions(index: ConstraintIndex, random: Random): BeamSearchOptions {
  const { vocabSize } = index;
  const wider = vocabSize + random.pick([0, 1, 3]);
  return {
    beamSize: random.pick([1, 2, 5, 17]),
    batchSize: random.between(1, 2),
    vocabSize: wider,
    normalize: random.pick(["vocab", "allowed", "none"]),
    tokensPerBeam: random.pick([undefined, undefined, 1, 3]),
    lengthPenalty: random.pick([0, 1]),
    ...(wider > vocabSize && random.below(2) && { endToken: vocabSize }),
  };
}

/**
 * Looks up, masks and searches. Whatever the index holds, answers must be in bounds.
 *
 * @param prepare is called before each part, so that it meets memory as the caller wants it.
 */
export function interrogate(
  index: ConstraintIndex,
  seed: number,
  prepare: () => void = () => {},
): Answers {
  const random = new Random(seed);
  const answers: Answers = [];
  prepare();
  lookUp(index, random, answers);
  for (let i = 0; i < 2; i++) {
    prepare();
    search(index, someOptions(index, random), random.below(99), answers);
  }
  return answers;
}

/** Asserts that an index is the index of some set: all its answers agree with each other. */
export function assertConsistent(index: ConstraintIndex): void {
  const { size, levels } = index;
  const seen = new Set<number>();
  const edges = levels.map(() => 0);
  const descend = (prefix: number[]) => {
    if (prefix.length > 0) {
      const ordinal = index.ordinalOf(prefix);
      if (ordinal !== undefined) {
        assert.ok(ordinal < size && !seen.has(ordinal), `Ordinal ${ordinal} of ${prefix}`);
        seen.add(ordinal);
        assert.deepEqual([...index.sequenceAt(ordinal)], prefix);
      }
    }
    const tokens = index.allowedTokens(prefix);
    assert.ok(tokens.length > 0 || seen.size > 0 && index.has(prefix), `${prefix} leads nowhere`);
    tokens.forEach((token, i) => {
      assert.ok(token < index.vocabSize && (i === 0 || tokens[i - 1] < token), `Tokens ${tokens}`);
      edges[prefix.length]++;
      descend([...prefix, token]);
    });
  };
  descend([]);
  assert.equal(seen.size, size, "Sequences");
  assert.deepEqual(edges, levels.map((level) => level.edges), "Edges");
}
