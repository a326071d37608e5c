/** Files that commands read: found by pattern, opened, told apart by their first bytes. */

import { StorageError } from "../../errors.ts";

/**
 * Opens a file for reading.
 *
 * @throws {StorageError} if it is missing or may not be read.
 */
export async function openFile(path: string): Promise<ReadFile> {
  return new ReadFile(path, await access(path, () => Deno.open(path)));
}

/** Bytes that a stream reads at a time, unless its reader has a buffer of its own. */
const STREAM_CHUNK_BYTES = 2 ** 16;

/** An open file. Unlike those of Deno, its errors say which file cannot be read. */
export class ReadFile implements Disposable {
  #path: string;
  #file: Deno.FsFile;
  #isClosed = false;

  constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
  }

  /** Reads what comes next, at most to the end of `into`; null at the end. @throws {StorageError} */
  read(into: Uint8Array): Promise<number | null> {
    return access(this.#path, () => this.#file.read(into));
  }

  /** Goes to a place. @throws {StorageError} if the file is a pipe. */
  seek(offset: number, whence: Deno.SeekMode): Promise<number> {
    return access(this.#path, () => this.#file.seek(offset, whence));
  }

  /** What is known of it. @throws {StorageError} */
  stat(): Promise<Deno.FileInfo> {
    return access(this.#path, () => this.#file.stat());
  }

  /** What comes next, to the end, which closes the file. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: STREAM_CHUNK_BYTES,
      pull: async (controller) => {
        const request = controller.byobRequest!;
        const { buffer, byteOffset, byteLength } = request.view!;
        try {
          const count = await this.read(new Uint8Array(buffer, byteOffset, byteLength));
          if (count === null) {
            this.close();
            controller.close();
          }
          request.respond(count ?? 0);
        } catch (error) {
          this.close();
          throw error;
        }
      },
      cancel: () => this.close(),
    });
  }

  /** Closes it, unless it is. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#file.close();
  }

  /** Closes it, unless it is. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Files that arguments name: themselves, or all that a pattern with * or ? stands for, in the order of their numbers
 * (part-2 before part-10).
 *
 * @throws {StorageError} for a pattern that stands for none.
 */
export async function expandFiles(args: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const arg of args) {
    const isPattern = /[*?]/.test(arg) && !await Deno.stat(arg).then(() => true, () => false);
    const found = isPattern ? await matchingFiles(arg) : [arg];
    if (found.length === 0) {
      throw new StorageError("not-found", `Cannot read "${arg}": no file matches; check the path`, {
        file: arg,
      });
    }
    files.push(...found);
  }
  return files;
}

async function matchingFiles(pattern: string): Promise<string[]> {
  const [root] = /^\/*/.exec(pattern)!;
  let found = [root];
  for (const part of pattern.slice(root.length).split("/")) {
    if (!/[*?]/.test(part)) {
      found = found.map((folder) => `${folder}${part}/`);
      continue;
    }
    const expression = wildcards(part);
    const below = found.map(async (folder) => {
      try {
        const names = (await Array.fromAsync(Deno.readDir(folder || "."))).map(({ name }) => name);
        return names.filter((name) => expression.test(name) && !name.startsWith("."))
          .map((name) => `${folder}${name}/`);
      } catch {
        return [];
      }
    });
    found = (await Promise.all(below)).flat();
  }
  const files = [];
  for (const path of found.map((path) => path.slice(0, -1))) {
    if (await Deno.stat(path).then(({ isDirectory }) => !isDirectory, () => false)) {
      files.push(path);
    }
  }
  return files.sort(byNumber);
}

/** A pattern in which * stands for anything and ? for one character. */
export function wildcards(pattern: string): RegExp {
  const escaped = pattern.replace(/[\\^$.+()[\]{}|]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`, "su");
}

/** Orders names by the numbers in them: c2 before c10. */
export const byNumber = new Intl.Collator("en", { numeric: true }).compare;

/** What is known of a file before it is read. */
export interface FileFacts {
  /** What it seems to be. */
  readonly kind?: string;
  /** Bytes; undefined for what is no ordinary file, such as a pipe, which can be read once only. */
  readonly byteLength?: number;
}

/**
 * Looks at the first bytes of a file, and at nothing of a pipe.
 *
 * @throws {StorageError} if it is missing, a folder, or may not be read.
 */
export async function lookAt(path: string): Promise<FileFacts> {
  const { isFile, isDirectory, size } = await access(path, () => Deno.stat(path));
  if (isDirectory) {
    throw new StorageError("not-a-file", `Cannot read "${path}": expected a file, found a folder`, {
      file: path,
    });
  }
  if (!isFile) return {};
  using file = await openFile(path);
  const start = new Uint8Array(16);
  const count = await readFully(file, start);
  return { kind: kindOf(start.subarray(0, count)), byteLength: size };
}

async function access<T>(path: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    const isMissing = cause instanceof Deno.errors.NotFound;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new StorageError(
      isMissing ? "not-found" : "not-readable",
      `Cannot read "${path}": ${isMissing ? "there is no such file; check the path" : reason}`,
      { file: path },
      { cause },
    );
  }
}

/**
 * Fills an array from a file, or as much of it as there is; returns how many bytes came.
 *
 * @throws the reason of the signal, once it is aborted.
 */
export async function readFully(
  file: { read(into: Uint8Array): Promise<number | null> },
  into: Uint8Array,
  signal?: AbortSignal,
  onProgress?: (bytes: number) => void,
): Promise<number> {
  const PIECE = 2 ** 23;
  let filled = 0;
  while (filled < into.length) {
    signal?.throwIfAborted();
    const count = await file.read(into.subarray(filled, filled + PIECE));
    if (count === null) break;
    filled += count;
    onProgress?.(filled);
  }
  return filled;
}

const SIGNATURES: readonly [kind: string, bytes: string][] = [
  ["a NumPy array (.npy)", "\x93NUMPY"],
  ["a gzip file", "\x1f\x8b"],
  ["a Zstandard file", "\x28\xb5\x2f\xfd"],
  ["a zip archive or .npz", "PK\x03\x04"],
  ["a Parquet file", "PAR1"],
  ["an Arrow file", "ARROW1"],
  ["a pickle", "\x80\x04"],
  ["an HTML or XML page", "<"],
];

/** What a file seems to be, from its first 16 bytes; undefined where they say nothing. */
export function kindOf(start: Uint8Array): string | undefined {
  const text = String.fromCharCode(...start.subarray(0, 16));
  // First, because its length word may start like anything else.
  if (text.slice(4, 9) === "\0\0\0\0{") return "a safetensors file";
  const known = SIGNATURES.find(([, signature]) => text.startsWith(signature));
  if (known) return known[0];
  return /^(?:\xef\xbb\xbf)?\s*[[{]/.test(text) ? "JSON" : undefined;
}
