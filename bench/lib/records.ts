/** Figures of the benches as data: printed for people, and kept for `--json FILE`. */
import { dirname } from "node:path";
import { type Origin, origin } from "./origin.ts";
import { line } from "./support.ts";

/** One figure. Within a bench names are unique. */
export interface BenchRecord {
  readonly bench: string;
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The budget, if it has one, and whether it is kept. */
  readonly atMost?: number;
  readonly ok?: boolean;
  readonly origin: Origin;
}

/** What has not been written yet. */
const records: Omit<BenchRecord, "origin">[] = [];

/** A number with three significant digits. */
export function figure(value: number): string {
  return Math.abs(value) >= 999.5 || Number.isInteger(value)
    ? String(Math.round(value)).replace(/(?<=\d)(?=(\d{3})+$)/g, " ")
    : value.toPrecision(3);
}

/** Prints a figure and keeps it. `atMost` is its budget, in the same unit. */
export function record(
  bench: string,
  name: string,
  value: number,
  unit: string,
  atMost?: number,
): void {
  if (!Number.isFinite(value)) throw new RangeError(`"${bench}: ${name}" was measured as ${value}`);
  const budget = atMost === undefined ? {} : { atMost, ok: value <= atMost };
  records.push({ bench, name, value, unit, ...budget });
  line(
    name,
    `${figure(value)} ${unit}`,
    atMost === undefined
      ? ""
      : `${value <= atMost ? "" : "OVER: "}at most ${figure(atMost)} ${unit}`,
  );
}

/** The file behind `--json` among the arguments. @throws {TypeError} if the flag has none. */
export function jsonFile(args: readonly string[]): string | undefined {
  const at = args.indexOf("--json");
  if (at < 0) return undefined;
  const file = args[at + 1];
  if (file === undefined || file.startsWith("--")) {
    throw new TypeError(`Expected a file behind --json, found ${file ?? "nothing"}`);
  }
  return file;
}

/** Adds all figures since the last time to the file behind `--json`, one JSON object per line, if there is the flag. */
export async function writeRecords(args = Deno.args): Promise<void> {
  const file = jsonFile(args);
  if (file === undefined) return;
  await Deno.mkdir(dirname(file), { recursive: true });
  const from = await origin();
  const lines = records.splice(0).map((entry) => `${JSON.stringify({ ...entry, origin: from })}\n`);
  await Deno.writeTextFile(file, lines.join(""), { append: true });
}
