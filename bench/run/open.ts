/** Opening over HTTP: against fetching the same bytes, on a slow link, in memory, and from the start of the process. */
import { ConstraintIndex, createDecoder } from "../../mod.ts";
import { collectGarbage } from "../baselines/js_heap.ts";
import { serve, type Server } from "../lib/file_server.ts";
import { record, writeRecords } from "../lib/records.ts";
import { inProcess, MB, median, randomIndex } from "../lib/support.ts";

const LINK = 10e6;
const MEMORY_RUNS = 5;
const SETS = [["1 M items", 1e6, 31], ["10 M items", 1e7, 11]] as const;

const OPENING = "Opening over loopback";
const SLOW = `Opening on a link of ${LINK / MB} MB/s`;
const COLD = "From the start of a process";
const MEMORY = "Memory to load";

/**
 * Medians of several works, taken in turns, each without the garbage of the one before. V8 keeps compiled code
 * (`--no-flush-bytecode`): so many collections would count as long disuse.
 */
async function inTurns(
  rounds: number,
  works: Record<string, () => Promise<void>>,
): Promise<Record<string, number>> {
  const times: Record<string, number[]> = {};
  for (let round = 0; round < rounds; round++) {
    const order = Object.entries(works);
    if (round % 2) order.reverse();
    for (const [name, work] of order) {
      if (!collectGarbage()) {
        throw new Error("Expected --v8-flags=--expose-gc,--no-flush-bytecode, found no gc()");
      }
      const start = performance.now();
      await work();
      (times[name] ??= []).push(performance.now() - start);
    }
  }
  return Object.fromEntries(Object.entries(times).map(([name, all]) => [name, median(all)]));
}

/** Milliseconds until the first step of a search has run. */
async function firstStep(url: string): Promise<number> {
  const start = performance.now();
  using index = await ConstraintIndex.open(url, { progressive: true });
  using decoder = await createDecoder(index, { backend: "wasm" });
  let first = 0;
  const enough = new Error("The first step has run");
  await decoder.beamSearch(({ step, out }) => {
    if (step === 1) {
      first = performance.now() - start;
      throw enough;
    }
    return out.fill(0);
  }, { batchSize: 2, beamSize: 70 }).catch((error) => {
    if (error !== enough) throw error;
  });
  return first;
}

async function compareWithFetch(server: Server): Promise<void> {
  console.log(`\nOpening over loopback (${server.name}), digests included`);
  for (const [name, rows, rounds] of SETS) {
    const url = `${server.url}/${rows}.safetensors`;
    const open = (options = {}) => async () => {
      using _ = await ConstraintIndex.open(url, options);
    };
    const { fetching, opening, unchecked, parallel } = await inTurns(rounds, {
      fetching: async () => void await (await fetch(url)).arrayBuffer(),
      opening: open(),
      unchecked: open({ verify: false }),
      parallel: open({ parallel: 4 }),
    });
    const against = (what: string, time: number, atMost?: number) => {
      record(OPENING, `${name}: ${what}`, time, "ms");
      record(OPENING, `${name}: ${what}, against fetch`, time / fetching, "×", atMost);
    };
    record(OPENING, `${name}: fetch and arrayBuffer`, fetching, "ms");
    against("open, digests included", opening, 1.25);
    against("open with parallel: 4", parallel);
    against("open without digests", unchecked);
  }
}

async function onSlowLink(folder: string): Promise<void> {
  await using server = await serve(folder, LINK);
  const steps: number[] = [];
  console.log(`\nProgressive opening on a link of ${LINK / MB} MB/s (${server.name})`);
  for (const [name, rows] of SETS) {
    const url = `${server.url}/${rows}.safetensors`;
    const { start, step } = await inTurns(3, {
      // What a first step needs in any case: the header and the first chunk under a digest.
      start: async () => {
        const range = `bytes=0-${await headerBytes(url) + 2 ** 20 - 1}`;
        await (await fetch(url, { headers: { range } })).arrayBuffer();
      },
      step: async () => void await firstStep(url),
    });
    record(SLOW, `${name}: header and first MiB fetched, two requests`, start, "ms");
    record(SLOW, `${name}: first step of a search`, step, "ms");
    record(SLOW, `${name}: first step against header and first MiB`, step / start, "×");
    steps.push(step);
  }
  record(SLOW, "first step at 10 M items against 1 M items", steps[1] / steps[0], "×", 1.1);
}

async function headerBytes(url: string): Promise<number> {
  const answer = await fetch(url, { headers: { range: "bytes=0-7" } });
  return 8 + new DataView(await answer.arrayBuffer()).getUint32(0, true);
}

async function coldStart(server: Server): Promise<void> {
  console.log(`\nFrom the start of a process to the first masked step, 1 M items on loopback`);
  const url = `${server.url}/${1e6}.safetensors`;
  for (const mode of ["whole", "progressive"]) {
    const runs: Record<string, number>[] = [];
    for (let i = 0; i < 7; i++) {
      runs.push(
        await inProcess(
          "../children/cold_start.ts",
          url,
          String(performance.timeOrigin + performance.now()),
          mode,
        ),
      );
    }
    const at = (name: string) => median(runs.map((run) => run[name]));
    const stages = ["runtime", "import", "compile", "header", "open", "step"];
    stages.forEach((name, i) => {
      const before = i === 0 ? 0 : at(stages[i - 1]);
      record(COLD, `${mode}: ${name}`, at(name) - before, "ms");
    });
    record(COLD, `${mode}: import and kernels`, at("compile") - at("runtime"), "ms", 15);
    record(COLD, `${mode}: until the first masked step`, at("step"), "ms");
  }
}

async function memory(server: Server): Promise<void> {
  console.log(`\nMemory, the most of ${MEMORY_RUNS} processes`);
  const most = async (...args: string[]) => {
    let most = 0;
    for (let i = 0; i < MEMORY_RUNS; i++) {
      most = Math.max(most, (await inProcess("../children/serve.ts", ...args)).peak);
    }
    return most;
  };
  const { peak: bare } = await inProcess("../children/serve.ts");
  for (const mode of ["", "parallel"]) {
    const peak = await most(`${server.url}/${1e7}.safetensors`, mode);
    const how = `over HTTP${mode && ", parallel: 4"}, two filters`;
    record(
      MEMORY,
      `10 M items, ${how}: beyond the runtime`,
      (peak - bare) / MB,
      "MB",
      mode ? undefined : 128,
    );
  }
}

export async function benchOpen(): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.chmod(folder, 0o755);
    for (const [, rows] of SETS) {
      using index = await randomIndex(rows);
      await Deno.writeFile(`${folder}/${rows}.safetensors`, index.toStream());
    }
    await using server = await serve(folder);
    await compareWithFetch(server);
    await onSlowLink(folder);
    await memory(server);
    await coldStart(server);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  await benchOpen();
  await writeRecords();
}
