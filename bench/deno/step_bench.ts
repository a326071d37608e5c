/** `deno bench -A bench/deno/`: a whole search of eight steps, ours beside every other method, writing the logits included. */
import type { Method } from "../baselines/method.ts";
import { randomSet } from "../baselines/random_set.ts";
import { methodOf } from "../paper/methods.ts";
import { METHODS } from "../paper/plan.ts";
import { LABELS } from "../report/paper.ts";
import { L, random, V } from "../lib/support.ts";

const ROWS = 1e5;
const SHAPE = { batchSize: 2, beamSize: 70 };
/** More than 10 ms a search: a few samples tell as much. */
const SLOW = ["hashBitmap", "hashBitmapLazy"];

const set = randomSet(ROWS, { length: L, vocabSize: V });
const next = random(7);
const logits = Array.from(
  { length: L },
  () => Float32Array.from({ length: 140 * V }, () => (next() >>> 8) * 2 ** -21 - 4),
);

function run(method: Method): void {
  using search = method.begin(SHAPE);
  for (const values of logits) {
    const out = search.logits();
    out.set(values.subarray(0, out.length));
    search.advance();
  }
}

for (const name of METHODS) {
  if (name === "webgpu") continue;
  const method = await methodOf(name, set);
  const few = SLOW.includes(name) ? { n: 5, warmup: 1 } : {};
  Deno.bench({
    name: LABELS[name],
    group: "8 steps, 0.1 M items, writing logits included",
    baseline: name === "espalier",
    ...few,
    fn: () => run(method),
  });
}
