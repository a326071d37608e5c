/** From the FILE or URL of a subcommand to something that an index is opened from. */
import { IndexFormatError } from "../errors.ts";
import type { IndexSource } from "../storage/source.ts";
import { isAddress, lookAt, openFile, UsageError } from "./input.ts";

/**
 * An index that is about to be read.
 *
 * @throws {IndexFormatError} if a file is of a well-known other kind.
 * @throws {StorageError} if a file cannot be read.
 * @throws {UsageError} if an address is none.
 */
export async function indexSource(argument: string): Promise<IndexSource> {
  if (isAddress(argument)) {
    if (!URL.canParse(argument)) throw new UsageError(`Expected a URL, found "${argument}"`);
    return new URL(argument);
  }
  const { kind, byteLength } = await lookAt(argument);
  if (kind !== undefined && kind !== "a safetensors file") {
    throw new IndexFormatError(
      "wrong-file-type",
      `${argument}: expected an index file, found ${kind}; ${wayOut(kind)}`,
      { file: argument, expected: "safetensors", actual: kind, offset: 0 },
    );
  }
  // A pipe can be read once only.
  if (byteLength === undefined) return await openFile(argument);
  return {
    byteLength,
    async read({ start } = { start: 0 }) {
      const file = await openFile(argument);
      await file.seek(start, Deno.SeekMode.Start);
      return file.readable;
    },
  };
}

function wayOut(kind: string): string {
  if (kind.startsWith("a gzip") || kind.startsWith("a Zstandard")) return "unpack it first";
  if (kind.includes("NumPy") || kind === "JSON") return 'make an index of it with "cli build"';
  return 'an index is made with "cli build"';
}
