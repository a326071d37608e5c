/**
 * `deno task bundle` writes the bundles to dist/ and prints what they weigh. Fails where a Worker's is over budget.
 */
import { type Bundle, writeBundles } from "./bundles.ts";
import { inRepository } from "./plugins.ts";

/** Of what a Worker uploads, compressed. */
const BUDGET = 60_000;

const kB = (bytes: number) => `${(bytes / 1000).toFixed(1)} kB`.padStart(9);

async function weigh({ files }: Bundle, folder: URL): Promise<{ raw: number; gzip: number }> {
  let raw = 0;
  let gzip = 0;
  for (const file of files) {
    const bytes = new Blob([await Deno.readFile(new URL(file, folder))]);
    raw += bytes.size;
    const packed = new Response(bytes.stream().pipeThrough(new CompressionStream("gzip")));
    gzip += (await packed.arrayBuffer()).byteLength;
  }
  return { raw, gzip };
}

const dist = inRepository("dist/");
await Deno.remove(dist, { recursive: true }).catch(() => {});
for (const bundle of await writeBundles(dist)) {
  const { raw, gzip } = await weigh(bundle, dist);
  const limit = bundle.name === "workers" ? `  at most ${kB(BUDGET).trim()}` : "";
  console.log(`${bundle.name.padEnd(20)} ${kB(raw)} ${kB(gzip)} gzip${limit}`);
  if (limit && gzip > BUDGET) Deno.exitCode = 1;
}
