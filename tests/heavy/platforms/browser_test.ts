/** A browser: the README's page, with the bundle for pages, in headless Chromium. Runs on WASM. */
import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { writeBundles } from "../../../tools/bundle/bundles.ts";
import { sidFile } from "../../support/index_files.ts";
import { withServer } from "../storage/servers/programs.ts";
import { Folder, Stopwatch } from "./support/folder.ts";
import { snippet } from "./support/readme.ts";

const CHROMIUM = Deno.env.get("CHROMIUM") ?? "/usr/bin/chromium";

async function chromiumMissing(): Promise<string | undefined> {
  const found = await Deno.stat(CHROMIUM).catch(() => undefined);
  if (!found) return `no ${CHROMIUM} here (Debian: chromium; or set CHROMIUM)`;
}

/** What the script of the page shows in Deno, where it gets a `document` of its own. */
async function inDeno(page: string, folder: Folder): Promise<string> {
  const [, script] = page.match(/<script type="module">([\s\S]*)<\/script>/) ?? [];
  const path = await folder.write(
    "browser/script.js",
    `const document = { body: {} };\n${script}\nconsole.log(document.body.textContent);`,
  );
  const output = await folder.run(Deno.execPath(), "run", "--no-config", "--allow-read", path);
  return output.trim();
}

const TYPES: Record<string, string> = {
  html: "text/html",
  js: "text/javascript",
  safetensors: "application/octet-stream",
};

await withServer("A browser", chromiumMissing(), () => {
  Deno.test("Chromium shows what the README's page finds", async () => {
    await using folder = await Folder.make();
    await writeBundles(folder.url);
    const page = await snippet("A browser", "html");
    await folder.write("browser/index.html", page);
    await folder.write("browser/catalogue.safetensors", await sidFile(100_000));
    const watch = new Stopwatch();
    const asked: string[] = [];
    await using server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      async (request) => {
        const { pathname } = new URL(request.url);
        if (pathname === "/favicon.ico") return new Response(null, { status: 204 });
        const name = pathname === "/" ? "/index.html" : pathname;
        asked.push(name);
        watch.stage(`until it asks for ${name}`);
        const body = await Deno.readFile(`${folder.path}/browser${name}`).catch(() => null);
        const type = TYPES[name.split(".")[1]];
        return new Response(body, {
          status: body ? 200 : 404,
          headers: type ? { "content-type": type } : {},
        });
      },
    );

    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ["--headless", "--no-sandbox", "--disable-background-networking"],
    });
    try {
      watch.stage("browser");
      const tab = await browser.newPage();
      watch.stage("tab");
      const failed = Promise.withResolvers<never>();
      failed.promise.catch(() => {}); // awaited below
      tab.on("pageerror", failed.reject);
      await tab.goto(`http://127.0.0.1:${server.addr.port}/`);
      const shown = tab.waitForFunction("document.body.textContent.trim()");
      const text = await (await Promise.race([shown, failed.promise])).jsonValue();
      watch.stage("first search");
      watch.print(`Chromium ${browser.version()}`);
      assert.deepEqual(asked, ["/index.html", "/espalier.js", "/catalogue.safetensors"]);
      assert.equal(text, await inDeno(page, folder));
      assert.equal(text.split(" ").length, 10);
    } finally {
      await browser.close();
    }
  });
});
