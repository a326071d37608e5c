/** `generate()` of transformers.js itself, with tiny models on disk. */

import {
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  env,
  LogitsProcessorList,
  random as generator,
  Tensor,
} from "@huggingface/transformers";
import assert from "node:assert/strict";
import { buildIndex } from "../../../src/build/mod.ts";
import { ConstraintLogitsProcessor, foundInRows } from "../../../src/models/transformers/mod.ts";
import { runs } from "../../support/long.ts";
import { Random } from "../../support/models.ts";
import { OracleSet } from "../../support/oracle.ts";
import { END, PAD, WIDTH, writeModels } from "./tiny_model.ts";

/** Tokens of the sets are below this; prompts may have others. */
const VOCAB = 50;

const folder = await Deno.makeTempDir();
env.allowRemoteModels = false;
env.localModelPath = folder;
await writeModels(folder);
const options = { dtype: "fp32", device: "cpu" } as const;
const model = await AutoModelForCausalLM.from_pretrained("decoder-only", options);
const crossModel = await AutoModelForSeq2SeqLM.from_pretrained("encoder-decoder", options);
await Deno.remove(folder, { recursive: true });

function int64(rows: readonly (readonly number[])[]): Tensor {
  return new Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [
    rows.length,
    rows[0].length,
  ]);
}

/** Prompts in one batch, padded on the left as tokenizers do. */
function batch(prompts: readonly (readonly number[])[]) {
  const promptLength = Math.max(...prompts.map((prompt) => prompt.length));
  const pad = (row: readonly number[], token: number) => [
    ...new Array(promptLength - row.length).fill(token),
    ...row,
  ];
  return {
    promptLength,
    inputs: int64(prompts.map((prompt) => pad(prompt, PAD))),
    attention_mask: int64(prompts.map((prompt) => pad(prompt.map(() => 1), 0))),
  };
}

type Settings = Omit<Parameters<typeof model.generate>[0], "logits_processor"> & {
  logits_processor?: unknown;
};

/** What has been generated after each prompt. */
async function generate(settings: Settings, promptLength: number, by = model): Promise<number[][]> {
  const output = await by.generate(settings as Parameters<typeof model.generate>[0]);
  assert.ok(output instanceof Tensor);
  return output.tolist().map((row: bigint[]) => row.slice(promptLength).map(Number));
}

/** What was generated before the end, after which nothing but the end may come. */
function sequenceOf(row: readonly number[]): number[] {
  const end = row.indexOf(END);
  if (end < 0) return [...row];
  assert.ok(row.slice(end).every((token) => token === END), `[${row}]`);
  return row.slice(0, end);
}

/** The best allowed token, again and again, by whole rows of ids. */
async function greedyByHand(
  set: OracleSet,
  endToken: number | undefined,
  logitsAfter: (sequence: number[]) => Promise<ArrayLike<number>>,
): Promise<number[]> {
  const sequence: number[] = [];
  while (true) {
    const allowed = set.allowedTokens(sequence);
    if (endToken !== undefined && set.canEnd(sequence)) allowed.push(endToken);
    if (allowed.length === 0) return sequence;
    const logits = await logitsAfter(sequence);
    const best = allowed.reduce((a, b) => logits[b] > logits[a] ? b : a);
    if (best === endToken) return sequence;
    sequence.push(best);
  }
}

/** Logits at the last position, without a cache and without padding. */
async function logitsOf(ids: readonly number[]): Promise<Float32Array> {
  const { logits } = await model({
    input_ids: int64([ids]),
    attention_mask: int64([ids.map(() => 1)]),
  });
  return logits.data.slice(-WIDTH);
}

/** Sequences of `shortest` to `longest` tokens, with many starts in common. */
function randomSet(random: Random, shortest: number, longest: number): OracleSet {
  const rows = Array.from({ length: random.between(1, 200) }, () =>
    Array.from(
      { length: random.between(shortest, longest) },
      (_, i) => random.below(i < 2 ? 5 : VOCAB) * (i < 2 ? 9 : 1),
    ));
  return new OracleSet(rows, VOCAB);
}

function randomPrompts(random: Random, count: number): number[][] {
  return Array.from(
    { length: count },
    () => Array.from({ length: random.between(1, 7) }, () => random.below(END)),
  );
}

Deno.test("Left alone, the models leave the set", async () => {
  const random = new Random(0);
  const set = randomSet(random, 4, 4);
  const { promptLength, ...inputs } = batch(randomPrompts(random, 20));
  const generated = await generate({ ...inputs, max_new_tokens: 4 }, promptLength);
  assert.ok(generated.every((row) => !set.has(row)));
  assert.ok(new Set(generated.map(String)).size > 10); // and say different things
});

for (
  const [name, shortest, endToken] of [
    ["sequences of one length", 5, undefined],
    ["sequences of one length, then the end", 5, END],
    ["sequences of mixed lengths", 1, END],
  ] as const
) {
  Deno.test(`Greedy generation is the constrained decode by hand: ${name}`, async () => {
    const found = new Set<string>();
    for (let seed = 0; seed < runs(12); seed++) {
      const random = new Random(seed);
      const set = randomSet(random, shortest, 5);
      const prompts = randomPrompts(random, random.between(1, 6));
      using index = await buildIndex(set.sequences, { vocabSize: VOCAB });
      const { promptLength, ...inputs } = batch(prompts);
      const processor = new ConstraintLogitsProcessor(index, { promptLength, endToken });
      const generated = await generate({
        ...inputs,
        max_new_tokens: endToken === undefined ? index.maxLength : index.maxLength + 1,
        logits_processor: [processor],
      }, promptLength);
      for (const [row, prompt] of prompts.entries()) {
        const sequence = sequenceOf(generated[row]);
        assert.ok(set.has(sequence), `seed ${seed}: [${sequence}]`);
        const expected = await greedyByHand(
          set,
          endToken,
          (sequence) => logitsOf([...prompt, ...sequence]),
        );
        assert.deepEqual(sequence, expected, `seed ${seed}, row ${row}`);
        found.add(`${seed}: ${sequence}`);
      }
    }
    assert.ok(found.size > runs(12)); // not one answer to all prompts
  });
}

Deno.test("Sampled sequences are in the set, and many of it", async () => {
  generator.seed(1);
  const random = new Random(3);
  const sets = [randomSet(random, 1, 4), randomSet(random, 4, 4)];
  for (const set of sets) {
    using index = await buildIndex(set.sequences, { vocabSize: VOCAB });
    const { promptLength, ...inputs } = batch(new Array(32).fill([1, 2, 3])); // 32 times the same
    for (const sampling of [{}, { temperature: 3 }, { top_k: 0 }, { top_k: 3, temperature: 0.7 }]) {
      const logits_processor = new LogitsProcessorList();
      logits_processor.push(new ConstraintLogitsProcessor(index, { promptLength, endToken: END }));
      const generated = await generate({
        ...inputs,
        ...sampling,
        do_sample: true,
        max_new_tokens: index.maxLength + 1,
        logits_processor,
      }, promptLength);
      const sequences = generated.map(sequenceOf);
      for (const sequence of sequences) assert.ok(set.has(sequence), `[${sequence}]`);
      assert.ok(new Set(sequences.map(String)).size > 2);
    }
  }
});

Deno.test("Other processors cannot lead out of the set, nor keep ended rows from waiting", async () => {
  // Tokens that occur once each, so that none is forbidden but the end, by its repetition.
  const set = new OracleSet([[1], [2, 3], [4, 5, 6, 7], [8, 9, 10, 11, 12]], VOCAB);
  using index = await buildIndex(set.sequences, { vocabSize: VOCAB });
  const prompts = Array.from({ length: 24 }, (_, i) => [20 + i, 44 - i]);
  const { promptLength, ...inputs } = batch(prompts);
  for (
    const others of [
      { no_repeat_ngram_size: 1 },
      { min_new_tokens: 4 },
      { repetition_penalty: 9, bad_words_ids: [[1], [END]] },
      { suppress_tokens: [END, 8] },
    ]
  ) {
    const generated = await generate({
      ...inputs,
      ...others,
      max_new_tokens: 20,
      logits_processor: [new ConstraintLogitsProcessor(index, { promptLength, endToken: END })],
    }, promptLength);
    const sequences = generated.map(sequenceOf);
    for (const sequence of sequences) assert.ok(set.has(sequence), `[${sequence}]`);
    const lengths = new Set(sequences.map((sequence) => sequence.length));
    assert.ok(lengths.size > 1, "rows end at different steps");
    // Generation stops with the last row.
    assert.equal(generated[0].length, Math.max(...lengths) + 1);
  }
});

Deno.test("What a prompt has begun goes on, and what it has spoilt is an error", async () => {
  const set = new OracleSet([[1, 2, 3, 4], [1, 2, 5], [6, 7, 8]], VOCAB);
  using index = await buildIndex(set.sequences, { vocabSize: VOCAB });
  const prompts = [[30, 31, 1, 2], [30, 31, 32, 6], [33, 34, 35, 36]];
  const { promptLength: _, ...inputs } = batch(prompts);
  const starts = [2, 3, 4];
  const processor = new ConstraintLogitsProcessor(index, { promptLength: starts, endToken: END });
  const output = await generate({
    ...inputs,
    max_new_tokens: 5,
    logits_processor: [processor],
  }, 0);
  const sequences = output.map((row, i) => sequenceOf(row.slice(starts[i])));
  assert.deepEqual(sequences[0].slice(0, 2), [1, 2]);
  assert.ok(set.has(sequences[0]));
  assert.deepEqual(sequences[1], [6, 7, 8]);
  assert.ok(set.has(sequences[2]));
  const found = foundInRows(index, output, { promptLength: starts, endToken: END });
  assert.deepEqual(
    found.map(({ sequence, ordinal }) => [sequence, ordinal]),
    sequences.map((sequence) => [sequence, set.ordinalOf(sequence)]),
  );

  const { promptLength: __, ...spoilt } = batch([prompts[0], [30, 31, 32, 9]]);
  const options = { promptLength: [2, 3], endToken: END };
  const wrong = new ConstraintLogitsProcessor(index, options);
  await assert.rejects(
    generate({ ...spoilt, max_new_tokens: 5, logits_processor: [wrong] }, 0),
    { code: "prefix-outside-set", row: 1 },
  );
});

Deno.test("Generation that nothing may continue rejects", async () => {
  using index = await buildIndex([[1, 2], [3]], { vocabSize: VOCAB });
  const { promptLength, ...inputs } = batch([[30]]);
  const processor = new ConstraintLogitsProcessor(index, { promptLength });
  await assert.rejects(
    generate({ ...inputs, max_new_tokens: 3, logits_processor: [processor] }, promptLength),
    { code: "nothing-allowed", row: 0 },
  );
});

Deno.test("Encoder-decoder models skip the tokens that the decoder starts with", async () => {
  for (let seed = 0; seed < runs(8); seed++) {
    const random = new Random(seed);
    const set = randomSet(random, 1, 5);
    using index = await buildIndex(set.sequences, { vocabSize: VOCAB });
    const inputs = Array.from({ length: 5 }, () => [0, 1, 2].map(() => random.below(END)));
    for (const start of [[PAD], [PAD, 59]]) {
      const generated = await generate(
        {
          inputs: int64(inputs),
          decoder_input_ids: int64(inputs.map(() => start)),
          max_new_tokens: index.maxLength + 1,
          logits_processor: [
            new ConstraintLogitsProcessor(index, { promptLength: start.length, endToken: END }),
          ],
        },
        start.length,
        crossModel,
      );
      for (const [row, input] of inputs.entries()) {
        const expected = await greedyByHand(set, END, async (sequence) => {
          const last = [...start, ...sequence].slice(-1);
          const { logits } = await crossModel({
            input_ids: int64([input]),
            decoder_input_ids: int64([last]),
          });
          return logits.data;
        });
        assert.deepEqual(sequenceOf(generated[row]), expected, `seed ${seed}, row ${row}`);
      }
    }
  }
});
