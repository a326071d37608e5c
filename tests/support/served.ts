/** `cli serve` as a process. */
import { spawn } from "./cli.ts";

/** What a server says when it is ready. */
export interface Ready {
  url: string;
  digest: string;
  curl: string;
}

/** A server in a process of its own, killed at the end unless it was stopped. */
export class Served implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #err: Promise<string>;
  #isOver = false;

  private constructor(child: Deno.ChildProcess, err: Promise<string>, readonly ready: Ready) {
    this.#child = child;
    this.#err = err;
  }

  /** @param env variables that it may read. */
  static async start(args: string[], env: string[] = []): Promise<Served> {
    const flags = env.length > 0 ? [`--allow-env=${env.join()}`] : [];
    const child = spawn(["serve", ...args, "--port", "0", "--json"], { flags });
    const err = new Response(child.stderr).text();
    let text = "";
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (text.includes("\n")) return new Served(child, err, JSON.parse(text));
    }
    throw new Error(`It ended before it was ready: ${await err}`);
  }

  fetch(path: string, init?: RequestInit): Promise<Response> {
    return fetch(`${this.ready.url}${path}`, init);
  }

  post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return this.fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<{ code: number; err: string }> {
    this.#isOver = true;
    this.#child.kill(signal);
    const { code } = await this.#child.status;
    return { code, err: await this.#err };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOver) await this.stop("SIGKILL");
  }
}
