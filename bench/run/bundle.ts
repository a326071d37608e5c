/** What a Worker loads, module and kernels, without onnxruntime-web. */
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { writeBundles } from "../../tools/bundle/bundles.ts";
import { record, writeRecords } from "../lib/records.ts";

const BENCH = "Bundle for Workers";

export async function benchBundle(): Promise<void> {
  console.log(`\n${BENCH}`);
  const folder = await Deno.makeTempDir({ prefix: "espalier-bench-" });
  try {
    const root = pathToFileURL(`${folder}/`);
    const bundles = await writeBundles(root);
    const { files } = bundles.find(({ name }) => name === "workers")!;
    const sizes = await Promise.all(files.map(async (file) => {
      const bytes = await Deno.readFile(new URL(file, root));
      return [bytes.length, gzipSync(bytes, { level: 9 }).length];
    }));
    const sum = (which: number) => sizes.reduce((total, size) => total + size[which], 0) / 1000;
    record(BENCH, "size", sum(0), "kB");
    record(BENCH, "size, gzip", sum(1), "kB", 60);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  await benchBundle();
  await writeRecords();
}
