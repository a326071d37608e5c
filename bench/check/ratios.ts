/** The ratios that are watched, and what they may be: a third or so above what they were on a quiet machine. */
import { ConstraintIndex, createDecoder, type Decoder, type ItemFilter } from "../../mod.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { WasmKernel } from "../../src/kernels/wasm/kernel.ts";
import { passesOver, stepsOf } from "../lib/kernel_search.ts";
import { serve } from "../lib/file_server.ts";
import { B, L, M, randomIndex, randomLogits, V } from "../lib/support.ts";
import { allowEverything } from "../lib/unconstrained.ts";
import type { Ratio } from "./judge.ts";

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/** Ratios, ready to be measured. Disposing frees their indexes and ends their server. */
export async function watchedRatios(): Promise<{ ratios: Ratio[] } & AsyncDisposable> {
  const logits = randomLogits(L);
  const small = await randomIndex(1e5);
  const large = await randomIndex(1e6);
  const filter = large.filter({ bits: new Uint8Array(Math.ceil(large.size / 8)).fill(0x11) });
  const onSmall = await createDecoder(small, { backend: "wasm" });
  const onLarge = await createDecoder(large, { backend: "wasm" });
  const everything = await allowEverything(V, L);
  const { read, logSumExp } = passesOver(logits[1], everything.heap);
  const free = new WasmKernel(await allowEverything(V, L));
  const held = new WasmKernel(loadedIndexOf(large));
  const folder = await Deno.makeTempDir({ prefix: "espalier-bench-" });
  await Deno.writeFile(`${folder}/index.safetensors`, large.toStream());
  // The same server everywhere: nginx is not on every machine.
  const server = await serve(folder, 0);
  const url = `${server.url}/index.safetensors`;
  const constrained = () => sum(stepsOf(held, logits));

  /** Milliseconds of a search, without the time in which the model writes its logits. */
  const search = (decoder: Decoder, filter?: ItemFilter) => async () => {
    let writing = 0;
    const start = performance.now();
    await decoder.beamSearch(({ step, rows, out }) => {
      const began = performance.now();
      out.set(logits[step].subarray(0, rows * V));
      writing += performance.now() - began;
      return out;
    }, { batchSize: B, beamSize: M, filter });
    return performance.now() - start - writing;
  };
  const since = async (work: () => Promise<unknown>) => {
    const start = performance.now();
    await work();
    return performance.now() - start;
  };

  const { table, sumBlocks, sumBlocksSlot } = everything.heap.exports;
  const isFused = table.get(sumBlocksSlot()) !== sumBlocks;
  const ratios: Ratio[] = [
    {
      name: "log-sum-exp against a read pass",
      // Engines without fused multiply-add take the other loop.
      atMost: isFused ? 10.5 : 13,
      sides: { logSumExp, read },
      rounds: 400,
      of: (best) => best.logSumExp / best.read,
    },
    {
      name: "constraint a step against a read pass, 1 M items",
      atMost: 1.2,
      sides: { constrained, logSumExp, read },
      rounds: 200,
      of: (best) => (best.constrained - best.logSumExp * (L - 1 + 1 / M)) / L / best.read,
    },
    {
      name: "constrained search against unconstrained, 1 M items",
      atMost: 0.95,
      sides: { constrained, unconstrained: () => sum(stepsOf(free, logits, true)) },
      rounds: 200,
      of: (best) => best.constrained / best.unconstrained,
    },
    {
      name: "filtered search against unfiltered, 1 M items, 25 % allowed",
      atMost: 1.15,
      sides: { filtered: search(onLarge, filter), unfiltered: search(onLarge) },
      rounds: 200,
      of: (best) => best.filtered / best.unfiltered,
    },
    {
      name: "search at 1 M items against 0.1 M",
      atMost: 1.15,
      sides: { large: search(onLarge), small: search(onSmall) },
      rounds: 200,
      of: (best) => best.large / best.small,
    },
    {
      name: "open against fetch, 1 M items",
      // Digests hide behind the network where a second core is idle, and on busy machines none is.
      atMost: 1.6,
      sides: {
        open: () =>
          since(async () => {
            using _ = await ConstraintIndex.open(url);
          }),
        fetch: () => since(async () => await (await fetch(url)).arrayBuffer()),
      },
      rounds: 25,
      of: (best) => best.open / best.fetch,
    },
  ];
  return {
    ratios,
    async [Symbol.asyncDispose]() {
      filter[Symbol.dispose]();
      for (const decoder of [onSmall, onLarge]) decoder[Symbol.dispose]();
      for (const index of [small, large]) index[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}
