/** Measures one point, in a process of its own. Argument: the point and its caps as JSON. Prints the outcome. */
import { heldBytes, heldSince } from "../baselines/js_heap.ts";
import { branchSet, randomSet } from "../baselines/random_set.ts";
import { countOutside } from "../baselines/set.ts";
import type { Method, SequenceSet } from "../baselines/method.ts";
import { EspalierError } from "../../src/errors.ts";
import { peakMemory } from "../lib/peak_memory.ts";
import { knownLogits } from "./knowing_model.ts";
import { makerOf, methodOf } from "./methods.ts";
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

/** What a model says at each step of a search of a method. */
function modelOf(point: Point, set: SequenceSet): (method: Method) => Float32Array<ArrayBuffer>[] {
  if (point.boost !== undefined) return (method) => knownLogits(method, set, point);
  const logits = logitsOf(point);
  return () => logits;
}

async function onWasm(point: Point, caps: Caps): Promise<Measured> {
  const { method: name, length, beamSize } = point;
  if (name === "webgpu") throw new TypeError("Expected a method on the CPU, found webgpu");
  const set = setOf(point);
  const make = await makerOf(name);
  const before = heldBytes();
  const built = performance.now();
  using method = await make(set);
  const buildMs = performance.now() - built;
  const grown = method.isOnHeap ? heldSince(before) : undefined;
  const model = modelOf(point, set);
  const logits = model(method);
  const { beams } = search(method, point, logits);
  const peakBytes = peakMemory();
  // Ours beside it, in turns: machines change their pace.
  const ours = name === "espalier" ? undefined : await methodOf("espalier", set);
  const logitsOfOurs = ours ? model(ours) : [];
  const oursFirst = ours && search(ours, point, logitsOfOurs).beams;
  // Rows that are dead cost no log-sum-exp.
  const sumUp = await logSumExps(point, liveRows(method, point, logits), logits);
  const sumUpOurs = ours &&
    await logSumExps(point, liveRows(ours, point, logitsOfOurs), logitsOfOurs);
  const rounds: Round[] = [];
  const began = performance.now();
  const isWithin = (share: number) =>
    performance.now() - began < 1000 * share * caps.measureSeconds;
  const timeOurs = () => {
    if (!ours || !sumUpOurs) return undefined;
    const { milliseconds } = search(ours, point, logitsOfOurs);
    return { step: milliseconds, sums: sumUpOurs() };
  };
  // Code that has just been compiled is slow: what is measured first does not count.
  for (let warm = 0; rounds.length < 3 || rounds.length < caps.repeats && isWithin(1);) {
    const isOursFirst = warm % 2 === 0;
    const before = isOursFirst ? timeOurs() : undefined;
    const { milliseconds } = search(method, point, logits);
    const sums = sumUp();
    const round = { step: milliseconds, sums, ours: before ?? timeOurs() };
    if (warm++ < caps.repeats && isWithin(WARM_SHARE)) continue;
    rounds.push(round);
  }
  const each = (value: (round: Round) => number, scale: number) => spread(rounds.map(value), scale);
  return {
    step: each(({ step }) => step, length),
    constraint: each(({ step, sums }) => step - sums, length),
    byteLength: grown ?? method.byteLength,
    buildMs,
    peakBytes,
    setBytes: set.data.byteLength,
    repeats: rounds.length,
    exact: method.exact,
    invalid: countOutside(set, beams, beamSize) / Math.max(sum(beams.counts), 1),
    load: Deno.loadavg()[0],
    ...oursFirst && {
      ratio: each(({ step, ours }) => step / ours!.step, 1).median,
      ours: {
        step: each(({ ours }) => ours!.step, length).median,
        constraint: each(({ ours }) => ours!.step - ours!.sums, length).median,
      },
      missed: missedShare(oursFirst, beams, point),
    },
  };
}

/** Milliseconds of one search and of the log-sum-exps in it, and those of ours beside it. */
interface Round {
  readonly step: number;
  readonly sums: number;
  readonly ours?: { readonly step: number; readonly sums: number };
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
  const built = performance.now();
  using ours = await espalier(set);
  const buildMs = performance.now() - built;
  const logits = modelOf(point, set)(ours);
  const { milliseconds, sequences } = await timeGpuSearches(set, device, point, logits, repeats);
  const peakBytes = peakMemory();
  const { beams } = search(ours, point, logits);
  const wasm = Array.from({ length: 2 * repeats }, () => search(ours, point, logits).milliseconds)
    .slice(repeats);
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
    load: Deno.loadavg()[0],
    ratio: step.median / spread(wasm, point.length).median,
    missed: missedShare(beams, found, point),
    adapter: adapter.info.description || adapter.info.vendor,
  };
}

/** Why a method has no figures, if it is too large. @throws what else it failed with: that is no result. */
function reasonOf(error: unknown): Failed {
  if (error instanceof EspalierError && error.code === "does-not-fit") {
    const { expected, actual } = error as { expected?: unknown; actual?: unknown };
    const needed = `needs ${(Number(actual) / 1e9).toFixed(1)} GB`;
    return { reason: `does not fit ${expected === 2 ** 32 ? "4 GiB" : "the machine"}: ${needed}` };
  }
  if (error instanceof EspalierError && error.code === "not-possible") {
    return { reason: error.message };
  }
  if (error instanceof RangeError && /allocation|memory/i.test(error.message)) {
    return { reason: "out of memory" };
  }
  throw error;
}

if (import.meta.main) {
  const { point, caps }: { point: Point; caps: Caps } = JSON.parse(Deno.args[0]);
  const work = point.method === "webgpu" ? onGpu : onWasm;
  const outcome = await work(point, caps).catch(reasonOf);
  console.log(JSON.stringify(outcome));
  Deno.exit(0);
}
