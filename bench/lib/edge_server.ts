/** A server in a process of its own: under `deno serve`, or of the command line. */
import { answers } from "./support.ts";

/** One that listens. Disposing ends it. */
export interface EdgeServer extends AsyncDisposable {
  readonly url: string;
  /** From the start of the process until it answered, milliseconds. */
  readonly upMs: number;
  /** Resident memory, now and at most, bytes. NaN where the system does not tell. */
  memory(): Promise<{ now: number; peak: number }>;
}

/** An answer, and how long it took. */
export interface Answered {
  status: number;
  ms: number;
  /** Where the time went in the server, milliseconds by phase. */
  phases: Record<string, number>;
}

/** Starts bench/children/edge_server.ts with arguments. */
export async function startEdge(...args: string[]): Promise<EdgeServer> {
  return await start((port) => ["serve", "-A", "--no-check", ...edge(port, args)]);
}

/** The same on several threads of `deno serve --parallel`; packages are looked for outside the lock file. */
export async function startParallelEdge(threads: number, ...args: string[]): Promise<EdgeServer> {
  const flags = ["--parallel", "--no-lock", "--node-modules-dir=none"];
  return await start((port) => ["serve", "-A", "--no-check", ...flags, ...edge(port, args)], {
    DENO_JOBS: String(threads),
  });
}

/** Starts `cli serve` with arguments; packages are looked for outside the lock file. */
export async function startCli(...args: string[]): Promise<EdgeServer> {
  const script = new URL("../../src/cli/main.ts", import.meta.url).pathname;
  const flags = ["-A", "--no-check", "--no-lock", "--node-modules-dir=none"];
  return await start((port) => ["run", ...flags, script, "serve", ...args, `--port=${port}`]);
}

function edge(port: number, args: readonly string[]): string[] {
  const script = new URL("../children/edge_server.ts", import.meta.url).pathname;
  return ["--host=127.0.0.1", `--port=${port}`, script, ...args];
}

async function start(
  argsOf: (port: number) => string[],
  env: Record<string, string> = {},
): Promise<EdgeServer> {
  const port = freePort();
  const start = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: argsOf(port),
    env,
    stdout: "null",
    stderr: "null",
  }).spawn();
  let isOver = false;
  child.status.then(() => isOver = true);
  const url = `http://127.0.0.1:${port}`;
  while (!await answers(`${url}/healthz`)) {
    if (isOver) throw new Error("The server has ended");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return {
    url,
    upMs: performance.now() - start,
    memory: async () => {
      const status = await Deno.readTextFile(`/proc/${child.pid}/status`).catch(() => "");
      const bytes = (name: string) =>
        1024 * Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))?.[1]);
      return { now: bytes("VmRSS"), peak: bytes("VmHWM") };
    },
    async [Symbol.asyncDispose]() {
      if (!isOver) child.kill();
      await child.status;
    },
  };
}

/** Sends a decode request. @throws {TypeError} if there is no answer. */
export async function decode(url: string, body: string): Promise<Answered & { retryMs: number }> {
  const start = performance.now();
  const response = await fetch(`${url}/v1/decode`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  await response.arrayBuffer();
  const timing = response.headers.get("server-timing") ?? "";
  return {
    status: response.status,
    ms: performance.now() - start,
    phases: Object.fromEntries(
      [...timing.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]),
    ),
    retryMs: 1000 * Number(response.headers.get("retry-after") ?? 0),
  };
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
