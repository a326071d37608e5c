/** The guard of the ratios: what it lets pass, and what it does not. */
import assert from "node:assert/strict";
import { judge, measure, type Ratio } from "../../bench/check/judge.ts";

const FLOORS = [{ name: "a", atMost: 1.2 }, { name: "b", atMost: 13 }];

/** Sides that take so many milliseconds, one after another, and the last for ever. */
function ratio(left: number[], right: number[], rounds = 2): Ratio & { calls: () => number } {
  let calls = 0;
  const from = (times: number[]) => {
    let at = 0;
    return () => {
      calls++;
      return times[Math.min(at++, times.length - 1)];
    };
  };
  const sides = { left: from(left), right: from(right) };
  const of = (best: Readonly<Record<string, number>>) => best.left / best.right;
  return { name: "a", atMost: 1.2, rounds, sides, of, calls: () => calls };
}

Deno.test("judge passes what keeps its floor twice, and names what does not", () => {
  const measurements = [{ name: "a", ratios: [3, 1.2, 1.1] }, {
    name: "b",
    ratios: [12, 14, 13.5],
  }];
  assert.deepEqual(judge(measurements, FLOORS), [
    { ok: true, message: "a: 3.000, 1.200, 1.100; at most 1.2, twice" },
    { ok: false, message: "b: 12.000, 14.000, 13.500; at most 13, twice" },
  ]);
});

Deno.test("judge fails what is no number, and refuses to judge what was not measured", () => {
  const [{ ok }] = judge([{ name: "a", ratios: [NaN, NaN] }], FLOORS.slice(0, 1));
  assert.equal(ok, false);
  assert.throws(() => judge([{ name: "a", ratios: [1] }], FLOORS), /"b" was not measured/);
  assert.throws(() => judge([{ name: "a", ratios: [] }], FLOORS.slice(0, 1)), /not measured/);
});

Deno.test("measure takes the shortest time of each side, and stops when a ratio has passed twice", async () => {
  const good = ratio([9, 11], [20, 10]);
  assert.deepEqual(await measure(good), { name: "a", ratios: [0.9, 1.1] });
  assert.equal(good.calls(), 8);
});

Deno.test("measure tries a ratio again that fails, and keeps a slow side failing", async () => {
  const noisy = ratio([30, 30, 11, 11], [10]);
  assert.deepEqual((await measure(noisy)).ratios, [3, 1.1, 1.1]);
  const slow = await measure(ratio([30], [10]));
  assert.deepEqual(slow.ratios, [3, 3, 3, 3, 3]);
  assert.equal(judge([slow], FLOORS.slice(0, 1))[0].ok, false);
});

Deno.test("measure tries again when there is no ratio", async () => {
  assert.equal((await measure(ratio([0], [0]))).ratios.length, 5);
});
