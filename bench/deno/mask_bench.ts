/** `deno bench -A bench/deno/`: masking rows of logits, ours beside a trie of Maps that a user would write. */
import { createDecoder } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { maskByTrie, trieOf } from "../peers/map_trie.ts";
import { L, random, randomSids, V } from "../lib/support.ts";

const ROWS = 1e5;
const MASKED = 20;

const sids = randomSids(ROWS);
const index = await buildIndex(sids, { vocabSize: V });
const decoder = await createDecoder(index, { backend: "wasm" });
const sequences = Array.from({ length: index.size }, (_, i) => index.sequenceAt(i));
const trie = trieOf(sequences);
const logits = new Float32Array(MASKED * V);
const next = random(3);

for (const depth of [0, 1, 2, L - 1]) {
  const group = `mask 20 rows behind prefixes of ${depth}`;
  const prefixes = Array.from(
    { length: MASKED },
    () => sequences[next() % sequences.length].subarray(0, depth),
  );
  Deno.bench({
    name: `Espalier, prefixes of ${depth}`,
    group,
    baseline: true,
    fn: () => decoder.maskLogits(logits, prefixes),
  });
  Deno.bench({
    name: `trie of Maps, prefixes of ${depth}`,
    group,
    fn: () =>
      prefixes.forEach((prefix, row) =>
        maskByTrie(trie, prefix, logits.subarray(row * V, (row + 1) * V))
      ),
  });
}
