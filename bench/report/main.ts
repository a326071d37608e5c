/**
 * Writes bench/report from bench/results, and the tables between `<!-- bench:begin NAME -->` marks of the README.
 *
 * deno task bench:report [--check] [--results FOLDER --out FOLDER]
 */
import { parseArgs } from "node:util";
import { pathToFileURL } from "node:url";
import { loadResults } from "./load.ts";
import { fillBlocks } from "./markdown.ts";
import { svgOf } from "./plot.ts";
import { blocksOf, reportOf } from "./report.ts";

const { values } = parseArgs({
  options: {
    check: { type: "boolean" },
    results: { type: "string" },
    out: { type: "string" },
  },
});
const folder = (path: string | undefined, preset: string) =>
  path ? new URL(`${pathToFileURL(path)}/`) : new URL(preset, import.meta.url);

const results = await loadResults(folder(values.results, "../results/"));
const out = folder(values.out, "./");
const { markdown, plots } = reportOf(results);
const files = new Map([[new URL("README.md", out).pathname, markdown]]);
for (const [name, plot] of Object.entries(plots)) {
  files.set(new URL(name, out).pathname, svgOf(plot));
}
if (!values.out) {
  const readme = new URL("../../README.md", import.meta.url).pathname;
  files.set(readme, fillBlocks(await Deno.readTextFile(readme), blocksOf(results)));
}

const stale: string[] = [];
await Deno.mkdir(out, { recursive: true });
for (const [file, text] of files) {
  if (await Deno.readTextFile(file).catch(() => undefined) === text) continue;
  stale.push(file);
  if (!values.check) await Deno.writeTextFile(file, text);
}
for await (const { name } of Deno.readDir(out)) {
  const file = new URL(name, out).pathname;
  if (!name.endsWith(".svg") || files.has(file)) continue;
  stale.push(file);
  if (!values.check) await Deno.remove(file);
}
if (values.check && stale.length > 0) {
  console.error(`Stale: ${stale.join(", ")}\n  run: deno task bench:report`);
  Deno.exit(1);
}
console.log(values.check ? "The report is up to date" : `Files that changed: ${stale.length}`);
