/**
 * The paper's experiments: milliseconds per step and bytes per item, method by method, against |C|, V, the branch
 * factor, and what the model knows of the set. Every finished point is in the results file at once; a rerun skips it.
 * A full run measures points that something disturbed once more at the end.
 *
 * deno task bench:paper [--quick] [--out FILE] [--fresh] [--json] [--gpu | --software-gpu] [--methods a,b] [--experiments a,b]
 */
import { totalmem } from "node:os";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { origin } from "../lib/origin.ts";
import { figure } from "../lib/records.ts";
import { oddOnes, stepOfBoth } from "./odd.ts";
import { capsOf, type Effort, EXPERIMENTS, METHODS, plan, type Point, weightOf } from "./plan.ts";
import { type Failed, type Measured, ResultStore } from "./results.ts";
import { runPoint } from "./run_point.ts";

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean" },
    out: { type: "string" },
    fresh: { type: "boolean" },
    json: { type: "boolean" },
    gpu: { type: "boolean" },
    "software-gpu": { type: "boolean" },
    methods: { type: "string", default: METHODS.join() },
    experiments: { type: "string", default: EXPERIMENTS.join() },
    help: { type: "boolean", short: "h" },
  },
});

const HELP = `The paper's experiments, point by point

Usage: deno task bench:paper [options]

Options:
  --quick           small sets, few repeats: within five minutes on two cores
  --out FILE        results (default: dist/bench/quick.jsonl with --quick, else bench/results/paper.jsonl)
  --fresh           measures again what this machine has in the file
  --json            prints the results
  --gpu             wants a GPU adapter, and fails without
  --software-gpu    takes a software adapter as well: for correctness, not speed
  --methods A,B     of ${METHODS.join(", ")}
  --experiments A,B of ${EXPERIMENTS.join(", ")}
`;

/** So often a point in which something disturbed ours is measured: a quick run has no time for more than once. */
const MOST_TRIES = { quick: 1, full: 3 };

/** Names behind a flag. @throws {TypeError} for one that there is not. */
function chosen(flag: string, names: string, all: readonly string[]): string[] {
  const wanted = names.split(",");
  const unknown = wanted.find((name) => !all.includes(name));
  if (unknown === undefined) return wanted;
  throw new TypeError(`Expected ${flag} of ${all.join(", ")}, found "${unknown}"`);
}

async function hasGpu(): Promise<boolean> {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  const isFound = adapter != null && (!adapter.info.isFallbackAdapter || flags["software-gpu"]);
  if (!isFound && (flags.gpu || flags["software-gpu"])) {
    throw new Error("Expected a GPU adapter, found none; --software-gpu takes a software one");
  }
  return isFound === true;
}

/** "items |C| = 1e6, V = 2048: espalier". */
function nameOf({ experiment, method, rows, vocabSize, branch, boost }: Point): string {
  const children = branch === undefined ? "" : `, branch factor ${branch}`;
  const known = boost === undefined ? "" : `, boost ${boost}`;
  const set = `|C| = ${rows.toExponential()}, V = ${vocabSize}`;
  return `${experiment} ${set}${children}${known}: ${method}`;
}

function shown(outcome: Measured | Failed): string {
  if ("reason" in outcome) return outcome.reason;
  const ratio = outcome.ratio === undefined ? "" : `, ${figure(outcome.ratio)} × ours`;
  return `${figure(1000 * outcome.step.median)} µs a step${ratio}`;
}

/** A duration, roughly. */
function roughly(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds / 5) * 5} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

async function main(): Promise<void> {
  const effort: Effort = flags.quick ? "quick" : "full";
  const preset = flags.quick ? "dist/bench/quick.jsonl" : "bench/results/paper.jsonl";
  const file = flags.out ?? new URL(`../../${preset}`, import.meta.url).pathname;
  await Deno.mkdir(dirname(file), { recursive: true });
  const from = await origin();
  const store = await ResultStore.open(file);
  const caps = capsOf(effort, totalmem());
  const methods = chosen("--methods", flags.methods, METHODS);
  const experiments = chosen("--experiments", flags.experiments, EXPERIMENTS);
  const points = plan(effort, await hasGpu()).filter(({ method, experiment }) =>
    methods.includes(method) && experiments.includes(experiment)
  );
  if (flags.fresh) await store.drop(points, from);
  const tell = (text: string) => console.error(text);
  const todo = points.filter((point) => !store.get(point, from));
  tell(`${from.machine}, Deno ${from.deno}: ${todo.length} of ${points.length} points, to ${file}`);
  const all = todo.reduce((total, point) => total + weightOf(point), 0);
  const began = performance.now();
  let done = 0;
  for (const [i, point] of todo.entries()) {
    const outcome = await runPoint(point, caps, stop.signal);
    await store.add({ point, origin: from, outcome });
    done += weightOf(point);
    const left = (performance.now() - began) / 1000 * (all - done) / done;
    tell(
      `${i + 1}/${todo.length} ${nameOf(point)}: ${shown(outcome)}; about ${roughly(left)} left`,
    );
  }
  const found = () =>
    points.map((point) => store.get(point, from)).filter((it) => it !== undefined);
  while (true) {
    const odd = oddOnes(found()).filter(({ tries = 1 }) => tries < MOST_TRIES[effort]);
    if (odd.length === 0) break;
    for (const before of odd) {
      const { point } = before;
      const again = { point, origin: from, outcome: await runPoint(point, caps, stop.signal) };
      const best = stepOfBoth(again) < stepOfBoth(before) ? again : before;
      await store.add({ ...best, tries: (before.tries ?? 1) + 1 });
      tell(`${nameOf(point)}, once more: ${best === again ? shown(again.outcome) : "no better"}`);
    }
  }
  if (flags.json) {
    console.log(JSON.stringify(found(), null, 2));
  }
}

/** Ends the process of the point that runs, with the run. */
const stop = new AbortController();
const end = () => stop.abort();
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

if (flags.help) {
  console.log(HELP);
} else {
  for (const name of SIGNALS) Deno.addSignalListener(name, end);
  try {
    await main();
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    console.error("Ended: a rerun goes on from here");
    Deno.exitCode = 130;
  } finally {
    for (const name of SIGNALS) Deno.removeSignalListener(name, end);
  }
}
