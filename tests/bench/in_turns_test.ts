/** Calls that are compared are warmed up, and take turns. */

import assert from "node:assert/strict";
import { timesInTurns } from "../../bench/peers/in_turns.ts";

Deno.test("Times of the warm-up do not count, and no call always goes first", () => {
  let clock = 0;
  const order: string[] = [];
  const calls: Record<"a" | "b", number> = { a: 0, b: 0 };
  // Each is slow until it has run five times.
  const call = (name: "a" | "b", slow: number, fast: number) => () => {
    order.push(name);
    clock += calls[name]++ < 5 ? slow : fast;
  };
  const prepared: string[] = [];
  const seen: [string, number][] = [];
  const times = timesInTurns({ a: call("a", 90, 1), b: call("b", 70, 2) }, {
    warmUp: 5,
    measured: 4,
  }, {
    prepare: (name) => {
      prepared.push(name);
      clock += 1000;
    },
    done: (name, round) => {
      seen.push([name, round]);
      clock += 500;
    },
    now: () => clock,
  });
  assert.deepEqual(times, { a: [1, 1, 1, 1], b: [2, 2, 2, 2] });
  assert.equal(order.join(""), "abba".repeat(4) + "ab");
  assert.deepEqual(prepared, order);
  assert.deepEqual(seen.slice(0, 3), [["a", 0], ["b", 0], ["b", 1]]);
});
