/** Whole indexes, read from where an argument says and written to files. */
import { ConstraintIndex } from "../../index/constraint_index.ts";
import { indexSource } from "./index_source.ts";
import { shownName } from "../io/addresses.ts";
import { aboutFile } from "../errors.ts";
import type { Io } from "../io/terminal.ts";
import type { ProgressLine } from "../io/progress_line.ts";
import type { WholeFile } from "../io/whole_file.ts";
import type { S3Flags } from "./s3_flags.ts";

/**
 * Reads an index, "-" from standard input; header and digests are checked.
 *
 * @param verify checks the structure as well.
 * @throws {EspalierError} naming the file, if it is no index or cannot be read.
 * @throws {UsageError} if an address is none, or one in S3 lacks its credentials.
 */
export async function openIndex(
  argument: string,
  s3: S3Flags,
  { signal, stdin }: Io,
  progress: ProgressLine,
  verify?: true,
): Promise<ConstraintIndex> {
  try {
    return await ConstraintIndex.open(await indexSource(argument, s3, stdin), {
      verify,
      signal,
      onProgress: (bytes, total) =>
        progress.show(verify ? "verifying" : "reading", bytes, total, { bytes }),
    });
  } catch (error) {
    throw aboutFile(error, shownName(argument));
  }
}

/**
 * Writes an index to a file that is under construction.
 *
 * @throws {StorageError} if it cannot be written; the reason of the signal, once it is aborted.
 */
export async function saveIndex(
  index: ConstraintIndex,
  out: WholeFile,
  { signal }: Io,
  progress: ProgressLine,
): Promise<void> {
  let written = 0;
  for await (const chunk of index.toStream()) {
    signal.throwIfAborted();
    await out.write(chunk);
    written += chunk.length;
    progress.show("writing", written, index.byteLength, { bytes: written });
  }
}
