/** What workers of `serve` take, and whether it fits. */
import { DEFAULT_LIMITS } from "../../edge/options.ts";
import { LimitError } from "../../errors.ts";
import { checkMetadata } from "../../index/format/header.ts";
import { loadHeader } from "../../storage/load/load.ts";
import { indexSource } from "../args/index_source.ts";
import { aboutFile } from "../errors.ts";
import { shownName } from "../io/addresses.ts";
import type { ServiceOptions } from "./service.ts";

/** An index takes more than its bytes: tables, workspaces, chunks on their way. */
const ROOM_BYTES = 2 ** 21;

const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;

/**
 * Looks at the header of the index, and sees whether so many workers fit: each takes the index, its compiled filters
 * (those that are kept, and those of a request) and the model. Files of the model stay in memory once more, for a worker
 * that takes the place of another.
 *
 * @returns the share of a worker for indexes and filters, bytes.
 * @throws {LimitError} with code `"memory-limit"` if they do not fit. @throws {EspalierError} naming the file, if it is no
 * index or cannot be read.
 */
export async function shareOfWorker(
  workers: number,
  { argument, s3, files, handler: { memoryBytes = Infinity, limits = {} } }: ServiceOptions,
  signal: AbortSignal,
): Promise<number> {
  if (memoryBytes === Infinity) return Infinity;
  const index = await indexBytes(argument, s3, signal) + ROOM_BYTES;
  const filters = (limits.filterBytes ?? DEFAULT_LIMITS.filterBytes) +
    (limits.requestFilterBytes ?? DEFAULT_LIMITS.requestFilterBytes);
  const model = [files?.decoder, files?.decoderWithPast, files?.encoder]
    .reduce((sum, file) => sum + (file?.byteLength ?? 0), 0);
  const share = Math.floor((memoryBytes - model * (workers + 1)) / workers);
  if (share >= index + filters) return share;
  const needed = workers * (index + filters + model) + model;
  throw new LimitError(
    "memory-limit",
    `Cannot serve with ${workers} workers in ${megabytes(memoryBytes)}: expected ${
      megabytes(needed)
    } or more, because each takes ${megabytes(index)} for the index, ${
      megabytes(filters)
    } for filters and ${megabytes(model)} for the model; give --memory ${
      Math.ceil(needed / 1e6)
    }MB, or fewer --workers`,
    { expected: needed, actual: memoryBytes },
  );
}

async function indexBytes(
  argument: string,
  s3: ServiceOptions["s3"],
  signal: AbortSignal,
): Promise<number> {
  try {
    const source = await indexSource(argument, s3);
    const { header } = await loadHeader(source, { checkMetadata, signal });
    return header.bytes.length + header.dataByteLength;
  } catch (error) {
    signal.throwIfAborted();
    throw aboutFile(error, shownName(argument));
  }
}
