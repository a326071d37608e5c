/** Ratios of two sides against what they may be at most. */

/** A ratio that is watched. */
export interface Ratio {
  readonly name: string;
  readonly atMost: number;
  /** Works that are timed in turns; each tells its milliseconds. */
  readonly sides: Readonly<Record<string, () => number | Promise<number>>>;
  readonly rounds: number;
  /** The ratio, of the shortest time of each side. */
  readonly of: (best: Readonly<Record<string, number>>) => number;
}

/** What was measured, each time that it was tried. */
export interface Measurement {
  readonly name: string;
  readonly ratios: readonly number[];
}

/** One line: what, how much, at most. */
export interface Verdict {
  readonly ok: boolean;
  readonly message: string;
}

/** A ratio keeps its floor when it does so twice; it is tried so often at most. */
const KEPT = 2;
const TRIES = 5;

const keptBy = (ratios: readonly number[], atMost: number) =>
  ratios.filter((ratio) => ratio <= atMost).length;

/**
 * Twice, of what was tried, a ratio has to keep its floor: once may be luck. What is not a number does not keep it.
 *
 * @throws {Error} if a floor has no measurement: a check that measures nothing must not pass.
 */
export function judge(
  measurements: readonly Measurement[],
  floors: readonly Pick<Ratio, "name" | "atMost">[],
): Verdict[] {
  return floors.map(({ name, atMost }) => {
    const measured = measurements.find((measurement) => measurement.name === name);
    if (!measured || measured.ratios.length === 0) throw new Error(`"${name}" was not measured`);
    const tries = measured.ratios.map((ratio) => ratio.toFixed(3)).join(", ");
    return {
      ok: keptBy(measured.ratios, atMost) >= KEPT,
      message: `${name}: ${tries}; at most ${atMost}, twice`,
    };
  });
}

/** Measures a ratio until it has kept its floor, or has been tried often enough. */
export async function measure(ratio: Ratio): Promise<Measurement> {
  const ratios: number[] = [];
  while (ratios.length < TRIES && keptBy(ratios, ratio.atMost) < KEPT) {
    const best: Record<string, number> = {};
    for (let round = 0; round < ratio.rounds; round++) {
      for (const [name, work] of Object.entries(ratio.sides)) {
        best[name] = Math.min(best[name] ?? Infinity, await work());
      }
    }
    ratios.push(ratio.of(best));
  }
  return { name: ratio.name, ratios };
}
