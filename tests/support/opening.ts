/** Opening as tests want it: its bytes, or the error that it should give. */
import assert from "node:assert/strict";
import {
  ConstraintIndex,
  type EspalierError,
  type IndexSource,
  type OpenOptions,
} from "../../mod.ts";

/** Opens an index and gives the bytes that it holds. */
export async function opens(
  source: IndexSource,
  options?: OpenOptions,
): Promise<Uint8Array<ArrayBufferLike>> {
  using index = await ConstraintIndex.open(source, options);
  return index.toBytes();
}

/** Makes sure that opening fails with a class of errors and a code. */
export function refuses(
  source: IndexSource,
  type: typeof EspalierError,
  code: string,
  options?: OpenOptions,
): Promise<void> {
  return assert.rejects(
    opens(source, options),
    (error) => error instanceof type && error.code === code,
    code,
  );
}
