/**
 * How well the demo's model finds the names that were meant: held to the index and free, for names that it
 * saw in training and for names that it did not.
 *
 * deno task eval [--queries N] [--seed S] [--processes P] [--json [FILE]]
 */
import { parseArgs } from "node:util";
import { evaluate, type Evaluation } from "../eval/run.ts";
import { record, writeRecords } from "../lib/records.ts";

const BENCH = "The demo's model on misspelt names";

const HELP = `Evaluates the demo's model on misspelt names of places

Usage: deno task eval [options]

Options:
  --queries N   misspelt names, half of them held out of training (default 2000)
  --seed S      of the misspellings and the choice of names (default 1974)
  --processes P how many run at a time (default: one for each core, 4 at most)
  --json        prints one JSON object instead
  --json FILE   adds the figures to FILE, too, as the benches do: one JSON object per line
`;

/** Shares of a score, as they are headed. */
const SHARES = [
  ["recallAt1", "recall@1"],
  ["recallAt10", "recall@10"],
  ["missing1", "no place, first"],
  ["missing10", "no place, of ten"],
] as const;
const TIME = "a query";

/** The ways of an evaluation: scores of the names seen in training, of those held out, and milliseconds a query. */
function byWay({ scores }: Evaluation) {
  return scores.filter(({ places }) => places === "seen").map((seen) => {
    const held = scores.find(({ way, places }) => way === seen.way && places === "held out")!;
    return { way: seen.way, scores: [seen, held], time: (seen.time + held.time) / 2 };
  });
}

function parse(args: string[]) {
  const at = args.indexOf("--json") + 1;
  const file = at === 0 || args[at]?.startsWith("-") ? undefined : args[at];
  const { values } = parseArgs({
    args: file === undefined ? args : args.toSpliced(at, 1),
    options: {
      queries: { type: "string" },
      seed: { type: "string" },
      processes: { type: "string" },
      json: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  const whole = (name: "queries" | "seed" | "processes", preset: number, most: number) => {
    const value = Number(values[name] ?? preset);
    if (Number.isInteger(value) && value >= 1 && value <= most) return value;
    throw new RangeError(`Give --${name} a whole number from 1 to ${most}, got "${values[name]}"`);
  };
  return {
    queries: whole("queries", 2000, 100_000),
    seed: whole("seed", 1974, 2 ** 31 - 1),
    processes: whole("processes", Math.min(navigator.hardwareConcurrency, 4), 64),
    isJson: values.json === true && file === undefined,
    file,
    isHelp: values.help === true,
  };
}

/** The evaluation as a table in Markdown; names seen in training come first, names held out second. */
function table(evaluation: Evaluation): string {
  const percent = (share: number) => (100 * share).toFixed(1);
  const rows = byWay(evaluation).map(({ way, scores: [seen, held], time }) => {
    const shares = SHARES.map(([name]) => `${percent(seen[name])} / ${percent(held[name])} %`);
    return [way, ...shares, `${Math.round(time)} ms`];
  });
  rows.unshift(["seen / held out", ...SHARES.map(([, heading]) => heading), TIME]);
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const lines = rows.map((row) =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column])).join(" | ")} |`
  );
  lines.splice(1, 0, `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`);
  return lines.join("\n");
}

/** Keeps what the table says, under `WAY: HEADING, PLACES` and `WAY: a query`, and what stands below it. */
function keep(evaluation: Evaluation): void {
  for (const { way, scores, time } of byWay(evaluation)) {
    for (const [name, heading] of SHARES) {
      for (const score of scores) {
        record(BENCH, `${way}: ${heading}, ${score.places}`, 100 * score[name], "%");
      }
    }
    record(BENCH, `${way}: ${TIME}`, time, "ms");
  }
  const each = evaluation.scores[0].queries;
  record(BENCH, "queries", 2 * each, "names");
  record(BENCH, "queries that are names of other places", 100 * evaluation.namesOfOthers, "%");
  record(BENCH, "one standard error at most", 50 / Math.sqrt(each), "points");
}

async function main(args: string[]): Promise<number> {
  let options: ReturnType<typeof parse>;
  try {
    options = parse(args);
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    console.error(`error: ${error.message}\n  try: deno task eval --help`);
    return 2;
  }
  if (options.isHelp) {
    console.log(HELP);
    return 0;
  }
  const began = performance.now();
  const watched = Deno.stderr.isTerminal();
  const tell = (text: string) => Deno.stderr.writeSync(new TextEncoder().encode(text));
  const result = await evaluate(options, (done) => {
    if (watched) tell(`\r${Math.floor(100 * done)} % answered`);
  });
  if (watched) tell("\r\x1b[K");
  if (options.isJson) {
    console.log(JSON.stringify(result));
    return 0;
  }
  const { seed, processes, namesOfOthers, scores } = result;
  const each = scores[0].queries;
  const seconds = Math.round((performance.now() - began) / 1000);
  console.log(`${table(result)}

${each} names each, misspelt with seed ${seed}; ${
    (100 * namesOfOthers).toFixed(1)
  } % of the queries are names of other places.
One standard error is at most ${(50 / Math.sqrt(each)).toFixed(1)} points.
${processes} at a time; ${seconds} s in all.`);
  if (options.file !== undefined) {
    console.log();
    keep(result);
    await writeRecords(["--json", options.file]);
  }
  return 0;
}

Deno.exit(await main(Deno.args));
