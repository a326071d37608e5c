/**
 * Real sets of strings: searches, masks, filters, under the tokens of a large model and as bytes.
 *
 * deno task bench:sets [--quick] [--json FILE]. Lists come from npm at the first run; --quick leaves out the largest.
 */
import { join } from "node:path";
import { jsonFile, record, writeRecords } from "../records.ts";
import { inProcess } from "../support.ts";
import { LISTS } from "./lists.ts";

const TOKENIZERS = ["o200k", "bytes"];

interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
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
      for (const { name, value, unit } of figures) record(bench, name, value, unit);
    }
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}
await writeRecords();
