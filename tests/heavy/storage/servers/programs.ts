/** Programs that tests start: found, watched, and ended with the test process, however that ends. */

/**
 * Runs a program until standard input closes. The system closes it when the test process dies, even
 * of SIGKILL, which no handler in that process would see. Then nobody is left to tidy the folder up.
 * A subshell does that, since Deno, where it comes to end in an orderly way, kills its own children.
 */
const SUPERVISOR = `
PATH="$PATH:/usr/sbin:/sbin"
folder=$1 log=$2
shift 2
exec 3<&0 </dev/null
"$@" 3<&- >"$log" 2>&1 &
child=$!
{
  read -r _ <&3
  trap '' TERM
  kill "$child"
  while kill -0 "$child"; do sleep 0.02; done
  rm -rf "$folder"
} 2>/dev/null &
watcher=$!
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
wait "$watcher"
exit "$status"
`;

/** Runs a program when standard input closes. */
const FOLLOW_UP = `
folder=$1
shift 2
exec 3<&0 </dev/null
{
  read -r _ <&3
  "$@"
  rm -rf "$folder"
} >/dev/null 2>&1 &
wait
`;

const STEP_MS = 20;

/** A child that runs, or has ended. */
interface Program {
  name: string;
  process: Deno.ChildProcess;
  ended?: number;
}

/** A temporary folder and the programs that work in it. Disposing ends them and removes it. */
export class Programs implements AsyncDisposable {
  readonly folder: string;
  #programs: Program[] = [];
  #disposed?: Promise<void>;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** In `dir`, or where temporary folders are. */
  static async open(prefix: string, dir?: string): Promise<Programs> {
    return new Programs(await Deno.makeTempDir({ prefix, dir }));
  }

  /** Starts a program, in the foreground; what it prints goes to `<name>.log`. */
  start(name: string, command: string[]): void {
    this.#run(SUPERVISOR, name, command);
  }

  /** Starts a program at the end of the others, also if that is the end of the test process. */
  atEnd(name: string, command: string[]): void {
    this.#run(FOLLOW_UP, name, command);
  }

  #run(script: string, name: string, command: string[]): void {
    const log = `${this.folder}/${name}.log`;
    // A session of its own keeps the signals from it that Ctrl+C and CI send to all of the test.
    const process = new Deno.Command("setsid", {
      args: ["/bin/sh", "-c", script, "sh", this.folder, log, ...command],
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const program: Program = { name, process };
    process.status.then(({ code }) => program.ended = code);
    this.#programs.push(program);
  }

  /**
   * Waits until `answers` is true.
   *
   * @throws {Error} with the logs, if a program has ended or the time is up.
   */
  async ready(answers: () => Promise<boolean>, seconds = 30): Promise<void> {
    for (const end = performance.now() + 1000 * seconds; !await answers();) {
      const dead = this.#programs.find(({ ended }) => ended !== undefined);
      if (dead) {
        throw new Error(`${dead.name} has ended with ${dead.ended}\n${await this.logs()}`);
      }
      if (performance.now() > end) {
        throw new Error(`No answer within ${seconds} seconds\n${await this.logs()}`);
      }
      await new Promise((done) => setTimeout(done, STEP_MS));
    }
  }

  /** What the programs have printed, the last lines of each. */
  async logs(): Promise<string> {
    const texts = await Promise.all(this.#programs.map(async ({ name }) => {
      const text = await Deno.readTextFile(`${this.folder}/${name}.log`).catch(() => "");
      return `${name}: ${text.trim().split("\n").slice(-40).join("\n") || "(nothing printed)"}`;
    }));
    return texts.join("\n");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#disposed ??= this.#dispose();
  }

  async #dispose(): Promise<void> {
    await Promise.all(this.#programs.map(async ({ process }) => {
      await process.stdin.close();
      await process.status;
    }));
    await Deno.remove(this.folder, { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

/**
 * Calls `start` with so many ports that are free; again with others where another process was faster.
 * `start` says so by throwing what the program printed.
 */
export async function onFreePorts<T>(
  count: number,
  start: (...ports: number[]) => Promise<T>,
): Promise<T> {
  for (let attempt = 1;; attempt++) {
    const listeners = Array.from(
      { length: count },
      () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
    );
    const ports = listeners.map(({ addr }) => addr.port);
    for (const listener of listeners) listener.close();
    try {
      return await start(...ports);
    } catch (error) {
      if (attempt === 5 || !/address already in use|could not bind/i.test(String(error))) {
        throw error;
      }
    }
  }
}

/** Why there is nothing to test with, if one of these programs is missing. */
export async function missing(programs: string[], packages: string): Promise<string | undefined> {
  const search = 'PATH="$PATH:/usr/sbin:/sbin"; for p; do command -v "$p" || echo "no $p"; done';
  const { stdout } = await new Deno.Command("/bin/sh", { args: ["-c", search, "sh", ...programs] })
    .output();
  const absent = new TextDecoder().decode(stdout).split("\n").find((line) => /^no /.test(line));
  return absent && `${absent} here (Debian: ${packages})`;
}

/**
 * Registers tests that need a server. Where `absence` tells why there is none they are skipped, and say why; in CI, where
 * `CI` is set, that is a failure.
 */
export async function withServer(
  what: string,
  absence: Promise<string | undefined>,
  register: () => void,
): Promise<void> {
  const reason = await absence;
  if (reason === undefined) return register();
  const isCi = Deno.permissions.querySync({ name: "env", variable: "CI" }).state === "granted" &&
    Boolean(Deno.env.get("CI"));
  if (isCi) throw new Error(`Cannot test ${what}: ${reason}`);
  console.log(`Skipped: ${what}, because there is ${reason}`);
  Deno.test({ name: `${what} (skipped: ${reason})`, ignore: true, fn() {} });
}
