/** What the points of the paper's experiments say, as tables and as series for plots. */
import { entropyBits } from "../../src/index/entropy.ts";
import { type Experiment, type MethodName, METHODS, type Point } from "../paper/plan.ts";
import { oddOnes } from "../paper/odd.ts";
import type { Measured, Result } from "../paper/results.ts";
import { figure } from "../lib/records.ts";
import { table } from "./markdown.ts";

/** Names for people. */
export const LABELS: Record<MethodName, string> = {
  espalier: "Espalier, WASM",
  webgpu: "Espalier, WebGPU",
  publishedCsr: "STATIC layout, WASM",
  ppvApproximate: "PPV, top 50",
  hashBitmapLazy: "hash bitmap, best first",
  hashBitmap: "hash bitmap",
  ppvExact: "PPV, exact",
  flatTrie: "trie, typed arrays",
  mapTrie: "trie of Maps",
  npmTrie: "trie from npm",
};

/** Stands by methods that miss half of what they should find, or more. */
const MARK = " †";
/** What it says. */
export const UNSOUND = "†: misses half of the best sequences or more.";
const isUnsound = ({ missed = 0 }: Measured) => missed >= 0.5;

/** Stands by points in which something disturbed ours: see bench/paper/odd.ts. */
const ODD_MARK = " ‡";
/** What it says. */
export const DISTURBED =
  "‡: something slowed this process, so that ours took a quarter longer in it than at best on this set, or more; both sides ran in turns.";

/** What varies in an experiment. */
export const AXES: Record<Experiment, { name: string; of: (point: Point) => number }> = {
  items: { name: "|C|", of: ({ rows }) => rows },
  vocab: { name: "V", of: ({ vocabSize }) => vocabSize },
  branch: { name: "branch factor", of: ({ branch }) => branch ?? 0 },
  sharp: { name: "boost of allowed tokens", of: ({ boost }) => boost ?? 0 },
};

/** A line of a plot: x and y ascending in x. */
export interface Series {
  readonly name: string;
  readonly data: readonly (readonly [x: number, y: number])[];
  readonly isReference?: boolean;
}

/** What a plot shows. */
export interface Plot {
  readonly title: string;
  readonly xName: string;
  /** 10, or 2 where the values are powers of two; undefined where the axis is linear, and has a zero. */
  readonly xBase?: 2 | 10;
  readonly yName: string;
  readonly yTick: (value: number) => string;
  readonly series: readonly Series[];
}

/** A number of a point that can be shown; undefined where it has none. */
export type Value = (measured: Measured, point: Point) => number | undefined;

export const stepUs: Value = ({ step }) => 1000 * step.median;
/** Microseconds below which a constraint is lost in the noise: it is a difference of two measurements. */
const LEAST_US = 1;
export const constraintUs: Value = ({ constraint }) =>
  constraint && 1000 * constraint.median >= LEAST_US ? 1000 * constraint.median : undefined;
export const bytesPerItem: Value = ({ byteLength }, { rows }) => byteLength / rows;
export const ratio: Value = (measured) => measured.ratio;
/** Values that say how long something took. */
const TIMES = new Set([stepUs, constraintUs, ratio]);
export const missedPercent: Value = ({ missed }) => missed === undefined ? missed : 100 * missed;
export const invalidPercent: Value = ({ invalid }) => 100 * invalid;
/** Values that speak for themselves whatever a method misses. */
const UNMARKED = new Set([bytesPerItem, missedPercent, invalidPercent]);

/** Bytes per item that the paper gives as its bound: d = 2, K1 = 12, K2 = 4. */
export function paperBound({ rows, vocabSize, length }: Point, d = 2): number {
  let bytes = (1 / 8 + 4) * vocabSize ** d;
  for (let level = d + 1; level <= length; level++) {
    bytes += 12 * Math.min(vocabSize ** level, rows);
  }
  return bytes / rows;
}

/** Bytes per item that an arbitrary set of so many sequences takes at least. */
export function entropyPerItem({ rows, vocabSize, length }: Point): number {
  const counts = Array.from({ length }, (_, d) => d === length - 1 ? rows : 0);
  return entropyBits(vocabSize, counts) / 8 / rows;
}

/** Points of an experiment by method and by what varies, in order. The set that two share is measured once. */
function grid(results: readonly Result[], experiment: Experiment) {
  const vocab = results.find(({ point }) => point.experiment === "vocab")?.point.rows;
  const own = results.filter(({ point }) =>
    point.experiment === experiment ||
    experiment === "vocab" && point.experiment === "items" && point.rows === vocab
  );
  const axis = AXES[experiment];
  const xs = [...new Set(own.map(({ point }) => axis.of(point)))].sort((a, b) => a - b);
  const at = (method: MethodName, x: number) =>
    own.find(({ point }) => point.method === method && axis.of(point) === x);
  const methods = METHODS.filter((method) => own.some(({ point }) => point.method === method));
  return { own, axis, xs, at, methods };
}

/** One line per method. */
export function seriesOf(
  results: readonly Result[],
  experiment: Experiment,
  value: Value,
): Series[] {
  const { own, xs, at, methods } = grid(results, experiment);
  const isMarked = (method: MethodName) =>
    own.some(({ point, outcome }) =>
      point.method === method && "step" in outcome && isUnsound(outcome)
    );
  return methods.map((method) => ({
    name: `${LABELS[method]}${isMarked(method) ? MARK : ""}`,
    data: xs.flatMap((x): [number, number][] => {
      const result = at(method, x);
      const y = result && "step" in result.outcome && value(result.outcome, result.point);
      return y ? [[x, y]] : [];
    }),
  })).filter(({ data }) => data.length > 0);
}

/** A time and, behind a bar, that of ours in the same process: machines change their pace from one to the next. */
function beside(value: Value, { step, constraint, ours }: Measured): string {
  const shown = (ms: number) => 1000 * ms < LEAST_US ? "noise" : figure(1000 * ms);
  if (value === stepUs) return shown(step.median) + (ours ? ` / ${shown(ours.step)}` : "");
  if (!constraint) return "";
  return shown(constraint.median) + (ours ? ` / ${shown(ours.constraint)}` : "");
}

/** A table, a row per method; with the paper's bound and the entropy below where it is about memory. */
export function tableOf(
  results: readonly Result[],
  experiment: Experiment,
  value: Value,
  unit: string,
): string {
  const { axis, xs, at, methods } = grid(results, experiment);
  const odd = new Set(oddOnes(results));
  const head = [unit, ...xs.map((x) => `${axis.name} = ${power(x, experiment)}`)];
  const rows = methods.map((method) => [
    LABELS[method],
    ...xs.map((x) => {
      const result = at(method, x);
      if (!result) return "";
      if (!("step" in result.outcome)) return reasonShown(result.outcome.reason);
      const shown = value(result.outcome, result.point);
      const isOdd = TIMES.has(value) && odd.has(result);
      const mark = (!UNMARKED.has(value) && isUnsound(result.outcome) ? MARK : "") +
        (isOdd ? ODD_MARK : "");
      if (value === constraintUs || value === stepUs) {
        return `${beside(value, result.outcome)}${mark}`;
      }
      return shown === undefined ? "" : `${figure(shown)}${mark}`;
    }),
  ]);
  if (value === bytesPerItem) {
    const points = xs.map((x) => at("espalier", x)?.point);
    for (
      const [name, bytes] of [["the paper's bound", paperBound], [
        "entropy",
        entropyPerItem,
      ]] as const
    ) {
      rows.push([name, ...points.map((point) => point ? figure(bytes(point)) : "")]);
    }
  }
  return table([head, ...rows]);
}

/** The reason in short: what stands before a colon or a semicolon. */
function reasonShown(reason: string): string {
  if (/^does not fit|^out of memory|^over the time/.test(reason)) return reason.split(/[:;]/)[0];
  return /memory|heap|bytes/.test(reason) ? "out of memory" : "not possible";
}

function power(x: number, experiment: Experiment): string {
  if (experiment !== "items") return x < 1e4 ? String(x) : `2${superscript(String(Math.log2(x)))}`;
  const [mantissa, exponent] = x.toExponential().split("e+");
  return `${mantissa === "1" ? "" : `${mantissa} · `}10${superscript(exponent)}`;
}

/** Digits raised. */
export function superscript(digits: string): string {
  return [...digits].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]).join("");
}
