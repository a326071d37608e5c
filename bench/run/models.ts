/**
 * Decoding with the demo's trained model through onnxruntime-web: where the time of a step goes on the CPU, and on a GPU
 * (a software one only with --software) how often a decode reads back.
 */
// deno-lint-ignore no-import-prefix -- the version that ./onnx loads
import * as ort from "npm:onnxruntime-web@1.30.0/wasm";
import { createDecoder, type Model } from "../../mod.ts";
import { createOnnxModel } from "../../src/models/onnx/mod.ts";
import { loadPlaces } from "../../demo/places.ts";
import { indexOf } from "../../demo/search.ts";
import { END_TOKEN, promptOf } from "../../demo/speller.ts";
import vocabulary from "../../demo/speller/vocab.json" with { type: "json" };
import { record, writeRecords } from "../lib/records.ts";
import { line, median } from "../lib/support.ts";

const BENCH = "The demo's model";
const QUERIES = ["Sao Paolo", "Sant Petersburg", "Reykjavic", "Buenos Aries", "Marakesh"];
const OPTIONS = { startToken: vocabulary.start, padToken: vocabulary.pad };

const file = (name: string) =>
  Deno.readFile(new URL(`../../demo/speller/${name}.onnx`, import.meta.url));

async function onCpu(beamSize: number): Promise<void> {
  let inSession = 0;
  const clocked = async (name: string) => {
    const session = await ort.InferenceSession.create(await file(name));
    const run = session.run.bind(session) as (...args: unknown[]) => Promise<never>;
    session.run = async (...args: unknown[]) => {
      const start = performance.now();
      try {
        return await run(...args);
      } finally {
        inSession += performance.now() - start;
      }
    };
    return session;
  };
  await using model = await createOnnxModel(await clocked("decoder"), {
    ...OPTIONS,
    encoder: await clocked("encoder"),
    ort,
  });
  using index = await indexOf((await loadPlaces()).keys);
  using decoder = await createDecoder(index, { backend: "wasm" });
  const parts: Record<string, number[]> = { total: [], session: [], adapter: [], search: [] };
  for (let round = 0; round < 6; round++) {
    for (const query of QUERIES) {
      inSession = 0;
      let inModel = 0;
      let steps = 0;
      using prompted = model.withPrompts([promptOf(query)]);
      const watched: Model = async (input) => {
        steps++;
        const start = performance.now();
        const logits = await (prompted as Model)(input);
        inModel += performance.now() - start;
        return logits;
      };
      const start = performance.now();
      await decoder.beamSearch(watched, {
        beamSize,
        vocabSize: model.vocabSize,
        endToken: END_TOKEN,
      });
      const total = performance.now() - start;
      if (round === 0) continue;
      parts.total.push(total / steps);
      parts.session.push(inSession / steps);
      parts.adapter.push((inModel - inSession) / steps);
      parts.search.push((total - inModel) / steps);
    }
  }
  const figure = (what: string, name: string) =>
    record(BENCH, `${beamSize} beams, CPU: ${what}`, median(parts[name]), "ms");
  figure("a step", "total");
  figure("onnxruntime-web", "session");
  figure("ids, masks, caches in and out, reordering", "adapter");
  figure("softmax, constraint, selection", "search");
  const share = 100 * median(parts.search.map((time, i) => time / parts.total[i]));
  record(BENCH, `${beamSize} beams, CPU: share of softmax, constraint, selection`, share, "%", 5);
}

async function onGpu(beamSize: number, software: boolean): Promise<void> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter || adapter.info.isFallbackAdapter && !software) {
    return console.log("No GPU: --software takes a software adapter, which says nothing of speed");
  }
  const { maxBufferSize, maxStorageBufferBindingSize, maxStorageBuffersPerShaderStage } =
    adapter.limits;
  const device = await adapter.requestDevice({
    requiredLimits: { maxBufferSize, maxStorageBufferBindingSize, maxStorageBuffersPerShaderStage },
  });
  await using model = await createOnnxModel(await file("decoder"), {
    ...OPTIONS,
    encoder: await file("encoder"),
    device,
  });
  using index = await indexOf((await loadPlaces()).keys);
  using decoder = await createDecoder(index, { device });
  let readbacks = 0;
  let most = 0;
  const map = GPUBuffer.prototype.mapAsync;
  GPUBuffer.prototype.mapAsync = function (...args) {
    readbacks++;
    return map.apply(this, args);
  };
  for (const query of QUERIES.slice(0, 3)) {
    readbacks = 0;
    using prompted = model.withPrompts([promptOf(query)]);
    const start = performance.now();
    const { backend } = await decoder.beamSearch(prompted, {
      beamSize,
      vocabSize: model.vocabSize,
      endToken: END_TOKEN,
    });
    const total = `${(performance.now() - start).toFixed(1)} ms`;
    line(`${beamSize} beams, ${adapter.info.description}, ${model.provider}, ${backend}`, total);
    most = Math.max(most, readbacks);
  }
  record(BENCH, `${beamSize} beams, GPU: readbacks per decode`, most, "readbacks", 1);
}

console.log("\nThe demo's model, one query at a time");
for (const beamSize of [20, 64]) await onCpu(beamSize);
await onGpu(20, Deno.args.includes("--software"));
await writeRecords();
