/** Test sizes: small by default, large when the environment variable ESPALIER_LONG is set. */

const NAME = "ESPALIER_LONG";

/** Whether this runs in a page: software GPUs are slowest there, and the same tests run in Deno. */
export const IN_BROWSER: boolean = !("permissions" in Deno);

/** Asks first, because a test run without permission to read the environment must not stop at a prompt. */
function longRun(): boolean {
  if (IN_BROWSER) return false;
  const { state } = Deno.permissions.querySync({ name: "env", variable: NAME });
  return state === "granted" && Boolean(Deno.env.get(NAME));
}

/** Whether this is a long run. */
export const LONG: boolean = longRun();

/** How often to repeat a random test; a quarter as often in a page. */
export function runs(short: number, long: number = short * 20): number {
  return LONG ? long : IN_BROWSER ? Math.ceil(short / 4) : short;
}

/** One of several cases, picked by a number; all of them in a long run. */
export function some<T>(cases: readonly T[], number: number): readonly T[] {
  return LONG ? cases : [cases[number % cases.length]];
}
