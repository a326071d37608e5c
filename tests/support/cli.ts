/** Runs the command line, in this process or in one of its own, and gives it folders. */
import { join } from "node:path";
import { main } from "../../src/cli/main.ts";
import type { Io } from "../../src/cli/io/terminal.ts";

export interface Outcome {
  code: number;
  out: string;
  err: string;
}

export interface Setting {
  stdin?: string | Uint8Array<ArrayBuffer>;
  signal?: AbortSignal;
  showProgress?: boolean;
  /** Called with what is written to standard error. */
  onErr?: (text: string) => void;
}

/** Runs a command in this process. */
export async function cli(args: string[], setting: Setting = {}): Promise<Outcome> {
  const { stdin = "", signal = new AbortController().signal, showProgress = false } = setting;
  const outcome = { code: -1, out: "", err: "" };
  const io: Io = {
    out: (text) => void (outcome.out += text),
    err: (text) => {
      outcome.err += text;
      setting.onErr?.(text);
    },
    showProgress,
    stdin: () => new Blob([stdin]).stream(),
    signal,
  };
  outcome.code = await main(args, io);
  return outcome;
}

/** A folder that goes away again, and what is in it. */
export class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async create(): Promise<Folder> {
    return new Folder(await Deno.makeTempDir({ prefix: "espalier-cli-" }));
  }

  at(name: string): string {
    return join(this.path, name);
  }

  async write(name: string, content: string | Uint8Array): Promise<string> {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    await Deno.writeFile(this.at(name), bytes);
    return this.at(name);
  }

  async names(): Promise<string[]> {
    return (await Array.fromAsync(Deno.readDir(this.path))).map(({ name }) => name).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** Starts the command line as a process of its own, with the permissions of the task but for the environment. */
export function spawn(
  args: string[],
  { stdin = "null", flags = [] }: { stdin?: "null" | "piped"; flags?: string[] } = {},
): Deno.ChildProcess {
  const script = new URL("../../src/cli/main.ts", import.meta.url).pathname;
  const permissions = ["--allow-read", "--allow-write", "--allow-net"];
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", ...permissions, ...flags, script, ...args],
    stdin,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}
