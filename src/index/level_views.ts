/** Parts of one level as views of the memory, valid until that grows: take them afresh at every call. O(1). */
import type { BitVector } from "./bits/bit_vector.ts";
import { bitVectorWords, packedSections } from "./bits/sections.ts";
import {
  innerEdges,
  LEVEL_FIELDS,
  LEVEL_RECORD_BYTES,
  rowWords,
  tokenBits,
} from "./format/layout.ts";
import type { LoadedIndex } from "./index_memory.ts";

/** A bit vector of level d, which has it. */
export function levelVector(
  loaded: LoadedIndex,
  d: number,
  part: "bitmap" | "starts" | "inner" | "end",
): BitVector {
  const { levels } = loaded.shape;
  const { edges, states, ends } = levels[d];
  const [field, bits, ones] = ({
    bitmap: ["TOKENS", states * rowWords(levels[d]) * 32, edges],
    starts: ["STARTS", edges, states],
    inner: ["INNER", edges, innerEdges(levels, d)],
    end: ["END", edges, ends],
  } as const)[part];
  const [words, ranks, selects] = bitVectorWords(bits, ones);
  return {
    words: view(loaded, d, field, words),
    ranks: view(loaded, d, `${field}_RANK`, ranks),
    selects: view(loaded, d, `${field}_SELECT`, selects),
    bits,
    ones,
  };
}

/** The packed tokens of level d, with their word of slack; none where they take no bits. */
export function levelTokens(loaded: LoadedIndex, d: number): Uint32Array {
  const level = loaded.shape.levels[d];
  const [[, words] = ["", 0]] = packedSections("tokens", level.edges, tokenBits(level));
  return view(loaded, d, "TOKENS", words);
}

/** The edges of level d that are no first child, ascending, where they are listed. */
export function levelList(loaded: LoadedIndex, d: number): Uint32Array {
  const { edges, states } = loaded.shape.levels[d];
  return view(loaded, d, "STARTS", edges - states);
}

function view(
  { heap, table }: LoadedIndex,
  d: number,
  field: typeof LEVEL_FIELDS[number],
  words: number,
): Uint32Array {
  const record = heap.u32(table + d * LEVEL_RECORD_BYTES, LEVEL_FIELDS.length);
  return heap.u32(record[LEVEL_FIELDS.indexOf(field)], words);
}
