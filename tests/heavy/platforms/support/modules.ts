/** What a Worker is made of. */
import { readdir } from "node:fs/promises";
import type { WorkerModule } from "../../storage/servers/r2.ts";

/** The files of a folder, the entry point first. */
export async function modulesIn(folder: string): Promise<WorkerModule[]> {
  const names = (await readdir(folder)).sort((a, b) => +(b === "worker.js") - +(a === "worker.js"));
  return await Promise.all(names.map(async (path) => ({
    type: path.endsWith(".wasm") ? "CompiledWasm" as const : "ESModule" as const,
    path,
    contents: path.endsWith(".wasm")
      ? await Deno.readFile(`${folder}/${path}`)
      : await Deno.readTextFile(`${folder}/${path}`),
  })));
}
