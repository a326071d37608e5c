/** Cold starts, from the start of a process to the first answer, and what a server holds. */
import { decode, startEdge } from "./edge_server.ts";
import type { Server } from "./file_server.ts";
import { record } from "./records.ts";
import { line, MB, median } from "./support.ts";

/** Milliseconds of a cold start by stage, in order. */
export type Stages = Record<string, number>;

const RANDOM = JSON.stringify({ prompts: [[7]], beams: 70 });

/** A cold start in Deno. `total` is as the client sees it. */
async function inDeno(index: string, kind: string, body: string): Promise<Stages> {
  await using server = await startEdge(index, kind);
  const { status, ms, phases } = await decode(server.url, body);
  if (status !== 200) throw new Error(`The first answer has status ${status}`);
  const { index: open, decode: search } = phases;
  return {
    "until it listens": server.upMs,
    "index": open,
    "search": search,
    "rest": ms - open - search,
    "total": server.upMs + ms,
  };
}

/** Node and workerd come from packages that only the tests of platforms have. */
async function elsewhere(index: string): Promise<Record<string, Stages>> {
  const root = new URL("../../tests/heavy/platforms/", import.meta.url).pathname;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      `--lock=${root}deno.lock`,
      "--node-modules-dir=none",
      `${root}support/cold_start.ts`,
      index,
    ],
  }).output();
  if (success) return JSON.parse(new TextDecoder().decode(stdout));
  console.log(`No cold start in Node and workerd: ${new TextDecoder().decode(stderr)}`);
  return {};
}

function medians(runs: Stages[]): Stages {
  const names = Object.keys(runs[0]);
  return Object.fromEntries(names.map((name) => [name, median(runs.map((run) => run[name]))]));
}

/** Times several. */
export async function coldStarts(
  server: Server,
  file: string,
  demo: { file: string; body: string },
): Promise<void> {
  console.log("\nCold start on loopback: from the start of the process to the first answer, ms");
  const index = `${server.url}/${file}`;
  const names: Stages[] = [];
  const random: Stages[] = [];
  for (let i = 0; i < 5; i++) {
    names.push(await inDeno(`${server.url}/${demo.file}`, "speller", demo.body));
    random.push(await inDeno(index, "zeros", RANDOM));
  }
  const all: Record<string, Stages> = {
    "Deno, demo's model and index": medians(names),
    "Deno, 1 M items": medians(random),
    ...await elsewhere(index),
  };
  for (const [name, { total, ...stages }] of Object.entries(all)) {
    const parts = Object.entries(stages).map(([stage, ms]) => `${stage} ${ms.toFixed(0)}`);
    record("Cold start of a server", name, total, "ms");
    line("", parts.join(", "));
  }
}

/** Resident memory of a server that has answered with two stored filters, beyond one of nothing. */
export async function heldMemory(server: Server, files: Record<string, string>): Promise<void> {
  console.log("\nResident memory of the server, two filters in use, beyond the bare runtime");
  await using bare = await startEdge("bare");
  const { now: nothing } = await bare.memory();
  for (const [name, file] of Object.entries(files)) {
    await using edge = await startEdge(`${server.url}/${file}`, "zeros");
    for (let i = 0; i < 20; i++) {
      const prompts = [{ tokens: [i], filter: "even" }, { tokens: [i], filter: "odd" }];
      const { status } = await decode(edge.url, JSON.stringify({ prompts, beams: 70 }));
      if (status !== 200) throw new Error(`An answer has status ${status}`);
    }
    const { now, peak } = await edge.memory();
    const budget = name.startsWith("10 M") ? 128 : undefined;
    record("Memory of a server", `${name}: resident`, (now - nothing) / MB, "MB", budget);
    record("Memory of a server", `${name}: peak`, (peak - nothing) / MB, "MB");
  }
}
