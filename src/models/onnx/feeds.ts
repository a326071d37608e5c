/** What one call of a decoder graph is fed: ids, masks, positions, caches. */
import { type CacheInfo, type GraphInputs, type IntType, isFree } from "./signature.ts";
import { intTensor, type OrtModule, type Tensor } from "./session.ts";
import type { Prompts } from "./prompts.ts";

/** One call of a decoder graph. */
export interface DecoderCall {
  /** [rows] batch row of each row. */
  readonly batch: Uint32Array;
  /** [rows, new tokens], or [rows, all tokens] for a graph without caches. */
  readonly ids: Tensor;
  /** Caches, and what the encoder made, by input. */
  readonly given: ReadonlyMap<string, Tensor>;
  /** Tokens of each row before this call, the padding in front included. */
  readonly before: number;
  /** New tokens of each row. */
  readonly fresh: number;
  /** [rows] how many of the new tokens are real: padding follows them. Default: all. */
  readonly lengths?: Uint32Array;
  /** Last positions that logits are wanted of. */
  readonly keep: number;
  /** Whether caches go on; if not, the graph begins. */
  readonly usesPast: boolean;
}

/** Feeds of one call. */
export function decoderFeeds(
  ort: OrtModule,
  { ints, hidden, branch, past }: GraphInputs,
  prompts: Prompts,
  isDecoderOnly: boolean,
  { batch, ids, given, before, fresh, lengths, keep, usesPast }: DecoderCall,
): Record<string, Tensor> {
  const rows = batch.length;
  const total = before + fresh;
  const fed = ids.dims[1];
  /** Tokens in front that are only padding, and the place behind the last real one. */
  const padding = (row: number) => isDecoderOnly ? prompts.width - prompts.lengths[batch[row]] : 0;
  const end = (row: number) => before + (lengths?.[row] ?? fresh);
  const feeds: Record<string, Tensor> = { [ints.ids!.name]: ids };
  if (ints.mask) {
    const { name, type } = ints.mask;
    const isReal = (row: number, i: number) => Number(i >= padding(row) && i < end(row));
    feeds[name] = intTensor(ort, type, rows, total, isReal);
  }
  if (ints.positions) {
    const { name, type } = ints.positions;
    // Padding behind a row stays at its last position: the model may have no further ones.
    const at = (row: number, i: number) =>
      Math.max(0, Math.min(total - fed + i, end(row) - 1) - padding(row));
    feeds[name] = intTensor(ort, type, rows, fed, at);
  }
  if (ints.crossMask) {
    feeds[ints.crossMask.name] = promptMask(ort, ints.crossMask.type, prompts, batch);
  }
  if (ints.kept) {
    const { name, type, shape } = ints.kept;
    const count = type === "int64" ? BigInt64Array.of(BigInt(keep)) : Int32Array.of(keep);
    feeds[name] = new ort.Tensor(type, count, shape.map(() => 1));
  }
  if (hidden) feeds[hidden.name] = given.get(hidden.name)!;
  if (branch) feeds[branch] = new ort.Tensor("bool", Uint8Array.of(Number(usesPast)), [1]);
  for (const cache of past) {
    feeds[cache.name] = given.get(cache.name) ?? emptyCache(ort, cache, rows);
  }
  return feeds;
}

/** [rows, width] which tokens of each row's prompt are real, where padding follows them. */
export function promptMask(
  ort: OrtModule,
  type: IntType,
  { width, lengths }: Prompts,
  batch: Uint32Array,
): Tensor {
  return intTensor(ort, type, batch.length, width, (row, i) => Number(i < lengths[batch[row]]));
}

/** A cache of no tokens. */
function emptyCache(ort: OrtModule, { type, shape }: CacheInfo, rows: number): Tensor {
  const dims = shape.map((d, axis) => axis === 0 ? rows : isFree(d) ? 0 : Number(d));
  return type === "float32"
    ? new ort.Tensor("float32", new Float32Array(), dims)
    : new ort.Tensor("float16", new Uint16Array(), dims);
}
