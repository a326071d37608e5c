/**
 * Whole searches against the published method in PyTorch, in turns on one core: both find the same sequences of the
 * same set, from the same logits. Needs Python with PyTorch: apt-get install python3-torch.
 *
 * deno task bench:published [--json FILE]
 */
import { buildIndex } from "../../src/build/mod.ts";
import { createDecoder, type Decoder, type ModelInput } from "../../mod.ts";
import { timed } from "../lib/kernel_search.ts";
import { type Found, type Selection, startPublished } from "../lib/published.ts";
import { jsonFile, record, writeRecords } from "../lib/records.ts";
import { B, L, line, M, median, randomLogits, randomSids, V } from "../lib/support.ts";

const BENCH = "Against the published method in PyTorch";
const WARM_UP = 100;
const ROUNDS = 400;
/** Scores are sums of float32 in different orders: what lies this close may be swapped. */
const TOLERANCE = 1e-4;

/**
 * Every row has the logits of its batch row that belong to the token it took last, so that beams with equal scores,
 * in whichever order, come to the same end.
 */
function write(logits: readonly Float32Array[], { step, rows, tokens, out }: ModelInput): void {
  for (let row = 0; row < rows; row++) {
    const batch = step === 0 ? row : Math.floor(row / M);
    const from = (batch * M + (step === 0 ? 0 : tokens[row] % M)) * V;
    out.set(logits[step].subarray(from, from + V), row * V);
  }
}

/** Our search: what it finds, and its milliseconds, the writing of logits left out. */
async function search(decoder: Decoder, logits: readonly Float32Array[]) {
  let writing = 0;
  const start = performance.now();
  const found = await decoder.beamSearch((input) => {
    writing += timed(() => write(logits, input));
    return input.out;
  }, { batchSize: B, beamSize: M });
  return { found, milliseconds: performance.now() - start - writing };
}

/** @throws {Error} unless both sides found the same, up to ties. */
function expectSame(ours: Found, theirs: Found): void {
  for (let batch = 0; batch < B; batch++) {
    const [a, b] = [ours, theirs].map((found) => scoresOf(found, batch));
    for (const [here, there, name] of [[a, b, "PyTorch"], [b, a, "our search"]] as const) {
      const worst = Math.min(...there.values());
      for (const [sequence, score] of here) {
        // One that only one side has was cut off by the other in a tie for the last place.
        const other = there.get(sequence) ?? worst;
        if (Math.abs(score - other) <= TOLERANCE) continue;
        const found = there.has(sequence) ? `with score ${other}` : "nowhere";
        throw new Error(
          `Expected ${name} to find ${sequence} of batch row ${batch} with score ${score}, found it ${found}`,
        );
      }
    }
  }
}

/** Scores of a batch row, by sequence. */
function scoresOf({ scores, sequences }: Found, batch: number): Map<string, number> {
  const all = Array.from({ length: M }, (_, m) => batch * M + m);
  return new Map(all.map((row) => {
    const sequence = Array.from({ length: L }, (_, d) => sequences[row * L + d]);
    return [sequence.join(" "), scores[row]];
  }));
}

/** Keeps this process, all its threads, on one core, the last that it may use, and tells which; undefined where there is no taskset. */
async function keepToOneCore(): Promise<number | undefined> {
  if (Deno.build.os !== "linux") return undefined;
  const status = await Deno.readTextFile("/proc/self/status");
  const core = Number(status.match(/Cpus_allowed_list:.*?(\d+)\n/)?.[1]);
  const args = ["-acp", String(core), String(Deno.pid)];
  try {
    const { success } = await new Deno.Command("taskset", { args, stdout: "null" }).output();
    return success ? core : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function benchPublished(): Promise<void> {
  const logits = randomLogits(L) as Float32Array<ArrayBuffer>[];
  const core = await keepToOneCore();
  const where = core === undefined ? "one thread each" : `both on core ${core}`;
  console.log(`\nAgainst the published method, ${where}, B = ${B}, M = ${M}, V = ${V}, L = ${L}`);
  for (const items of [1e6, 1e7]) {
    const figure = (what: string, value: number, unit: string, atMost?: number) =>
      record(BENCH, `${items / 1e6} M items: ${what}`, value, unit, atMost);
    const sids = randomSids(items);
    await using published = await startPublished(
      sids.data as Uint16Array<ArrayBuffer>,
      logits,
      core,
    );
    const { torch, bytes, sortSeconds, buildSeconds } = published.index;
    const start = performance.now();
    using index = await buildIndex(sids, { vocabSize: V });
    const ourSeconds = (performance.now() - start) / 1000;
    using decoder = await createDecoder(index, { backend: "wasm" });
    line("PyTorch", torch);
    figure("index, PyTorch", bytes / index.size, "bytes an item");
    figure("index, ours", index.byteLength / index.size, "bytes an item");
    figure("sort and build, PyTorch and numpy", sortSeconds + buildSeconds, "s");
    figure("sort and build, ours", ourSeconds, "s");

    const { found } = await search(decoder, logits);
    const selections: Selection[] = ["per-beam", "at-once"];
    for (const selection of selections) expectSame(found, await published.result(selection));
    const rounds: Record<Selection | "ours", number>[] = [];
    const ours = async () => (await search(decoder, logits)).milliseconds;
    for (let round = 0; round < WARM_UP + ROUNDS; round++) {
      const times = { "per-beam": 0, ours: 0, "at-once": 0 };
      const order = ["per-beam", "ours", "at-once"] as const; // and backwards, every other time
      for (const side of round % 2 ? order.toReversed() : order) {
        times[side] = side === "ours" ? await ours() : await published.time(side);
      }
      rounds.push(times);
    }
    const settled = rounds.slice(WARM_UP);
    const us = (side: Selection | "ours") => 1000 * median(settled.map((round) => round[side]));
    const against = (side: Selection) => median(settled.map((round) => round.ours / round[side]));
    figure("whole search, PyTorch", us("per-beam"), "µs");
    figure("whole search, ours", us("ours"), "µs");
    figure(
      "ours against PyTorch",
      against("per-beam"),
      "×",
      items === 1e7 ? 1 / 3 : undefined,
    );
    figure("whole search, PyTorch with one top-k a batch row", us("at-once"), "µs");
    figure("ours against PyTorch with one top-k a batch row", against("at-once"), "×");
  }
}

if (import.meta.main) {
  jsonFile(Deno.args); // Wrong usage is told before the long run.
  await benchPublished();
  await writeRecords();
}
