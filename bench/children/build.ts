/** Builds an index of random SIDs and prints time and memory: run by bench/run/index_size.ts. */
import { buildIndex } from "../../src/build/mod.ts";
import { peakMemory } from "../lib/peak_memory.ts";
import { randomSids, V } from "../lib/support.ts";

const rows = Number(Deno.args[0]);
const matrix = randomSids(rows);
const start = performance.now();
using index = await buildIndex(matrix, { vocabSize: V });
const milliseconds = performance.now() - start;
const peak = peakMemory();
if (Deno.args[1]) {
  using file = await Deno.open(Deno.args[1], { write: true, create: true, truncate: true });
  await index.toStream().pipeTo(file.writable, { preventClose: true });
}
console.log(JSON.stringify({
  milliseconds,
  peak,
  matrix: matrix.data.byteLength,
  size: index.size,
  byteLength: index.byteLength,
}));
