/** Runs a command and watches what it takes. For Linux: it reads /proc. */
import { MB } from "../lib/support.ts";

const POLL_MS = 100;

/** What a command took, and what it printed. */
export interface Watched {
  readonly seconds: number;
  /** Sum of the peaks of resident memory, bytes, of the process and its children: at least what they held at once. */
  readonly peakBytes: number;
  /** Most bytes seen in its folder for temporary files. */
  readonly temporaryBytes: number;
  readonly out: string;
}

/** How to run a command. */
export interface WatchOptions {
  readonly cwd: URL;
  /** Its folder for temporary files. */
  readonly temp: string;
  /** Once it is aborted the command and its children are killed. */
  readonly signal: AbortSignal;
  /** Is told from time to time how far it is. */
  readonly onProgress: (text: string) => void;
}

/**
 * Runs a command to its end.
 *
 * @throws the reason of `signal`, once it is aborted and no process is left.
 * @throws {Error} with what the command wrote to standard error, if it failed.
 */
export async function watch(
  [command, ...args]: readonly string[],
  { cwd, temp, signal, onProgress }: WatchOptions,
): Promise<Watched> {
  const began = performance.now();
  const since = () => (performance.now() - began) / 1000;
  const child = new Deno.Command(command, { args, cwd, stdout: "piped", stderr: "piped" }).spawn();
  let seconds: number | undefined;
  const ended = child.output().finally(() => seconds = since());
  const peaks = new Map<number, number>();
  let peakBytes = 0;
  let temporaryBytes = 0;
  while (seconds === undefined) {
    const family = familyOf(child.pid);
    // A process that is about to end has no memory any more.
    for (const { pid, peak } of family) peaks.set(pid, Math.max(peak, peaks.get(pid) ?? 0));
    peakBytes = peaks.values().reduce((sum, peak) => sum + peak, 0);
    temporaryBytes = Math.max(temporaryBytes, bytesBelow(temp));
    if (signal.aborted) killLeaves(family);
    onProgress(
      `${Math.round(since())} s, ${Math.round(peakBytes / MB)} MB of memory, ` +
        `${Math.round(temporaryBytes / MB)} MB of temporary files`,
    );
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, POLL_MS))]);
  }
  const { success, stdout, stderr } = await ended;
  signal.throwIfAborted();
  const text = new TextDecoder();
  if (!success) throw new Error(`${command} ${args.join(" ")} failed: ${text.decode(stderr)}`);
  return { seconds, peakBytes, temporaryBytes, out: text.decode(stdout) };
}

/** A process; its peak of resident memory in bytes. */
interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly peak: number;
}

/** A process and all that descend from it. */
function familyOf(root: number): Process[] {
  const all = new Map<number, Process>();
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const status = ifThere(() => Deno.readTextFileSync(`/proc/${name}/status`)) ?? "";
    const [parent, peak] = [/^PPid:\s+(\d+)/m, /^VmHWM:\s+(\d+)/m]
      .map((field) => Number(field.exec(status)?.[1] ?? 0));
    all.set(Number(name), { pid: Number(name), parent, peak: 1024 * peak });
  }
  const descends = (pid: number | undefined): boolean =>
    pid === root || (pid !== undefined && descends(all.get(pid)?.parent));
  return all.values().filter(({ pid }) => descends(pid)).toArray();
}

/** Kills the processes that have no children: those above them end by themselves, and are waited for. */
function killLeaves(family: readonly Process[]): void {
  const parents = new Set(family.map(({ parent }) => parent));
  for (const { pid } of family) {
    if (!parents.has(pid)) ifThere(() => Deno.kill(pid, "SIGKILL"));
  }
}

/** Bytes of all files in a folder and those within. */
function bytesBelow(folder: string): number {
  let sum = 0;
  for (const { name, isDirectory } of ifThere(() => [...Deno.readDirSync(folder)]) ?? []) {
    const path = `${folder}/${name}`;
    sum += isDirectory ? bytesBelow(path) : ifThere(() => Deno.statSync(path).size) ?? 0;
  }
  return sum;
}

/** What `look` finds; undefined if it has gone meanwhile. */
function ifThere<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
