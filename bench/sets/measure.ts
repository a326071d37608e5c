/** Searches and filters over an index of strings; run by bench/sets/main.ts. Argument: the file. Prints JSON. */
import { ConstraintIndex, createDecoder, type ItemFilter } from "../../mod.ts";
import { median, random } from "../lib/support.ts";
import { type Figure, randomLogits } from "./rows.ts";

const SHAPES = [{ batchSize: 1, beamSize: 20 }, { batchSize: 2, beamSize: 70 }];
const SHARES = [0.01, 0.1];
const REPEATS = 9;
/** Logits of a step begin so far behind those of the step before. */
const STEP_SHIFT = 4099;

using index = await ConstraintIndex.open((await Deno.open(Deno.args[0])).readable);
using decoder = await createDecoder(index, { backend: "wasm" });
const V = index.vocabSize;
const most = Math.max(...SHAPES.map(({ batchSize, beamSize }) => batchSize * beamSize));
const pool = randomLogits(most * V + (index.maxLength + 1) * STEP_SHIFT);
const next = random(9);

/** Milliseconds of a search, without the time in which the model writes its logits; and its steps. */
async function search(shape: { batchSize: number; beamSize: number }, filter?: ItemFilter) {
  let writing = 0;
  let steps = 0;
  const start = performance.now();
  await decoder.beamSearch(({ step, out }) => {
    const began = performance.now();
    steps = step + 1;
    out.set(pool.subarray(step * STEP_SHIFT, step * STEP_SHIFT + out.length));
    writing += performance.now() - began;
    return out;
  }, { ...shape, filter });
  return { milliseconds: performance.now() - start - writing, steps };
}

function randomBits(share: number): Uint8Array {
  const bits = new Uint8Array(Math.ceil(index.size / 8));
  for (let i = 0; i < index.size; i++) {
    if (next() < share * 2 ** 32) bits[i >> 3] |= 1 << (i & 7);
  }
  return bits;
}

const figures: Figure[] = [];
const add = (name: string, value: number, unit: string) => figures.push({ name, value, unit });

/** Adds what a search takes; the steps tell how far it goes: rows that have ended cost nothing. */
async function addSearch(
  name: string,
  shape: { batchSize: number; beamSize: number },
  filter?: ItemFilter,
): Promise<void> {
  await search(shape, filter);
  const runs = [];
  for (let i = 0; i < REPEATS; i++) runs.push(await search(shape, filter));
  const whole = `search, B = ${shape.batchSize}, M = ${shape.beamSize}${name}`;
  add(whole, median(runs.map(({ milliseconds }) => milliseconds)), "ms");
  add(`${whole}: steps`, runs[0].steps, "steps");
}

for (const shape of SHAPES) await addSearch("", shape);
for (const share of SHARES) {
  const bits = randomBits(share);
  const times = Array.from({ length: REPEATS }, () => {
    const start = performance.now();
    using _ = index.filter({ bits });
    return performance.now() - start;
  });
  const allowed = `${100 * share} % of the items`;
  add(`filter, ${allowed}: compile from bits`, median(times), "ms");
  using filter = index.filter({ bits });
  for (const shape of SHAPES) await addSearch(`, ${allowed}`, shape, filter);
}
console.log(JSON.stringify(figures));
