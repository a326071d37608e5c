/** Sections that packed values and bit vectors take in a file. */
/** One rank sample for so many bits, one select sample for so many ones. */
export const BLOCK_BITS = 512;

/** Words of a bit vector, of its rank samples and of its select samples. */
export function bitVectorWords(bits: number, ones: number): [number, number, number] {
  return [
    Math.floor(bits / 32) + 1,
    Math.floor(bits / BLOCK_BITS) + 1,
    Math.floor(ones / BLOCK_BITS) + 1,
  ];
}

/** Name and size in words of a section. */
export type SectionSize = [name: string, words: number];

/** Sections of a bit vector and its samples. */
export function bitVectorSections(name: string, bits: number, ones: number): SectionSize[] {
  const [words, rank, select] = bitVectorWords(bits, ones);
  return [[name, words], [`${name}.rank`, rank], [`${name}.select`, select]];
}

/** Section of `count` values of so many bits, with its word of slack; none where they take no bits. */
export function packedSections(name: string, count: number, bits: number): SectionSize[] {
  return bits > 0 ? [[name, Math.ceil(count * bits / 32) + 1]] : [];
}
