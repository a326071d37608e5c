/**
 * Temporary files of processes that were killed. A process holds a lock on each of its own, which ends with it: so the
 * next one can tell what nobody needs any more, and never takes what is in use or what others made.
 */
import { join } from "node:path";

/** Creates a file that is locked from when it has its name until it is closed. */
export async function createLocked(path: string, mode?: number): Promise<Deno.FsFile> {
  const unlocked = `${path}.new`;
  const file = await Deno.open(unlocked, { write: true, createNew: true, mode });
  try {
    // Where the file system has no locks, what is abandoned stays.
    await file.lock(true).catch(() => {});
    await Deno.rename(unlocked, path);
    return file;
  } catch (error) {
    file.close();
    await Deno.remove(unlocked).catch(() => {});
    throw error;
  }
}

/** Removes the abandoned files of a folder whose names a pattern fits. */
export async function removeStaleFiles(folder: string, names: RegExp): Promise<void> {
  for (const name of await namesIn(folder, names)) await removeAbandoned(join(folder, name));
}

/** Name of the locked file that a folder of temporary files has. */
export const LOCK_NAME = "espalier.lock";

/**
 * Removes the abandoned folders of a folder whose names a pattern fits, and which hold a {@linkcode LOCK_NAME} and files
 * that `contents` fits. What else is in them stays, and so do they then.
 */
export async function removeAbandonedFolders(
  folder: string,
  names: RegExp,
  contents: RegExp,
): Promise<void> {
  for (const name of await namesIn(folder, names)) {
    const path = join(folder, name);
    const files = (await namesIn(path, contents)).map((file) => join(path, file));
    if (await removeAbandoned(join(path, LOCK_NAME), files)) {
      await Deno.remove(path).catch(() => {});
    }
  }
}

/** Removes a file that nobody holds locked, and others before it; whether it did. */
async function removeAbandoned(path: string, before: readonly string[] = []): Promise<boolean> {
  try {
    using file = await Deno.open(path, { read: true, write: true });
    if (!await file.tryLock(true)) return false;
    for (const other of before) await Deno.remove(other);
    await Deno.remove(path);
    return true;
  } catch {
    // It is not ours, or another process was faster.
    return false;
  }
}

async function namesIn(folder: string, pattern: RegExp): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(folder));
    return entries.map(({ name }) => name).filter((name) => pattern.test(name));
  } catch {
    return [];
  }
}
