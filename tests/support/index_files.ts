/** Index files to load: tiny, of several chunks, of mixed lengths, and versions of each other. */
import { randomSids, V } from "../../bench/lib/support.ts";
import type { ConstraintIndex } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { Random } from "./models.ts";

/** The bytes of an index file. */
export type File = Uint8Array<ArrayBuffer>;

/** Bytes under one digest. */
export const CHUNK = 2 ** 20;

/**
 * Random SIDs, about nine bytes each. Files of equal `rows` and `seed` differ in `flip`, below 2048, and are equally long:
 * headers, too.
 */
export async function sidFile(rows: number, flip = 0, seed = 1): Promise<File> {
  const sids = randomSids(rows, seed);
  for (let i = 0; i < sids.data.length; i++) sids.data[i] ^= flip;
  return takeBytes(await buildIndex(sids, { vocabSize: V }));
}

let large: Promise<File> | undefined;

/** A million SIDs, 9 MB. Built once. */
export function largeFile(): Promise<File> {
  return large ??= sidFile(1_000_000);
}

/** One sequence that takes no data: the file is a header. */
export async function headerOnlyFile(): Promise<File> {
  return takeBytes(await buildIndex([[3, 1, 4]], { vocabSize: 5 }));
}

/** Sequences that all begin with the same token: their first level takes no bytes. */
export async function commonStartFile(): Promise<File> {
  const { data, rows, length } = randomSids(200_000);
  for (let row = 0; row < rows; row++) data[row * length] = 7;
  return takeBytes(await buildIndex({ data, rows, length }, { vocabSize: V }));
}

/** A few hundred sequences: one short chunk. */
export async function smallFile(): Promise<File> {
  return takeBytes(await buildIndex(mixedRows(300, 1), { vocabSize: 64, sorted: false }));
}

/** Sequences of 1 to 6 tokens below 60 000, some of which are the start of others; several chunks. */
export async function mixedFile(): Promise<File> {
  return takeBytes(await buildIndex(mixedRows(900_000, 2, 60_000), { vocabSize: 2 ** 16 }));
}

function* mixedRows(rows: number, seed: number, tokens = 60): Generator<number[]> {
  const random = new Random(seed);
  let row: number[] = [];
  for (let i = 0; i < rows; i++) {
    const rest = row.length > 1 && random.below(3) === 0 ? row.slice(0, -1) : [];
    row = rest.concat(
      Array.from({ length: random.between(1, 6 - rest.length) }, () => random.below(tokens)),
    );
    yield row;
  }
}

/** Bytes of the header of a file. */
export function headerLength(file: File): number {
  return 8 + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
}

/** Bytes of the file at which each level ends. */
export function levelEnds(index: ConstraintIndex, file: File): number[] {
  let end = headerLength(file);
  return index.levels.map(({ byteLength }) => end += byteLength);
}

function takeBytes(index: ConstraintIndex): File {
  using built = index;
  return built.toBytes();
}
