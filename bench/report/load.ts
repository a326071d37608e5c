/** Reads the committed results: points of the paper's experiments, and figures of the benches. */
import type { Effort, Point } from "../paper/plan.ts";
import type { Result } from "../paper/results.ts";
import type { BenchRecord } from "../lib/records.ts";

/** All that was measured, newest of each. */
export interface Results {
  readonly points: readonly Result[];
  readonly records: readonly BenchRecord[];
}

/** Names of files and their text, in order, to results. Later lines replace earlier ones of the same point. */
export function mergeResults(texts: readonly string[]): Results {
  const points = new Map<string, Result>();
  const records = new Map<string, BenchRecord>();
  const lines = texts.flatMap((text) => text.split("\n").filter(Boolean));
  for (const entry of lines.map((line): Result | BenchRecord => JSON.parse(line))) {
    const { machine, date } = entry.origin;
    if ("point" in entry) {
      const key = `${machine}\n${nameOf(entry.point)}`;
      const known = points.get(key);
      if (!known || isBetter(entry.point.effort, date, known)) points.set(key, entry);
    } else {
      const key = `${machine}\n${entry.bench}\n${entry.name}`;
      const known = records.get(key);
      if (!known || known.origin.date <= date) records.set(key, entry);
    }
  }
  return { points: [...points.values()], records: [...records.values()] };
}

function nameOf({ effort: _, ...point }: Point): string {
  return JSON.stringify(Object.entries(point).sort(([a], [b]) => a < b ? -1 : 1));
}

/** Full before quick, new before old. */
function isBetter(effort: Effort, date: string, known: Result): boolean {
  if (effort !== known.point.effort) return effort === "full";
  return known.origin.date <= date;
}

/** The results in a folder. None where there is no folder. */
export async function loadResults(folder: URL): Promise<Results> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) {
      if (name.endsWith(".jsonl")) names.push(name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  names.sort();
  return mergeResults(
    await Promise.all(names.map((name) => Deno.readTextFile(new URL(name, folder)))),
  );
}
