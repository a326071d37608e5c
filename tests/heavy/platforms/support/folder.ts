/** Temporary folders and the programs that run in them. */
import { pathToFileURL } from "node:url";

/** A temporary folder. Disposing removes it. */
export class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async make(): Promise<Folder> {
    return new Folder(await Deno.makeTempDir({ prefix: "espalier-platform-" }));
  }

  /** Its address. */
  get url(): URL {
    return pathToFileURL(`${this.path}/`);
  }

  async write(name: string, content: string | Uint8Array): Promise<string> {
    const path = `${this.path}/${name}`;
    if (typeof content === "string") await Deno.writeTextFile(path, content);
    else await Deno.writeFile(path, content);
    return path;
  }

  /** Runs a program to its end, and gives what it prints. @throws {Error} with what it complains of, if it fails. */
  async run(program: string, ...args: string[]): Promise<string> {
    const { success, stdout, stderr } = await new Deno.Command(program, { args, cwd: this.path })
      .output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    if (!success) throw new Error(`${program} ${args.join(" ")}\n${text(stdout)}${text(stderr)}`);
    return text(stdout);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** Prints how long the stages of a cold start took; each begins where the one before ended. */
export class Stopwatch {
  #start = performance.now();
  #stages: string[] = [];

  stage(name: string, ms = performance.now() - this.#start): void {
    this.#stages.push(`${name} ${ms.toFixed(0)}`);
    this.#start = performance.now();
  }

  print(what: string): void {
    console.log(`${what}: ${this.#stages.join(", ")} ms`);
  }
}
