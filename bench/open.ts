/** Opening over HTTP: against fetching the same bytes, on a slow link, in memory, and from the start of the process. */
import { ConstraintIndex, createDecoder } from "../mod.ts";
import { serve, type Server } from "./server.ts";
import { inProcess, line, MB, median, randomIndex } from "./support.ts";

const LINK = 10e6;
const SETS = [["1 M items", 1e6, 31], ["10 M items", 1e7, 11]] as const;

const ms = (milliseconds: number) => `${milliseconds.toFixed(1)} ms`;

/** Medians of several works, taken in turns. */
async function inTurns(
  rounds: number,
  works: Record<string, () => Promise<void>>,
): Promise<Record<string, number>> {
  const times: Record<string, number[]> = {};
  for (let round = 0; round < rounds; round++) {
    for (const [name, work] of Object.entries(works)) {
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
    line(`${name}: fetch and arrayBuffer`, ms(fetching));
    line(
      `  open`,
      `${ms(opening)}, ${(opening / fetching).toFixed(2)} ×`,
      "at most 1.25 ×",
    );
    line(`  open with parallel: 4`, `${ms(parallel)}, ${(parallel / fetching).toFixed(2)} ×`);
    line(
      `  open without digests`,
      `${ms(unchecked)}, ${(unchecked / fetching).toFixed(2)} ×`,
    );
  }
}

async function onSlowLink(folder: string): Promise<void> {
  await using server = await serve(folder, LINK);
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
    line(`${name}: header and first MiB fetched, two requests`, ms(start));
    line(`  first step of a search`, `${ms(step)}, ${(step / start).toFixed(2)} ×`);
  }
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
          "./start_process.ts",
          url,
          String(performance.timeOrigin + performance.now()),
          mode,
        ),
      );
    }
    const at = (name: string) => median(runs.map((run) => run[name]));
    const stages = ["runtime", "import", "compile", "header", "open", "step"];
    const parts = stages.map((name, i) => {
      const before = i === 0 ? 0 : at(stages[i - 1]);
      return `${name} ${(at(name) - before).toFixed(1)}`;
    });
    line(`${mode}: ${parts.join(", ")}`, ms(at("step")));
  }
}

async function memory(server: Server): Promise<void> {
  console.log(`\nMemory`);
  const bare = await inProcess("./serve_process.ts");
  for (const mode of ["", "parallel"]) {
    const url = `${server.url}/${1e7}.safetensors`;
    const { peak } = await inProcess("./serve_process.ts", url, mode);
    line(
      `10 M items, loaded over HTTP${mode && ", parallel: 4"}: peak beyond the runtime`,
      `${((peak - bare.peak) / MB).toFixed(0)} MB`,
      "at most 128 MB",
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

if (import.meta.main) await benchOpen();
