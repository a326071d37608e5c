/** The published method in PyTorch, in a process of its own that answers line by line: bench/peers/published.py. */
import { B, L, M, V } from "./support.ts";

/** How its dense level selects: the best of every beam first, as published, or the best of the batch row at once. */
export type Selection = "per-beam" | "at-once";

/** What it says about its index. */
export interface PublishedIndex {
  /** Version of PyTorch. */
  readonly torch: string;
  readonly bytes: number;
  readonly sortSeconds: number;
  readonly buildSeconds: number;
}

/** The best M sequences of every batch row, [B, M] and [B, M, L]. */
export interface Found {
  readonly scores: ArrayLike<number>;
  readonly sequences: ArrayLike<number>;
}

/** The process, with its index built. Disposing ends it. */
export interface Published extends AsyncDisposable {
  readonly index: PublishedIndex;
  /** Milliseconds of one whole search. */
  time(selection: Selection): Promise<number>;
  /** What that search finds. */
  result(selection: Selection): Promise<Found>;
}

/** Debian's package belongs to the system's interpreter, which another one on the path may hide. */
const INTERPRETERS = ["python3", "/usr/bin/python3"];
const ONE_THREAD = { OMP_NUM_THREADS: "1", MKL_NUM_THREADS: "1", OPENBLAS_NUM_THREADS: "1" };

/**
 * Starts it on the tokens [rows, L] and logits [L, B·M, V], and waits for its index.
 *
 * @param core where it shall stay; anywhere if undefined.
 * @throws {Error} if no Python has PyTorch, or if the process ends.
 */
export async function startPublished(
  tokens: Uint16Array<ArrayBuffer>,
  logits: readonly Float32Array<ArrayBuffer>[],
  core?: number,
): Promise<Published> {
  const python = await pythonWithTorch();
  const folder = await Deno.makeTempDir({ prefix: "espalier-bench-" });
  try {
    const files = ["sids", "logits"].map((name) => `${folder}/${name}.raw`);
    await Deno.writeFile(files[0], bytesOf(tokens));
    for (const step of logits) await Deno.writeFile(files[1], bytesOf(step), { append: true });
    const script = new URL("../peers/published.py", import.meta.url).pathname;
    const command = [python, script, ...files, ...[V, L, B, M].map(String)];
    if (core !== undefined) command.unshift("taskset", "-c", String(core));
    const [program, ...args] = command;
    const child = new Deno.Command(program, {
      args,
      env: ONE_THREAD,
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const lines = linesOf(child.stdout);
    const requests = child.stdin.getWriter();
    const answer = async () => {
      const { value, done } = await lines.next();
      if (done) {
        const { code } = await child.status;
        throw new Error(`Expected an answer of ${script}, but it has ended with code ${code}`);
      }
      return JSON.parse(value);
    };
    const ask = async (request: string) => {
      await requests.write(new TextEncoder().encode(`${request}\n`));
      return await answer();
    };
    return {
      index: await answer().catch(async (error) => {
        await requests.close().catch(() => {}); // which ends it
        throw error;
      }),
      time: (selection) => ask(`time ${selection}`),
      result: (selection) => ask(`result ${selection}`),
      async [Symbol.asyncDispose]() {
        await requests.close().catch(() => {}); // it may have ended
        await lines.return(undefined);
        await child.status;
      },
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The first interpreter that has PyTorch. */
async function pythonWithTorch(): Promise<string> {
  const found: string[] = [];
  for (const python of INTERPRETERS) {
    const args = ["-c", "import numpy, torch"];
    try {
      const { success, stderr } = await new Deno.Command(python, { args }).output();
      if (success) return python;
      found.push(`${python}: ${new TextDecoder().decode(stderr).trim().split("\n").at(-1)}`);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      found.push(`${python}: not there`);
    }
  }
  throw new Error(
    `Expected a Python with PyTorch and numpy, found none (${found.join("; ")}): ` +
      "install Debian's package, apt-get install python3-torch",
  );
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView<ArrayBuffer>) =>
  new Uint8Array(buffer, byteOffset, byteLength);

async function* linesOf(stream: ReadableStream<BufferSource>): AsyncGenerator<string, void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}
