/** Size, build time and memory of indexes of random SIDs; memory to load and serve one. */
import { inProcess, L, line, MB, V } from "./support.ts";

/** log2 of C(U, n) for n far below U, in bytes per item. */
function entropyBytes(log2Universe: number, n: number): number {
  const stirling = 0.5 * Math.log2(2 * Math.PI * n) / n;
  return (log2Universe - Math.log2(n) + Math.LOG2E - stirling) / 8;
}

export async function benchIndex(): Promise<void> {
  console.log(`\nIndex of uniform random SIDs, V = ${V}, L = ${L}`);
  const budgets: Record<number, number> = { 1e6: 9.1, 1e7: 8.5 };
  const file = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    for (const rows of [1e6, 1e7]) {
      const built = await inProcess("./build_process.ts", String(rows), file);
      const perItem = built.byteLength / built.size;
      line(`${rows} items: bytes per item`, perItem.toFixed(3), `at most ${budgets[rows]}`);
      line(`  entropy of the set, bytes per item`, entropyBytes(L * Math.log2(V), rows).toFixed(3));
      line(
        `  build from an unsorted Uint16 matrix`,
        `${(built.milliseconds / 1000).toFixed(2)} s`,
        rows === 1e7 ? "at most 6 s" : "",
      );
      line(
        `  peak memory of the process, matrix included`,
        `${(built.peak / MB).toFixed(0)} MB`,
        rows === 1e7 ? "at most 480 MB" : "",
      );
    }
    const bare = await inProcess("./serve_process.ts");
    const serving = await inProcess("./serve_process.ts", file);
    line(
      "10000000 items, two filters: memory to load and serve",
      `${((serving.peak - bare.peak) / MB).toFixed(0)} MB`,
      "at most 128 MB beyond the runtime",
    );
  } finally {
    await Deno.remove(file);
  }
}

if (import.meta.main) await benchIndex();
