/** The entropy of a set, against exact binomials. */

import assert from "node:assert/strict";
import { entropyBits, log2Choose } from "../../src/index/entropy.ts";

/** C(all, count), exactly. */
function choose(all: bigint, count: number): bigint {
  let product = 1n;
  for (let i = 0n; i < BigInt(count); i++) product = product * (all - i) / (i + 1n);
  return product;
}

/** log2 of a positive integer of any size. */
function log2(value: bigint): number {
  const shift = Math.max(0, value.toString(16).length * 4 - 60);
  return shift + Math.log2(Number(value >> BigInt(shift)));
}

function assertClose(actual: number, expected: number, what: string): void {
  const error = Math.abs(actual - expected);
  assert.ok(error <= 1e-12 * Math.max(1, expected), `${what}: ${actual}, expected ${expected}`);
}

Deno.test("log2Choose agrees with exact binomials wherever they are small", () => {
  for (const all of [1, 2, 3, 5, 63, 64, 65, 127, 128, 129, 200, 400]) {
    for (let count = 0; count <= all; count++) {
      assertClose(log2Choose(all, 1, count), log2(choose(BigInt(all), count)), `${all}, ${count}`);
    }
  }
});

Deno.test("log2Choose agrees with exact binomials out of large powers", () => {
  for (const [base, power] of [[2, 20], [2, 53], [2, 54], [10, 9], [2048, 8], [2 ** 20, 64]]) {
    for (const count of [1, 2, 63, 64, 65, 1000]) {
      const expected = log2(choose(BigInt(base) ** BigInt(power), count));
      assertClose(log2Choose(base, power, count), expected, `${base}^${power}, ${count}`);
    }
  }
});

Deno.test("log2Choose stays accurate where the number to choose from is beyond all floats", () => {
  for (const count of [1, 63, 64, 65]) {
    const expected = log2(choose(2n ** 20480n, count));
    assertClose(log2Choose(2 ** 20, 1024, count), expected, `2^20480, ${count}`);
  }
});

Deno.test("log2Choose is exact where nearly everything is chosen", () => {
  assert.equal(log2Choose(2, 53, 2 ** 53 - 1), 53);
  assert.equal(log2Choose(2, 32, 2 ** 32), 0);
  assertClose(log2Choose(2, 32, 2 ** 32 - 1), 32, "all but one");
  for (const left of [2, 63, 64, 500]) {
    const expected = log2(choose(2n ** 32n, left));
    assertClose(log2Choose(2, 32, 2 ** 32 - left), expected, `all but ${left}`);
  }
});

Deno.test("log2Choose does not lose what is half chosen out of 2^20", () => {
  // Sum of logarithms, by compensated summation.
  let sum = 0, lost = 0;
  const half = 2 ** 19;
  for (let i = 1; i <= half; i++) {
    const term = Math.log2((half + i) / i) - lost;
    const next = sum + term;
    lost = next - sum - term;
    sum = next;
  }
  assertClose(log2Choose(2, 20, half), sum, "half of 2^20");
});

Deno.test("Ten million of 2^88 sequences take 8.27 bytes each", () => {
  assert.equal((log2Choose(2048, 8, 1e7) / 8 / 1e7).toFixed(2), "8.27");
});

Deno.test("More than there are cannot be chosen", () => {
  assert.throws(() => log2Choose(2, 3, 9), RangeError);
  assert.throws(() => log2Choose(2, 3, -1), RangeError);
});

Deno.test("entropyBits adds up the lengths", () => {
  assertClose(entropyBits(4, [2, 0, 3]), log2(6n * choose(64n, 3)), "two of 4, three of 64");
  assert.equal(entropyBits(2, [2, 4, 8]), 0);
});
