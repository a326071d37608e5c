/** Where figures come from: the machine, the runtime, the code. Every result carries it. */
import { createHash } from "node:crypto";
import { cpus, totalmem } from "node:os";

/** Origin of a result. */
export interface Origin {
  /** Cores, processor, memory. */
  readonly machine: string;
  readonly deno: string;
  /** Digest of the code that decides about speed and size, 12 hex digits. */
  readonly code: string;
  /** Day, ISO 8601. */
  readonly date: string;
}

/** What a step, an index, and what they are compared with are made of. */
const CODE = [
  "../../src/wasm/",
  "../../src/index/",
  "../../src/build/",
  "../../src/kernels/",
  "../../src/decode/",
  "../baselines/",
  "../paper/",
  "./support.ts",
];

/** Origin of what this process measures. Reads the code: some milliseconds. */
export async function origin(): Promise<Origin> {
  const [cpu] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  return {
    machine: `${cpus().length} × ${cpu?.model ?? "unknown CPU"}, ${memory} GiB`,
    deno: Deno.version.deno,
    code: await digestOf(CODE.map((path) => new URL(path, import.meta.url))),
    date: new Date().toISOString().slice(0, 10),
  };
}

/** Of files, and of all files in folders: paths that end in a slash. */
async function digestOf(paths: readonly URL[]): Promise<string> {
  const hash = createHash("sha256");
  const add = async (path: URL): Promise<void> => {
    if (!path.pathname.endsWith("/")) {
      hash.update(path.pathname.split("/").pop()!).update(await Deno.readFile(path));
      return;
    }
    const entries = await Array.fromAsync(Deno.readDir(path));
    entries.sort((a, b) => a.name < b.name ? -1 : 1);
    for (const { name, isDirectory } of entries) {
      await add(new URL(isDirectory ? `${name}/` : name, path));
    }
  };
  for (const path of paths) await add(path);
  return hash.digest("hex").slice(0, 12);
}
