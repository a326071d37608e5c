/**
 * Masks of an index of strings beside those of a trie of Maps, in turns, and the memory of that trie; run by
 * bench/sets/main.ts in a process of its own, because a large trie may not fit. Argument: the file. Prints JSON.
 */
import { getHeapStatistics } from "node:v8";
import { ConstraintIndex, createDecoder } from "../../mod.ts";
import { heldBytes, heldSince } from "../baselines/js_heap.ts";
import { mapBytes } from "../baselines/map_trie.ts";
import { checkFits } from "../baselines/module.ts";
import { maskByTrie, trieOf } from "../peers/map_trie.ts";
import { median } from "../lib/support.ts";
import { type Figure, MASKED, MASKED_ROWS, MASKS, prefixesOf, randomLogits } from "./rows.ts";

/** Code that has just been compiled is slow: so many masks are not timed. */
const WARM_UP = 50;

using index = await ConstraintIndex.open((await Deno.open(Deno.args[0])).readable);
using decoder = await createDecoder(index, { backend: "wasm" });
const V = index.vocabSize;

// A Map of each state, with few children: less than it will take.
const least = index.levels.reduce((bytes, { states }) => bytes + states * mapBytes(1), 0);
const { heap_size_limit, used_heap_size } = getHeapStatistics();
checkFits("trie of Maps", least, 0.9 * (heap_size_limit - used_heap_size));

function* sequences() {
  for (let ordinal = 0; ordinal < index.size; ordinal++) yield index.sequenceAt(ordinal);
}
const before = heldBytes();
const trie = trieOf(sequences());
const held = heldSince(before);

const next = prefixesOf(index);
const values = randomLogits(MASKED_ROWS * V);
const logits = { ours: values.slice(), theirs: values.slice() };
const times = { ours: [] as number[], theirs: [] as number[] };

const masks = {
  ours: (prefixes: Uint32Array[]) => decoder.maskLogits(logits.ours, prefixes),
  theirs: (prefixes: Uint32Array[]) => {
    for (let row = 0; row < prefixes.length; row++) {
      maskByTrie(trie, prefixes[row], logits.theirs.subarray(row * V, (row + 1) * V));
    }
  },
};
for (let round = 0; round < WARM_UP + MASKS; round++) {
  const prefixes = next();
  const order = round % 2 === 0 ? ["ours", "theirs"] as const : ["theirs", "ours"] as const;
  for (const side of order) {
    logits[side].set(values);
    const start = performance.now();
    masks[side](prefixes);
    const milliseconds = performance.now() - start;
    if (round >= WARM_UP) times[side].push(milliseconds);
  }
  if (round === 0 && logits.ours.some((logit, i) => logit !== logits.theirs[i])) {
    throw new Error("Expected the same logits of both masks, found others");
  }
}
const ratio = median(times.ours.map((ours, i) => ours / times.theirs[i]));
const figures: Figure[] = [
  { name: MASKED, value: median(times.ours), unit: "ms" },
  { name: `${MASKED}, by a trie of Maps`, value: median(times.theirs), unit: "ms" },
  { name: `${MASKED}: ours against the trie`, value: ratio, unit: "×" },
];
if (held !== undefined) {
  figures.push({ name: "the trie of Maps", value: held / index.size, unit: "bytes a string" });
  figures.push({ name: "index against the trie", value: index.byteLength / held, unit: "×" });
}
console.log(JSON.stringify(figures));
