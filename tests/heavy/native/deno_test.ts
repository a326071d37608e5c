/** onnxruntime-node in Deno: every form of model, the command line, and what happens without permission. */
import assert from "node:assert/strict";
import { createOnnxModel, type OnnxOptions } from "../../../src/models/onnx/mod.ts";
import { loadOrt } from "../../../src/models/onnx/session.ts";
import { catalogue } from "../../support/catalogue.ts";
import { cli } from "../../support/cli.ts";
import { FORMS, isMasked, resolutionOf } from "../../support/onnx/forms.ts";
import { assertSearch, problemOf, somePrompts, START } from "../../support/onnx/reference.ts";
import { writeToy } from "../../support/onnx/toy.ts";
import { spellerSearch } from "./speller_search.ts";

// onnxruntime-web puts the Worker of node:worker_threads in the place of the global one.
const WebWorker = Worker;
const web = await loadOrt("wasm");

for (const [name, form] of Object.entries(FORMS)) {
  Deno.test(`onnxruntime-node: ${name}`, async () => {
    const files = writeToy(form);
    await using model = await createOnnxModel(files.decoder, {
      encoder: files.encoder,
      decoderWithPast: form.twoGraphs ? writeToy({ ...form, withPast: true }).decoder : undefined,
      startToken: START,
      runtime: "node",
    });
    assert.deepEqual([model.vocabSize, model.provider], [13, "wasm"]);
    assert.match(model.reason, /onnxruntime-node/);
    for (const isUneven of isMasked(form) ? [false, true] : [false]) {
      const prompts = somePrompts(isUneven);
      const problem = await problemOf(web, files, prompts, resolutionOf(form), { isMixed: true });
      using prompted = model.withPrompts(prompts);
      await assertSearch(problem, prompted, resolutionOf(form), { times: 2 });
    }
  });
}

/** Runs code that has createOnnxModel and the bytes of a toy, as a process. */
async function run(code: string, ...flags: string[]): Promise<{ out: string; err: string }> {
  const module = new URL("../../../src/models/onnx/mod.ts", import.meta.url);
  const toy = writeToy({}).decoder.toBase64();
  const script = `import { createOnnxModel } from "${module}";
const toy = Uint8Array.fromBase64("${toy}");
${code}`;
  const here = new URL(".", import.meta.url).pathname;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--no-check",
      `--config=${here}deno.json`,
      ...flags,
      `data:text/typescript,${encodeURIComponent(script)}`,
    ],
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { out: text(stdout), err: text(stderr) };
}

Deno.test("Without --allow-ffi onnxruntime-node is refused, and onnxruntime-web is not", async () => {
  const code = `
const codes = [];
for (const runtime of ["node", "web"]) {
  await createOnnxModel(toy, { runtime }).then(
    (model) => codes.push(model.vocabSize),
    ({ name, code, message }) => codes.push(name, code, /--allow-ffi/.test(message)),
  );
}
console.log(JSON.stringify(codes));
Deno.exit();`;
  const { out, err } = await run(code, "--allow-read");
  assert.deepEqual(JSON.parse(out || err), [
    "BackendError",
    "needs-onnxruntime-node",
    true,
    13,
  ]);
});

Deno.test("Both runtimes and one or two threads find the same names, in a process and in a Worker", async () => {
  const expected = await spellerSearch({ runtime: "web" });
  assert.equal(expected[0].name, "amsterdam");
  const others: OnnxOptions[] = [
    { runtime: "node" },
    { runtime: "node", threads: 2 },
    { threads: 2 },
  ];
  for (const options of others) {
    for (const search of [spellerSearch, inWorker]) {
      const found = await search(options);
      assert.deepEqual(found.map(({ name }) => name), expected.map(({ name }) => name));
      found.forEach(({ score }, i) => {
        assert.ok(Math.abs(score - expected[i].score) < 1e-3, `${score}, not ${expected[i].score}`);
      });
    }
  }
});

/** The same in a Web Worker. */
async function inWorker(options: OnnxOptions): ReturnType<typeof spellerSearch> {
  const worker = new WebWorker(new URL("speller_worker.ts", import.meta.url), { type: "module" });
  const { promise, resolve, reject } = Promise.withResolvers<
    Awaited<ReturnType<typeof inWorker>>
  >();
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(event.message));
  };
  worker.postMessage(options);
  try {
    return await promise;
  } finally {
    worker.terminate();
  }
}

Deno.test("A process has one number of threads for onnxruntime-web", async () => {
  const { decoder } = writeToy({});
  await assert.rejects(createOnnxModel(decoder, { threads: 3 }), {
    name: "BackendError",
    code: "no-threads",
    expected: 2,
    actual: 3,
  });
});

Deno.test("decode --runtime node finds what it finds without", async () => {
  await using files = await catalogue();
  const args = ["decode", files.index, "--model", files.model, "3,1,4", "--json"];
  const results = [];
  for (const flags of [["--backend", "wasm"], ["--runtime", "node"]]) {
    const { code, out, err } = await cli([...args, ...flags, "--threads", "1"]);
    assert.deepEqual([code, err], [0, ""]);
    results.push(JSON.parse(out).results);
  }
  const [web, node] = results.map((found) =>
    found.map(({ ordinal }: { ordinal: number }) => ordinal)
  );
  assert.deepEqual(node, web);
});
