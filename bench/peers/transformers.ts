/**
 * A logits processor of transformers.js as a user writes it, a trie of nested Maps, against ours: milliseconds a call.
 * No model: `_call(input_ids, logits)` as `generate()` calls it.
 *
 * deno task bench:peers [--json FILE]
 */
import { LogitsProcessor, Tensor } from "@huggingface/transformers";
import { buildIndex } from "../../src/build/mod.ts";
import { ConstraintLogitsProcessor } from "../../src/models/transformers/mod.ts";
import { heldBytes, heldSince } from "../baselines/js_heap.ts";
import { record, writeRecords } from "../lib/records.ts";
import { median, random } from "../lib/support.ts";
import { timesInTurns } from "./in_turns.ts";
import { maskByTrie, type Trie, trieOf } from "./map_trie.ts";

const BENCH = "Logits processors of transformers.js";
const V = 151_936;
const ROWS = 20;
const PROMPT = 4;
const LENGTH = 6;
const ITEMS = 3e5;
/** The rounds of the warm-up let V8 compile both sides. */
const ROUNDS = { warmUp: 200, measured: 100 };

class TrieProcessor extends LogitsProcessor {
  readonly #trie: Trie;

  constructor(trie: Trie) {
    super();
    this.#trie = trie;
  }

  override _call(inputIds: bigint[][], logits: Tensor): Tensor {
    const data = logits.data as Float32Array;
    inputIds.forEach((ids, row) => {
      const prefix = ids.slice(PROMPT).map(Number);
      maskByTrie(this.#trie, prefix, data.subarray(row * V, (row + 1) * V));
    });
    return logits;
  }
}

const next = random(1);
const rows = Array.from(
  { length: ITEMS },
  () => Array.from({ length: LENGTH }, (_, d) => d === 0 ? next() % 5000 : next() % V),
);
const before = heldBytes();
const trie = trieOf(rows);
const trieBytes = heldSince(before);
if (trieBytes === undefined) throw new Error("Expected --v8-flags=--expose-gc, found no gc()");
using index = await buildIndex(rows, { vocabSize: V });
record(BENCH, "trie of Maps", trieBytes / ITEMS, "bytes an item");
record(BENCH, "index", index.byteLength / ITEMS, "bytes an item");

const processors = {
  trie: new TrieProcessor(trie),
  ours: new ConstraintLogitsProcessor(index, { promptLength: PROMPT }),
};
const logits = new Tensor("float32", new Float32Array(ROWS * V), [ROWS, V]);
const values = Float32Array.from({ length: ROWS * V }, () => (next() >>> 8) * 2 ** -21 - 4);

for (const depth of [0, 1, LENGTH - 1]) {
  const ids = Array.from({ length: ROWS }, () => {
    const item = rows[next() % ITEMS].slice(0, depth);
    return [...new Array(PROMPT).fill(0), ...item].map(BigInt);
  });
  const kept: Record<string, string> = {};
  const calls = {
    trie: () => processors.trie._call(ids, logits),
    ours: () => processors.ours._call(ids, logits),
  };
  const times = timesInTurns(calls, ROUNDS, {
    prepare: () => (logits.data as Float32Array).set(values),
    done: (name, round) => {
      if (round === 0) kept[name] = (logits.data as Float32Array).join();
    },
  });
  if (kept.trie !== kept.ours) throw new Error(`Both masks differ at prefixes of ${depth} tokens`);
  const what = `${ROWS} rows of ${V} logits behind ${depth} tokens`;
  const [theirs, ours] = [median(times.trie), median(times.ours)];
  record(BENCH, `${what}: trie of Maps`, theirs, "ms a call");
  record(BENCH, `${what}: ours`, ours, "ms a call");
  record(BENCH, `${what}: ours against the trie`, ours / theirs, "×");
}
await writeRecords();
