/** `cli serve --workers`: several threads that answer as one server. */
import assert from "node:assert/strict";
import { ConstraintIndex } from "../../../mod.ts";
import { writeToy } from "../../support/onnx/toy.ts";
import { catalogue, catalogueBytes } from "../../support/catalogue.ts";
import { cli, spawn } from "../../support/cli.ts";
import { Served } from "../../support/served.ts";

const TWO = ["--workers", "2"];

/** The lines of JSON that a server wrote. */
const linesOf = (err: string) =>
  err.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));

Deno.test("serve --workers answers from each as from one, and takes a new index in each", async () => {
  await using files = await catalogue();
  const args = [files.index, "--model", files.model, "--revalidate", "0", "--log"];
  await using one = await Served.start([...args, "--backend", "wasm"]);
  await using two = await Served.start([...args, ...TWO]);
  assert.equal((two.ready as { workers?: number }).workers, 2);
  const asked = { prompts: [[3, 1, 4], [9, 1]], beams: 5, filter: "in stock" };
  const expected = await (await one.post("/v1/decode", asked)).json();
  const answers = await Promise.all(
    Array.from({ length: 6 }, async () => (await two.post("/v1/decode", asked)).json()),
  );
  for (const answer of answers) assert.deepEqual(answer.results, expected.results);
  assert.deepEqual((await (await two.fetch("/readyz")).json()).workers, { all: 2, ready: 2 });
  const metrics = await (await two.fetch("/metrics")).text();
  for (const worker of [1, 2]) {
    assert.ok(
      metrics.includes(`requests_total{worker="${worker}",route="/v1/decode",status="200"} 3\n`),
      metrics,
    );
  }
  assert.equal(metrics.match(/# TYPE espalier_requests_total /g)?.length, 1);

  const next = await catalogueBytes(2);
  using index = await ConstraintIndex.open(next);
  await Deno.rename(await files.folder.write("next.safetensors", next), files.index);
  const isServed = async () => {
    const { body } = await two.post("/v1/mask", { prefixes: [[]] });
    await body?.cancel();
    const text = await (await two.fetch("/metrics")).text();
    return text.match(new RegExp(`index_info\\{worker="\\d",digest="${index.digest}"`, "g"))
      ?.length;
  };
  while (await isServed() !== 2) await new Promise((resolve) => setTimeout(resolve, 5));
  const { code, err } = await two.stop();
  assert.equal(code, 0);
  const lines = linesOf(err);
  const workersOf = (wanted: (line: Record<string, unknown>) => boolean) =>
    lines.filter(wanted).map(({ worker }) => worker).sort();
  assert.deepEqual(workersOf(({ route }) => route === "/v1/decode"), [1, 1, 1, 2, 2, 2]);
  assert.deepEqual(workersOf(({ reload }) => reload !== undefined), [1, 2]);
  assert.equal(lines.filter(({ route }) => route === "/readyz").length, 1);
  await one.stop();
});

Deno.test("serve --workers lets requests end when it is told to stop", async () => {
  await using files = await catalogue();
  await using server = await Served.start([files.index, "--model", files.model, ...TWO]);
  const { hostname, port } = new URL(server.ready.url);
  const body = '{"prompts":[[1]],"beams":2}';
  const head = `POST /v1/decode HTTP/1.1\r\nhost: x\r\nconnection: close\r\n` +
    `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
  const encoder = new TextEncoder();
  // One for each worker.
  const connections = [];
  for (let i = 0; i < 2; i++) {
    const connection = await Deno.connect({ hostname, port: Number(port) });
    await connection.write(encoder.encode(head + body.slice(0, 5)));
    connections.push(connection);
  }
  const reading = async () => {
    const metrics = await (await server.fetch("/metrics")).text();
    return metrics.match(/^espalier_bodies_on_their_way\{worker="\d"\} 1$/gm)?.length;
  };
  while (await reading() !== 2) await new Promise((resolve) => setTimeout(resolve, 5));
  const stopped = server.stop();
  let late = await server.fetch("/healthz");
  while (late.status === 200) {
    await late.body?.cancel();
    late = await server.fetch("/healthz");
  }
  assert.deepEqual([late.status, (await late.json()).code], [503, "closed"]);
  for (const connection of connections) {
    await connection.write(encoder.encode(body.slice(5)));
    assert.match(await new Response(connection.readable).text(), /^HTTP\/1\.1 200 /);
  }
  const { code, err } = await stopped;
  assert.equal(code, 0);
  assert.match(err, /^stopping: requests that run may end\n/);
});

Deno.test("serve --workers heeds limits of bodies, malformed addresses and tokens", async () => {
  await using files = await catalogue();
  Deno.env.set("ESPALIER_TEST_TOKEN", "secret");
  const args = [files.index, ...TWO, "--body-bytes", "18", "--token-env", "ESPALIER_TEST_TOKEN"];
  await using server = await Served.start(args, ["ESPALIER_TEST_TOKEN"]);
  Deno.env.delete("ESPALIER_TEST_TOKEN");
  const auth = { authorization: "Bearer secret" };
  const statuses = [];
  for (
    const [body, headers] of [[{ prefixes: [[]] }, {}], [{ prefixes: [[]] }, auth], [{
      prefixes: [[1, 2]],
    }, auth]]
  ) {
    const response = await server.post("/v1/mask", body, headers as Record<string, string>);
    await response.body?.cancel();
    statuses.push(response.status);
  }
  assert.deepEqual(statuses, [401, 200, 413]);
  const refused = await server.fetch("/metrics");
  await refused.body?.cancel();
  assert.equal(refused.status, 401);
  const { hostname, port } = new URL(server.ready.url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  const text = "GET /healthz HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n";
  await connection.write(new TextEncoder().encode(text));
  assert.match(await new Response(connection.readable).text(), /^HTTP\/1\.1 400 [^]*bad-address/);
  await server.stop();
});

Deno.test("serve --workers names what a worker cannot start with", async () => {
  await using files = await catalogue();
  const { folder, index, model } = files;
  const small = await folder.write("small.onnx", writeToy({ vocabSize: 7 }).decoder);
  const wrong: [string[], string, string][] = [
    [[index, "--model", small], "model-misfit", index],
    [[index, "--model", model, "--end-token", "3"], "model-misfit", index],
    [[await folder.write("junk", "no index")], "not-safetensors", folder.at("junk")],
  ];
  for (const [args, code, file] of wrong) {
    const child = spawn(["serve", ...args, ...TWO, "--port", "0", "--json"]);
    const { code: exit, stdout, stderr } = await child.output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    const { error } = JSON.parse(text(stderr));
    assert.deepEqual([exit, text(stdout), error.code, error.file], [1, "", code, file]);
  }
});

Deno.test("serve --workers refuses memory in which they do not fit, before it starts them", async () => {
  await using files = await catalogue();
  const bytes = (await Deno.stat(files.model)).size;
  const { code, err } = await cli([
    "serve",
    files.index,
    "--model",
    files.model,
    ...TWO,
    "--memory",
    "50MB",
    "--json",
  ]);
  const { error } = JSON.parse(err);
  assert.deepEqual([code, error.code, error.actual], [1, "memory-limit", 50e6]);
  const index = (await Deno.stat(files.index)).size;
  assert.equal(error.expected, 2 * (index + 2 ** 21 + 2 ** 25 + bytes) + bytes);
  await using server = await Served.start([files.index, ...TWO, "--memory", "80MB"]);
  const response = await server.post("/v1/mask", { prefixes: [[]] });
  await response.body?.cancel();
  assert.equal(response.status, 200);
  assert.equal((await server.stop()).code, 0);
});

Deno.test("Wrong usage of serve --workers", async () => {
  const wrong: [string[], RegExp][] = [
    [["a", "--workers", "0"], /Expected --workers as 1 to 256, found "0"/],
    [["a", "--workers", "two"], /Expected --workers/],
    [["a", ...TWO, "--model", "m", "--backend", "webgpu"], /--workers 1 with --backend webgpu/],
    [["a", "--model", "m", "--runtime", "bun"], /Expected --runtime web or node, found "bun"/],
    [["a", "--model", "m", "--threads", "0"], /Expected --threads/],
    [["a", "--runtime", "node"], /Expected --model FILE with --runtime/],
    [
      ["a", "--model", "m", "--runtime", "node", "--backend", "webgpu"],
      /--runtime node without --backend webgpu/,
    ],
  ];
  for (const [args, message] of wrong) {
    const { code, err } = await cli(["serve", ...args]);
    assert.equal(code, 2);
    assert.match(err, message);
  }
});
