/** Sections of an index as views of its memory, valid until the memory grows: take them afresh at every call. */
import type { Header } from "../storage/safetensors.ts";
import type { BitVector } from "./bits/bit_vector.ts";
import type { IndexMemory } from "./index_memory.ts";

/** Memory, and what lies where in it. */
export interface Sections extends Pick<IndexMemory, "heap" | "data"> {
  header: Pick<Header, "tensors">;
}

/** Bit vectors behind the levels. */
export type BitVectorName = "items.starts" | "items.ends.high";

/** Sections behind the levels. */
export type SectionName =
  | BitVectorName
  | `${BitVectorName}.${"rank" | "select"}`
  | "items.ids"
  | "items.ends.low"
  | "items.text"
  | "items.order"
  | `filter${number}.${"bits" | "low" | "high" | "entries"}`;

/** Words of a section, padding included; none where the index has no such section. */
export function sectionView(
  { heap, data, header }: Sections,
  name: SectionName,
): Uint32Array<ArrayBuffer> {
  // Filters and items stand last.
  const section = header.tensors.findLast((tensor) => tensor.name === name);
  return section ? heap.u32(data + section.offset, section.byteLength / 4) : new Uint32Array();
}

/** A bit vector with its samples. */
export function bitVectorView(
  sections: Sections,
  name: BitVectorName,
  bits: number,
  ones: number,
): BitVector {
  return {
    words: sectionView(sections, name),
    ranks: sectionView(sections, `${name}.rank`),
    selects: sectionView(sections, `${name}.select`),
    bits,
    ones,
  };
}

/** Writes the samples of a finished bit vector. */
export function writeSamples(sections: Sections, name: BitVectorName, bits: number): void {
  const { words, ranks, selects } = bitVectorView(sections, name, bits, 0);
  sections.heap.exports.sampleBits(
    words.byteOffset,
    bits,
    ranks.byteOffset,
    selects.byteOffset,
  );
}
