/** Serves a folder over loopback, as fast as the machine can or as slow as a link. */
import { join } from "node:path";
import { answers } from "./support.ts";

/** A server in a process of its own. */
export interface Server extends AsyncDisposable {
  /** What serves. */
  name: string;
  /** Address of the folder. */
  url: string;
}

/**
 * nginx where the machine has it, else Deno; always Deno with a limit, because nginx lets the first second pass.
 *
 * @param bytesPerSecond limit of each connection; 0 is none, from Deno as well.
 */
export async function serve(folder: string, bytesPerSecond?: number): Promise<Server> {
  const hasNginx = bytesPerSecond === undefined &&
    await new Deno.Command("nginx", { args: ["-v"], stderr: "null" }).output()
      .then(({ success }) => success, () => false);
  const port = freePort();
  const [name, command] = hasNginx
    ? ["nginx", await nginx(folder, port)] as const
    : ["Deno", deno(folder, port, bytesPerSecond)] as const;
  const child = command.spawn();
  const url = `http://127.0.0.1:${port}`;
  while (!await answers(url)) await new Promise((resolve) => setTimeout(resolve, 20));
  return {
    name,
    url,
    async [Symbol.asyncDispose]() {
      child.kill();
      await child.status;
    },
  };
}

async function nginx(folder: string, port: number): Promise<Deno.Command> {
  const file = join(folder, `nginx-${port}.conf`);
  await Deno.writeTextFile(
    file,
    `daemon off; pid ${file}.pid; error_log stderr; ${Deno.uid() === 0 ? "user root;" : ""}
    events {} http { access_log off; sendfile on; server {
      listen 127.0.0.1:${port}; root ${folder};
    } }`,
  );
  return new Deno.Command("nginx", { args: ["-c", file], stdout: "null", stderr: "null" });
}

function deno(folder: string, port: number, rate = 0): Deno.Command {
  const script = new URL("../children/file_server.ts", import.meta.url).pathname;
  const args = ["run", "-A", script, folder, String(port), String(rate)];
  return new Deno.Command(Deno.execPath(), { args, stdout: "null", stderr: "null" });
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
