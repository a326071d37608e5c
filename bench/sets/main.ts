/**
 * Real sets of strings: searches, masks, filters, under the tokens of a large model and as bytes. Masks also by a trie
 * of Maps, unless that does not fit the memory of the machine.
 *
 * deno task bench:sets [--quick] [--json FILE]. Lists come from npm at the first run; --quick leaves out the largest.
 */
import { totalmem } from "node:os";
import { join } from "node:path";
import { heapFlags } from "../baselines/js_heap.ts";
import { jsonFile, record, writeRecords } from "../lib/records.ts";
import { inProcess } from "../lib/support.ts";
import { LISTS } from "./lists.ts";
import type { Figure } from "./rows.ts";

const TOKENIZERS = ["o200k", "bytes"];

/** Figures of the trie of Maps beside ours, or why there are none. @throws {Error} for what is not about memory. */
async function besideTrie(file: string): Promise<readonly Figure[] | string> {
  const module = new URL("./masks.ts", import.meta.url).pathname;
  const { success, signal, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", heapFlags(0.8 * totalmem()), module, file],
  }).output();
  if (success) return JSON.parse(new TextDecoder().decode(stdout));
  const said = new TextDecoder().decode(stderr);
  const needed = /needs (\d+) bytes/.exec(said)?.[1];
  if (needed) return `it needs ${(Number(needed) / 1e9).toFixed(1)} GB or more`;
  if (/out of memory/i.test(said) || signal === "SIGKILL") return "out of memory";
  throw new Error(said);
}

jsonFile(Deno.args); // Wrong usage is told before the long run.
const folder = await Deno.makeTempDir({ prefix: "espalier-bench-" });
try {
  for (const { name, isLarge, load } of LISTS) {
    if (isLarge && Deno.args.includes("--quick")) continue;
    const strings = [...new Set((await load()).filter((text) => text !== ""))];
    const list = join(folder, "list.txt");
    await Deno.writeTextFile(list, `${strings.join("\n")}\n`);
    for (const tokenizer of TOKENIZERS) {
      const file = join(folder, "index.safetensors");
      const built = await inProcess("strings.ts", "build", list, file, tokenizer);
      const bench = `${name}, ${tokenizer}`;
      console.log(`\n${bench}: ${strings.length}`);
      record(bench, "strings", strings.length, "strings");
      record(bench, "index", built.byteLength / strings.length, "bytes a string");
      record(bench, "build from the list, with tokenizing", built.milliseconds / 1000, "s");
      const figures = await inProcess("sets/measure.ts", file) as unknown as Figure[];
      const compared = await besideTrie(file);
      if (typeof compared === "string") console.log(`The trie of Maps does not fit: ${compared}`);
      else figures.push(...compared);
      for (const { name, value, unit } of figures) record(bench, name, value, unit);
    }
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}
await writeRecords();
