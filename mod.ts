/**
 * Espalier keeps a generative model inside a set of allowed token sequences.
 *
 * This entry point is all that a request needs: open an index, search it, mask with it. Building is in
 * `./build`. Importing it reaches no network, file or GPU.
 *
 * @module
 */
export { ConstraintIndex, type OpenOptions } from "./src/index/constraint_index.ts";
export { type LevelInfo } from "./src/index/level_info.ts";
export type { Encoding, Starts } from "./src/index/format/layout.ts";
export type { FilterExpression } from "./src/index/filter_expression.ts";
export { type AllowedItems, ItemFilter } from "./src/index/item_filter.ts";
export type { IndexSource } from "./src/storage/source.ts";
export type { ByteRange, ByteSource } from "./src/storage/stored_object.ts";
export { type R2Bucket, type R2ObjectBody, r2Source } from "./src/storage/r2.ts";
export type { TransferOptions } from "./src/storage/load/options.ts";
export { createDecoder, type Decoder, type DecoderOptions } from "./src/decode/decoder.ts";
export type { DeviceOptions } from "./src/decode/find_gpu.ts";
export { reorderRows, type RowsToReorder } from "./src/kernels/webgpu/reorder.ts";
export {
  type Duplicates,
  type FoundItem,
  itemsOf,
  type ItemsOptions,
} from "./src/decode/found_items.ts";
export { type FoundSequence, sequencesOf } from "./src/decode/found_sequences.ts";
export type { MaskOptions } from "./src/decode/mask.ts";
export type {
  Backend,
  BeamSearchOptions,
  BeamSearchResult,
  GpuLogits,
  GpuModel,
  GpuModelInput,
  GpuRunInput,
  GpuRunLogits,
  Logits,
  Model,
  ModelInput,
  Normalize,
  RunInput,
} from "./src/decode/types.ts";
export {
  BackendError,
  BuildInputError,
  type ErrorFacts,
  EspalierError,
  IndexChangedError,
  IndexFormatError,
  IndexIntegrityError,
  LimitError,
  ModelOutputError,
  StorageError,
} from "./src/errors.ts";
