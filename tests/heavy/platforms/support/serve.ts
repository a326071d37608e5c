/** The README's server, run by `deno serve`. */
import { snippet } from "./readme.ts";
import { type Folder, Stopwatch } from "./folder.ts";

/** A server that answers. Disposing ends it. */
export interface Server extends AsyncDisposable {
  readonly url: URL;
}

/**
 * Starts it with an index in a folder, and resolves when it listens. Takes the time.
 *
 * @throws {Error} with what it complains of, if it ends instead.
 */
export async function startServer(
  folder: Folder,
  index: Uint8Array<ArrayBuffer>,
  watch = new Stopwatch(),
): Promise<Server> {
  const root = new URL("../../../../", import.meta.url);
  const { exports } = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
  const imports = Object.fromEntries(
    Object.entries<string>(exports).map(([specifier, path]) => [
      `@espalier/espalier${specifier.slice(1)}`,
      new URL(path, root).href,
    ]),
  );
  await folder.write("deno.json", JSON.stringify({ imports }));
  await folder.write("server.ts", await snippet("Deno", "ts"));
  const store = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    () => {
      watch.stage("until it asks for the index");
      return new Response(index);
    },
  );
  const command = (await snippet("Deno", "sh")).trim().split(" ");
  const process = new Deno.Command(Deno.execPath(), {
    args: [...command.slice(1, -1), "--host=127.0.0.1", "--port=0", ...command.slice(-1)],
    cwd: folder.path,
    env: { INDEX_URL: `http://127.0.0.1:${store.addr.port}/catalogue.safetensors`, NO_COLOR: "1" },
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const dispose = async () => {
    try {
      process.kill();
    } catch {
      // It has ended.
    }
    await process.status;
    await store.shutdown();
  };
  let printed = "";
  const lines = process.stderr.pipeThrough(new TextDecoderStream());
  for await (const text of lines.values({ preventCancel: true })) {
    printed += text;
    const [url] = /http:\/\/\S+/.exec(printed) ?? [];
    if (!url) continue;
    watch.stage("until it listens");
    lines.pipeTo(new WritableStream()).catch(() => {}); // else it waits for a reader
    return { url: new URL(url), [Symbol.asyncDispose]: dispose };
  }
  await dispose();
  throw new Error(`deno serve has ended\n${printed}`);
}
