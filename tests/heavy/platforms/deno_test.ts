/** Deno: the README's server, as a process of its own, with the permissions that the README gives it. */
import { sidFile } from "../../support/index_files.ts";
import { Folder, Stopwatch } from "./support/folder.ts";
import { ask, check } from "./support/requests.ts";
import { startServer } from "./support/serve.ts";

Deno.test("deno serve runs the README's server", async () => {
  await using folder = await Folder.make();
  const file = await sidFile(100_000);
  const watch = new Stopwatch();
  await using server = await startServer(folder, file, watch);
  await check(await ask(server.url, watch), file);
  watch.print("deno serve");
  await folder.run(Deno.execPath(), "check", "server.ts");
});
