/** Times of calls that are compared: warmed up first, then taken in turns. */

/** How often calls run. */
export interface Rounds {
  /** Rounds before any time counts. */
  readonly warmUp: number;
  /** Rounds that count. */
  readonly measured: number;
}

/**
 * Milliseconds of each call, round by round. Every call runs once in a round; the order changes with each (A B, B A), so
 * that none always runs in the wake of the other. The rounds of the warm-up run in the same way, because V8 compiles
 * what runs often: without them the times are those of code that was not compiled yet.
 *
 * @param prepare runs before each call and is not timed.
 * @param done runs after each call and is not timed.
 * @param now stands in for the clock.
 */
export function timesInTurns<Name extends string>(
  calls: Readonly<Record<Name, () => unknown>>,
  { warmUp, measured }: Rounds,
  { prepare = () => {}, done = () => {}, now = () => performance.now() }: {
    readonly prepare?: (name: Name) => void;
    readonly done?: (name: Name, round: number) => void;
    readonly now?: () => number;
  } = {},
): Record<Name, number[]> {
  const names = Object.keys(calls) as Name[];
  const times = Object.fromEntries(
    names.map((name) => [name, []]),
  ) as unknown as Record<
    Name,
    number[]
  >;
  for (let round = 0; round < warmUp + measured; round++) {
    for (const name of round % 2 ? names.toReversed() : names) {
      prepare(name);
      const start = now();
      calls[name]();
      const milliseconds = now() - start;
      done(name, round);
      if (round >= warmUp) times[name].push(milliseconds);
    }
  }
  return times;
}
