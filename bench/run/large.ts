/**
 * More rows than fit into memory, by the command line as its user has it: time, memory and temporary files of builds
 * from a `.npy` and from Parquet files of the same rows, beside what DuckDB takes to sort those Parquet files.
 *
 * deno task bench:large [--rows 100e6] [--memory 4GB] [--json FILE]
 *
 * Linux only. Files go into a folder below TMPDIR, which should be on a disk: up to 100 bytes a row. What was just
 * written may still be in the memory of the system when it is read.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseMemory } from "../../src/cli/args/flags.ts";
import { MOST_ROWS, PARQUET_FORMS, parquetSql, writeNpy } from "../large/rows.ts";
import { watch, type Watched } from "../large/watch.ts";
import { record, writeRecords } from "../lib/records.ts";
import { L, MB, V } from "../lib/support.ts";

const BENCH = "More rows than memory";
const ROOT = new URL("../..", import.meta.url);
const CLI = [Deno.execPath(), "task", "-q", "cli"];
const CONFIG = ["--config=bench/large/deno.json"];
const DUCKDB = [Deno.execPath(), "run", "-q", "-A", ...CONFIG, "bench/large/duckdb.ts"];

/** The part of what `cli build --json` prints. */
interface Built {
  readonly digest: string;
  readonly byteLength: number;
  readonly bytesPerItem: number;
  readonly entropyBytesPerItem: number;
  readonly temporaryBytes?: number;
}

function parse(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      rows: { type: "string", default: "100e6" },
      memory: { type: "string", default: "4GB" },
      json: { type: "string" },
    },
  });
  const rows = Number(values.rows);
  if (!Number.isInteger(rows) || rows < 1 || rows > MOST_ROWS) {
    throw new RangeError(
      `Give --rows a whole number from 1 to ${MOST_ROWS}, got "${values.rows}"`,
    );
  }
  return { rows, memory: parseMemory(values.memory), json: values.json };
}

/**
 * Measures, with files in `folder`.
 *
 * @throws {Error} if the rows fit into memory.
 * @throws the reason of `signal`, once it is aborted.
 */
async function benchLarge(
  { rows, memory }: { rows: number; memory: number },
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  const at = (name: string) => join(folder, name);
  const temp = at("temp");
  await Deno.mkdir(temp);
  const run = async (what: string, command: string[]) => {
    const onProgress = (text: string) => tell(`${what}: ${text}`);
    const watched = await watch(command, { cwd: ROOT, temp, signal, onProgress });
    tell("");
    return watched;
  };
  const build = async (input: string, bytes: number, ...flags: string[]) => {
    const limits = ["--vocab", String(V), "--memory", String(bytes), "--temp", temp];
    const args = ["build", input, "-o", at("out"), ...limits, ...flags, "--json"];
    const watched = await run(`Building from ${input}`, [...CLI, ...args]);
    const built: Built = JSON.parse(watched.out);
    if (built.temporaryBytes !== undefined) return { ...watched, ...built };
    throw new Error("The rows fit into memory; raise --rows, or lower --memory");
  };
  const sql = (what: string, text: string) => run(what, [...DUCKDB, String(memory), temp, text]);
  const figure = (what: string, value: number, unit: string, atMost?: number) =>
    record(BENCH, `${rows / 1e6} M rows, ${what}`, value, unit, atMost);
  const figures = (what: string, watched: Watched, atMost?: number) => {
    figure(`${what}: time`, watched.seconds, "s");
    figure(`${what}: peak memory`, watched.peakBytes / MB, "MB", atMost && atMost / MB);
    figure(`${what}: temporary files`, watched.temporaryBytes / MB, "MB");
  };

  console.log(`\n${BENCH}: ${rows / 1e6} M of ${L} tokens below ${V}, ${memory / MB} MB`);
  const [npy, parquet] = [at("sids.npy"), at("sids.parquet")];
  // The first of all fetches what is not here yet.
  await writeNpy(npy, 200_000, signal);
  await build(npy, 1 * MB);
  tell(`Writing ${npy}`);
  await writeNpy(npy, rows, signal);
  const fromNpy = await build(npy, memory);
  figure("index", fromNpy.byteLength / MB, "MB");
  figure("index an item", fromNpy.bytesPerItem, "bytes");
  figure("entropy an item", fromNpy.entropyBytesPerItem, "bytes");
  figures("build from .npy", fromNpy, memory);
  await Deno.remove(npy);

  for (const [name, form] of Object.entries(PARQUET_FORMS)) {
    const what = `Parquet with ${name}`;
    await sql(`Writing ${parquet}`, parquetSql(parquet, rows, form));
    const built = await build(parquet, memory, ...form.flags);
    if (built.digest !== fromNpy.digest) {
      throw new Error(`${what}: expected the index of the .npy, found another digest`);
    }
    figures(`build from ${what}`, built, memory);
    await Deno.remove(at("out"));
    const sorting = `copy (select * from '${parquet}' order by all) to '${at("sorted.parquet")}'`;
    const sorted = await sql(`Sorting ${parquet}`, sorting);
    figures(`DuckDB's sort of ${what}`, sorted);
    figure(`build against DuckDB's sort of ${what}`, built.seconds / sorted.seconds, "×");
    await Deno.remove(at("sorted.parquet"));
    await Deno.remove(parquet);
  }
}

/** A line on standard error that the next one replaces, if somebody watches. */
function tell(text: string): void {
  if (Deno.stderr.isTerminal()) Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${text}`));
}

/** Runs the bench; returns the exit code. */
async function main(args: string[]): Promise<number> {
  let options: ReturnType<typeof parse>;
  try {
    options = parse(args);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    console.error(`error: ${error.message}`);
    return 2;
  }
  const interrupt = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => interrupt.abort());
  }
  const folder = await Deno.makeTempDir({ prefix: "espalier-bench-" });
  try {
    await benchLarge(options, folder, interrupt.signal);
    await writeRecords(options.json === undefined ? [] : ["--json", options.json]);
    return 0;
  } catch (error) {
    tell("");
    if (!interrupt.signal.aborted) throw error;
    console.error("interrupted");
    return 130;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.exit(await main(Deno.args));
