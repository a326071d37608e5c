/** The parts of the benches that do not measure: plan, results, report. */
import assert from "node:assert/strict";
import type { Origin } from "../../bench/lib/origin.ts";
import { capsOf, METHODS, plan, type Point } from "../../bench/paper/plan.ts";
import {
  keyOf,
  type Measured,
  parseLines,
  type Result,
  ResultStore,
} from "../../bench/paper/results.ts";
import { figure, jsonFile } from "../../bench/lib/records.ts";
import { mergeResults } from "../../bench/report/load.ts";
import { fillBlocks, table, wrapped } from "../../bench/report/markdown.ts";
import {
  bytesPerItem,
  constraintUs,
  entropyPerItem,
  missedPercent,
  paperBound,
  ratio,
  seriesOf,
  stepUs,
  tableOf,
} from "../../bench/report/paper.ts";
import { blocksOf, budgetTable, reportOf } from "../../bench/report/report.ts";

const FROM: Origin = { machine: "2 × Z80, 1 GiB", deno: "2.9.6", code: "abc", date: "2026-01-02" };
const [POINT] = plan("quick", false);

function measured(ms: number, byteLength = 1e6): Measured {
  const spread = { median: ms, p10: ms, p90: ms };
  return {
    step: spread,
    constraint: spread,
    byteLength,
    buildMs: 1,
    peakBytes: 1,
    setBytes: 1,
    repeats: 3,
    exact: true,
    invalid: 0,
    load: 1,
  };
}

const result = (change: Partial<Point>, outcome: Result["outcome"], origin = FROM): Result => ({
  point: { ...POINT, ...change },
  origin,
  outcome,
});

Deno.test("The plan has every method at every set but WebGPU at logits laid out for others, each point once", () => {
  for (const effort of ["quick", "full"] as const) {
    const points = plan(effort, true);
    assert.equal(new Set(points.map((point) => keyOf(point, FROM))).size, points.length);
    const sets = Map.groupBy(points, ({ method: _, ...set }) => JSON.stringify(set)).values();
    for (const own of sets) {
      const left = own[0].experiment === "sharp" ? ["webgpu"] : [];
      assert.deepEqual(own.map(({ method }) => method), METHODS.filter((it) => !left.includes(it)));
    }
    assert.ok(points.every(({ branch, vocabSize }) => (branch ?? 0) <= vocabSize));
  }
  assert.ok(plan("quick", false).every(({ method }) => method !== "webgpu"));
});

Deno.test("The full plan has the sizes of the paper", () => {
  const full = plan("full", false);
  const of = (
    experiment: string,
    value: (point: Point) => number | undefined,
  ) => [...new Set(full.filter((point) => point.experiment === experiment).map(value))];
  assert.deepEqual(of("items", ({ rows }) => rows), [1e5, 1e6, 1e7, 2e7, 1e8]);
  assert.deepEqual(of("vocab", ({ vocabSize }) => vocabSize).slice(-1), [32768]);
  const branches = of("branch", ({ branch }) => branch);
  assert.deepEqual([branches[0], branches.at(-1)], [2, 2 ** 18]);
  assert.deepEqual(of("sharp", ({ boost }) => boost), [0, 4, 8]);
  assert.deepEqual(of("sharp", ({ rows }) => rows), [1e7]);
});

Deno.test("A quick run ends within five minutes if no point takes longer than it may", () => {
  const { measureSeconds } = capsOf("quick", 16e9);
  // Ours beside, building both: about as long again.
  assert.ok(plan("quick", false).length * 2 * measureSeconds < 300);
});

Deno.test("Memory is capped below what the machine has", () => {
  assert.ok(capsOf("full", 8e9).bytes < 8e9);
  assert.ok(capsOf("quick", 2e9).bytes < 2e9);
});

Deno.test("A result is another one on another machine, with other code, parameters or effort", () => {
  const keys = [
    keyOf(POINT, FROM),
    keyOf(POINT, { ...FROM, machine: "other" }),
    keyOf(POINT, { ...FROM, code: "other" }),
    keyOf(POINT, { ...FROM, deno: "other" }),
    keyOf({ ...POINT, rows: 7 }, FROM),
    keyOf({ ...POINT, effort: "full" }, FROM),
  ];
  assert.equal(new Set(keys).size, keys.length);
  assert.equal(keyOf(POINT, { ...FROM, date: "2030-01-01" }), keys[0]);
});

Deno.test("A store that was interrupted amid a line goes on behind the last whole one", async () => {
  const file = await Deno.makeTempFile();
  try {
    const [first, second, third] = plan("quick", false).map((point): Result => ({
      point,
      origin: FROM,
      outcome: measured(1),
    }));
    const begun = await ResultStore.open(file);
    await begun.add(first);
    await begun.add(second);
    const whole = await Deno.readTextFile(file);
    await Deno.writeTextFile(file, whole.slice(0, -20));
    const resumed = await ResultStore.open(file);
    assert.deepEqual(resumed.get(first.point, FROM), first);
    assert.equal(resumed.get(second.point, FROM), undefined);
    await resumed.add(third);
    const again = await ResultStore.open(file);
    assert.deepEqual(again.get(third.point, FROM), third);
    assert.equal(parseLines(await Deno.readFile(file)).results.length, 2);
    const other = { ...FROM, machine: "other" };
    await again.add({ ...third, origin: other });
    await again.drop([third.point], { ...FROM, code: "newer" });
    for (const store of [again, await ResultStore.open(file)]) {
      assert.deepEqual(store.get(first.point, FROM), first);
      assert.equal(store.get(third.point, FROM), undefined);
      assert.ok(store.get(third.point, other));
    }
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("A whole line that is no JSON is an error, not a torn one", () => {
  const bytes = new TextEncoder().encode('{"a":1}\n{"b"\n');
  assert.throws(() => parseLines(bytes), /Line 2/);
});

Deno.test("The newest result of a point counts, and a full one before a quick one", () => {
  const lines = [
    result({}, measured(1)),
    result({}, measured(2), { ...FROM, date: "2026-02-01", code: "def" }),
    result({ method: "ppvExact", effort: "full" }, measured(3)),
    result({ method: "ppvExact" }, measured(4), { ...FROM, date: "2026-02-01" }),
    result({}, measured(5), { ...FROM, machine: "other" }),
  ];
  const { points } = mergeResults([lines.map((line) => JSON.stringify(line)).join("\n")]);
  const steps = points.map(({ outcome }) => "step" in outcome && outcome.step.median);
  assert.deepEqual(steps, [2, 3, 5]);
});

Deno.test("Figures have three digits", () => {
  assert.deepEqual([0.01234, 8.449, 12, 999.7, 1234567, 0].map(figure), [
    "0.0123",
    "8.45",
    "12",
    "1 000",
    "1 234 567",
    "0",
  ]);
});

Deno.test("--json wants a file", () => {
  assert.equal(jsonFile(["--quick"]), undefined);
  assert.equal(jsonFile(["--json", "out.jsonl"]), "out.jsonl");
  assert.throws(() => jsonFile(["--json"]), /Expected a file behind --json/);
  assert.throws(() => jsonFile(["--json", "--quick"]), TypeError);
});

Deno.test("Tables are padded and their bars escaped", () => {
  assert.equal(
    table([["a", "|C|"], ["long one", "1"]]),
    "| a        | \\|C\\| |\n| -------- | ----- |\n| long one | 1     |",
  );
});

Deno.test("Text is wrapped at 100 characters", () => {
  const lines = wrapped("word ".repeat(60).trim()).split("\n");
  assert.ok(lines.length > 1 && lines.every(({ length }) => length <= 100));
  assert.equal(wrapped(`${"x".repeat(95)} \`a b\`.`), `${"x".repeat(95)}\n\`a b\`.`);
});

Deno.test("Blocks are filled, and what is around them stays", () => {
  const text = "a\n<!-- bench:begin x -->\nold\n<!-- bench:end -->\nb\n";
  const filled = fillBlocks(text, { x: "new", y: "" });
  assert.equal(filled, "a\n<!-- bench:begin x -->\n\nnew\n\n<!-- bench:end -->\nb\n");
  assert.equal(fillBlocks(filled, { x: "new" }), filled);
  assert.throws(() => fillBlocks(text, { y: "" }), /"x" is not known; there are y/);
  assert.throws(() => fillBlocks("<!-- bench:begin x -->\n", { x: "" }), /no end/);
});

Deno.test("The paper's bound and the entropy are those that the paper and the README have", () => {
  const near = (actual: number, expected: number) =>
    assert.ok(Math.abs(actual - expected) < 0.01 * expected, `${actual}, expected ${expected}`);
  const point = { ...POINT, vocabSize: 2048, length: 8 };
  near(paperBound({ ...point, rows: 1e6 }), 89.3);
  near(paperBound({ ...point, rows: 2e7 }), 72.9);
  near(entropyPerItem({ ...point, rows: 1e7 }), 8.27);
});

Deno.test("A table of points has what was measured, or why there is nothing", () => {
  const points = [
    result({ rows: 1e5 }, measured(0.02)),
    result({ rows: 1e6 }, measured(0.03, 9e6)),
    result({ rows: 1e5, method: "mapTrie" }, measured(0.5)),
    result({ rows: 1e6, method: "mapTrie" }, { reason: "out of memory: over the cap of 4 GB" }),
  ];
  const lines = tableOf(points, "items", stepUs, "µs").split("\n");
  assert.match(lines[0], /µs .* 10⁵ .* 10⁶/);
  assert.match(lines[2], /Espalier, WASM .* 20 .* 30 /);
  assert.match(lines[3], /trie of Maps .* 500 .* out of memory/);
  assert.match(tableOf(points, "items", bytesPerItem, "bytes"), /entropy .* 8\.\d+/);
  assert.deepEqual(seriesOf(points, "items", stepUs).map(({ data }) => data.length), [2, 1]);
});

Deno.test("Times stand beside ours of the same process, marked where something disturbed that", () => {
  const beside = (step: number) => ({ ours: { step, constraint: step / 5 }, ratio: 0.5 / step });
  const points = [
    result({ rows: 1e6 }, measured(0.1)),
    result({ rows: 1e6, method: "ppvExact" }, { ...measured(0.5), ...beside(0.11) }),
    result({ rows: 1e6, method: "mapTrie" }, { ...measured(0.5), ...beside(0.2) }),
  ];
  const shown = (value: typeof stepUs) =>
    tableOf(points, "items", value, "").split("\n").slice(2)
      .map((line) => line.split("|")[2].trim());
  assert.deepEqual(shown(stepUs), ["100", "500 / 110", "500 / 200 ‡"]);
  assert.deepEqual(shown(constraintUs), ["100", "500 / 22", "500 / 40 ‡"]);
  assert.deepEqual(shown(ratio).slice(1), ["4.55", "2.50 ‡"]);
  assert.deepEqual(shown(bytesPerItem).slice(0, 3), ["1", "1", "1"]);
});

Deno.test("What methods miss of a model that knows the set stands by its boost", () => {
  const sharp = { experiment: "sharp", method: "ppvApproximate" } as const;
  const points = [
    result({ ...sharp, boost: 8 }, { ...measured(0.5), missed: 0.15, ratio: 4 }),
    result({ ...sharp, boost: 0 }, { ...measured(0.5), missed: 1, ratio: 5 }),
    result({ ...sharp, boost: 0, method: "espalier" }, measured(0.1)),
  ];
  const lines = tableOf(points, "sharp", missedPercent, "%").split("\n");
  assert.match(lines[0], /boost of allowed tokens = 0 .* = 8 /);
  assert.match(lines[3], /PPV, top 50 .* 100 .* 15 /);
  const { markdown, plots } = reportOf({ points, records: [] });
  assert.ok(markdown.includes("Best beams missed against what the model knows"));
  const plot = Object.values(plots).find(({ title }) => /^Whole step/.test(title));
  assert.deepEqual([plot?.xBase, plot?.series[0].data], [undefined, [[0, 5], [8, 4]]]);
  assert.deepEqual(plot?.series[1].data, [[0, 1], [8, 1]]);
});

Deno.test("Blocks of the README take the newest figures, and miss none that a bench should have", () => {
  const figures = (value: number, date: string, name: string) =>
    JSON.stringify({
      bench: "Memory of a server",
      name: `${name} M items: resident`,
      value,
      unit: "MB",
      origin: { ...FROM, date },
    });
  const small = figures(36, "2026-01-01", "1");
  const { start, strings } = blocksOf(mergeResults([
    small,
    figures(130, "2026-01-01", "10"),
    figures(122, "2026-01-02", "10"),
  ]));
  const rows = start.split("\n").filter((line) => line.startsWith("|")).slice(2);
  assert.equal(rows.length, 2);
  assert.match(rows[0], / 36 MB +\|$/);
  assert.match(rows[1], / 122 MB +\|$/);
  assert.equal(strings, "Not measured yet.");
  assert.throws(() => blocksOf(mergeResults([small])), /no figure for .*10 M items/);
});

Deno.test("The report says which budgets are kept, and what was not measured", () => {
  const entry = { bench: "Search", unit: "µs", origin: FROM };
  const records = [
    { ...entry, name: "fast", value: 10, atMost: 33, ok: true },
    { ...entry, name: "slow", value: 40, atMost: 33, ok: false },
    { ...entry, name: "free", value: 1 },
  ];
  const rows = budgetTable(records).split("\n");
  assert.match(rows.at(-1)!, /readbacks.* not measured/);
  assert.match(rows[2], /fast .* 10 µs .* 33 µs .* yes/);
  assert.match(rows[3], /slow .* \*\*no\*\*/);
  const { markdown, plots } = reportOf({
    points: [result({ rows: 1e5 }, measured(0.02)), result({ rows: 1e6 }, measured(0.03))],
    records,
  });
  for (const told of [FROM.machine, FROM.date, FROM.deno, FROM.code, "free"]) {
    assert.ok(markdown.includes(told), told);
  }
  const shown = [...markdown.matchAll(/\]\((\S+\.svg)\)/g)].map(([, name]) => name);
  assert.deepEqual(shown.sort(), Object.keys(plots).sort());
  assert.ok(shown.length > 0);
  assert.match(reportOf({ points: [], records: [] }).markdown, /Not measured yet/);
  const empty = Object.values(blocksOf({ points: [], records: [] }));
  assert.ok(empty.length > 1 && empty.every((block) => block === "Not measured yet."));
});
