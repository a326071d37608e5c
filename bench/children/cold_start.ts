/**
 * A cold start: imports the module, opens an index by URL and runs the first masked step of a search. Prints milliseconds
 * since the process was asked for (second argument: when that was), as JSON. Third argument: "progressive".
 */
const asked = Number(Deno.args[1]);
const since = () => performance.timeOrigin + performance.now() - asked;

const times: Record<string, number> = { runtime: since() };
const { ConstraintIndex, createDecoder } = await import("../../mod.ts");
times.import = since();
const { compiledModule } = await import("../../src/wasm/kernels.ts");
const { relaxedSimdModule } = await import("../../src/wasm/relaxed_simd.ts");
await Promise.all([compiledModule(), relaxedSimdModule()]);
times.compile = since();
using index = await ConstraintIndex.open(Deno.args[0], {
  progressive: Deno.args[2] === "progressive",
  onProgress: () => times.header ??= since(),
});
times.open = since();
using decoder = await createDecoder(index, { backend: "wasm" });
const enough = new Error("The first step has run");
await decoder.beamSearch(({ step, out }) => {
  if (step === 1) throw enough;
  return out.fill(0);
}, { beamSize: 70 }).catch((error) => {
  if (error !== enough) throw error;
});
times.step = since();
await index.ready;
times.ready = since();
console.log(JSON.stringify(times));
