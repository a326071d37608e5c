/** The logits processor for transformers.js, given plain objects for its tensors. */

import assert from "node:assert/strict";
import { ConstraintIndex } from "../../../mod.ts";
import { buildIndex } from "../../../src/build/mod.ts";
import { loadedIndexOf } from "../../../src/index/constraint_index.ts";
import { ConstraintLogitsProcessor, foundInRows } from "../../../src/models/transformers/mod.ts";
import { runs } from "../../support/long.ts";
import { Random } from "../../support/models.ts";
import { OracleSet } from "../../support/oracle.ts";
import { rowSet, SHAPE_NAMES } from "../../support/sets.ts";

const tensor = (data: Float32Array, rows: number) => ({ data, dims: [rows, data.length / rows] });
const ids = (...rows: number[][]) => rows.map((row) => row.map(BigInt));
/** Tokens of a row that have not been masked. */
const open = (data: ArrayLike<number>, width: number, row = 0) =>
  Array.from({ length: width }, (_, t) => t).filter((t) => data[row * width + t] > -Infinity);

/** What a row must look like after the prefix, or the code of the error. */
function constrained(
  logits: readonly number[],
  prefix: readonly number[],
  set: OracleSet,
  endToken?: number,
): readonly number[] | string {
  const children = set.allowedTokens(prefix);
  const ends = endToken !== undefined && (set.canEnd(prefix) || children.length === 0);
  if (children.length === 0 && !ends) return "nothing-allowed";
  const isAllowed = (token: number) => token === endToken ? ends : children.includes(token);
  const masked = logits.map((logit, token) => {
    if (token === endToken && children.length === 0) return 0;
    return isAllowed(token) && !Number.isNaN(logit) ? logit : -Infinity;
  });
  if (masked.includes(Infinity)) return "infinite-logit";
  return masked.some(Number.isFinite) ? masked : "no-finite-logit";
}

/** The start of a stored sequence, all of it, the same after its end, or something else. */
function somePrefix(set: OracleSet, random: Random, endToken: number | undefined): number[] {
  const sequence = random.pick(set.sequences);
  const kind = random.below(6);
  if (kind === 0) return sequence;
  if (kind === 1 && endToken !== undefined) {
    return [...sequence, ...new Array(random.between(1, 3)).fill(endToken)];
  }
  if (kind === 2) return [...sequence, random.below(set.vocabSize)];
  return sequence.slice(0, random.below(sequence.length + 1));
}

for (const shape of SHAPE_NAMES) {
  Deno.test(`Rows of all depths keep what may follow them, and one that can be chosen: ${shape}`, async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < runs(40); seed++) {
      const { rows, vocabSize } = rowSet(shape, seed);
      const random = new Random(seed);
      const set = new OracleSet(rows, vocabSize);
      using index = await buildIndex(rows, { vocabSize });
      const width = vocabSize + random.between(1, 40);
      const endToken = random.below(4) ? random.between(vocabSize, width - 1) : undefined;
      const prompts = Array.from(
        { length: random.between(1, 5) },
        () => Array.from({ length: random.below(4) }, () => random.below(width)),
      );
      const prefixes = prompts.map(() => somePrefix(set, random, endToken));
      const processor = new ConstraintLogitsProcessor(index, {
        promptLength: prompts.map((prompt) => prompt.length),
        endToken,
      });
      processor(ids(...prompts), tensor(new Float32Array(prompts.length * width), prompts.length));
      const values = random.pick([[1.5, -0, -3], [1.5, -2, NaN, -Infinity], [
        -Infinity,
        NaN,
        2e38,
      ]]);
      if (random.below(8) === 0) values.push(Infinity);
      const before = prompts.map(() => Array.from({ length: width }, () => random.pick(values)));
      const logits = tensor(Float32Array.from(before.flat()), prompts.length);

      const expected = before.map((row, r) =>
        constrained(row.map(Math.fround), prefixes[r], set, endToken)
      );
      const process = () =>
        processor(ids(...prompts.map((prompt, r) => [...prompt, ...prefixes[r]])), logits);
      const row = expected.findIndex((row) => typeof row === "string");
      seen.add(row < 0 ? "none" : String(expected[row]));
      if (row < 0) {
        assert.equal(process(), logits);
        assert.deepEqual([...logits.data], expected.flat(), `seed ${seed}`);
      } else {
        assert.throws(process, { code: expected[row], row }, `seed ${seed}`);
      }
    }
    assert.ok(seen.has("none") && seen.size > 1, [...seen].join()); // both answers and errors
  });
}

Deno.test("The end is forced where nothing else may follow, and allowed where something may", async () => {
  using index = await buildIndex([[1], [1, 2]], { vocabSize: 4 });
  const processor = new ConstraintLogitsProcessor(index, { promptLength: 1, endToken: 3 });
  const logits = tensor(new Float32Array(16).fill(-Infinity), 4);
  processor(ids([9]), tensor(new Float32Array(4), 1));
  logits.data.set([-7, -7, -7, -7], 4);
  logits.data[1] = -7;
  processor(ids([9], [9, 1], [9, 1, 2], [9, 1, 3]), logits);
  assert.deepEqual([...logits.data], [
    ...[-Infinity, -7, -Infinity, -Infinity],
    ...[-Infinity, -Infinity, -7, -7], // may go on
    ...[-Infinity, -Infinity, -Infinity, 0], // may not, although the model would not end
    ...[-Infinity, -Infinity, -Infinity, 0], // has ended
  ]);
});

Deno.test("An end that another processor forbids is left to the tokens beside it", async () => {
  using index = await buildIndex([[1], [1, 2]], { vocabSize: 4 });
  const processor = new ConstraintLogitsProcessor(index, { promptLength: 0, endToken: 3 });
  const logits = tensor(Float32Array.of(5, 5, 5, -Infinity), 1);
  processor(ids([1]), logits);
  assert.deepEqual(open(logits.data, 4), [2]);
});

Deno.test("One prompt length is for all rows, several are for each", async () => {
  using index = await buildIndex([[1, 2], [3, 0]], { vocabSize: 4 });
  const rows = ids([7, 7, 1], [7, 7, 3]);
  const all = tensor(new Float32Array(8), 2);
  new ConstraintLogitsProcessor(index, { promptLength: 2 })(rows, all);
  assert.deepEqual([0, 1].map((row) => open(all.data, 4, row)), [[2], [0]]);
  // The last token of a prompt may belong to the sequence already.
  const each = tensor(new Float32Array(8), 2);
  new ConstraintLogitsProcessor(index, { promptLength: [2, 3] })(rows, each);
  assert.deepEqual([0, 1].map((row) => open(each.data, 4, row)), [[2], [1, 3]]);
});

Deno.test("Logits beyond the vocabulary of the index are masked, but for the end token", async () => {
  using index = await buildIndex([[0], [2]], { vocabSize: 3 });
  for (const endToken of [undefined, 900]) {
    const logits = tensor(new Float32Array(2000).fill(1), 2);
    const processor = new ConstraintLogitsProcessor(index, { promptLength: 1, endToken });
    const process = () => processor(ids([5], [5, 2]), logits);
    if (endToken === undefined) assert.throws(process, { code: "nothing-allowed", row: 1 });
    else process();
    assert.deepEqual(open(logits.data, 1000), [0, 2]);
    assert.deepEqual(open(logits.data, 1000, 1), endToken === undefined ? [] : [endToken]);
  }
});

Deno.test("A processor is called like a function, or by its method", async () => {
  using index = await buildIndex([[1, 2]], { vocabSize: 4 });
  const processor = new ConstraintLogitsProcessor(index, { promptLength: 1 });
  assert.ok(processor instanceof ConstraintLogitsProcessor);
  assert.equal(typeof processor, "function");
  for (const call of [processor, processor._call]) {
    const logits = tensor(new Float32Array(4), 1);
    assert.equal(call(ids([0, 1]), logits), logits);
    assert.deepEqual(open(logits.data, 4), [2]);
  }
});

Deno.test("Rows, prompt lengths and logits that do not go together are a RangeError", async () => {
  using index = await buildIndex([[1, 2]], { vocabSize: 4 });
  const two = () => tensor(new Float32Array(8), 2);
  const run = (
    promptLength: number | number[],
    rows: bigint[][],
    logits: { data: unknown; dims: number[] },
    endToken?: number,
  ) => new ConstraintLogitsProcessor(index, { promptLength, endToken })(rows, logits);
  run(1, ids([0], [0]), two());
  const wrong: [string, () => unknown][] = [
    ["a length for one row of two", () => run([1], ids([0], [0]), two())],
    ["three lengths for two rows", () => run([1, 1, 1], ids([0], [0]), two())],
    ["fewer ids than the prompt has", () => run([0, 2], ids([0], [0]), two())],
    ["more rows of ids than of logits", () => run(0, ids([], [], []), two())],
    [
      "positions before the last",
      () => run(0, ids([], []), { data: new Float32Array(16), dims: [2, 2, 4] }),
    ],
    [
      "rows narrower than the vocabulary",
      () => run(0, ids([], []), tensor(new Float32Array(6), 2)),
    ],
    ["an end beyond the logits", () => run(0, ids([], []), two(), 4)],
    ["an end that occurs in a sequence", () => run(0, ids([], []), two(), 2)],
  ];
  for (const [what, call] of wrong) assert.throws(call, RangeError, what);
  for (const promptLength of [-1, 0.5, NaN, [1, -1], undefined]) {
    assert.throws(
      () => new ConstraintLogitsProcessor(index, { promptLength: promptLength as number }),
      RangeError,
      `${promptLength}`,
    );
  }
  const half = { data: new Float16Array(4), dims: [1, 4] };
  assert.throws(() => run(0, ids([]), half), TypeError);
});

Deno.test("Levels that are still loading are an error, until they are there", async () => {
  const random = new Random(1);
  // Levels arrive by whole MiB: the first is small, the last is beyond one.
  const rows = 600_000;
  const data = Uint16Array.from({ length: rows * 3 }, (_, i) => random.below(i % 3 ? 65536 : 64));
  const sequence = [...data.subarray(0, 3)];
  using built = await buildIndex({ data, rows, length: 3 }, { vocabSize: 65536 });
  const bytes = built.toBytes();
  const rest = Promise.withResolvers<void>();
  const source = new ReadableStream({
    start: (to) => to.enqueue(bytes.slice(0, -1)),
    async pull(to) {
      await rest.promise;
      to.enqueue(bytes.slice(-1));
      to.close();
    },
  });
  using index = await ConstraintIndex.open(source, { progressive: true });
  const processor = new ConstraintLogitsProcessor(index, { promptLength: 0 });
  const process = (prefix: number[]) => {
    const logits = tensor(new Float32Array(65536), 1);
    processor(ids(prefix), logits);
    return open(logits.data, 65536);
  };
  assert.ok(process([]).includes(sequence[0]));
  assert.throws(() => process(sequence.slice(0, 2)), { code: "not-loaded", level: 2 });
  rest.resolve();
  await index.ready;
  assert.deepEqual(process(sequence.slice(0, 2)), [...built.allowedTokens(sequence.slice(0, 2))]);
});

Deno.test("A row that begins no sequence is an error at the first call, also with an end token", async () => {
  using index = await buildIndex([[1, 2], [1], [3, 0]], { vocabSize: 4 });
  for (const endToken of [undefined, 5, [5, 6]]) {
    const logits = () => tensor(new Float32Array(16), 2);
    const make = () => new ConstraintLogitsProcessor(index, { promptLength: 1, endToken });
    const outside = { name: "EspalierError", code: "prefix-outside-set", row: 1 };
    assert.throws(() => make()(ids([9, 1], [9, 2]), logits()), outside);
    assert.throws(() => make()(ids([9], [9, 1, 2, 3]), logits()), outside);
    // A call that failed is not the first that went well.
    const processor = make();
    assert.throws(() => processor(ids([9], [9, 2]), logits()), outside);
    assert.throws(() => processor(ids([9], [9, 2]), logits()), outside);
    processor(ids([9], [9, 1]), logits());
    if (endToken !== undefined) processor(ids([9, 1, 5], [9, 3, 2]), logits());
  }
});

Deno.test("Several end tokens stay allowed, and the first is forced", async () => {
  using index = await buildIndex([[1], [1, 2]], { vocabSize: 4 });
  const processor = new ConstraintLogitsProcessor(index, { promptLength: 0, endToken: [5, 4] });
  processor(ids([]), tensor(new Float32Array(6), 1));
  const logits = tensor(new Float32Array(18).fill(-1), 3);
  processor(ids([1], [1, 2], [1, 4]), logits);
  assert.deepEqual([0, 1, 2].map((row) => open(logits.data, 6, row)), [[2, 4, 5], [5], [5]]);
});

Deno.test("Each row has its filter and its exclusions", async () => {
  const rows = [[1, 2], [1, 2], [1, 3], [2, 0]];
  const items = ["lamp", "lantern", "chair", "hat"];
  using index = await buildIndex(rows, { vocabSize: 4, items });
  using chairs = index.filter({ items: ["chair", "hat"] });
  const options = {
    promptLength: 1,
    endToken: 5,
    filter: [chairs, undefined, undefined, chairs],
    exclude: [undefined, [0], undefined, undefined],
    excludeItems: [undefined, undefined, ["lamp", "hat"], ["chair"]],
  };
  const processor = new ConstraintLogitsProcessor(index, options);
  const begin = tensor(new Float32Array(24), 4);
  processor(ids([9], [9], [9], [9]), begin);
  const opened = (logits: { data: Float32Array }) =>
    [0, 1, 2, 3].map((row) => open(logits.data, 6, row));
  assert.deepEqual(opened(begin), [[1, 2], [1, 2], [1], [2]]);
  const next = tensor(new Float32Array(24), 4);
  processor(ids([9, 1], [9, 1], [9, 1], [9, 1]), next);
  assert.deepEqual(opened(next), [[3], [3], [2, 3], [5]]);

  const generated = ids([9, 1, 3, 5], [9, 1, 2, 5], [9, 1, 2, 5], [9, 1, 5, 5]);
  const data = BigInt64Array.from(generated.flat());
  for (const rowsOrTensor of [generated, { data, dims: [4, 4] }]) {
    assert.deepEqual(foundInRows(index, rowsOrTensor, options), [
      { sequence: [1, 3], ordinal: 1, items: ["chair"] },
      { sequence: [1, 2], ordinal: undefined, items: [] }, // excluded
      { sequence: [1, 2], ordinal: 0, items: ["lantern"] },
      { sequence: [1], ordinal: undefined, items: [] }, // cut off
    ]);
  }
  const wrong = { promptLength: 1, filters: chairs } as { promptLength: number };
  assert.throws(() => new ConstraintLogitsProcessor(index, wrong), /nearest is "filter"/);
  assert.throws(() => foundInRows(index, generated, wrong), /nearest is "filter"/);
});

Deno.test("Tokens may be bigints, in any array", async () => {
  using index = await buildIndex([[1, 2], [1, 3]], { vocabSize: 4 });
  for (const sequence of [[1n, 2n], BigInt64Array.of(1n, 2n), BigUint64Array.of(1n, 2n)]) {
    assert.ok(index.has(sequence) && index.canEnd(sequence));
    assert.equal(index.ordinalOf(sequence), 0);
    assert.deepEqual([...index.allowedTokens(Array.from(sequence).slice(0, 1))], [2, 3]);
  }
  for (const sequence of [[1n, -2n], [1n, 2n ** 64n], [1n, 2n ** 32n + 2n]]) {
    assert.ok(!index.has(sequence));
  }
  const logits = tensor(new Float32Array(4), 1);
  new ConstraintLogitsProcessor(index, { promptLength: 1 })([BigInt64Array.of(9n, 1n)], logits);
  assert.deepEqual(open(logits.data, 4), [2, 3]);
});

Deno.test("Exclusions are compiled once, and given back", async () => {
  using index = await buildIndex([[1, 2], [1, 3], [2, 0]], { vocabSize: 4, items: [7, 8, 9] });
  const processor = new ConstraintLogitsProcessor(index, {
    promptLength: 0,
    excludeItems: [[7n], undefined],
  });
  const { heap } = loadedIndexOf(index);
  let allocations = 0;
  const allocate = heap.allocate.bind(heap);
  heap.allocate = (bytes) => (allocations++, allocate(bytes));
  const ask = (...prefixes: number[][]) => {
    const logits = tensor(new Float32Array(4 * prefixes.length), prefixes.length);
    processor(ids(...prefixes), logits);
    return prefixes.map((_, row) => open(logits.data, 4, row));
  };
  assert.deepEqual(ask([], []), [[1, 2], [1, 2]]);
  const first = allocations;
  assert.ok(first > 0);
  assert.deepEqual(ask([1], [1]), [[3], [2, 3]]);
  assert.equal(allocations, first);
  assert.throws(() => ask([1]), RangeError); // a list for two rows
  const free = heap.free.bind(heap);
  let freed = 0;
  heap.free = (address) => (freed++, free(address));
  processor[Symbol.dispose]();
  assert.equal(freed, 1); // that of the one row that has exclusions
});

Deno.test("Tensors that are no rows of ids, and options that are none, are typed errors", async () => {
  using index = await buildIndex([[1, 2]], { vocabSize: 4 });
  const data = BigInt64Array.of(1n, 2n);
  for (const dims of [[2], [1, 1, 2], [2, 2], [1, 3]]) {
    assert.throws(() => foundInRows(index, { data, dims }, { promptLength: 0 }), RangeError);
  }
  const missing = { data: undefined, dims: [1, 2] };
  assert.throws(() => foundInRows(index, missing, { promptLength: 0 }), RangeError);
  const plain = { data: [1n, 2n], dims: [1, 2] };
  assert.equal(foundInRows(index, plain, { promptLength: 0 })[0].ordinal, 0);
  const none = undefined as unknown as { promptLength: number };
  assert.throws(() => new ConstraintLogitsProcessor(index, none), /expected options as an object/);
  assert.throws(() => foundInRows(index, [[1n]], none), /expected options as an object/);
});
