/** NumPy's archives of arrays: zip files of `.npy` files. Loaded when one is read or written. */
// deno-lint-ignore no-import-prefix -- the import map does not apply to who imports this by URL
import { type FileEntry, Reader, ZipReader, ZipWriter } from "npm:@zip.js/zip.js@2.24.0";
import { BuildInputError, EspalierError } from "../../errors.ts";
import { openFile, type ReadFile, readFully } from "../io/files.ts";
import { type NpyValues, readNpyArray } from "./read_array.ts";
import type { WholeFile } from "../io/whole_file.ts";

/** Arrays that can be read one by one. */
export interface ArrayReader {
  /** Without ".npy". */
  readonly names: readonly string[];
  /** Reads one of them: see `readNpyArray`. */
  read(
    name: string,
    what: "integers" | "flags",
    checkShape: (shape: readonly number[]) => void,
  ): Promise<{ values: NpyValues; shape: number[] }>;
}

/** Workers would be loaded from elsewhere. */
const OPTIONS = { useWebWorkers: false };

/** Reads parts of a file. */
class FileReader extends Reader<ReadFile> {
  #file: ReadFile;

  constructor(file: ReadFile, byteLength: number) {
    super(file);
    this.#file = file;
    this.size = byteLength;
  }

  override async readUint8Array(index: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(length);
    await this.#file.seek(index, Deno.SeekMode.Start);
    return bytes.subarray(0, await readFully(this.#file, bytes));
  }
}

/** An archive that is open for reading. */
export class Npz implements ArrayReader, Disposable {
  readonly names: readonly string[];
  #path: string;
  #file: ReadFile;
  #entries: readonly FileEntry[];
  #signal: AbortSignal;
  #onProgress: (bytes: number, total: number) => void;
  /** Bytes of the arrays that have been read. */
  #done = 0;

  private constructor(
    path: string,
    file: ReadFile,
    entries: readonly FileEntry[],
    signal: AbortSignal,
    onProgress: (bytes: number, total: number) => void,
  ) {
    this.#path = path;
    this.#file = file;
    this.#entries = entries;
    this.#signal = signal;
    this.#onProgress = onProgress;
    this.names = entries.map(({ filename }) => filename.replace(/\.npy$/, ""));
  }

  /**
   * Opens an archive and reads what it lists.
   *
   * @param onProgress is told how much of all arrays has been read.
   * @throws {BuildInputError} with code `"bad-zip"`.
   * @throws {StorageError} if the file cannot be read.
   */
  static async open(
    path: string,
    signal: AbortSignal,
    onProgress: (bytes: number, total: number) => void = () => {},
  ): Promise<Npz> {
    const file = await openFile(path);
    try {
      const { size } = await file.stat();
      const entries = await new ZipReader(new FileReader(file, size), OPTIONS).getEntries();
      const files = entries.filter((entry) => !entry.directory);
      return new Npz(path, file, files, signal, onProgress);
    } catch (error) {
      file.close();
      signal.throwIfAborted();
      throw error instanceof EspalierError ? error : badZip(path, error);
    }
  }

  async read(...[name, what, checkShape]: Parameters<ArrayReader["read"]>) {
    const entry = this.#entries[this.names.indexOf(name)];
    const signal = this.#signal;
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const source = new StreamFile(readable);
    const unpacking = entry.getData(writable, { ...OPTIONS, checkSignature: true, signal });
    // Where unpacking fails, the stream may not: it would be waited for in vain.
    const failure = new Promise<never>((_, reject) => unpacking.catch(reject));
    try {
      const total = this.#entries.reduce((sum, { uncompressedSize }) => sum + uncompressedSize, 0);
      const onProgress = (bytes: number) => this.#onProgress(this.#done + bytes, total);
      const options = { byteLength: entry.uncompressedSize, signal, onProgress };
      const reading = readNpyArray(source, entry.filename, what, options, checkShape);
      const array = await Promise.race([reading, failure]);
      await unpacking;
      this.#done += entry.uncompressedSize;
      return array;
    } catch (error) {
      signal.throwIfAborted();
      throw aboutArray(this.#path, name, error);
    } finally {
      await source.cancel();
    }
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** A stream that is read like a file. */
class StreamFile {
  #reader: ReadableStreamDefaultReader<Uint8Array>;
  #rest = new Uint8Array();

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (this.#rest.length === 0) {
      const { value, done } = await this.#reader.read();
      if (done) return null;
      this.#rest = value as Uint8Array<ArrayBuffer>;
    }
    const part = this.#rest.subarray(0, into.length);
    into.set(part);
    this.#rest = this.#rest.subarray(part.length);
    return part.length;
  }

  async cancel(): Promise<void> {
    await this.#reader.cancel().catch(() => {});
  }
}

/** The same error, saying which array of which archive it is about. */
function aboutArray(file: string, section: string, error: unknown): EspalierError {
  if (!(error instanceof EspalierError)) return badZip(file, error);
  const { name: _name, code, ...facts } = error;
  const kind = error.constructor as typeof EspalierError;
  return new kind(code, `${file}: ${error.message}`, { ...facts, file, section }, { cause: error });
}

/** What is no error of ours comes from the archive. */
function badZip(file: string, cause: unknown): BuildInputError {
  const what = cause instanceof Error ? cause.message : String(cause);
  return new BuildInputError(
    "bad-zip",
    `${file}: expected a whole .npz archive, found a damaged or cut one (${what}); copy or save it again`,
    { file, actual: what },
    { cause },
  );
}

/**
 * Writes an archive, without compression, as `np.savez` does. Equal files make equal bytes.
 *
 * @throws the reason of the signal, once it is aborted.
 */
export async function writeNpz(
  out: WholeFile,
  files: readonly ArrayFile[],
  signal: AbortSignal,
  onProgress: (bytes: number, total: number) => void,
): Promise<void> {
  const total = files.reduce((sum, { byteLength }) => sum + byteLength, 0);
  let written = 0;
  const target = new WritableStream<Uint8Array>({
    async write(bytes) {
      signal.throwIfAborted();
      await out.write(bytes);
      onProgress(written += bytes.length, total);
    },
  });
  const zip = new ZipWriter(target, {
    ...OPTIONS,
    level: 0,
    extendedTimestamp: false,
    lastModDate: new Date(1980, 0, 1),
    signal,
  });
  for (const { name, byteLength, chunks } of files) {
    await zip.add(name, ReadableStream.from(chunks), { zip64: byteLength > 2 ** 31 });
  }
  await zip.close();
}

/** An array of NumPy that is written piece by piece. */
/** A file of an archive. */
export interface ArrayFile {
  name: string;
  byteLength: number;
  /** Its bytes, to be read once. */
  chunks: Iterable<Uint8Array<ArrayBuffer>>;
}
