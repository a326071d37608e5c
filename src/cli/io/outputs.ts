/** Where outputs go: links are followed, and nothing that is read or written already is replaced. */
import { fstatSync } from "node:fs";
import { join, resolve } from "node:path";
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
 * The path that another leads to when all links are followed, also the last one, and also if nothing is there yet. What
 * may not be looked up counts as no link.
 *
 * Not by `Deno.realPath`: unless Deno runs with all permissions, it takes `link/..` for the folder of the link.
 *
 * @returns undefined if the links go round in a circle.
 */
export async function followLinks(path: string): Promise<string | undefined> {
  if (Deno.build.os === "windows") return await Deno.realPath(path).catch(() => resolve(path));
  let place = "/";
  let parts = (path.startsWith("/") ? path : `${Deno.cwd()}/${path}`).split("/");
  for (let links = 0; parts.length > 0;) {
    const part = parts.shift()!;
    // "", "." and ".." are no links, and after those that were followed they mean what they say.
    const next = join(place, part);
    if (isStreamPath(next)) return next;
    const target = /^\.{0,2}$/.test(part)
      ? undefined
      : await Deno.readLink(next).catch(() => undefined);
    if (target === undefined) {
      place = next;
      continue;
    }
    if (++links > MAX_LINKS) return undefined;
    if (target.startsWith("/")) place = "/";
    parts = [...target.split("/"), ...parts];
  }
  return place;
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
  const place = await followLinks(local) ?? resolve(local);
  const found = [local, place].map((path) => Deno.stat(path).catch(() => undefined));
  return [place, ...(await Promise.all(found)).flatMap(identityOf)];
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
