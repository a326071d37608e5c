/** Loads an index from a file and searches it; prints memory. Without a file: the bare runtime. */
import { peakMemory } from "./peak_memory.ts";

if (Deno.args[0]) {
  const { ConstraintIndex, createDecoder } = await import("../mod.ts");
  using file = await Deno.open(Deno.args[0]);
  using index = await ConstraintIndex.open(file.readable);
  using decoder = await createDecoder(index);
  for (let i = 0; i < 20; i++) {
    await decoder.beamSearch(({ out }) => out.fill(0), { batchSize: 2, beamSize: 70 });
  }
}
console.log(JSON.stringify({ peak: peakMemory() }));
