/** Measures one point, in a process of its own. Argument: the point and its caps as JSON. Prints the outcome. */
import { branchSet, randomSet } from "../baselines/random_set.ts";
import { countOutside } from "../baselines/set.ts";
import type { SequenceSet } from "../baselines/method.ts";
import { EspalierError } from "../../src/errors.ts";
import { peakMemory } from "../peak_memory.ts";
import { methodOf } from "./methods.ts";
import type { Caps, Point } from "./plan.ts";
import type { Failed, Measured } from "./results.ts";
import { liveRows, logitsOf, logSumExps, missedShare, search, spread, sum } from "./search.ts";

/** Share of the time for warming up. */
const WARM_SHARE = 0.3;

function setOf({ rows, length, vocabSize, branch }: Point): SequenceSet {
  return branch === undefined
    ? randomSet(rows, { length, vocabSize })
    : branchSet(rows, { length, vocabSize, branch });
}

async function onWasm(point: Point, caps: Caps): Promise<Measured> {
  const { method: name, length, beamSize } = point;
  if (name === "webgpu") throw new TypeError("Expected a method on the CPU, found webgpu");
  const set = setOf(point);
  const built = performance.now();
  using method = await methodOf(name, set);
  const buildMs = performance.now() - built;
  const logits = logitsOf(point);
  const { beams } = search(method, point, logits);
  const peakBytes = peakMemory();
  // Ours beside it, in turns: machines change their pace.
  const ours = name === "espalier" ? undefined : await methodOf("espalier", set);
  const oursFirst = ours && search(ours, point, logits).beams;
  const live = liveRows(ours ?? method, point, logits);
  const sumUp = await logSumExps(point, live, logits);
  const times = { method: [] as number[], ours: [] as number[], sums: [] as number[] };
  const began = performance.now();
  const isWithin = (share: number) =>
    performance.now() - began < 1000 * share * caps.measureSeconds;
  // Code that has just been compiled is slow: what is measured first does not count.
  for (let done = 0, warm = 0; done < 3 || done < caps.repeats && isWithin(1);) {
    const milliseconds = search(method, point, logits).milliseconds;
    const oursMs = ours && search(ours, point, logits).milliseconds;
    const sumsMs = sumUp();
    if (warm++ < caps.repeats && isWithin(WARM_SHARE)) continue;
    times.method.push(milliseconds);
    if (oursMs !== undefined) times.ours.push(oursMs);
    times.sums.push(sumsMs);
    done++;
  }
  const sums = spread(times.sums, 1).median;
  const step = spread(times.method, length);
  const oursStep = spread(times.ours, length).median;
  return {
    step,
    constraint: spread(times.method.map((time) => time - sums), length),
    byteLength: method.byteLength,
    buildMs,
    peakBytes,
    setBytes: set.data.byteLength,
    repeats: times.method.length,
    exact: method.exact,
    invalid: countOutside(set, beams, beamSize) / Math.max(sum(beams.counts), 1),
    ...ours && oursFirst && {
      ratio: step.median / oursStep,
      ours: { step: oursStep, constraint: oursStep - sums / length },
      missed: missedShare(oursFirst, beams, point),
    },
  };
}

/** Whole searches, one readback each, logits on the GPU: a step cannot be timed without waiting for it. */
async function onGpu(point: Point, { repeats }: Caps): Promise<Measured> {
  const { timeGpuSearches, espalier } = await import("../baselines/espalier.ts");
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("no GPU adapter");
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const device = await adapter.requestDevice({
    requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
  });
  const set = setOf(point);
  const logits = logitsOf(point);
  const { milliseconds, sequences } = await timeGpuSearches(set, device, point, logits, repeats);
  const peakBytes = peakMemory();
  const built = performance.now();
  using ours = await espalier(set);
  const buildMs = performance.now() - built;
  const { beams } = search(ours, point, logits);
  const wasm = Array.from({ length: 5 }, () => search(ours, point, logits).milliseconds);
  const step = spread(milliseconds, point.length);
  const found = { sequences, counts: beams.counts };
  return {
    step,
    byteLength: ours.byteLength,
    buildMs,
    peakBytes,
    setBytes: set.data.byteLength,
    repeats,
    exact: true,
    invalid: countOutside(set, found, point.beamSize) / Math.max(sum(beams.counts), 1),
    ratio: step.median / spread(wasm, point.length).median,
    missed: missedShare(beams, found, point),
    adapter: adapter.info.description || adapter.info.vendor,
  };
}

/** Why a method could not be measured, in words for the table. */
function reasonOf(error: unknown): Failed {
  if (error instanceof EspalierError && error.code === "does-not-fit") {
    const { expected, actual } = error as { expected?: unknown; actual?: unknown };
    return expected === 2 ** 32
      ? { reason: `does not fit 4 GiB: needs ${(Number(actual) / 1e9).toFixed(1)} GB` }
      : { reason: error.message };
  }
  if (error instanceof RangeError && /allocation|memory/i.test(error.message)) {
    return { reason: "out of memory" };
  }
  return { reason: error instanceof Error ? error.message : String(error) };
}

if (import.meta.main) {
  const { point, caps }: { point: Point; caps: Caps } = JSON.parse(Deno.args[0]);
  const work = point.method === "webgpu" ? onGpu : onWasm;
  const outcome = await work(point, caps).catch(reasonOf);
  console.log(JSON.stringify(outcome));
  Deno.exit(0);
}
