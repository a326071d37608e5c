/**
 * Loads an index from a file or a URL and searches it with two filters; prints memory. Without an argument: the bare runtime. Second
 * argument: "parallel".
 */
import { peakMemory } from "../lib/peak_memory.ts";

const [source, mode] = Deno.args;
if (source) {
  const { ConstraintIndex, createDecoder } = await import("../../mod.ts");
  using index = await ConstraintIndex.open(
    source.startsWith("http:") ? source : (await Deno.open(source)).readable,
    { parallel: mode === "parallel" ? 4 : 1 },
  );
  using decoder = await createDecoder(index, { backend: "wasm" });
  const bits = new Uint8Array(Math.ceil(index.size / 8)).fill(0x55);
  using even = index.filter({ bits });
  using odd = even.not();
  for (let i = 0; i < 20; i++) {
    await decoder.beamSearch(({ out }) => out.fill(0), {
      batchSize: 2,
      beamSize: 70,
      filter: [even, odd],
    });
  }
}
console.log(JSON.stringify({ peak: peakMemory() }));
