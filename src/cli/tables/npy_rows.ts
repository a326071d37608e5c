/** Tables from NumPy: a matrix, one sequence per row. */
import { type FileFacts, openFile, type ReadFile } from "../io/files.ts";
import { openNpy, readNpyBlocks } from "../numpy/read_matrix.ts";
import type { RowSource } from "./row_source.ts";

/**
 * Opens a matrix; reads its header.
 *
 * @throws {BuildInputError} if it is none.
 */
export async function openNpyRows(
  name: string,
  { byteLength }: FileFacts,
  signal: AbortSignal,
): Promise<RowSource> {
  // What can be read once only is opened once.
  let file: ReadFile | undefined = await openFile(name);
  const header = await openNpy(file, name, { byteLength }).catch((error) => {
    file?.close();
    throw error;
  });
  const { rows, length, size } = header;
  if (byteLength !== undefined) {
    file.close();
    file = undefined;
  }
  return {
    name,
    rows,
    tokens: rows * length,
    mostTokens: length,
    tokenLimit: 2 ** (8 * size),
    byteLength,
    async *read() {
      using opened = file ?? await openFile(name);
      if (!file) await opened.seek(header.byteLength, Deno.SeekMode.Start);
      let done = header.byteLength;
      for await (
        const { data, rows } of readNpyBlocks(opened, header, name, { byteLength, signal })
      ) {
        const ends = Uint32Array.from({ length: rows }, (_, i) => (i + 1) * length);
        yield { batch: { data, ends }, bytes: done += rows * length * size };
      }
    },
  };
}
