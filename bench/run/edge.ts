/**
 * The HTTP handler under `deno serve` with the demo's model and index, load from a second process: this one.
 *
 * deno task bench:edge [--seconds N] [--json FILE]
 */
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { loadPlaces } from "../../demo/places.ts";
import { indexOf } from "../../demo/search.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { closedLoop, type LoadReport, openLoop } from "../lib/load.ts";
import { startEdge } from "../lib/edge_server.ts";
import { coldStarts, heldMemory } from "../lib/edge_start.ts";
import { serve } from "../lib/file_server.ts";
import { record, writeRecords } from "../lib/records.ts";
import { spellerBodies } from "../lib/speller_bodies.ts";
import { MB, randomSids, V } from "../lib/support.ts";

const BEAMS = 20;
const CLIENTS = [1, 8, 64];
const OVERLOAD = 10;
const SETS = { "1 M items": 1e6, "10 M items": 1e7 };

const { values } = parseArgs({
  options: { seconds: { type: "string", default: "10" }, json: { type: "string" } },
});
const seconds = Number(values.seconds);

const [cpu] = cpus();
const machine = `Deno ${Deno.version.deno}, ${cpus().length} × ${cpu?.model ?? "unknown CPU"}`;

async function writeIndexes(folder: string, keys: readonly string[]): Promise<void> {
  using cities = await indexOf(keys);
  await Deno.writeFile(`${folder}/cities.safetensors`, cities.toStream());
  for (const rows of Object.values(SETS)) {
    const bits = (byte: number) => new Uint8Array(rows).map((_, row) => byte >> (row & 7) & 1);
    using index = await buildIndex(randomSids(rows), {
      vocabSize: V,
      filters: { even: bits(0x55), odd: bits(0xaa) },
    });
    await Deno.writeFile(`${folder}/${rows}.safetensors`, index.toStream());
  }
}

function show(name: string, { offered, answered, refused, failed, p50, p99 }: LoadReport): void {
  const figure = (what: string, value: number, unit: string, atMost?: number) =>
    record("HTTP handler under load", `${name}: ${what}`, value, unit, atMost);
  figure("requests", offered, "a second");
  figure("answers", answered, "a second");
  figure("p50", p50, "ms");
  figure("p99", p99, "ms");
  figure("503", refused, "answers");
  figure("failed", failed, "answers", 0);
}

async function load(index: string, bodies: readonly string[]) {
  console.log(`\nThe demo's model, ${BEAMS} beams, a prompt each: answers`);
  await using server = await startEdge(index, "speller");
  await closedLoop(server.url, bodies, 2, seconds / 2);
  const reports: Record<string, LoadReport> = {};
  for (const clients of CLIENTS) {
    const name = `${clients} ${clients === 1 ? "client" : "clients"}`;
    show(name, reports[name] = await closedLoop(server.url, bodies, clients, seconds));
  }
  const most = Math.max(...Object.values(reports).map(({ answered }) => answered));
  const memory = async (when: string) =>
    record("HTTP handler under load", when, (await server.memory()).now / MB, "MB");
  await memory("resident memory before the overload");
  for (const round of ["", ", again", ", and again"]) {
    const name = `${OVERLOAD} × as many as that${round}`;
    show(name, reports[name] = await openLoop(server.url, bodies, OVERLOAD * most, seconds));
    await memory(`${name}: resident memory after`);
  }
}

const folder = await Deno.makeTempDir();
try {
  await Deno.chmod(folder, 0o755);
  console.log(machine);
  const { keys } = await loadPlaces();
  const bodies = spellerBodies(keys, BEAMS);
  await writeIndexes(folder, keys);
  await using store = await serve(folder);
  await load(`${store.url}/cities.safetensors`, bodies);
  const demo = { file: "cities.safetensors", body: bodies[0] };
  await coldStarts(store, `${1e6}.safetensors`, demo);
  await heldMemory(
    store,
    Object.fromEntries(Object.entries(SETS).map(([name, rows]) => [name, `${rows}.safetensors`])),
  );
  await writeRecords();
} finally {
  await Deno.remove(folder, { recursive: true });
}
