/** Files that appear whole or not at all. */
import { basename, dirname, join } from "node:path";
import { StorageError } from "../../errors.ts";
import { createLocked, removeStaleFiles } from "./stale_files.ts";

/**
 * A file under construction: it stands beside its place as `.NAME.espalier-<random>.tmp` until it is published.
 * Disposing of it removes it unless it was. Where the process is killed, the next one that writes there does.
 *
 * @example
 * ```ts ignore
 * await using file = await WholeFile.create("index.safetensors");
 * await file.write(bytes);
 * await file.seal();
 * await file.publish();
 * ```
 */
export class WholeFile implements AsyncDisposable {
  #path: string;
  #temporary: string;
  /** Open, and so locked, until it is in its place. */
  #file: Deno.FsFile;
  #isSealed = false;
  #isPublished = false;
  #isDisposed = false;

  private constructor(path: string, temporary: string, file: Deno.FsFile) {
    this.#path = path;
    this.#temporary = temporary;
    this.#file = file;
  }

  /**
   * Starts a file that is to stand at `path`. What stands there now stays until {@linkcode publish}.
   *
   * @throws {StorageError} if the folder is missing or read-only, or if something other than a file is there.
   */
  static async create(path: string): Promise<WholeFile> {
    // Renaming onto a device would replace it, onto a folder would fail after all the work.
    const present = await Deno.stat(path).catch(() => undefined);
    if (present && !present.isFile) {
      throw cannotWrite(path, "something other than a file is there; choose another name");
    }
    const [folder, name] = [dirname(path), `.${basename(path)}.espalier-`];
    const escaped = name.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
    await removeStaleFiles(folder, new RegExp(`^${escaped}[0-9a-f]{8}\\.tmp$`));
    const temporary = join(folder, `${name}${crypto.randomUUID().slice(0, 8)}.tmp`);
    try {
      return new WholeFile(path, temporary, await createLocked(temporary));
    } catch (cause) {
      if (cause instanceof Deno.errors.NotFound) {
        throw cannotWrite(path, `the folder "${folder}" does not exist; create it`, cause);
      }
      throw cannotWrite(path, reason(cause), cause);
    }
  }

  /** Appends bytes. */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      if (this.#isSealed) throw new Error("The file is sealed");
      while (bytes.length > 0) bytes = bytes.subarray(await this.#file.write(bytes));
    } catch (cause) {
      throw cannotWrite(this.#path, reason(cause), cause);
    }
  }

  /** Brings all bytes to the disk. No more can be written. */
  async seal(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (cause) {
      throw cannotWrite(this.#path, reason(cause), cause);
    }
    this.#isSealed = true;
  }

  /** Puts the sealed file in its place, in one step. */
  async publish(): Promise<void> {
    if (!this.#isSealed) throw new Error("The file is not sealed");
    try {
      await Deno.rename(this.#temporary, this.#path);
    } catch (cause) {
      throw cannotWrite(this.#path, reason(cause), cause);
    }
    this.#isPublished = true;
  }

  /** Removes the file unless it was published. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#file.close();
    if (!this.#isPublished) await Deno.remove(this.#temporary).catch(() => {});
  }
}

function cannotWrite(file: string, what: string, cause?: unknown): StorageError {
  return new StorageError("cannot-write", `Cannot write "${file}": ${what}`, { file }, { cause });
}

function reason(cause: unknown): string {
  // The runtime's advice would be to allow everything, and names the temporary file.
  if (cause instanceof Deno.errors.NotCapable) return "it may not be written; choose another place";
  return cause instanceof Error ? cause.message : String(cause);
}
