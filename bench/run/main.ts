/** All benches: `deno task bench [--json FILE]`. Prints figures, ratios and budgets, and the machine they ran on. */
import { cpus } from "node:os";
import { benchAttached } from "./values.ts";
import { benchBundle } from "./bundle.ts";
import { benchIndex } from "./index_size.ts";
import { benchFilter } from "./filter.ts";
import { benchOpen } from "./open.ts";
import { jsonFile, writeRecords } from "../lib/records.ts";
import { benchSearch } from "./search.ts";

jsonFile(Deno.args); // Wrong usage is told before the long run.
const [cpu] = cpus();
console.log(
  `Deno ${Deno.version.deno}, V8 ${Deno.version.v8}, ${Deno.build.os} ${Deno.build.arch}, ` +
    `${cpus().length} × ${cpu?.model ?? "unknown CPU"}`,
);
for (
  const bench of [benchIndex, benchSearch, benchFilter, benchAttached, benchOpen, benchBundle]
) {
  await bench();
  await writeRecords();
}
