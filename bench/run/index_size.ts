/** Size, build time and memory of indexes of random SIDs; memory to load and serve one. */
import { entropyBits } from "../../src/index/entropy.ts";
import { record, writeRecords } from "../lib/records.ts";
import { inProcess, L, MB, V } from "../lib/support.ts";

const BENCH = "Index of random SIDs";

export async function benchIndex(): Promise<void> {
  console.log(`\nIndex of uniform random SIDs, V = ${V}, L = ${L}`);
  const budgets: Record<number, number> = { 1e6: 9.1, 1e7: 8.5 };
  const file = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    for (const rows of [1e6, 1e7]) {
      const built = await inProcess("../children/build.ts", String(rows), file);
      const figure = (what: string, value: number, unit: string, atMost?: number) =>
        record(BENCH, `${rows / 1e6} M items: ${what}`, value, unit, atMost);
      const counts = Array.from({ length: L }, (_, d) => d === L - 1 ? built.size : 0);
      const isLarge = rows === 1e7;
      figure("size", built.byteLength / built.size, "bytes an item", budgets[rows]);
      figure("entropy", entropyBits(V, counts) / 8 / built.size, "bytes an item");
      figure(
        "build from an unsorted Uint16 matrix",
        built.milliseconds / 1000,
        "s",
        isLarge ? 6 : undefined,
      );
      figure("peak memory, matrix included", built.peak / MB, "MB", isLarge ? 480 : undefined);
    }
    const bare = await inProcess("../children/serve.ts");
    const serving = await inProcess("../children/serve.ts", file);
    record(
      BENCH,
      "10 M items: memory to load and serve with two filters, beyond the runtime",
      (serving.peak - bare.peak) / MB,
      "MB",
      128,
    );
  } finally {
    await Deno.remove(file);
  }
}

if (import.meta.main) {
  await benchIndex();
  await writeRecords();
}
