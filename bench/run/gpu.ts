/**
 * The search on WebGPU: GPU time per step and kernel (timestamp queries), host time to encode and submit a step
 * (the first of a search, while the queue is idle), readbacks per decode. Runs on any adapter and says which; a software adapter shows that it works, not how fast it is.
 *
 * `deno task bench:gpu [--items 1e5,1e6,1e7,2e7] [--vocab 256,2048,32768] [--rows 1,140,2048] [--json FILE]`
 */
import { parseArgs } from "node:util";
import { buildIndex } from "../../src/build/mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { record, writeRecords } from "../lib/records.ts";
import { L, median, random, V } from "../lib/support.ts";
import { misfit, WebGpuKernel } from "../../src/kernels/webgpu/kernel.ts";
import type { SearchShape } from "../../src/kernels/kernel.ts";

const REPEATS = 30;

const { values } = parseArgs({
  options: {
    items: { type: "string", default: "1e5,1e6,1e7,2e7" },
    vocab: { type: "string", default: "256,2048,32768,151936" },
    rows: { type: "string", default: "1,140,2048" },
    json: { type: "string" },
  },
});
const numbers = (list: string) => list.split(",").map(Number);

const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
if (!adapter) throw new Error("No GPU adapter");
if (!adapter.features.has("timestamp-query")) throw new Error("The adapter has no timestamps");
const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
const device = await adapter.requestDevice({
  requiredFeatures: ["timestamp-query"],
  requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
});
const { vendor, description, isFallbackAdapter } = adapter.info;
console.log(
  `Adapter: ${description || vendor} (${isFallbackAdapter ? "software" : "hardware"}), ` +
    `bindings up to ${maxStorageBufferBindingSize} bytes`,
);
const BENCH = `Search on ${description || vendor}, ${isFallbackAdapter ? "software" : "hardware"}`;

/** A set of `items` random SIDs below `vocabSize`, on the GPU. */
async function open(items: number, vocabSize: number) {
  const next = random(items);
  const data = vocabSize <= 65536 ? new Uint16Array(items * L) : new Uint32Array(items * L);
  for (let i = 0; i < data.length; i++) data[i] = next() % vocabSize;
  const index = await buildIndex({ data, rows: items, length: L }, { vocabSize });
  const why = misfit(loadedIndexOf(index), device.limits);
  return why ? { why } : { kernel: await WebGpuKernel.create(loadedIndexOf(index), device) };
}

async function measure(items: number, kernel: WebGpuKernel, vocabSize: number, rows: number) {
  const batchSize = rows === 1 ? 1 : 2;
  const beamSize = rows / batchSize;
  const bytes = rows * vocabSize * 4;
  const label = `${items / 1e6} M items, V = ${vocabSize}, ${rows} rows`;
  if (bytes > maxStorageBufferBindingSize) {
    console.log(`${label}   logits of ${bytes} bytes do not fit a binding`);
    return;
  }
  const { STORAGE, COPY_DST, COPY_SRC, QUERY_RESOLVE, MAP_READ } = GPUBufferUsage;
  const logits = device.createBuffer({ size: bytes, usage: STORAGE | COPY_DST });
  const next = random(7);
  device.queue.writeBuffer(
    logits,
    0,
    Float32Array.from({ length: bytes / 4 }, () => (next() >>> 8) * 2 ** -21 - 4),
  );
  const count = 4 * L;
  const querySet = device.createQuerySet({ type: "timestamp", count });
  const resolved = device.createBuffer({ size: count * 8, usage: QUERY_RESOLVE | COPY_SRC });
  const staging = device.createBuffer({ size: count * 8, usage: MAP_READ | COPY_DST });
  const shape: SearchShape = {
    batchSize,
    beamSize,
    logitWidth: vocabSize,
    normalize: "vocab",
    lengthPenalty: 0,
    padToken: 0,
  };
  const times = { rows: [] as number[], merge: [] as number[], encode: [] as number[] };
  let readbacks = 0;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    kernel.counters.timing = { querySet, next: 0 };
    using search = kernel.begin(shape);
    await device.queue.onSubmittedWorkDone();
    for (let step = 0; step < L; step++) {
      const start = performance.now();
      search.advanceOnGpu({ buffer: logits, offset: 0, rowStride: vocabSize, type: "float32" });
      // Later steps of a software adapter wait for the one before: that is no encoding.
      if (step === 0) times.encode.push((performance.now() - start) * 1000);
    }
    const before = kernel.counters.readbacks;
    await search.read();
    readbacks = kernel.counters.readbacks - before;
    const encoder = device.createCommandEncoder();
    encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, count * 8);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const ticks = new BigUint64Array(staging.getMappedRange());
    const between = (i: number) => Number(ticks[i + 1] - ticks[i]) / 1000;
    const sums = { rows: 0, merge: 0 };
    for (let step = 0; step < L; step++) {
      sums.rows += between(4 * step);
      sums.merge += between(4 * step + 2);
    }
    staging.unmap();
    times.rows.push(sums.rows / L);
    times.merge.push(sums.merge / L);
  }
  const [r, m, e] = [median(times.rows), median(times.merge), median(times.encode)];
  const figure = (what: string, value: number, unit: string, atMost?: number) =>
    record(BENCH, `${label}: ${what}`, value, unit, atMost);
  figure("GPU time of a step, rows", r, "µs");
  figure("GPU time of a step, merge", m, "µs");
  figure("encode and submit a step", e, "µs");
  figure("readbacks per decode", readbacks, "readbacks", 1);
  for (const buffer of [logits, resolved, staging]) buffer.destroy();
  querySet.destroy();
}

for (const items of numbers(values.items)) {
  for (const vocabSize of numbers(values.vocab)) {
    if (vocabSize !== V && items !== 1e6) continue;
    const { why, kernel } = await open(items, vocabSize);
    if (!kernel) {
      console.log(`${items} items, V = ${vocabSize}: ${why}`);
      continue;
    }
    for (const rows of numbers(values.rows)) {
      if (rows === 140 || (vocabSize === V && items === 1e6)) {
        await measure(items, kernel, vocabSize, rows);
      }
    }
    kernel[Symbol.dispose]();
  }
}
await writeRecords();
