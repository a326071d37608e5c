/** Files that appear whole or not at all. */
import { basename, dirname, join, resolve } from "node:path";
import { type ErrorFacts, StorageError } from "../../errors.ts";
import { followLinks, isStreamPath } from "./outputs.ts";
import { createLocked, removeStaleFiles } from "./stale_files.ts";

/** Longest name that file systems take, in bytes of UTF-8. */
const MAX_NAME_BYTES = 255;
/** What a temporary name has beside that of the file: `.`, `.espalier-`, 8 digits, `.tmp`, and `.new` until it is locked. */
const EXTRA_NAME_BYTES = 27;

/**
 * A file under construction: it stands beside its place as `.NAME.espalier-<random>.tmp` until it is published.
 * Disposing of it removes it unless it was. If the process is killed, the next one that writes there removes it.
 *
 * If the path is a link, the file that it leads to is replaced, and the link stays. The new file has the permissions of
 * the file that it replaces, and its owner if the process may set that.
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
  /** As it was given, for messages. */
  #path: string;
  /** Where the links lead. */
  #place: string;
  #temporary: string;
  /** The file that is replaced, if there is one. */
  #replaced: Deno.FileInfo | undefined;
  /** Open, and so locked, until it is in its place. */
  #file: Deno.FsFile;
  #isSealed = false;
  #isPublished = false;
  #isDisposed = false;

  private constructor(
    path: string,
    place: string,
    temporary: string,
    file: Deno.FsFile,
    replaced: Deno.FileInfo | undefined,
  ) {
    this.#path = path;
    this.#place = place;
    this.#temporary = temporary;
    this.#file = file;
    this.#replaced = replaced;
  }

  /**
   * Starts a file that is to be at `path`. The file that is there now stays until {@linkcode publish}.
   *
   * @throws {StorageError} if the folder is missing or read-only, or if something other than a file is there.
   */
  static async create(path: string): Promise<WholeFile> {
    const place = await followLinks(path);
    if (place === undefined) throw cannotWrite(path, "its links go round in a circle; remove them");
    const present = await Deno.stat(place).catch(() => undefined);
    // Renaming onto a device would replace it, onto a folder would fail after all the work.
    const other = otherKind(path, place, present);
    if (other !== undefined) {
      const what = `expected a file or a new name, found ${other}; choose another name`;
      throw cannotWrite(path, what, undefined, { expected: "a file or a new name", actual: other });
    }
    const [folder, name] = [dirname(place), await temporaryName(basename(place))];
    const escaped = name.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
    await removeStaleFiles(folder, new RegExp(`^${escaped}[0-9a-f]{8}\\.tmp$`));
    const temporary = join(folder, `${name}${crypto.randomUUID().slice(0, 8)}.tmp`);
    try {
      // Readable for its owner until it is published: the next process tells by a lock whether it is abandoned.
      const mode = present?.mode ? present.mode & 0o777 | 0o600 : undefined;
      const file = await createLocked(temporary, mode);
      return new WholeFile(path, place, temporary, file, present);
    } catch (cause) {
      if (cause instanceof Deno.errors.NotFound) {
        const missing = place === resolve(path) ? dirname(path) : folder;
        throw cannotWrite(path, `the folder "${missing}" does not exist; create it`, cause);
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
      if (this.#replaced) await copyPermissions(this.#replaced, this.#temporary);
      await Deno.rename(this.#temporary, this.#place);
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

/** What is at a path and cannot be replaced by a file; undefined if a file can be put there. */
function otherKind(
  path: string,
  place: string,
  present: Deno.FileInfo | undefined,
): string | undefined {
  if (isStreamPath(place)) return "a stream of the process";
  if (present?.isDirectory) return "a folder";
  if (present?.isFifo) return "a pipe";
  if (present?.isSocket) return "a socket";
  if (present && !present.isFile) return "a device";
  return present === undefined && /[/\\]$/.test(path) ? "the name of a folder" : undefined;
}

/**
 * How the temporary names of a file begin. The end of a long name is left out, so that it stays within the limit; a
 * digest of the whole name then tells it from others with the same start.
 */
async function temporaryName(name: string): Promise<string> {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length + EXTRA_NAME_BYTES <= MAX_NAME_BYTES) return `.${name}.espalier-`;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).subarray(0, 8);
  const mark = `~${digest.toHex()}`;
  const room = bytes.subarray(0, MAX_NAME_BYTES - EXTRA_NAME_BYTES - mark.length);
  // As a stream, the decoder keeps a character that was cut to itself.
  const start = new TextDecoder("utf-8", { ignoreBOM: true }).decode(room, { stream: true });
  return `.${start}${mark}.espalier-`;
}

/** Gives a file the permissions of another, and its owner if the process may. */
async function copyPermissions({ mode, uid, gid }: Deno.FileInfo, path: string): Promise<void> {
  if (mode === null || Deno.build.os === "windows") return;
  const own = await Deno.stat(path);
  if (own.uid !== uid || own.gid !== gid) await Deno.chown(path, uid, gid).catch(() => {});
  await Deno.chmod(path, mode & 0o777);
}

function cannotWrite(
  file: string,
  what: string,
  cause?: unknown,
  facts: ErrorFacts = {},
): StorageError {
  const message = `Cannot write "${file}": ${what}`;
  return new StorageError("cannot-write", message, { ...facts, file }, { cause });
}

function reason(cause: unknown): string {
  // The runtime's advice would be to allow everything, and names the temporary file.
  if (cause instanceof Deno.errors.NotCapable) return "it may not be written; choose another place";
  return cause instanceof Error ? cause.message : String(cause);
}
