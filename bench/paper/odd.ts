/** Points that were disturbed: ours runs beside every method, and should take as long beside each. */
import type { Result } from "./results.ts";

/** So much longer than at best on its set may ours take. */
const TOLERANCE = 1.25;

/** Milliseconds of a step of ours in the process of a point; undefined where it did not run. */
export function ourStep({ point, outcome }: Result): number | undefined {
  if (!("step" in outcome)) return undefined;
  return point.method === "espalier" ? outcome.step.median : outcome.ours?.step;
}

/** Milliseconds of a step of both sides: what decides between two measurements must not favour one of them. */
export function stepOfBoth({ outcome }: Result): number {
  return "step" in outcome ? outcome.step.median + (outcome.ours?.step ?? 0) : Infinity;
}

/** The results in which ours took much longer than beside another method on the same set. */
export function oddOnes(results: readonly Result[]): Result[] {
  const timed = results.filter((result) => ourStep(result) !== undefined);
  const bySet = Map.groupBy(timed, ({ point: { method: _, ...set } }) => JSON.stringify(set));
  return [...bySet.values()].flatMap((own) => {
    const best = Math.min(...own.map((result) => ourStep(result)!));
    return own.filter((result) => ourStep(result)! > TOLERANCE * best);
  });
}
