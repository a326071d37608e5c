/** Checks a stored index without keeping it. */
import { checkMetadata, decodeShape } from "../index/format/header.ts";
import { load } from "../storage/load/load.ts";
import type { TransferOptions } from "../storage/load/options.ts";
import { CHUNK_BYTES } from "../storage/safetensors.ts";
import type { IndexSource } from "../storage/source.ts";

/**
 * Reads an index once and checks header and digests. Memory: one chunk, and the copies that WebCrypto makes of what it
 * digests.
 *
 * @throws what opening it would throw.
 */
export async function verifyStream(source: IndexSource, options: TransferOptions): Promise<void> {
  // In order, one request at a time: one chunk is incomplete at most, and those before it have been digested from a copy.
  // A cache must not see this: it would be given the one chunk over and over.
  const { cache: _, ...transfer } = options;
  const chunk = new Uint8Array(CHUNK_BYTES);
  await load(source, {
    ...transfer,
    parallel: 1,
    checkMetadata,
    prepare: (header) => {
      decodeShape(header);
      const view = (offset: number, length: number) => {
        const start = offset % CHUNK_BYTES;
        return chunk.subarray(start, start + length);
      };
      return Promise.resolve({ view });
    },
  });
}
