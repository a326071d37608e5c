/** Runs a point in a process of its own, and ends it when it takes too long or too much memory. */
import { heapFlags } from "../baselines/js_heap.ts";
import type { Caps, Point } from "./plan.ts";
import type { Failed, Measured } from "./results.ts";

/** How often memory is looked at, milliseconds. */
const POLL_MS = 100;

/** What came of a point. @throws {Error} if its process failed in a way that no cap explains. */
export async function runPoint(
  point: Point,
  caps: Caps,
  signal?: AbortSignal,
): Promise<Measured | Failed> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--quiet",
      "--no-check",
      heapFlags(caps.bytes),
      new URL("./measure.ts", import.meta.url).pathname,
      JSON.stringify({ point, caps }),
    ],
    stdout: "piped",
    stderr: "piped",
    signal,
  }).spawn();
  let reason: string | undefined;
  const end = (why: string) => {
    reason ??= why;
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
  };
  const clock = setTimeout(
    () => end(`over the time cap of ${caps.seconds} s`),
    1000 * caps.seconds,
  );
  const watch = setInterval(async () => {
    if (await residentBytes(child.pid) > caps.bytes) {
      end(`out of memory: over the cap of ${(caps.bytes / 1e9).toFixed(1)} GB`);
    }
  }, POLL_MS);
  try {
    const { success, signal: killedBy, stdout, stderr } = await child.output();
    signal?.throwIfAborted();
    if (reason !== undefined) return { reason };
    if (success) return JSON.parse(new TextDecoder().decode(stdout));
    const said = new TextDecoder().decode(stderr);
    // The system ends what takes more memory than there is.
    if (/out of memory/i.test(said) || killedBy === "SIGKILL") return { reason: "out of memory" };
    throw new Error(`The process of ${JSON.stringify(point)} failed:\n${said}`);
  } finally {
    clearTimeout(clock);
    clearInterval(watch);
  }
}

/** Resident memory of a process, 0 where the system does not tell. */
async function residentBytes(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`).catch(() => "");
  return 1024 * Number(status.match(/VmRSS:\s+(\d+)/)?.[1] ?? 0);
}
