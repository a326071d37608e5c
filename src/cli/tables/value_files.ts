/** Values of `build` beside the sequences: `--filter` and `--items`, one for each row of the input. */
import { BuildInputError } from "../../errors.ts";
import type { FilterValues, ItemIds } from "../../build/mod.ts";
import { lookAt, openFile } from "../io/files.ts";
import { excerpt } from "./row_errors.ts";
import { readLineBatches } from "../io/text_lines.ts";
import { readNpyVector } from "../numpy/read_vector.ts";
import type { Io } from "../io/terminal.ts";
import type { ProgressLine } from "../io/progress_line.ts";

/**
 * Reads the values of a filter: a vector of booleans or integers (.npy), or 0, 1, true or false, one per line.
 *
 * @throws {BuildInputError} naming file and row.
 * @throws {StorageError} if it cannot be read.
 */
export async function readFilter(
  path: string,
  io: Io,
  progress: ProgressLine,
): Promise<FilterValues> {
  if (isNpy(path)) {
    const values = await readVector(path, "flags", io, progress);
    if (!(values instanceof BigInt64Array || values instanceof BigUint64Array)) return values;
    return Uint8Array.from(values, (value) => Number(value !== 0n));
  }
  const flags: boolean[] = [];
  await forEachLine(path, io, progress, "0, 1, true or false", (text, refuse) => {
    const line = text.trim().toLowerCase();
    if (line === "") return;
    const flag = line === "1" || line === "true";
    if (!flag && line !== "0" && line !== "false") throw refuse(flags.length);
    flags.push(flag);
  });
  return flags;
}

/**
 * Reads item ids: a vector of integers (.npy), a JSON string or integer per line (.jsonl, .ndjson), or any other text,
 * of which each line is an id.
 *
 * @throws {BuildInputError} naming file and row.
 * @throws {StorageError} if it cannot be read.
 */
export async function readItems(path: string, io: Io, progress: ProgressLine): Promise<ItemIds> {
  if (isNpy(path)) return await readVector(path, "integers", io, progress);
  const ids: (string | number | bigint)[] = [];
  const isJson = /\.(jsonl|ndjson)$/i.test(path);
  const expected = isJson ? "a JSON string or integer" : "an id in UTF-8";
  await forEachLine(path, io, progress, expected, (line, refuse) => {
    if (!isJson) return ids.push(line);
    if (line.trim() === "") return;
    const id = parseId(line);
    if (id === undefined) throw refuse(ids.length);
    ids.push(id);
  });
  return ids as ItemIds;
}

function isNpy(path: string): boolean {
  return /\.npy$/i.test(path);
}

async function readVector(
  path: string,
  what: Parameters<typeof readNpyVector>[2],
  { signal }: Io,
  progress: ProgressLine,
) {
  const { byteLength } = await lookAt(path);
  using file = await openFile(path);
  const onProgress = (bytes: number, total: number) => progress.show("reading", bytes, total);
  return await readNpyVector(file, path, what, { byteLength, signal, onProgress });
}

/** Reads a string or an integer of any size, which `JSON.parse` would round. */
function parseId(line: string): string | bigint | undefined {
  if (/^\s*-?(0|[1-9]\d*)\s*$/.test(line)) return BigInt(line);
  try {
    const id: unknown = JSON.parse(line);
    return typeof id === "string" ? id : undefined;
  } catch {
    return undefined;
  }
}

/** @param visit is given each line, and how to refuse it as that of a row. */
async function forEachLine(
  path: string,
  { signal }: Io,
  progress: ProgressLine,
  expected: string,
  visit: (line: string, refuse: (row: number) => Error) => void,
): Promise<void> {
  const { kind } = await lookAt(path);
  // What starts with a bracket may be an id.
  if (kind !== undefined && kind !== "JSON" && !kind.startsWith("an HTML")) {
    throw new BuildInputError(
      "wrong-file-type",
      `${path}: expected a .npy file or lines of text, found ${kind}; ${
        kind.includes(".npy") ? "name it *.npy" : "convert it"
      }`,
      { file: path, expected: "npy, text", actual: kind },
    );
  }
  const open = async () => (await openFile(path)).readable;
  for await (const { first, lines } of readLineBatches(open, path, signal)) {
    for (const [i, line] of lines.entries()) {
      visit(line, (row) =>
        new BuildInputError(
          "bad-line",
          `${path}, line ${first + i}: expected ${expected}, found ${excerpt(line)}; mend the line`,
          { expected, row, actual: line, file: path },
        ));
    }
    progress.show("reading line", first);
  }
}
