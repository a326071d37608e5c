/**
 * Runs tests in headless Chromium: of WebGPU, because Tint compiles the kernels there and naga in Deno, and of indexes
 * at another origin.
 *
 * `deno task test:browser` needs Chromium at /usr/bin/chromium, or at the path in CHROMIUM.
 */
import * as esbuild from "esbuild";
import { chromium } from "playwright-core";
import { largeFile } from "../../support/index_files.ts";
import { startStore } from "./store.ts";

const here = (path: string) => new URL(path, import.meta.url).pathname;

const { outputFiles } = await esbuild.build({
  entryPoints: [here("./page.ts")],
  bundle: true,
  write: false,
  format: "esm",
  target: "es2022",
  alias: { "node:assert/strict": here("./assert.ts") },
});
await esbuild.stop();
const page = new TextEncoder().encode(
  '<!doctype html><meta charset="utf-8"><script type="module" src="/page.js"></script>',
);
const file = await largeFile();
await using store = startStore(file);
await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, (request) => {
  const { pathname } = new URL(request.url);
  if (pathname === "/index") return new Response(file);
  const isScript = pathname === "/page.js";
  return new Response(isScript ? outputFiles[0].contents as Uint8Array<ArrayBuffer> : page, {
    headers: { "content-type": isScript ? "text/javascript" : "text/html" },
  });
});

const browser = await chromium.launch({
  executablePath: Deno.env.get("CHROMIUM") ?? "/usr/bin/chromium",
  args: [
    "--headless",
    "--no-sandbox",
    "--enable-unsafe-webgpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
  ],
});
let passed = 0;
let failed = 0;
const done = Promise.withResolvers<string>();
browser.on("disconnected", () => done.reject(new Error("Chromium has ended")));
const tab = await browser.newPage();
tab.on("pageerror", (error: Error) => done.reject(error));
tab.on("console", (message: { text(): string }) => console.log(`  ${message.text()}`));
await tab.exposeFunction("report", (name: string, error: string | null, ms: number) => {
  if (error === null) passed++;
  else failed++;
  console.log(`${name} ... ${error === null ? "ok" : `FAILED\n${error}`} (${Math.round(ms)}ms)`);
});
await tab.exposeFunction("finish", (adapter: string) => done.resolve(adapter));
try {
  await tab.goto(`http://127.0.0.1:${server.addr.port}/?store=${encodeURIComponent(store.url)}`);
  const adapter = await done.promise;
  console.log(`\nChromium ${browser.version()}, adapter ${adapter}`);
} catch (error) {
  failed++;
  console.log(`FAILED: ${error}`);
} finally {
  await browser.close();
}
console.log(`${failed === 0 ? "ok" : "FAILED"} | ${passed} passed | ${failed} failed`);
Deno.exitCode = failed === 0 && passed > 0 ? 0 : 1;
