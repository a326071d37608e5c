/**
 * Fails when a ratio is above its floor: exit code 1. Both sides run in turns, the shortest time of each counts, and a
 * ratio that fails is tried again.
 *
 * deno task bench:check [--slow SIDE]. The flag makes a side half as slow again, to see that this fails.
 */
import { judge, measure, type Measurement, type Ratio } from "./judge.ts";
import { watchedRatios } from "./ratios.ts";

const at = Deno.args.indexOf("--slow");
const slow = at < 0 ? undefined : Deno.args[at + 1];

/** The same ratio with one side made slow. */
function slowed(ratio: Ratio, side: string | undefined): Ratio {
  const work = side === undefined ? undefined : ratio.sides[side];
  if (!work) return ratio;
  const longer = async () => 1.5 * await work();
  return { ...ratio, sides: { ...ratio.sides, [side!]: longer } };
}

await using watched = await watchedRatios();
const { ratios } = watched;
if (at >= 0 && !ratios.some(({ sides }) => slow! in sides)) {
  const sides = new Set(ratios.flatMap(({ sides }) => Object.keys(sides)));
  throw new TypeError(`Expected a side behind --slow, one of ${[...sides].join(", ")}`);
}
const measurements: Measurement[] = [];
for (const ratio of ratios) measurements.push(await measure(slowed(ratio, slow)));
const verdicts = judge(measurements, ratios);
for (const { ok, message } of verdicts) console.log(`${ok ? "ok    " : "FAILED"} ${message}`);
if (verdicts.some(({ ok }) => !ok)) Deno.exitCode = 1;
