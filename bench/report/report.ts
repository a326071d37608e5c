/** The report as Markdown, and the plots that it shows. */
import type { Result } from "../paper/results.ts";
import { type BenchRecord, figure } from "../lib/records.ts";
import type { Origin } from "../lib/origin.ts";
import type { Results } from "./load.ts";
import { table, wrapped } from "./markdown.ts";
import { ofLatestMachine, readmeBlocks } from "./readme.ts";
import {
  AXES,
  bytesPerItem,
  constraintUs,
  DISTURBED,
  entropyPerItem,
  invalidPercent,
  LABELS,
  missedPercent,
  paperBound,
  type Plot,
  ratio,
  seriesOf,
  stepUs,
  tableOf,
  UNSOUND,
  type Value,
} from "./paper.ts";

const NOTHING = "Not measured yet.";

/** Microseconds in the unit that fits. */
function timeTick(us: number): string {
  if (us >= 1e6) return `${us / 1e6} s`;
  return us >= 1e3 ? `${us / 1e3} ms` : `${us} µs`;
}

const TITLES = {
  items: "against the size of the set",
  vocab: "against the vocabulary",
  branch: "against the branch factor",
  sharp: "against what the model knows",
} as const;

/** Of the axes; that of `sharp` begins at 0, and is linear. */
const X_BASES = { items: 10, vocab: 2, branch: 2, sharp: undefined } as const;

/** Runtime, days, and code of figures. */
export function originOf(origins: readonly Origin[], { code = true } = {}): string {
  const days = origins.map(({ date }) => date).sort();
  const span = [...new Set([days[0], days[days.length - 1]])].join(" to ");
  const all = (of: (origin: Origin) => string) => [...new Set(origins.map(of))].sort().join(", ");
  const parts = [`Deno ${all(({ deno }) => deno)}`, span];
  if (code) parts.push(`code ${all((origin) => origin.code)}`);
  return parts.join("; ");
}

function originShown(origins: readonly Origin[]): string {
  return wrapped(`${originOf(origins)}.`);
}

function byMachine<T extends { origin: Origin }>(entries: readonly T[]): [string, T[]][] {
  const groups = Map.groupBy(entries, ({ origin }) => origin.machine);
  return [...groups].sort(([a], [b]) => a < b ? -1 : 1);
}

/** Sections of the points of one machine. `id` begins the names of the plots. */
function paperSections(points: readonly Result[], id: string) {
  const plots: Record<string, Plot> = {};
  const parts: string[] = [];
  const adapters = new Set(
    points.flatMap(({ outcome }) => "step" in outcome && outcome.adapter ? [outcome.adapter] : []),
  );
  parts.push(
    adapters.size > 0
      ? wrapped(`WebGPU on ${[...adapters].join(", ")}.`)
      : "WebGPU was not measured: there was no adapter of a GPU.",
  );
  const add = (
    experiment: keyof typeof TITLES,
    what: string,
    value: Value,
    unit: string,
    yTick?: (value: number) => string,
  ) => {
    const series = seriesOf(points, experiment, value);
    const lines = series.filter(({ data }) => data.length > 1);
    if (series.length === 0) return;
    const title = `${what} ${TITLES[experiment]}`;
    parts.push(`#### ${title}`);
    if (yTick && lines.length > 0) {
      if (value === bytesPerItem) lines.push(...references(points));
      if (value === ratio) {
        const xs = [...new Set(series.flatMap(({ data }) => data.map(([x]) => x)))];
        lines.push({ name: "Espalier, WASM", data: xs.sort((a, b) => a - b).map((x) => [x, 1]) });
      }
      const name = `${id}-${title.toLowerCase().replace(/[^a-z]+/g, "-")}.svg`;
      const xBase = X_BASES[experiment];
      const xName = AXES[experiment].name;
      plots[name] = {
        title,
        xName,
        xBase,
        yName: yTick === timeTick ? "time a step" : value === ratio ? "× ours" : unit,
        yTick,
        series: lines,
      };
      parts.push(`![${title}](${name})`);
    }
    parts.push(tableOf(points, experiment, value, unit));
  };
  for (const experiment of ["items", "vocab", "branch", "sharp"] as const) {
    add(experiment, "Constraint per step", constraintUs, "µs", timeTick);
    add(experiment, "Whole step", stepUs, "µs");
    add(experiment, "Whole step beside ours", ratio, "×", String);
  }
  add("sharp", "Best beams missed", missedPercent, "%");
  add("sharp", "Sequences that are not in the set", invalidPercent, "%");
  add("items", "Memory", bytesPerItem, "bytes an item", String);
  parts.push(
    wrapped(
      "The tries of Maps and from npm: what the heap of JavaScript grows by, garbage collected before and behind the building. All others: the length of their arrays.",
    ),
  );
  parts.push(
    "#### What the methods return",
    exactness(points),
    wrapped(
      "The logits are random, so that no allowed token is likely to be among the best few: the worst case for methods that look at those alone, or let others through. What they miss of a model that knows the set stands above.",
    ),
  );
  return { parts, plots };
}

function references(points: readonly Result[]) {
  const own = points.map(({ point }) => point)
    .filter(({ experiment, method }) => experiment === "items" && method === "espalier")
    .sort((a, b) => a.rows - b.rows);
  return ([["the paper's bound", paperBound], ["entropy", entropyPerItem]] as const)
    .map(([name, bytes]) => ({
      name,
      data: own.map((point) => [point.rows, bytes(point)] as [number, number]),
      isReference: true,
    }));
}

/** Worst shares of a method over the sizes of the set. */
function exactness(points: readonly Result[]): string {
  const rows = Object.entries(LABELS).flatMap(([method, label]) => {
    const own = points.filter(({ point }) =>
      point.method === method && point.experiment === "items"
    )
      .flatMap(({ outcome }) => "step" in outcome ? [outcome] : []);
    const percent = (shares: number[]) => `${(100 * Math.max(0, ...shares)).toFixed(1)} %`;
    return own.length === 0 ? [] : [[
      label,
      percent(own.map(({ invalid }) => invalid)),
      percent(own.map(({ missed }) => missed ?? 0)),
    ]];
  });
  return table([["at worst, of all |C|", "not in the set", "best beams missed"], ...rows]);
}

/** What has a budget in the design, as names of figures. Where none fits, the table says so. */
const BUDGETS: readonly (readonly [what: string, name: RegExp])[] = [
  ["bytes per item", /^10 M items: size$/],
  ["build", /^10 M items: build from an unsorted/],
  ["log-sum-exp against a read pass", /^log-sum-exp against the read pass$/],
  ["constraint per step", /^10 M items: constraint a step$/],
  ["whole search", /^10 M items: whole search$/],
  ["whole search against the published PyTorch", /^10 M items: ours against PyTorch$/],
  ["constrained against unconstrained", /^10 M items: against the unconstrained search$/],
  ["3e7 items against 1e5", /^30 M items: against 0.1 M items$/],
  ["filter: memory", /^10 M items, .*: memory$/],
  ["filter: compile", /^10 M items, .*: compile from bits$/],
  ["filtered search", /^10 M items, .* allowed: search against one without$/],
  ["open against fetch", /^10 M items: open, digests included, against fetch$/],
  ["first step, progressive", /^first step at 10 M items against 1 M items$/],
  ["import and kernels", /import and kernels$/],
  ["edge bundle", /^size, gzip$/],
  ["memory to load and serve", /^10 M items, over HTTP, two filters/],
  ["readbacks per GPU decode", /readbacks per decode$/],
];

/** Every figure that has a budget, and every budget that has no figure. */
export function budgetTable(records: readonly BenchRecord[]): string {
  const bounded = records.filter(({ atMost }) => atMost !== undefined);
  const rows = bounded.map((entry) => [
    entry.bench,
    entry.name,
    `${figure(entry.value)} ${entry.unit}`,
    `${figure(entry.atMost!)} ${entry.unit}`,
    entry.ok ? "yes" : "**no**",
  ]);
  const missing = BUDGETS.filter(([, name]) => !bounded.some((entry) => name.test(entry.name)))
    .map(([what]) => ["", what, "not measured", "", ""]);
  return rows.length === 0
    ? NOTHING
    : table([["bench", "figure", "measured", "at most", "kept"], ...rows, ...missing]);
}

function recordSections(records: readonly BenchRecord[]): string[] {
  const benches = Map.groupBy(records, ({ bench }) => bench);
  return [...benches].flatMap(([bench, own]) => [
    `#### ${bench}`,
    table([
      ["figure", "measured"],
      ...own.map(({ name, value, unit }) => [name, `${figure(value)} ${unit}`]),
    ]),
  ]);
}

/** The page and its plots, by file name. */
export function reportOf({ points, records }: Results) {
  const plots: Record<string, Plot> = {};
  const parts = [
    "# Benchmarks",
    wrapped(
      "Written by `deno task bench:report` from the files in [bench/results](../results); no figure is typed by hand. The constraint is what a step takes beyond one log-sum-exp of its live rows: the median of differences, with the noise of two measurements. Ours runs beside every method, in turns, in the same process, and stands behind the bar; the first row is ours alone. Times of different processes cannot be compared, nor lines of a plot in µs more closely than these pairs: machines change their pace. What has no figure did not fit, or took longer than its cap. " +
        `${UNSOUND} ${DISTURBED} A full run measures such a point again, twice at most, and keeps what was fastest for both sides together.`,
    ),
    "## The paper's experiments",
    wrapped(
      "L = 8, B = 2, M = 70; logits given, uniform in [-4, 4); medians. Where the branch factor varies, V is as large, and at least 2048; from 2^14 on there are fewer prefixes than beams. Where the model knows the set, |C| = 10^7 (with `--quick` 10^5) and V = 2048; the logits of a row are those of its prefix, wherever it stands, and the tokens by which the set goes on get so much more: by 8 every one of them is above all others. `deno task bench:paper` measures them.",
    ),
  ];
  byMachine(points).forEach(([machine, own], i) => {
    const sections = paperSections(own, `machine${i + 1}`);
    parts.push(`### ${machine}`, originShown(own.map(({ origin }) => origin)), ...sections.parts);
    Object.assign(plots, sections.plots);
  });
  if (points.length === 0) parts.push(NOTHING);
  parts.push("## Budgets", wrapped("Every budget of the design beside what was measured."));
  for (const [machine, own] of byMachine(records)) {
    parts.push(`### Budgets on ${machine}`);
    parts.push(originShown(own.map(({ origin }) => origin)), budgetTable(own));
  }
  if (records.length === 0) parts.push(NOTHING);
  parts.push(
    "## All figures",
    wrapped(
      "`deno task bench`, `bench:published`, `bench:sets`, `bench:peers`, `bench:strings`, `bench:large`, `bench:models`, `bench:edge`, `bench:gpu` and `deno task eval` add theirs with `--json bench/results/NAME.jsonl`.",
    ),
  );
  for (const [machine, own] of byMachine(records)) {
    parts.push(`### Figures on ${machine}`, ...recordSections(own));
  }
  if (records.length === 0) parts.push(NOTHING);
  return { markdown: `${parts.join("\n\n")}\n`, plots };
}

/** What stands in the README, of the machine that measured last. */
export function blocksOf({ points, records }: Results): Record<string, string> {
  const own = ofLatestMachine(points);
  const paper = own.length ? paperBlock(own[0].origin.machine, own) : NOTHING;
  return { ...readmeBlocks(records), paper };
}

/** Where another exact method took less time than ours in the same process. */
function winsOf(points: readonly Result[]): string {
  const wins = points.flatMap(({ point, outcome }) => {
    if (!("step" in outcome) || outcome.ratio === undefined || outcome.ratio >= FASTER) return [];
    if (!outcome.exact) return [];
    const axis = AXES[point.experiment];
    return [
      `${LABELS[point.method]} at ${axis.name} = ${axis.of(point)} (${figure(outcome.ratio)} ×)`,
    ];
  });
  const percent = figure(100 * (1 - FASTER));
  if (wins.length === 0) {
    return `No exact method was faster than ours by more than ${percent} %, whatever the set.`;
  }
  return `Exact methods that were faster than ours by more than ${percent} %: ${wins.join(", ")}.`;
}

/** Ratios above this are noise. */
const FASTER = 0.97;

function paperBlock(machine: string, points: readonly Result[]): string {
  return [
    tableOf(points, "items", constraintUs, "constraint per step, µs"),
    tableOf(points, "items", ratio, "whole step, beside ours"),
    tableOf(points, "items", bytesPerItem, "bytes an item"),
    tableOf(points, "sharp", ratio, "whole step, beside ours"),
    tableOf(points, "sharp", missedPercent, "best beams missed, %"),
    wrapped(
      `${machine}; ${
        originOf(points.map(({ origin }) => origin), { code: false })
      }. ${UNSOUND} ${DISTURBED} ${winsOf(points)}`,
    ),
  ].join("\n\n");
}
