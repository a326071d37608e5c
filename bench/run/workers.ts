/**
 * Answers a second with the demo's model, by runtime and number of threads, in turns: `cli serve --workers` and
 * `deno serve --parallel`, load from a second process: this one. All servers are up all the time, and idle but for one.
 *
 * deno task bench:workers [--seconds N] [--rounds N] [--json FILE]
 */
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { loadPlaces } from "../../demo/places.ts";
import { indexOf } from "../../demo/search.ts";
import { END_TOKEN } from "../../demo/speller.ts";
import vocabulary from "../../demo/speller/vocab.json" with { type: "json" };
import { type EdgeServer, startCli, startParallelEdge } from "../lib/edge_server.ts";
import { closedLoop } from "../lib/load.ts";
import { record, writeRecords } from "../lib/records.ts";
import { spellerBodies } from "../lib/speller_bodies.ts";
import { MB, median } from "../lib/support.ts";

const BENCH = "Servers on several cores";
const BEAMS = 20;
const CLIENTS = 8;
const BASE = "web, 1 worker";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "5" },
    rounds: { type: "string", default: "5" },
    json: { type: "string" },
  },
});
const seconds = Number(values.seconds);

const file = (name: string) => new URL(`../../demo/speller/${name}.onnx`, import.meta.url).pathname;

/** Servers by name. Several threads of a model are there to show what they do not give. */
function startersOf(index: string): Record<string, () => Promise<EdgeServer>> {
  const model = ["--model", file("decoder"), "--encoder", file("encoder"), "--backend", "wasm"];
  const tokens = ["--start-token", vocabulary.start, "--pad-token", vocabulary.pad];
  const cli = (...flags: (string | number)[]) => () =>
    startCli(index, ...[...model, ...tokens, "--end-token", END_TOKEN, ...flags].map(String));
  const url = new URL(`file://${index}`).href;
  return {
    [BASE]: cli(),
    "web, 1 worker, 2 threads of the model": cli("--threads", 2),
    "web, 2 workers": cli("--workers", 2),
    "web, deno serve --parallel on 2 threads": () => startParallelEdge(2, url, "speller"),
    "native, 1 worker": cli("--runtime", "node"),
    "native, 1 worker, 2 threads of the model": cli("--runtime", "node", "--threads", 2),
    "native, 2 workers": cli("--runtime", "node", "--workers", 2),
    "native, deno serve --parallel on 2 threads": () =>
      startParallelEdge(2, url, "speller", "node"),
  };
}

const folder = await Deno.makeTempDir();
await using servers = new AsyncDisposableStack();
try {
  const [cpu] = cpus();
  console.log(`Deno ${Deno.version.deno}, ${cpus().length} × ${cpu?.model ?? "unknown CPU"}`);
  const { keys } = await loadPlaces();
  const bodies = spellerBodies(keys, BEAMS);
  const index = `${folder}/cities.safetensors`;
  using cities = await indexOf(keys);
  await Deno.writeFile(index, cities.toStream());
  const started: [string, EdgeServer][] = [];
  for (const [name, start] of Object.entries(startersOf(index))) {
    const server = servers.use(await start());
    await closedLoop(server.url, bodies, CLIENTS, 1);
    started.push([name, server]);
  }
  const rates = new Map<string, number[]>(started.map(([name]) => [name, []]));
  console.log(`\nThe demo's model, ${BEAMS} beams, ${CLIENTS} clients, ${values.rounds} rounds`);
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [name, { url }] of started) {
      const { answered, failed } = await closedLoop(url, bodies, CLIENTS, seconds);
      if (failed > 0) throw new Error(`${name}: ${failed} requests have failed`);
      rates.get(name)!.push(answered);
    }
  }
  const base = rates.get(BASE)!;
  for (const [name, server] of started) {
    const own = rates.get(name)!;
    record(BENCH, `${name}: answers`, median(own), "a second");
    record(BENCH, `${name}: times ${BASE}`, median(own.map((rate, i) => rate / base[i])), "×");
    record(BENCH, `${name}: resident memory`, (await server.memory()).now / MB, "MB");
  }
  await writeRecords();
} finally {
  await Deno.remove(folder, { recursive: true });
}
