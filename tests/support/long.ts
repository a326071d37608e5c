/** Test sizes: small by default, large when the environment variable ESPALIER_LONG is set. */

const NAME = "ESPALIER_LONG";

/** Asks first, because a test run without permission to read the environment must not stop at a prompt. */
function longRun(): boolean {
  if (!("permissions" in Deno)) return false; // in a browser
  const { state } = Deno.permissions.querySync({ name: "env", variable: NAME });
  return state === "granted" && Boolean(Deno.env.get(NAME));
}

/** Whether this is a long run. */
export const LONG: boolean = longRun();

/** How often to repeat a random test. */
export function runs(short: number, long: number = short * 20): number {
  return LONG ? long : short;
}

/** One of several cases, picked by a number; all of them in a long run. */
export function some<T>(cases: readonly T[], number: number): readonly T[] {
  return LONG ? cases : [cases[number % cases.length]];
}
