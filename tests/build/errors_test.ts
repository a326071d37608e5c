/** Rows that cannot become an index: each error says which row, which column, what was wrong. */

import assert from "node:assert/strict";
import { BuildInputError } from "../../mod.ts";
import { Progress } from "../../src/build/progress.ts";
import { sortMatrix } from "../../src/build/sort_matrix.ts";
import { buildIndex } from "../../src/build/mod.ts";

type Input = Parameters<typeof buildIndex>[0];
type Facts = Partial<Pick<BuildInputError, "row" | "column" | "expected" | "actual" | "token">>;

async function assertRefused(input: Input, facts: Facts, sorted = false): Promise<void> {
  await assert.rejects(
    async () => {
      using index = await buildIndex(input, { vocabSize: 10, sorted });
      assert.fail(`Built an index of ${index.size}`);
    },
    (error: unknown) => {
      assert.ok(error instanceof BuildInputError, String(error));
      assert.ok(error.code.length > 0 && error.message.length > 0);
      for (const [fact, value] of Object.entries(facts)) {
        assert.deepEqual(error[fact as keyof Facts], value, `${fact} of: ${error.message}`);
      }
      return true;
    },
  );
}

async function* later(rows: number[][]): AsyncGenerator<number[]> {
  await Promise.resolve();
  yield* rows;
}

/** The same rows as array, as typed rows, and as asynchronous rows. */
async function assertRowsRefused(rows: number[][], facts: Facts, sorted = false): Promise<void> {
  await assertRefused(rows, facts, sorted);
  await assertRefused(later(rows), facts, sorted);
}

Deno.test("A token beyond the vocabulary is refused with its place", async () => {
  await assertRowsRefused([[1, 2], [3, 10]], { row: 1, column: 1, actual: 10 });
  await assertRowsRefused([[10]], { row: 0, column: 0, actual: 10 });
  await assertRowsRefused([[1], [2 ** 32 + 1, 1]], { row: 1, column: 0, actual: 2 ** 32 + 1 });
  for (const kind of [Uint8Array, Uint16Array, Uint32Array, Int32Array]) {
    const data = kind.of(1, 2, 3, 4, 11, 5);
    const facts = { row: 1, column: 1, actual: 11 };
    await assertRefused({ data, rows: 2, length: 3 }, facts);
    await assertRefused({ data, rows: 2, length: 3 }, facts, true);
  }
  await assertRefused([Uint16Array.of(1, 2), Uint16Array.of(65535)], { row: 1, column: 0 });
});

Deno.test("A negative token is refused with its place", async () => {
  await assertRowsRefused([[1, 2], [-1, 3]], { row: 1, column: 0, actual: -1 });
  const data = Int32Array.of(1, 2, 3, -4);
  await assertRefused({ data, rows: 2, length: 2 }, { row: 1, column: 1, actual: -4 });
});

Deno.test("What is no whole number is refused with its place", async () => {
  for (const bad of [0.5, NaN, Infinity, -Infinity]) {
    await assertRowsRefused([[1, 2], [3], [4, 5, bad]], { row: 2, column: 2, actual: bad });
    await assertRowsRefused([[bad]], { row: 0, column: 0, actual: bad });
  }
});

Deno.test("A matrix whose data do not fill it is refused", async () => {
  for (const count of [0, 5, 7, 12]) {
    const data = new Uint16Array(count);
    await assertRefused({ data, rows: 2, length: 3 }, { expected: 6, actual: count });
  }
});

Deno.test("An empty sequence is refused with its row", async () => {
  await assertRowsRefused([[1], [2, 3], []], { row: 2 });
  await assertRowsRefused([[]], { row: 0 });
  await assertRowsRefused([[], [1]], { row: 0 }, true);
  await assertRefused({ data: new Uint16Array(0), rows: 3, length: 0 }, {});
});

Deno.test("A sequence of 1025 tokens is refused, one of 1024 is not", async () => {
  await assertRowsRefused([[1], new Array(1025).fill(1)], { row: 1, actual: 1025 });
  await assertRefused({ data: new Uint8Array(1025), rows: 1, length: 1025 }, { actual: 1025 });
  const rows = [new Array(1024).fill(1)];
  using index = await buildIndex(rows, { vocabSize: 10 });
  assert.equal(index.maxLength, 1024);
});

Deno.test("An empty set is refused", async () => {
  await assertRowsRefused([], {});
  await assertRowsRefused([], {}, true);
  await assertRefused({ data: new Uint16Array(0), rows: 0, length: 3 }, {});
});

Deno.test("Rows that are said to be sorted and are not are refused with the first such row", async () => {
  await assertRowsRefused([[1], [3], [2]], { row: 2 }, true);
  await assertRowsRefused([[1, 2], [1, 2], [1, 1], [0, 1]], { row: 2 }, true);
  await assertRowsRefused([[1, 2], [1]], { row: 1 }, true);
  await assertRowsRefused([[1], [1, 0], [1]], { row: 2 }, true);
  const data = Uint16Array.of(1, 2, 1, 3, 1, 2);
  await assertRefused({ data, rows: 3, length: 2 }, { row: 2 }, true);
});

Deno.test("A vocabulary of fewer than 2 or more than 2^20 tokens is a RangeError", async () => {
  for (const vocabSize of [-1, 0, 1, 2 ** 20 + 1, 2 ** 32 + 2, 2.5, NaN, Infinity]) {
    await assert.rejects(async () => await buildIndex([[0]], { vocabSize }), RangeError);
  }
});

Deno.test("An aborted build rejects with the signal's reason", async () => {
  const reason = new Error("No longer wanted");
  const signal = AbortSignal.abort(reason);
  await assert.rejects(
    async () => await buildIndex([[0]], { vocabSize: 2, signal }),
    (error) => error === reason,
  );
});

Deno.test("A build that is aborted while rows arrive closes its input", async () => {
  const reason = new Error("No longer wanted");
  const controller = new AbortController();
  let closed = false;
  async function* endless(): AsyncGenerator<number[]> {
    try {
      for (let i = 0;; i++) {
        if (i === 10) controller.abort(reason);
        if (i % 1000 === 0) await new Promise((resolve) => setTimeout(resolve));
        if (i > 10_000_000) assert.fail("The build does not heed the signal");
        yield [i % 10];
      }
    } finally {
      closed = true;
    }
  }
  await assert.rejects(
    async () => await buildIndex(endless(), { vocabSize: 10, signal: controller.signal }),
    (error) => error === reason,
  );
  assert.ok(closed);
});

Deno.test("What the input throws comes out of the build", async () => {
  const reason = new Error("Broken source");
  async function* broken(): AsyncGenerator<number[]> {
    yield [1];
    await Promise.resolve();
    throw reason;
  }
  await assert.rejects(
    async () => await buildIndex(broken(), { vocabSize: 2 }),
    (error) => error === reason,
  );
});

Deno.test("A build whose source falls silent ends as soon as it is aborted", async () => {
  const controller = new AbortController();
  const reason = new Error("no more");
  let isClosed = false;
  const silent = {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise<never>(() => {}),
      return() {
        isClosed = true;
        return Promise.resolve({ done: true as const, value: undefined });
      },
    }),
  };
  const build = buildIndex(silent, { vocabSize: 4, signal: controller.signal });
  setTimeout(() => controller.abort(reason), 5);
  await assert.rejects(build, reason);
  assert.ok(isClosed);
});

Deno.test("A row that is a prefix of the sorted row before is named as such", async () => {
  const rows = [[1, 2, 3], [1, 2]];
  await assert.rejects(buildIndex(rows, { vocabSize: 4, sorted: true }), {
    code: "unsorted",
    row: 1,
    column: 2,
    actual: undefined,
    message: /a prefix of row 0/,
  });
});

Deno.test("What is no set of sequences is a TypeError", async () => {
  for (const sequences of [null, undefined, "abc", 5, {}]) {
    const build = buildIndex(sequences as unknown as number[][], { vocabSize: 4 });
    await assert.rejects(build, { name: "TypeError", message: /expected a matrix/ });
  }
});

Deno.test("One bucket that holds nearly all rows is sorted like any other", async () => {
  const rows = 300_000;
  const data = new Uint32Array(rows * 2);
  for (let i = 0; i < rows; i++) data[2 * i + 1] = Math.imul(i, 0x9e3779b1) >>> 14;
  data[0] = 1000; // one outlier, and the top bits of all others are alike
  using index = await buildIndex({ data, rows, length: 2 }, { vocabSize: 2 ** 18 });
  const distinct = new Set(
    Array.from({ length: rows }, (_, i) => `${data[2 * i]},${data[2 * i + 1]}`),
  );
  assert.equal(index.size, distinct.size);
  for (let i = 0; i < rows; i += 997) assert.ok(index.has(data.subarray(2 * i, 2 * i + 2)));
});

Deno.test("A matrix that changes between two looks at it is refused", async () => {
  const data = new Uint16Array(2000).map((_, i) => (i * 7919) % 2000);
  class Meddling extends Progress {
    override tick(pass: string): Promise<void> {
      if (pass === "count") data.fill(1999); // all rows now belong into one bucket
      return Promise.resolve();
    }
  }
  const options = { vocabSize: 2000, keepRows: false, progress: new Meddling({}) };
  const sort = sortMatrix({ data, rows: 1000, length: 2 }, options);
  await assert.rejects(sort, { name: "BuildInputError", code: "input-changed" });
});
