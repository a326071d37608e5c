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

/**
 * The best of what was tried has to keep its floor. What is not a number does not keep it.
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
    const best = Math.min(...measured.ratios);
    const tries = measured.ratios.length === 1 ? "" : ` (best of ${measured.ratios.length} tries)`;
    return {
      ok: best <= atMost,
      message: `${name}: ${best.toFixed(3)}${tries}, at most ${atMost}`,
    };
  });
}

/** Measures a ratio, again while it is above its floor, `tries` times at most. */
export async function measure(ratio: Ratio, tries: number): Promise<Measurement> {
  const ratios: number[] = [];
  while (ratios.length < tries && !(Math.min(...ratios) <= ratio.atMost)) {
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
