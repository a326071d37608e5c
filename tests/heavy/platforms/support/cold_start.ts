/**
 * Cold starts in Node and workerd with the index at an address: prints milliseconds by stage as JSON, for bench/run/edge.ts.
 * The model costs as much as the README's.
 */
import { Folder } from "./folder.ts";
import { installPackage } from "./package.ts";
import { KEY, MODEL, startWorker } from "./worker_under_test.ts";

const [index] = Deno.args;
const BODY = { prompts: [[7]], beams: 70 };

async function inNode() {
  await using folder = await Folder.make();
  await installPackage(folder);
  const script = await folder.write(
    "script.js",
    `
const since = () => performance.timeOrigin + performance.now() - Number(process.argv[2]);
const runtime = since();
const { createHandler } = await import("@espalier/espalier/edge");
const imported = since() - runtime;
const handler = createHandler({ index: ${JSON.stringify(index)}, model: ${MODEL} });
const response = await handler(new Request("http://node.test/v1/decode", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: '${JSON.stringify(BODY)}',
}));
await response.json();
const total = since();
const phase = (name) => Number(response.headers.get("server-timing").match(name + ";dur=([0-9.]+)")[1]);
const rest = total - runtime - imported - phase("index") - phase("decode");
console.log(JSON.stringify({
  runtime, import: imported, index: phase("index"), search: phase("decode"), rest, total,
}));
`,
  );
  await folder.run("node", script, "0"); // the files have been read once
  return JSON.parse(
    await folder.run("node", script, String(performance.timeOrigin + performance.now())),
  );
}

async function inWorkerd() {
  await using worker = await startWorker();
  const file = new Uint8Array(await (await fetch(index)).arrayBuffer());
  await worker.r2.bucket.put(KEY, file);
  const start = performance.now();
  const response = await worker.post("/v1/decode", BODY);
  await response.json();
  const first = performance.now() - start;
  // Clocks of Workers stand still between reads: the search shows in the rest.
  const open = Number(response.headers.get("server-timing")!.match(/index;dur=([\d.]+)/)![1]);
  return {
    "Miniflare, workerd and isolate": worker.startMs,
    "index": open,
    "search and rest": first - open,
    "total": worker.startMs + first,
  };
}

console.log(JSON.stringify({
  "Node, 1 M items": await inNode(),
  "workerd, 1 M items in R2": await inWorkerd(),
}));
