/** `deno bench -A bench/deno/`: lookups, 100 a sample, ours beside what JavaScript has for them. */
import { buildIndex } from "../../src/build/mod.ts";
import { trieOf } from "../peers/map_trie.ts";
import { random, randomSids, V } from "../lib/support.ts";

const ROWS = 1e5;
const LOOKUPS = 100;

const index = await buildIndex(randomSids(ROWS), { vocabSize: V });
const all = Array.from({ length: index.size }, (_, i) => index.sequenceAt(i));
const trie = trieOf(all);
const ordinals = new Map(all.map((sequence, ordinal) => [sequence.join(), ordinal]));
const next = random(3);
const picked = Array.from({ length: LOOKUPS }, () => next() % all.length);
const wanted = picked.map((ordinal) => all[ordinal]);

/** Two sides of a lookup. */
function compare(group: string, ours: () => void, other: string, theirs: () => void): void {
  Deno.bench({ name: `Espalier, ${group}`, group, baseline: true, fn: ours });
  Deno.bench({ name: `${other}, ${group}`, group, fn: theirs });
}

compare(
  "has",
  () => wanted.forEach((sequence) => index.has(sequence)),
  "Map of joined tokens",
  () => wanted.forEach((sequence) => ordinals.has(sequence.join())),
);
compare(
  "ordinalOf",
  () => wanted.forEach((sequence) => index.ordinalOf(sequence)),
  "Map of joined tokens",
  () => wanted.forEach((sequence) => ordinals.get(sequence.join())),
);
compare(
  "sequenceAt",
  () => picked.forEach((ordinal) => index.sequenceAt(ordinal)),
  "array of arrays",
  () => picked.forEach((ordinal) => all[ordinal].slice()),
);
compare(
  "allowedTokens behind one token",
  () => wanted.forEach((sequence) => index.allowedTokens(sequence.subarray(0, 1))),
  "trie of Maps",
  () => wanted.forEach((sequence) => Uint32Array.from(trie.get(sequence[0])?.keys() ?? []).sort()),
);
