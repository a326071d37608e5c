/** Draws queries, has them answered in every way, and counts. */
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { heldOut } from "../../demo/fold.ts";
import { loadPlaces } from "../../demo/places.ts";
import { random } from "../lib/support.ts";
import { canMisspell, misspeller } from "./misspell.ts";
import type { Answer, Task } from "../children/eval.ts";

/** Ways to answer. */
const WAYS = [
  { way: "constrained, 20 beams", isConstrained: true, beamSize: 20 },
  { way: "constrained, 64 beams", isConstrained: true, beamSize: 64 },
  { way: "unconstrained, greedy", isConstrained: false, beamSize: 1 },
  { way: "unconstrained, 20 beams", isConstrained: false, beamSize: 20 },
] as const;

/** Rows that the model computes at once: more are no faster. */
const ROWS = 40;

/** Shares in [0, 1], of the queries of one way and one set of places. */
export interface Score {
  readonly way: string;
  readonly places: "seen" | "held out";
  readonly queries: number;
  /** How often the name that was meant comes first, and how often it is among the ten best. */
  readonly recallAt1: number;
  readonly recallAt10: number;
  /** How often what comes first is the name of no place, and how many of the ten best are. */
  readonly missing1: number;
  readonly missing10: number;
  /** Mean milliseconds for a query. */
  readonly time: number;
}

/** The whole evaluation. */
export interface Evaluation {
  readonly seed: number;
  readonly processes: number;
  /** Share of the queries that are names of other places as they stand. */
  readonly namesOfOthers: number;
  readonly scores: readonly Score[];
}

/** A query and the name that was meant. */
interface Case {
  readonly query: string;
  readonly meant: string;
}

/**
 * Evaluates the model on `queries` misspelt names, half of them held out of its training.
 *
 * @param onProgress is told the share that is done, from time to time.
 */
export async function evaluate(
  { queries, seed, processes }: { queries: number; seed: number; processes: number },
  onProgress: (done: number) => void,
): Promise<Evaluation> {
  const { keys, called } = await loadPlaces();
  const exists = (key: string) => called(key).length > 0;
  const able = keys.filter(canMisspell);
  const sets = ([["seen", false], ["held out", true]] as const).map(([places, isHeldOut]) => {
    const some = shuffled(able.filter((key) => heldOut(key) === isHeldOut), seed);
    const misspell = misspeller(seed + Number(isHeldOut));
    const cases = Array.from({ length: Math.ceil(queries / 2) }, (_, i): Case => {
      const meant = some[i % some.length];
      return { meant, query: misspell(meant).query };
    });
    return { places, cases };
  });
  const all = sets.flatMap(({ cases }) => cases);
  const jobs = sets.flatMap(({ places, cases }) =>
    WAYS.map(({ way, ...how }) => ({ way, places, cases, tasks: batches(cases, how) }))
  );
  const answers = await inParallel(jobs.flatMap(({ tasks }) => tasks), processes, onProgress);
  const scores = jobs.flatMap(({ way, places, cases, tasks }) => {
    const own = answers.splice(0, tasks.length);
    const time = own.reduce((sum, answer) => sum + answer.time, 0) / cases.length;
    const spelt = own.flatMap((answer) => answer.keys);
    const found = [{ way: `${way}`, places, time, ...score(cases, spelt, exists) }];
    if (way === "unconstrained, 20 beams") {
      const filtered = spelt.map((row) => row.filter(exists));
      found.push({ ...found[0], way: `${way}, filtered`, ...score(cases, filtered, exists) });
    }
    return found;
  });
  const namesOfOthers = all.filter(({ query }) => exists(query)).length / all.length;
  return { seed, processes, namesOfOthers, scores };
}

/** Counts. An answer may be empty; it is wrong then, but not the name of no place. */
function score(
  cases: readonly Case[],
  spelt: readonly (readonly string[])[],
  exists: (key: string) => boolean,
): Omit<Score, "way" | "places" | "time"> {
  const share = (is: (row: readonly string[], meant: string) => boolean) =>
    cases.filter(({ meant }, i) => is(spelt[i], meant)).length / cases.length;
  const ten = spelt.flat();
  return {
    queries: cases.length,
    recallAt1: share(([first], meant) => first === meant),
    recallAt10: share((row, meant) => row.includes(meant)),
    missing1: share(([first]) => first !== undefined && !exists(first)),
    missing10: ten.filter((key) => !exists(key)).length / Math.max(ten.length, 1),
  };
}

function batches(cases: readonly Case[], how: Omit<Task, "queries">): Task[] {
  const size = Math.max(1, Math.floor(ROWS / how.beamSize));
  return Array.from({ length: Math.ceil(cases.length / size) }, (_, i) => ({
    queries: cases.slice(i * size, (i + 1) * size).map(({ query }) => query),
    ...how,
  }));
}

/** The answers to tasks, in their order. */
async function inParallel(
  tasks: readonly Task[],
  processes: number,
  onProgress: (done: number) => void,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  let done = 0;
  await Promise.all(Array.from({ length: processes }, async (_, first) => {
    const own = tasks.filter((_, i) => i % processes === first);
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--allow-read",
        new URL("../children/eval.ts", import.meta.url).href,
      ],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    // Where it fails, the status says so.
    const asked = new Response(JSON.stringify(own)).body!.pipeTo(child.stdin).catch(() => {});
    let at = first;
    for await (const line of createInterface({ input: Readable.fromWeb(child.stdout) })) {
      answers[at] = JSON.parse(line);
      at += processes;
      onProgress(++done / tasks.length);
    }
    await asked;
    const { success } = await child.status;
    if (!success) throw new Error("A process of the evaluation failed; it said why above");
  }));
  return answers;
}

/** Fisher and Yates's shuffle. */
function shuffled<T>(items: T[], seed: number): T[] {
  const next = random(seed);
  for (let i = items.length - 1; i > 0; i--) {
    const j = next() % (i + 1);
    [items[i], items[j]] = [items[j], items[i]];
  }
  return items;
}
