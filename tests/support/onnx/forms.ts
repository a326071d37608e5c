/** The forms of models that exporters write. */

/** What a toy looks like from outside. */
export interface ToyForm {
  /** Whether it is an encoder-decoder. Default false. */
  encoder?: boolean;
  /** Whether it keeps `past_key_values`. Default true. */
  cache?: boolean;
  /** Type of ids, masks and positions. Default int64. */
  ids?: "int64" | "int32";
  /** Type of logits and caches. Default float32. */
  floats?: "float32" | "float16";
  /** Logits of which positions. Default all. */
  positions?: "last" | "all" | "flat" | "kept" | "kept, [1]";
  /** Whether it takes `position_ids`. Default true (decoder-only). */
  positionIds?: boolean;
  /** Whether it takes `attention_mask`: the encoder's, in an encoder-decoder. Default true. */
  mask?: boolean;
  /** Whether tokens are hidden from those before them: of one call, too. Default true. */
  causal?: boolean;
  /** Whether `use_cache_branch` chooses between two graphs in one. Default false. */
  merged?: boolean;
  /** Who makes the caches of cross attention. Default "none": they are computed anew at every step. */
  crossCache?: "none" | "each" | "first" | "encoder";
  /** Whether it is the first graph of two: makes caches, takes none. Default false. */
  twoGraphs?: boolean;
  /** Whether it is the second of two: only goes on with caches. Default false. */
  withPast?: boolean;
  /** W. Default 13. */
  vocabSize?: number;
  /** Heads, size of each. Default 2, 4. */
  heads?: number;
  headSize?: number;
  /** Default 1. */
  layers?: number;
  /** Most positions. Default 64. */
  maxPositions?: number;
  /** Default 1. */
  seed?: number;
}

/** The forms that toys are tested in, with what they are called. */
export const FORMS: Record<string, ToyForm> = {
  "decoder, cache": {},
  "decoder, cache, int32": { ids: "int32" },
  "decoder, cache, half": { floats: "float16" },
  "decoder, cache, last position": { positions: "last" },
  "decoder, cache, [rows, W]": { positions: "flat" },
  "decoder, cache, half, last position": { floats: "float16", positions: "last" },
  "decoder, cache, logits to keep": { positions: "kept" },
  "decoder, cache, logits to keep, [1]": { positions: "kept, [1]" },
  "decoder, cache, positions from the mask": { positionIds: false },
  "decoder, cache, neither mask nor positions": { positionIds: false, mask: false },
  "decoder, cache, no mask": { mask: false },
  "decoder, merged": { merged: true },
  "decoder, two graphs": { twoGraphs: true },
  "decoder, two layers, int32": { layers: 2, heads: 3, headSize: 2, ids: "int32" },
  "decoder, no cache": { cache: false },
  "decoder, no cache, last position, int32": { cache: false, positions: "last", ids: "int32" },
  "decoder, no cache, half": { cache: false, floats: "float16" },
  "decoder, no cache, positions from the mask": { cache: false, positionIds: false },
  "decoder, no cache, neither mask nor positions": {
    cache: false,
    positionIds: false,
    mask: false,
  },
  "encoder-decoder, cache": { encoder: true },
  "encoder-decoder, cache, int32, half": { encoder: true, ids: "int32", floats: "float16" },
  "encoder-decoder, no mask": { encoder: true, mask: false },
  "encoder-decoder, positions": { encoder: true, positionIds: true },
  "encoder-decoder, no cache": { encoder: true, cache: false },
  "encoder-decoder, no cache, last position, half": {
    encoder: true,
    cache: false,
    positions: "last",
    floats: "float16",
  },
  "encoder-decoder, merged, cross caches at each step": {
    encoder: true,
    merged: true,
    crossCache: "each",
  },
  "encoder-decoder, merged, cross caches at the first step": {
    encoder: true,
    merged: true,
    crossCache: "first",
    layers: 2,
  },
  "encoder-decoder, merged, cross caches of the encoder": {
    encoder: true,
    merged: true,
    crossCache: "encoder",
  },
  "encoder-decoder, cross caches of the encoder": { encoder: true, crossCache: "encoder" },
  "encoder-decoder, two graphs": { encoder: true, crossCache: "first", twoGraphs: true },
};

/** Whether a toy hides padding: then prompts may differ in length. */
export const isMasked = ({ mask = true }: ToyForm): boolean => mask;

/** How far half-precision logits may be off: their last bits, at every step. */
export const resolutionOf = ({ floats }: ToyForm): number => floats === "float16" ? 0.02 : 1e-4;

/** Whether a toy gives logits of all tokens that it is fed, which runs need. */
export const scoresRuns = ({ positions = "all" }: ToyForm): boolean =>
  positions !== "last" && positions !== "flat";
