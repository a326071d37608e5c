/** Where outputs go: links are followed, and nothing that is read or written already is replaced. */
import { fstatSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "../errors.ts";
import { isAddress, shownName } from "./addresses.ts";

/** Links that are followed one after the other; as many as Linux follows. */
const MAX_LINKS = 40;

/** What the system calls standard input, output, error and other open files of a process. */
const STREAMS = /^\/(?:dev\/(?:std(?:in|out|err)|fd\/\d+)|proc\/[^/]+\/(?:task\/\d+\/)?fd\/\d+)$/;

/** Whether a path is a stream of a process, not a file of its own. */
export function isStreamPath(path: string): boolean {
  return STREAMS.test(path);
}

/**
 * The path that another leads to when all links are followed, also the last one, and also if nothing is there yet. The
 * folder stays as it was given if it does not exist or may not be looked up.
 *
 * @returns undefined if the links go round in a circle.
 */
export async function followLinks(path: string): Promise<string | undefined> {
  let place = path;
  for (let links = 0; links <= MAX_LINKS; links++) {
    const given = dirname(place);
    const folder = await Deno.realPath(given).catch(() => given);
    const found = join(folder, basename(place));
    if (isStreamPath(found)) return found;
    const target = await Deno.readLink(found).catch(() => undefined);
    if (target === undefined) return found;
    // Not `join`: it would drop `link/..`, which may be another folder than this one.
    place = /^(?:[/\\]|[a-z]:)/i.test(target) ? target : `${folder}/${target}`;
  }
  return undefined;
}

/** A file as the user named it. */
export interface NamedFile {
  /** The flag or argument, for messages. */
  readonly flag: string;
  /** Path, URL, or `-` for standard input; undefined if the flag was not given. */
  readonly path: string | undefined;
}

/**
 * Makes sure that no output is an input and that no two outputs are one file, whichever links, folders or second names
 * lead to them. Call it before anything is written.
 *
 * @throws {UsageError} naming both.
 */
export async function checkOutputs(
  outputs: readonly NamedFile[],
  inputs: readonly NamedFile[],
): Promise<void> {
  const seen = new Map<string, NamedFile>();
  for (const input of inputs) {
    for (const key of await identities(input)) seen.set(key, input);
  }
  for (const output of outputs) {
    const keys = await identities(output);
    const other = keys.map((key) => seen.get(key)).find((file) => file !== undefined);
    if (other !== undefined) throw sameFile(other, output);
    for (const key of keys) seen.set(key, output);
  }
}

/** What tells whether two paths are one file: where they lead, and the file that is there, if one is. */
async function identities({ path }: NamedFile): Promise<string[]> {
  if (path === undefined) return [];
  if (path === "-") return identityOf(standardInput());
  const local = isAddress(path) ? localPath(path) : path;
  if (local === undefined) return [];
  const place = await followLinks(local) ?? local;
  const found = await Deno.stat(local).catch(() => undefined);
  return [resolve(place), ...identityOf(found)];
}

function identityOf(
  file: { dev: number; ino: number | null; isFile: boolean } | undefined,
): string[] {
  return file?.isFile && file.ino ? [`${file.dev}:${file.ino}`] : [];
}

function standardInput() {
  try {
    const stat = fstatSync(0);
    return { dev: stat.dev, ino: stat.ino, isFile: stat.isFile() };
  } catch {
    return undefined;
  }
}

/** The file that an address means; undefined if it means none on this machine. */
function localPath(url: string): string | undefined {
  try {
    return fileURLToPath(url);
  } catch {
    return undefined;
  }
}

function sameFile(first: NamedFile, output: NamedFile): UsageError {
  const [one, other] = [first.path!, output.path!].map((path) => `"${shownName(path)}"`);
  const found = one === other ? `${one} for both` : `${one} and ${other}, which are the same file`;
  return new UsageError(
    `Expected different files for ${first.flag} and ${output.flag}, found ${found}; choose another name for ${output.flag}`,
  );
}
