/** `cli serve`: as a process that is asked, told to stop, and whose index is replaced; and what it refuses to start with. */

import assert from "node:assert/strict";
import { ConstraintIndex, createDecoder } from "../../../mod.ts";
import { main } from "../../../src/cli/main.ts";
import { SERVE_HELP } from "../../../src/cli/commands/serve.ts";
import { parseServe } from "../../../src/cli/commands/serve_arguments.ts";
import { createOnnxModel } from "../../../src/models/onnx/mod.ts";
import { writeToy } from "../../support/onnx/toy.ts";
import { catalogue, catalogueBytes } from "../../support/catalogue.ts";
import { cli, Folder } from "../../support/cli.ts";
import { helpExamples } from "../../support/examples.ts";
import { Served } from "../../support/served.ts";

const ON_CPU = ["--backend", "wasm"];

Deno.test("serve answers as a search by hand does, and stops when told to", async () => {
  await using files = await catalogue();
  const args = [files.index, "--model", files.model, ...ON_CPU, "--beams", "20", "--log"];
  await using server = await Served.start(args);
  assert.match(server.ready.url, /^http:\/\/127\.0\.0\.1:\d+$/);
  const health = await server.fetch("/healthz");
  assert.deepEqual([health.status, await health.json()], [200, { ok: true }]);

  using index = await ConstraintIndex.open(await catalogueBytes());
  await using onnx = await createOnnxModel(writeToy({}).decoder);
  using decoder = await createDecoder(index, { backend: "wasm" });
  using prompted = onnx.withPrompts([[3, 1, 4], [9]]);
  using filter = index.namedFilter("in stock");
  const { vocabSize } = onnx;
  const found = await decoder.beamSearch(prompted, {
    batchSize: 2,
    beamSize: 5,
    vocabSize,
    filter,
  });
  const asked = { prompts: [[3, 1, 4], [9]], beams: 5, filter: "in stock" };
  const answer = await (await server.post("/v1/decode", asked)).json();
  assert.deepEqual([answer.index, answer.backend], [index.digest, "wasm"]);
  const results = answer.results.flat();
  assert.deepEqual(
    results.map(({ ordinal }: { ordinal: number }) => ordinal),
    [...found.ordinals],
  );
  assert.deepEqual(results.map(({ score }: { score: number }) => score), [...found.scores]);
  assert.deepEqual(results[0].items, index.itemsAt(found.ordinals[0]).map(String));

  const masked = await (await server.post("/v1/mask", { prefixes: [[]] })).json();
  assert.deepEqual(masked.results[0].allowed, [...index.allowedTokens([])]);
  const many = await server.post("/v1/decode", { prompts: [[1]], beams: 21 });
  await many.body?.cancel();
  assert.equal(many.status, 400);

  const { code, err } = await server.stop();
  assert.equal(code, 0);
  const lines = err.split("\n").filter((line) => line.startsWith("{")).map((l) => JSON.parse(l));
  assert.deepEqual(
    lines.map(({ method, route, status }) => [method, route, status]),
    [
      ["GET", "/healthz", 200],
      ["POST", "/v1/decode", 200],
      ["POST", "/v1/mask", 200],
      ["POST", "/v1/decode", 400],
    ],
  );
  assert.equal(lines[1].index, index.digest);
  assert.ok(lines.every(({ time, durationMs }) => Date.parse(time) > 0 && durationMs >= 0));
});

/** Runs the command that a server prints. */
async function ask({ ready }: Served): Promise<{ index: string; results: unknown[] }> {
  const { stdout } = await new Deno.Command("sh", { args: ["-c", ready.curl] }).output();
  return JSON.parse(new TextDecoder().decode(stdout));
}

const curl = await new Deno.Command("sh", { args: ["-c", "command -v curl"], stdout: "null" })
  .output().catch(() => undefined);

Deno.test({
  name: "serve answers the command that it prints",
  ignore: !curl?.success, // curl is not there
  async fn() {
    await using files = await catalogue();
    Deno.env.set("ESPALIER_TEST_TOKEN", "first-token, second-token");
    const token = ["--token-env", "ESPALIER_TEST_TOKEN"];
    for (const flags of [["--model", files.model, ...ON_CPU], [], token]) {
      await using server = await Served.start([files.index, ...flags], ["ESPALIER_TEST_TOKEN"]);
      const { index, results } = await ask(server);
      assert.deepEqual([index, results.length], [server.ready.digest, 1]);
      assert.equal((await server.stop("SIGINT")).code, 0);
    }
    Deno.env.delete("ESPALIER_TEST_TOKEN");
  },
});

Deno.test("serve asks for a token of the environment", async () => {
  await using files = await catalogue();
  for (const value of ["first-token", "first-token, second-token"]) {
    Deno.env.set("ESPALIER_TEST_TOKEN", value);
    const args = [files.index, "--token-env", "ESPALIER_TEST_TOKEN"];
    await using server = await Served.start(args, ["ESPALIER_TEST_TOKEN"]);
    const status = async (token?: string) => {
      const headers = token === undefined ? undefined : { authorization: `Bearer ${token}` };
      const response = await server.post("/v1/mask", { prefixes: [[]] }, headers);
      await response.body?.cancel();
      return response.status;
    };
    const both = value.includes("second");
    assert.deepEqual(
      [await status(), await status("wrong"), await status("first-token"), await status(value)],
      [401, 401, 200, both ? 401 : 200],
    );
    assert.equal(await status("second-token"), both ? 200 : 401);
    assert.equal(JSON.stringify(server.ready).includes("first-token"), false);
    const { code, err } = await server.stop();
    assert.deepEqual([code, err.includes("first-token")], [0, false]);
  }
  Deno.env.delete("ESPALIER_TEST_TOKEN");
});

Deno.test("serve counts none of its own requests", async () => {
  await using files = await catalogue();
  await using server = await Served.start([
    files.index,
    "--model",
    files.model,
    ...ON_CPU,
    "--log",
  ]);
  const metrics = await (await server.fetch("/metrics")).text();
  assert.doesNotMatch(metrics, /requests_total\{/);
  assert.match(metrics, /index_loads_total\{result="loaded"\} 1\n/);
  assert.match(metrics, /index_loads_total\{result="failed"\} 0\n/);
  await server.stop();
});

Deno.test("serve --log has a line for a new index, for one that fails, and for requests that are refused", async () => {
  await using files = await catalogue();
  const args = [files.index, "--model", files.model, ...ON_CPU, "--revalidate", "0", "--log"];
  await using server = await Served.start(args);
  const digest = async () =>
    (await (await server.post("/v1/mask", { prefixes: [[]] })).json()).index as string;
  const next = await catalogueBytes(2);
  using index = await ConstraintIndex.open(next);
  await Deno.rename(await files.folder.write("next.safetensors", next), files.index);
  while (await digest() !== index.digest) await new Promise((resolve) => setTimeout(resolve, 5));
  await Deno.rename(await files.folder.write("bad.safetensors", "no index"), files.index);
  const failed = async () => {
    await digest();
    return (await (await server.fetch("/readyz")).json()).lastError !== undefined;
  };
  while (!await failed()) await new Promise((resolve) => setTimeout(resolve, 5));
  const { hostname, port } = new URL(server.ready.url);
  // A request that is not there in full keeps the server from ending.
  using connection = await Deno.connect({ hostname, port: Number(port) });
  const body = '{"prefixes":[[]]}';
  const head = `POST /v1/mask HTTP/1.1\r\nhost: x\r\nconnection: close\r\n` +
    `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
  const encoder = new TextEncoder();
  await connection.write(encoder.encode(head + body.slice(0, 5)));
  await digest();
  const stopped = server.stop();
  let refused = 0;
  for (const path of ["/healthz", "/v1/mask?a=b", "/nowhere"]) {
    for (let isRefused = false; !isRefused; refused += Number(isRefused)) {
      const response = await server.fetch(path);
      const text = await response.text();
      isRefused = response.status === 503 && JSON.parse(text).code === "closed";
    }
  }
  await connection.write(encoder.encode(body.slice(5)));
  await new Response(connection.readable).text();
  const { code, err } = await stopped;
  assert.equal(code, 0);
  const lines = err.split("\n").filter((line) => line.startsWith("{")).map((l) => JSON.parse(l));
  const short = (whole: string) => `${whole.slice(0, 12)}…`;
  assert.deepEqual(
    lines.flatMap(({ reload }) => reload ?? []),
    [{ from: short(server.ready.digest), to: short(index.digest), sequences: index.size }],
  );
  const errors = lines.flatMap(({ error }) => error ?? []);
  assert.ok(errors.length > 0);
  for (const error of errors) {
    assert.deepEqual([error.during, error.code], ["loading the index", "not-safetensors"]);
    assert.ok(error.message.includes(files.index), error.message);
  }
  assert.deepEqual(
    lines.filter(({ status }) => status === 503).map(({ method, route }) => [method, route]),
    [["GET", "/healthz"], ["GET", "/v1/mask"], ["GET", "other"]],
  );
  assert.equal(refused, 3);
  assert.ok(lines.every(({ time, durationMs = 0 }) => Date.parse(time) > 0 && durationMs >= 0));
});

Deno.test("serve takes the index that has taken the place of another", async () => {
  await using files = await catalogue();
  const args = [files.index, "--model", files.model, ...ON_CPU, "--revalidate", "0"];
  await using server = await Served.start(args);
  const digest = async () => {
    const response = await server.post("/v1/decode", { prompts: [[1]], beams: 1 });
    assert.equal(response.status, 200);
    return (await response.json()).index as string;
  };
  const until = async (expected: string) => {
    while (await digest() !== expected) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  assert.equal(await digest(), server.ready.digest);
  const next = await catalogueBytes(2);
  using index = await ConstraintIndex.open(next);
  assert.notEqual(index.digest, server.ready.digest);
  await Deno.rename(await files.folder.write("next.safetensors", next), files.index);
  await until(index.digest);
  // One that is damaged is not taken, and the server says so.
  await Deno.rename(await files.folder.write("bad.safetensors", "no index"), files.index);
  const failed = async () => {
    await digest();
    return (await (await server.fetch("/readyz")).json()).lastError !== undefined;
  };
  while (!await failed()) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(await digest(), index.digest);
  const { code, err } = await server.stop();
  assert.equal(code, 0);
  assert.match(err, /^error: loading the index: .*\n {2}code /m);
  assert.ok(err.match(/^error: .*$/m)![0].includes(files.index));
  const [from, to] = [server.ready.digest, index.digest].map((whole) => whole.slice(0, 12));
  const reloads = err.split("\n").filter((line) => line.startsWith("index "));
  assert.equal(reloads.length, 1);
  assert.match(reloads[0], new RegExp(`^index ${from}… → ${to}…, [\\d ]+ sequences$`));
});

Deno.test("serve refuses tokens of prompts that its flag rules out, and is told its memory", async () => {
  await using files = await catalogue({ encoder: true });
  const parts = ["--encoder", files.folder.at("encoder.onnx"), "--start-token", "0"];
  const args = [files.index, "--model", files.model, ...parts, ...ON_CPU, "--prompt-vocab", "5"];
  await using server = await Served.start(args);
  const ask = (token: number) => server.post("/v1/decode", { prompts: [[1, token]], beams: 1 });
  const refused = await ask(5);
  assert.equal(refused.status, 400);
  assert.match(await refused.text(), /prompts/);
  const answered = await ask(4);
  await answered.body?.cancel();
  assert.equal(answered.status, 200);
  const memory = (...flags: string[]) => parseServe(["a", ...flags])!.handler.memoryBytes;
  assert.deepEqual([memory(), memory("--memory", "96MB")], [Infinity, 96e6]);
});

Deno.test("serve lets a request end when it is told to stop", async () => {
  await using files = await catalogue();
  await using server = await Served.start([files.index, "--model", files.model, ...ON_CPU]);
  const { hostname, port } = new URL(server.ready.url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  const body = '{"prompts":[[1]],"beams":2}';
  const head = `POST /v1/decode HTTP/1.1\r\nhost: x\r\nconnection: close\r\n` +
    `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
  const encoder = new TextEncoder();
  await connection.write(encoder.encode(head + body.slice(0, 5)));
  // Another request, answered behind it, says that the first has come.
  assert.equal((await server.post("/v1/decode", { prompts: [[1]] })).status, 200);
  const stopped = server.stop();
  // It says that it stops before it does.
  let late = await server.fetch("/healthz");
  while (late.status === 200) {
    await late.body?.cancel();
    late = await server.fetch("/healthz");
  }
  assert.deepEqual([late.status, (await late.json()).code], [503, "closed"]);
  await connection.write(encoder.encode(body.slice(5)));
  const answer = await new Response(connection.readable).text();
  assert.match(answer, /^HTTP\/1\.1 200 /);
  assert.equal((await stopped).code, 0);
});

Deno.test("serve tells browsers who may ask", async () => {
  await using files = await catalogue();
  const origin = "https://shop.example";
  await using server = await Served.start([files.index, "--cors", origin]);
  const response = await server.fetch("/healthz", { headers: { origin } });
  await response.body?.cancel();
  assert.equal(response.headers.get("access-control-allow-origin"), origin);
  // Nothing holds a model that was not asked for.
  const refused = await server.post("/v1/decode", { prompts: [[1]] });
  assert.deepEqual([refused.status, (await refused.json()).code], [501, "no-model"]);
  await server.stop();
});

Deno.test("serve names what it cannot start with", async () => {
  await using files = await catalogue();
  const { folder, index, model } = files;
  const small = await folder.write("small.onnx", writeToy({ vocabSize: 7 }).decoder);
  const junk = await folder.write("junk.safetensors", "no index at all");
  using other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const port = String((other.addr as Deno.NetAddr).port);
  const wrong: [string[], string, string | undefined][] = [
    [[folder.at("none")], "not-found", folder.at("none")],
    [[junk], "not-safetensors", junk],
    [[index, "--model", folder.at("none")], "not-found", folder.at("none")],
    [[index, "--model", small, ...ON_CPU], "model-misfit", index],
    [[index, "--model", model, ...ON_CPU, "--end-token", "3"], "model-misfit", index],
    [[index, "--port", port], "address-in-use", undefined],
  ];
  for (const [args, code, file] of wrong) {
    const outcome = await cli(["serve", ...args, "--json"]);
    const { error } = JSON.parse(outcome.err);
    assert.deepEqual([outcome.code, error.code, error.file], [1, code, file], args.join(" "));
    assert.equal(outcome.out, "");
  }
});

Deno.test("Wrong usage of serve", async () => {
  Deno.env.delete("ESPALIER_TEST_NONE");
  await using files = await catalogue();
  const wrong: [string[], RegExp][] = [
    [[], /Expected FILE or URL, found none/],
    [["a", "b"], /Expected one FILE or URL, found 2/],
    [["a", "--encoder", "b"], /Expected --model FILE with --encoder/],
    [["a", "--port", "70000"], /Expected --port as 0 to 65535, found "70000"/],
    [["a", "--concurrency", "0"], /Expected --concurrency/],
    [["a", "--queue", "-1"], /--queue/],
    [["a", "--deadline", "0"], /Expected --deadline as a number from 0.001/],
    [["a", "--revalidate", "soon"], /Expected --revalidate/],
    [["a", "--beams", "2000"], /Expected --beams as 1 to 1024/],
    [["a", "--body-bytes", "0"], /Expected --body-bytes/],
    [["a", "--cors", "shop.example"], /Expected --cors as https:\/\/shop.example, or \*/],
    [["a", "--cors", "https://shop.example/"], /Expected --cors/],
    [["a", "--token-env", "s3cret-token"], /Expected --token-env NAME, .* found no name/],
    [
      ["a", "--token-env", "ESPALIER_TEST_NONE"],
      /variable ESPALIER_TEST_NONE, found none; .*"deno task cli" allows ESPALIER_TOKEN/,
    ],
    [["a", "--prompt-vocab", "0"], /Expected --prompt-vocab/],
    [["a", "--memory", "96"], /Expected --memory of 1MB or more, .* found "96", which is bytes/],
    [["a", "--region", "x"], /Expected s3:.* with --region/],
    [[files.index, "--model", files.model, "--start-token", "1"], /Expected --encoder/],
  ];
  for (const [args, message] of wrong) {
    const { code, out, err } = await cli(["serve", ...args]);
    assert.deepEqual([code, out], [2, ""], `${args.join(" ")}: ${err}`);
    assert.match(err, message);
    assert.equal(err.includes("s3cret"), false);
  }
});

Deno.test("The examples in the help of serve run", async () => {
  await using files = await catalogue();
  await using pair = await catalogue({ encoder: true });
  const places = {
    "catalogue.safetensors": files.index,
    "s3://indexes/catalogue.safetensors": files.index,
    "decoder.onnx": files.model,
    "t5.onnx": pair.model,
    "encoder.onnx": pair.folder.at("encoder.onnx"),
    "0.0.0.0": "127.0.0.1",
    "8080": "0",
  };
  Deno.env.set("ESPALIER_TOKEN", "token");
  for (const example of helpExamples(SERVE_HELP, places)) {
    const onCpu = example.includes("--model") ? ON_CPU : [];
    const port = example.includes("--port") ? [] : ["--port", "0"];
    const args = [...example, ...onCpu, ...port];
    const stop = new AbortController();
    const outcome = { out: "", err: "" };
    const code = await main(args, {
      out: (text) => {
        outcome.out += text;
        if (/curl/.test(outcome.out)) stop.abort();
      },
      err: (text) => void (outcome.err += text),
      showProgress: false,
      stdin: () => new Blob([]).stream(),
      signal: stop.signal,
    });
    assert.deepEqual([code, outcome.err], [0, "stopping: requests that run may end\n"]);
  }
  Deno.env.delete("ESPALIER_TOKEN");
});

Deno.test("serve refuses a pipe, which it could not read again", async () => {
  await using folder = await Folder.create();
  const pipe = folder.at("pipe");
  await new Deno.Command("mkfifo", { args: [pipe] }).output();
  const { code, err } = await cli(["serve", pipe]);
  assert.equal(code, 2);
  assert.match(err, /Expected a file that can be read again, found the pipe/);
  assert.match((await cli(["serve", "-"])).err, /Expected a file that can be read again/);
});
