/** The unconstrained search in the same kernels: one state whose row allows every token, at every step. */
import { LEVEL_FIELDS, LEVEL_RECORD_BYTES } from "../../src/index/format/layout.ts";
import { completeLoading } from "../../src/index/level_loading.ts";
import type { LoadedIndex } from "../../src/index/index_memory.ts";
import { WasmHeap } from "../../src/wasm/heap.ts";

/**
 * Storage whose level table says that every token may follow, `length` times. It is no index: winners get
 * the states 0 … vocabSize - 1, which the bench sets back to 0 after each step.
 */
export async function allowEverything(vocabSize: number, length: number): Promise<LoadedIndex> {
  const heap = await WasmHeap.create(1 << 20);
  const words = vocabSize / 32;
  const data = heap.allocate(4 * (words + 1));
  heap.u32(data, words + 1).fill(0xffffffff).fill(0, words);
  const rankWords = Math.floor(vocabSize / 512) + 1;
  const rank = heap.allocate(rankWords * 4);
  const select = heap.allocate(rankWords * 4);
  heap.exports.sampleBits(data, vocabSize, rank, select);
  const table = heap.allocate(length * LEVEL_RECORD_BYTES);
  const record: Partial<Record<typeof LEVEL_FIELDS[number], number>> = {
    EDGES: vocabSize,
    STATES: 1,
    TOKEN_COUNT: vocabSize,
    BITMAP: 1,
    ROW_WORDS: words,
    TOKENS: data,
    TOKENS_RANK: rank,
    TOKENS_SELECT: select,
    INNER_EDGES: vocabSize,
    MAX_BRANCH: vocabSize,
  };
  const fields = LEVEL_FIELDS.map((field) => record[field] ?? 0);
  for (let d = 0; d < length; d++) {
    heap.u32(table + d * LEVEL_RECORD_BYTES, fields.length).set(fields);
  }
  const level = {
    edges: vocabSize,
    states: 1,
    encoding: "bitmap",
    starts: "bits",
    maxBranch: vocabSize,
    tokenMin: 0,
    tokenCount: vocabSize,
    inner: false,
    end: false,
    ends: 0,
  } as const;
  return {
    loading: completeLoading(length),
    heap,
    data,
    dataByteLength: 0,
    table,
    scratch: data,
    shape: { size: 0, vocabSize, levels: Array.from({ length }, () => ({ ...level })) },
    header: {
      tensors: [],
      metadata: {},
      digest: "",
      bytes: new Uint8Array(),
      dataByteLength: 0,
      chunkDigests: [],
    },
  };
}
