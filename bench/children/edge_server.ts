/**
 * What bench/run/edge.ts has `deno serve` run. Arguments: "bare" for a server of nothing; else the address of an index, and
 * "speller" for the demo's model, or "zeros" for one that costs nothing; and "node" for the model in onnxruntime-node.
 */
const [url, kind, runtime] = Deno.args;

async function spellerOptions() {
  const { createOnnxModel } = await import("../../src/models/onnx/mod.ts");
  const { END_TOKEN } = await import("../../demo/speller.ts");
  const { default: vocabulary } = await import("../../demo/speller/vocab.json", {
    with: { type: "json" },
  });
  const file = (name: string) => new URL(`../../demo/speller/${name}.onnx`, import.meta.url);
  const onnx = await createOnnxModel(file("decoder"), {
    encoder: file("encoder"),
    provider: "wasm",
    runtime: runtime === "node" ? runtime : undefined,
    startToken: vocabulary.start,
    padToken: vocabulary.pad,
  });
  return {
    model: (prompts: number[][]) => onnx.withPrompts(prompts),
    search: { vocabSize: onnx.vocabSize, endToken: END_TOKEN },
  };
}

async function served() {
  if (url === "bare") return () => new Response();
  const { createHandler } = await import("../../src/edge/mod.ts");
  return createHandler({
    index: url,
    decoder: { backend: "wasm" },
    memoryBytes: 2 ** 30,
    ...kind === "speller"
      ? await spellerOptions()
      : { model: () => ({ out }: { out: Float32Array }) => out.fill(0) },
  });
}

export default { fetch: await served() };
