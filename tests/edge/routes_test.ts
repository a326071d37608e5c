/** The HTTP handler: every route, every refusal of a request. */

import assert from "node:assert/strict";
import { ConstraintIndex, ModelOutputError } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { Refusal } from "../../src/edge/error_response.ts";
import { createHandler, DEFAULT_LIMITS } from "../../src/edge/mod.ts";
import { requestSchemas } from "../../src/edge/schemas.ts";
import { check } from "../../src/edge/validate.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { filterBitsOf } from "../../src/index/item_filter.ts";
import {
  BASE,
  catalogue,
  expected,
  get,
  model,
  post,
  problem,
  serve,
  success,
} from "../support/edge.ts";
import { Random, RULES, workingModelOf } from "../support/models.ts";

const bytes = await catalogue(1);
const prompts = [[3, 1, 4], [1, 5]];

Deno.test("decode answers what a search finds", async () => {
  await using handler = serve({ index: bytes });
  using index = await ConstraintIndex.open(bytes);
  const response = await handler(post("/v1/decode", { prompts, beams: 7 }));
  const timing = response.headers.get("server-timing") ?? "";
  for (const phase of ["body", "parse", "queue", "index", "model", "decode", "answer"]) {
    assert.match(timing, new RegExp(`(^|, )${phase};dur=[0-9.]+`));
  }
  assert.equal(response.headers.get("cache-control"), "no-store");
  const body = await success(response);
  const wanted = await expected(bytes, prompts, 7);
  assert.equal(body.index, wanted.index);
  assert.equal(body.backend, "wasm");
  assert.equal(body.results.length, 2);
  for (const [row, found] of body.results.entries()) {
    assert.deepEqual(found.map((one: { ordinal: number }) => one.ordinal), wanted.ordinals[row]);
    for (const { ordinal, sequence, items, score } of found) {
      assert.deepEqual(sequence, [...index.sequenceAt(ordinal)]);
      assert.deepEqual(items, index.itemsAt(ordinal).map(String));
      assert(BigInt(items[0]) > 2n ** 61n && score < 0);
    }
  }
});

Deno.test("filters and exclusions hold, for all prompts or for one", async () => {
  await using handler = serve({ index: bytes });
  using index = await ConstraintIndex.open(bytes);
  using fresh = index.namedFilter("fresh");
  using adult = index.namedFilter("adult");
  using german = index.namedFilter("de");
  const filter = { all: ["fresh", { not: "adult" }] };
  const request = {
    prompts: [[1], { tokens: [2], filter: { any: ["de", { all: ["adult"] }] } }, [3]],
    beams: 50,
    filter,
  };
  const { results } = await success(await handler(post("/v1/decode", request)));
  using shown = fresh.andNot(adult);
  using wide = german.or(adult);
  const isShown = [shown, wide, shown].map((filter) => (ordinal: number) => filter.has(ordinal));
  const ordinalsOf = (found: { ordinal: number }[]) => found.map(({ ordinal }) => ordinal);
  results.forEach((found: { ordinal: number; items: string[] }[], row: number) => {
    assert.equal(found.length, 50);
    assert(ordinalsOf(found).every(isShown[row]));
    for (const { ordinal, items } of found) {
      const allowed = index.itemsAt(ordinal, Infinity, [shown, wide, shown][row]);
      assert.deepEqual(items, allowed.map(String));
    }
  });
  const [first, second] = ordinalsOf(results[0]);
  const again = {
    prompts: [{ tokens: [1], exclude: [first, second] }],
    index: index.digest,
    beams: 50,
    filter,
  };
  const [found] = (await success(await handler(post("/v1/decode", again)))).results;
  const left = ordinalsOf(found);
  assert(!left.includes(first) && !left.includes(second) && left.every(isShown[0]));

  const mask = { prefixes: [[], { tokens: [5], filter: "de" }], filter };
  const masked = (await success(await handler(post("/v1/mask", mask)))).results;
  assert.deepEqual(masked, [
    { allowed: [...index.allowedTokens([], shown)], canEnd: false },
    { allowed: [...index.allowedTokens([5], german)], canEnd: index.canEnd([5], german) },
  ]);
});

Deno.test("mask answers what the index allows, and nothing off the set", async () => {
  await using handler = serve({ index: bytes, model: undefined });
  using index = await ConstraintIndex.open(bytes);
  const prefixes = [[], [7], [...index.sequenceAt(0)], [63], [2 ** 31 - 1], new Array(100).fill(1)];
  const body = await success(await handler(post("/v1/mask", { prefixes })));
  assert.equal(body.index, index.digest);
  assert.deepEqual(
    body.results,
    prefixes.map((prefix) => ({
      allowed: [...index.allowedTokens(prefix)],
      canEnd: index.canEnd(prefix),
    })),
  );
});

Deno.test("options of the server hold where a request says nothing", async () => {
  const search = { vocabSize: VOCAB_OF_MODEL, endToken: 63 };
  await using handler = serve({ index: bytes, search });
  const ask = async (more: object) =>
    (await success(await handler(post("/v1/decode", { prompts, beams: 3, ...more })))).results;
  const withEnd = await ask({});
  assert.deepEqual(await ask({ endToken: 63 }), withEnd);
  assert.notDeepEqual(await ask({ endToken: 65 }), withEnd);
  assert.notDeepEqual(await ask({ lengthPenalty: 2 }), withEnd);
});
const VOCAB_OF_MODEL = 70;

Deno.test("a length penalty that is too large for the lengths of an index is the request's fault", async () => {
  using long = await buildIndex([new Array(300).fill(3), [1]], { vocabSize: 64 });
  await using handler = serve({ index: long.toBytes() });
  const ask = (lengthPenalty: number) =>
    handler(post("/v1/decode", { prompts: [[1]], beams: 2, lengthPenalty }));
  const { expected, actual } = await problem(await ask(8), 422, "wrong-option");
  assert.equal(actual, 8);
  await success(await ask(expected));
});

Deno.test("status routes", async () => {
  await using handler = serve({ index: bytes });
  assert.deepEqual(await success(await handler(get("/healthz"))), { ok: true });
  const early = await handler(get("/readyz"));
  assert.equal(early.status, 503);
  assert.equal(early.headers.get("retry-after"), "1");
  assert.deepEqual(await early.json(), { ready: false });
  await success(await handler(post("/v1/mask", { prefixes: [[]] })));
  const ready = await success(await handler(get("/readyz")));
  using index = await ConstraintIndex.open(bytes);
  assert.equal(ready.index.digest, index.digest);
  assert.equal(ready.index.size, index.size);
  assert.deepEqual(ready.index.filters, ["fresh", "adult", "de"]);
  assert.equal(ready.backend, "wasm");
  assert.equal(ready.reason, "asked for");
  assert(ready.index.ageSeconds >= 0);
  await handler(get("/nowhere"));
  const response = await handler(get("/metrics"));
  assert.match(response.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
  const text = await response.text();
  for (
    const line of [
      'espalier_requests_total{route="/v1/mask",status="200"} 1',
      'espalier_requests_total{route="other",status="404"} 1',
      'espalier_request_duration_seconds_count{route="/v1/mask"} 1',
      'espalier_request_duration_seconds_bucket{route="/v1/mask",le="+Inf"} 1',
      "espalier_queue_depth 0",
      "espalier_rejected_total 0",
      'espalier_index_loads_total{result="loaded"} 1',
      'espalier_index_loads_total{result="failed"} 0',
      `espalier_index_info{digest="${index.digest}",backend="wasm"} 1`,
    ]
  ) assert(text.includes(`\n${line}\n`), line);
  const head = await handler(get("/healthz", { method: "HEAD" }));
  assert.equal(head.status, 200);
  assert.equal(await head.text(), "");
});

Deno.test("readyz has the index loaded", async () => {
  await using handler = serve({ index: bytes });
  while ((await handler(get("/readyz"))).status !== 200) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
});

Deno.test("paths, methods and bodies that are not taken", async () => {
  await using handler = serve({ index: bytes });
  const decode = (body: unknown, init?: RequestInit) => handler(post("/v1/decode", body, init));
  for (const path of ["/", "/v1", "/v1/decode/", "/__proto__", "/constructor"]) {
    await problem(await handler(get(path)), 404, "no-such-route");
  }
  for (
    const [path, method, allow] of [
      ["/v1/decode", "GET", "POST"],
      ["/v1/mask", "DELETE", "POST"],
      ["/healthz", "POST", "GET, HEAD"],
      ["/v1/decode", "OPTIONS", "POST"],
    ]
  ) {
    const response = await handler(new Request(BASE + path, { method }));
    assert.equal(response.headers.get("allow"), allow);
    await problem(response, 405, "wrong-method");
  }
  for (const type of ["text/plain", "application/jsonp", "application/json; charset=latin1", ""]) {
    await problem(
      await decode({}, { headers: { "content-type": type } }),
      415,
      "unsupported-media-type",
    );
  }
  const zipped = { headers: { "content-encoding": "gzip" } };
  await problem(await decode({}, zipped), 415, "unsupported-media-type");
  for (const body of ["", "{", "nul", '{"prompts":[[1]]}x']) {
    await problem(await decode(body), 400, "not-json");
  }
  const notText = new Uint8Array([0x22, 0xff, 0x22]);
  await problem(
    await handler(
      new Request(BASE + "/v1/decode", {
        method: "POST",
        body: notText,
        headers: { "content-type": "application/json" },
      }),
    ),
    400,
    "not-json",
  );
  const utf8 = { headers: { "content-type": 'application/json; charset="UTF-8"' } };
  await success(await decode({ prompts, beams: 1 }, utf8));
});

Deno.test("what does not fit the schema is named", async () => {
  await using handler = serve({ index: bytes });
  const nested = (depth: number): unknown => depth === 0 ? "fresh" : { not: nested(depth - 1) };
  const cases: [body: unknown, field: string, expected?: unknown][] = [
    [[], "", "an object"],
    [null, ""],
    [5, ""],
    [{}, "/prompts"],
    [{ prompts: [] }, "/prompts", "at least 1 elements"],
    [{ prompts: new Array(17).fill([1]) }, "/prompts"],
    [{ prompts: "no" }, "/prompts"],
    [{ prompts: [[1, 2.5]] }, "/prompts/0/1", "a whole number"],
    [{ prompts: [[1], [-1]] }, "/prompts/1/0"],
    [{ prompts: [[2 ** 31]] }, "/prompts/0/0"],
    [{ prompts: [{}] }, "/prompts/0/tokens"],
    [{ prompts: [{ tokens: [1], exclude: ["x"] }] }, "/prompts/0/exclude/0"],
    [{ prompts: [{ tokens: [1], exclude: new Array(1001).fill(1) }] }, "/prompts/0/exclude"],
    [{ prompts: [new Array(4097).fill(1)] }, "/prompts/0"],
    [{ prompts: [3] }, "/prompts/0"],
    [{ prompts, beams: 0 }, "/beams"],
    [{ prompts, beams: 129 }, "/beams", "at most 128"],
    [{ prompts, beams: null }, "/beams"],
    [{ prompts, beem: 3 }, "/beem", "no such field"],
    [{ prompts, "a/b~c": 3 }, "/a~1b~0c"],
    [{ prompts, normalize: "all" }, "/normalize"],
    [{ prompts, lengthPenalty: 9 }, "/lengthPenalty"],
    [{ prompts, tokensPerBeam: 0 }, "/tokensPerBeam"],
    [{ prompts, endToken: "x" }, "/endToken"],
    [{ prompts, filter: { all: ["fresh", { any: [3] }] } }, "/filter/all/1/any/0"],
    [{ prompts, filter: { none: [] } }, "/filter"],
    [{ prompts, filter: { all: [] } }, "/filter/all"],
    [{ prompts, filter: nested(5) }, "/filter/not/not/not/not"],
    ['{"prompts":[[1]],"__proto__":{"beams":2}}', "/__proto__"],
    [
      `{"prompts":[[1]],"filter":${'{"not":'.repeat(20)}"[\\"{"${"}".repeat(20)}}`,
      "/filter/not/not/not/not",
    ],
    [`{"prompts":[[1]],"filter":${'{"not":'.repeat(50_000)}"a"${"}".repeat(50_000)}}`, "", 32],
    [`{"prompts":${"[".repeat(40)}${"]".repeat(40)}}`, "", 32],
    [`{"prompts":[[1]],"${"k".repeat(100_000)}":1}`, `/${"k".repeat(199)}…`],
  ];
  for (const [body, field, expected] of cases) {
    const said = await problem(await handler(post("/v1/decode", body)), 400, "invalid-request");
    assert.equal(said.field, field, JSON.stringify(said).slice(0, 300));
    if (expected) assert.equal(said.expected, expected);
  }
});

Deno.test("what fits the schema but not the index is named", async () => {
  await using handler = serve({ index: bytes, limits: { maskTokens: 40 } });
  using index = await ConstraintIndex.open(bytes);
  const decode = (body: unknown) => handler(post("/v1/decode", body));
  const unknown = await problem(
    await decode({ prompts, filter: { all: ["fresh", "freshh"] } }),
    422,
    "unknown-filter",
  );
  assert.deepEqual([unknown.field, unknown.actual], ["/filter/all/1", "freshh"]);
  assert.deepEqual(unknown.expected, ["fresh", "adult", "de"]);
  const own = { prompts: [[1], { tokens: [1], filter: "x" }] };
  assert.equal(
    (await problem(await decode(own), 422, "unknown-filter")).field,
    "/prompts/1/filter",
  );
  const exclude = { prompts: [{ tokens: [1], exclude: [0, index.size] }], index: index.digest };
  const ordinal = await problem(await decode(exclude), 422, "no-such-ordinal");
  assert.deepEqual(
    [ordinal.field, ordinal.expected, ordinal.actual],
    ["/prompts/0/exclude/1", index.size - 1, index.size],
  );
  for (const endToken of [64, 5]) {
    const said = await problem(await decode({ prompts, endToken }), 422, "wrong-end-token");
    assert.equal(said.field, "/endToken");
  }
  const names = { all: new Array(32).fill("fresh") };
  await problem(
    await decode({ prompts, filter: { any: [names, "de"] } }),
    422,
    "too-many-filter-terms",
  );
  await success(await decode({ prompts, filter: names }));
  await problem(await handler(post("/v1/mask", { prefixes: [[]] })), 422, "answer-too-large");
});

Deno.test("without a model there are masks only", async () => {
  await using handler = createHandler({ index: bytes });
  await problem(await handler(post("/v1/decode", { prompts })), 501, "no-model");
  await success(await handler(post("/v1/mask", { prefixes: [[]] })));
  const ready = await success(await handler(get("/readyz")));
  assert.equal(ready.backend, "wasm");
});

Deno.test("models that fail", async () => {
  const told: [unknown, string][] = [];
  let fail: (prompts: number[][]) => never = () => assert.fail();
  await using handler = serve({
    index: bytes,
    model: (prompts) => fail(prompts),
    onError: (error, during) => {
      told.push([error, during]);
      throw new Error("hooks may fail");
    },
  });
  const ask = () => handler(post("/v1/decode", { prompts }));
  const secret = new Error("password hunter2");
  fail = () => {
    throw secret;
  };
  const said = await problem(await ask(), 500, "internal");
  assert(!JSON.stringify(said).includes("hunter2"));
  assert.deepEqual(told.splice(0), [[secret, "making the model"]]);
  fail = () => {
    throw Object.assign(new RangeError("Cannot search with prompt 1: it is empty"), { row: 1 });
  };
  assert.equal((await problem(await ask(), 422, "wrong-prompt")).field, "/prompts/1");
  assert.equal(told.length, 0);
  await using wrong = serve({
    index: bytes,
    model: () => () => new Float32Array(3),
    onError: (error) => told.push([error, ""]),
  });
  const response = await wrong(post("/v1/decode", { prompts }));
  assert.equal((await response.json()).status, 500);
  assert(told[0][0] instanceof ModelOutputError);
});

Deno.test("models are disposed of with their search, whatever comes of it", async () => {
  const disposed: string[] = [];
  let isFailing = false;
  await using handler = serve({
    index: bytes,
    model: (prompts) => {
      const inner = model(prompts);
      const own = (input: Parameters<typeof inner>[0]) => {
        if (isFailing) throw new Error("no");
        return inner(input);
      };
      return Object.assign(own, {
        [Symbol.dispose]: () => void disposed.push("sync"),
        [Symbol.asyncDispose]: () => {
          disposed.push("async");
          return Promise.resolve();
        },
      });
    },
  });
  await success(await handler(post("/v1/decode", { prompts })));
  isFailing = true;
  await problem(await handler(post("/v1/decode", { prompts })), 500, "internal");
  assert.deepEqual(disposed, ["async", "async"]);
});

Deno.test("bearer tokens", async () => {
  const bearerTokens = ["s3cret-token", "another"];
  const logged: unknown[] = [];
  await using handler = serve({ index: bytes, bearerTokens, log: (entry) => logged.push(entry) });
  const ask = (authorization?: string, path = "/v1/mask") =>
    handler(
      path === "/v1/mask"
        ? post(path, { prefixes: [[]] }, { headers: authorization ? { authorization } : {} })
        : get(path, { headers: authorization ? { authorization } : {} }),
    );
  const missing = await ask();
  assert.equal(missing.headers.get("www-authenticate"), "Bearer");
  await problem(missing, 401, "missing-token");
  for (const wrong of ["Basic s3cret-token", "Bearer", "Bearer a b"]) {
    await problem(await ask(wrong), 401, "missing-token");
  }
  for (
    const wrong of ["s3cret-toke", "s3cret-tokem", "s3cret-token2", "S3cret-token", "another,"]
  ) {
    const response = await ask(`Bearer ${wrong}`);
    assert.equal(response.headers.get("www-authenticate"), 'Bearer error="invalid_token"');
    assert(!JSON.stringify(await problem(response, 401, "wrong-token")).includes(wrong));
  }
  await success(await ask("Bearer s3cret-token"));
  await success(await ask("bearer another"));
  await success(await ask(undefined, "/healthz"));
  await success(await ask(undefined, "/readyz"));
  await problem(await ask(undefined, "/metrics"), 401, "missing-token");
  await problem(await ask(undefined, "/openapi.json"), 401, "missing-token");
  assert.equal((await ask("Bearer another", "/metrics")).status, 200);
  await using open = serve({ index: bytes, bearerTokens, openMetrics: true });
  assert.equal((await open(get("/metrics"))).status, 200);
  assert(!JSON.stringify(logged).includes("s3cret"));
  assert.throws(() => serve({ index: bytes, bearerTokens: [] }), TypeError);
  assert.throws(() => serve({ index: bytes, bearerTokens: ["a b"] }), TypeError);
});

Deno.test("cross-origin requests", async () => {
  const origin = "https://shop.example";
  const preflight = (from: string) =>
    get("/v1/decode", {
      method: "OPTIONS",
      headers: { origin: from, "access-control-request-method": "POST" },
    });
  await using off = serve({ index: bytes });
  const plain = await off(get("/healthz", { headers: { origin } }));
  assert.equal(plain.headers.get("access-control-allow-origin"), null);
  await problem(await off(preflight(origin)), 405, "wrong-method");

  await using handler = serve({ index: bytes, cors: { origins: [origin] }, bearerTokens: ["t"] });
  const asked = await handler(preflight(origin));
  assert.equal(asked.status, 204);
  assert.equal(asked.headers.get("access-control-allow-origin"), origin);
  assert.equal(asked.headers.get("access-control-allow-methods"), "POST");
  assert.match(asked.headers.get("access-control-allow-headers")!, /authorization.*content-type/);
  assert.equal(asked.headers.get("vary"), "Origin");
  const stranger = await handler(preflight("https://evil.example"));
  assert.equal(stranger.headers.get("access-control-allow-origin"), null);
  const refused = await handler(post("/v1/mask", { prefixes: [[]] }, { headers: { origin } }));
  assert.equal(refused.headers.get("access-control-allow-origin"), origin);
  assert.match(refused.headers.get("access-control-expose-headers")!, /Server-Timing/);
  await problem(refused, 401, "missing-token");
  await using all = serve({ index: bytes, cors: { origins: "*" } });
  const answer = await all(get("/healthz", { headers: { origin } }));
  assert.equal(answer.headers.get("access-control-allow-origin"), "*");
  assert.equal(answer.headers.get("vary"), null);
});

Deno.test("a closed handler serves no more", async () => {
  const handler = serve({ index: bytes });
  await success(await handler(post("/v1/mask", { prefixes: [[]] })));
  await handler.close();
  const response = await handler(post("/v1/mask", { prefixes: [[]] }));
  assert.equal(response.headers.get("retry-after"), "1");
  await problem(response, 503, "closed");
  assert.equal((await handler(get("/readyz"))).status, 503);
  assert.equal((await handler(get("/healthz"))).status, 200);
  await handler.close();
});

Deno.test("every request is logged once", async () => {
  const logged: { route: string; status: number; index?: string }[] = [];
  await using handler = serve({ index: bytes, log: (entry) => logged.push(entry) });
  await handler(post("/v1/mask", { prefixes: [[]] }));
  await handler(get("/secret?token=1"));
  using index = await ConstraintIndex.open(bytes);
  assert.deepEqual(logged.map(({ route, status, index }) => [route, status, index]), [
    ["/v1/mask", 200, index.digest],
    ["other", 404, undefined],
  ]);
});

Deno.test("a default export for deno serve", async () => {
  await using handler = serve({ index: bytes });
  const app: Deno.ServeDefaultExport = { fetch: handler };
  assert(app.fetch);
});

Deno.test("behind Deno.serve", async () => {
  await using handler = serve({ index: bytes });
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, handler);
  const response = await fetch(`http://127.0.0.1:${server.addr.port}/v1/decode`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompts, beams: 2 }),
  });
  const { results } = await success(response);
  assert.deepEqual(
    results[0].map((one: { ordinal: number }) => one.ordinal),
    (await expected(bytes, prompts, 2)).ordinals[0],
  );
});

Deno.test("options that make no sense", () => {
  const wrong: unknown[] = [
    undefined,
    {},
    { index: new Response("x") },
    { index: new Blob(["x"]).stream() },
    { index: bytes, limits: { beams: 2000 } },
    { index: bytes, limits: { beems: 20 } },
    { index: bytes, limits: { deadlineMs: 0 } },
    { index: bytes, revalidateAfterMs: -1 },
    { index: bytes, takeOverMs: NaN },
  ];
  for (const options of wrong) {
    assert.throws(
      () => createHandler(options as Parameters<typeof createHandler>[0]),
      (error) => error instanceof TypeError || error instanceof RangeError,
    );
  }
});

Deno.test("items are excluded, and allowed, by their ids", async () => {
  await using handler = serve({ index: bytes });
  using index = await ConstraintIndex.open(bytes);
  const decode = async (body: unknown) =>
    (await success(await handler(post("/v1/decode", body)))).results as {
      ordinal: number;
      items: string[];
    }[][];
  const idsOf = (found: { items: string[] }[]) => found.flatMap(({ items }) => items);
  const [all] = await decode({ prompts: [[1]], beams: 20 });
  const [first, second, third] = idsOf(all);
  const gone = { excludeItems: [second, "77"] };
  const [own, common] = await decode({
    prompts: [{ tokens: [1], ...gone }, [1]],
    beams: 20,
    excludeItems: [first],
  });
  assert.ok(!idsOf(own).includes(first) && !idsOf(own).includes(second));
  assert.ok(idsOf(own).includes(third));
  assert.ok(!idsOf(common).includes(first));

  const only = { onlyItems: [first, third, "5"] };
  const [listed, replaced] = await decode({
    prompts: [[1], { tokens: [1], onlyItems: [second] }],
    beams: 20,
    ...only,
  });
  assert.deepEqual(idsOf(listed).sort(), [first, third].sort());
  assert.deepEqual(idsOf(replaced), [second]);
  const [none] = await decode({ prompts: [[1]], onlyItems: ["5", "6"] });
  assert.deepEqual(none, []);
  const [both] = await decode({ prompts: [[1]], beams: 20, ...only, excludeItems: [first] });
  assert.deepEqual(idsOf(both), [third]);
  const [fresh] = await decode({ prompts: [[1]], beams: 20, ...only, filter: "fresh" });
  using filter = index.namedFilter("fresh");
  const isFresh = (id: string) => filter.hasItem(BigInt(id));
  assert.deepEqual(idsOf(fresh).sort(), [first, third].filter(isFresh).sort());

  // Masks follow the same rules.
  const mask = async (body: unknown) =>
    (await success(await handler(post("/v1/mask", body)))).results as {
      allowed: number[];
      canEnd: boolean;
    }[];
  using expected = index.filter({ items: [BigInt(first)] });
  const sequence = [...index.sequenceAt(index.ordinalsOfItem(BigInt(first))[0])];
  for (const [i, length] of [...sequence, 0].entries()) {
    const prefix = sequence.slice(0, i);
    const [{ allowed, canEnd }] = await mask({ prefixes: [prefix], onlyItems: [first] });
    assert.deepEqual(allowed, [...index.allowedTokens(prefix, expected)], `${length}`);
    assert.equal(canEnd, index.canEnd(prefix, expected));
  }
  const ordinal = index.ordinalOf(sequence)!;
  const exclude = { exclude: [ordinal], index: index.digest };
  const [{ canEnd }] = await mask({
    prefixes: [{ tokens: sequence, exclude: [ordinal] }],
    index: index.digest,
  });
  const [again] = await mask({ prefixes: [sequence], ...exclude });
  assert.deepEqual([canEnd, again.canEnd], [false, false]);
});

Deno.test("ordinals are taken with the digest of their index only", async () => {
  await using handler = serve({ index: bytes });
  using index = await ConstraintIndex.open(bytes);
  for (const path of ["/v1/decode", "/v1/mask"]) {
    const name = path === "/v1/decode" ? "prompts" : "prefixes";
    const ask = (more: object, own: object = {}) =>
      handler(post(path, { [name]: [{ tokens: [], ...own }], ...more }));
    for (const [more, own] of [[{ exclude: [0] }, {}], [{}, { exclude: [0] }]]) {
      const missing = await problem(await ask(more, own), 400, "index-missing");
      assert.equal(missing.field, "/index");
      await success(await ask({ ...more, index: index.digest }, own));
      const other = { ...more, index: "ab".repeat(32) };
      const changed = await problem(await ask(other, own), 412, "index-changed");
      assert.deepEqual([changed.field, changed.expected], ["/index", index.digest]);
    }
    await problem(await ask({ index: "ab".repeat(32) }), 412, "index-changed");
    await problem(await ask({ index: "ab" }), 400, "invalid-request");
    await success(await ask({ exclude: [] }));
  }
});

Deno.test("ids of the wrong kind, too many, and indexes without them are named", async () => {
  await using handler = serve({ index: bytes });
  const decode = (body: object, to = handler) =>
    to(post("/v1/decode", { prompts: [{ tokens: [1], ...body }] }));
  const wrong = await problem(await decode({ excludeItems: ["1", "x"] }), 422, "wrong-item-id");
  assert.equal(wrong.field, "/prompts/0/excludeItems/1");
  const number = await problem(await decode({ onlyItems: [5] }), 400, "invalid-request");
  assert.deepEqual([number.field, number.expected], ["/prompts/0/onlyItems/0", "a string"]);
  const ids = (count: number) => Array.from({ length: count }, (_, i) => String(i));
  const many = await problem(await decode({ excludeItems: ids(1001) }), 400, "invalid-request");
  assert.equal(many.field, "/prompts/0/excludeItems");
  const together = { prompts: [{ tokens: [1], excludeItems: ids(600) }], excludeItems: ids(600) };
  const both = await problem(
    await handler(post("/v1/decode", together)),
    422,
    "too-many-exclusions",
  );
  assert.deepEqual([both.field, both.actual], ["/prompts/0/excludeItems", 1200]);
  await success(await decode({ onlyItems: ids(10_000) }));
  await problem(await decode({ onlyItems: ids(10_001) }), 400, "invalid-request");

  const rows = [[1, 2], [1, 3], [2, 0]];
  using plain = await buildIndex(rows, { vocabSize: 64 });
  await using without = serve({ index: plain.toBytes() });
  await problem(await decode({ excludeItems: ["1"] }, without), 422, "no-items");
  using old = await buildIndex(rows, { vocabSize: 64, items: [3, 1, 2], itemLookup: false });
  await using unable = serve({ index: old.toBytes() });
  await problem(await decode({ onlyItems: ["1"] }, unable), 422, "no-item-lookup");
});

Deno.test("a body that is refused costs little, however long or deep it is", async () => {
  await using handler = serve({ index: bytes });
  const long = JSON.stringify(new Array(500_000).fill(1)).slice(0, 1_000_000).replace(/,?$/, "]");
  const deep = `${"[".repeat(500_000)}${"]".repeat(500_000)}`;
  const bodies = [
    `{"prompts":${long}}`,
    `{"prompts":[${long}]}`,
    `{"prompts":[{"tokens":${long}}]}`,
    `{"prompts":[[1]],"filter":{"all":${long}}}`,
    `{"prompts":[[1]],"excludeItems":${long}}`,
    `{"prompts":${deep}}`,
    `{"prompts":[[1]],"x":${long}}`,
  ];
  // Only that the validator looks at little: how long reading JSON takes is not its doing.
  const schema = requestSchemas(DEFAULT_LIMITS).decode;
  for (const body of bodies) {
    await problem(await handler(post("/v1/decode", body)), 400, "invalid-request");
    const parsed = JSON.parse(body);
    let looks = 0;
    const watched = (value: unknown): unknown =>
      typeof value !== "object" || value === null ? value : new Proxy(value, {
        get(target, key, receiver) {
          looks++;
          return watched(Reflect.get(target, key, receiver));
        },
      });
    assert.throws(() => check(schema, watched(parsed)), Refusal);
    assert.ok(looks < 1000, `${body.slice(0, 40)}: ${looks}`);
  }
});

Deno.test("an item that several sequences lead to is answered once, or as often as is asked for", async () => {
  const rows = Array.from({ length: 40 }, (_, i) => [i % 7, i % 5, i]);
  const items = rows.map((_, i) => `item ${i % 10}`);
  using index = await buildIndex(rows, { vocabSize: 64, items });
  await using handler = serve({ index: index.toBytes() });
  const ask = async (duplicates?: string) => {
    const body = { prompts: [[1]], beams: 30, duplicates };
    const { results } = await success(await handler(post("/v1/decode", body)));
    return results[0] as { items: string[]; score: number }[];
  };
  const kept = await ask("keep");
  const best = await ask();
  assert.equal(kept.length, 30);
  const distinct = [...new Set(kept.flatMap(({ items }) => items))];
  assert.deepEqual(best.flatMap(({ items }) => items), distinct);
  assert.ok(distinct.length <= 10);
  const summed = await ask("sum");
  assert.deepEqual(summed.flatMap(({ items }) => items).sort(), distinct.sort());
  assert.ok(summed[0].score >= best[0].score);
});

Deno.test("a limit gives the first results, and the model less to do", async () => {
  const random = new Random(7);
  const rows = Array.from({ length: 400 }, () => {
    const length = random.between(1, 5);
    return Array.from({ length }, () => random.below(9));
  });
  const items = rows.map((_, i) => `item ${i % 25}`);
  using index = await buildIndex(rows, { vocabSize: 64, items });
  let work = { calls: 0, rows: 0, runs: 0 };
  await using handler = serve({
    index: index.toBytes(),
    model: () => {
      const made = workingModelOf(RULES.smooth, 3, { liveRows: true, runs: true });
      work = made.work;
      return made;
    },
  });
  const ask = async (more: object) => {
    const body = { prompts: [[1], [2]], beams: 40, endToken: 20, ...more };
    const { results } = await success(await handler(post("/v1/decode", body)));
    return { results: results as unknown[][], rows: work.rows };
  };
  for (const duplicates of ["best", "keep", "sum"]) {
    const all = await ask({ duplicates });
    for (const limit of [1, 3, 40]) {
      const some = await ask({ duplicates, limit });
      assert.deepEqual(some.results, all.results.map((row) => row.slice(0, limit)));
      if (duplicates !== "sum" && limit < 40) assert.ok(some.rows < all.rows, `${some.rows}`);
    }
  }
  const none = post("/v1/decode", { prompts: [[1]], limit: 0 });
  await problem(await handler(none), 400, "invalid-request");
});

Deno.test("allow lists of many rows are compiled once, and take no more memory than is allowed", async () => {
  using index = await ConstraintIndex.open(bytes);
  const ids = Array.from({ length: 20 }, (_, i) => String(index.itemsAt(i)[0]));
  using one = index.filter({ items: ids.map(BigInt) });
  const { heldBytes } = filterBitsOf(one, loadedIndexOf(index));
  // Three of the request's own: its list, the list with a filter, and that of one row.
  const limits = { requestFilterBytes: 3 * heldBytes, prefixes: 256 };
  await using handler = serve({ index: bytes, limits });
  const rows = Array.from({ length: 200 }, () => ({ tokens: [] as number[] }));
  const ask = (prefixes: object[]) =>
    handler(post("/v1/mask", { prefixes, onlyItems: ids, filter: "fresh" }));
  await success(await ask(rows));
  const own = (count: number) => ids.slice(0, count).map((id) => ({ tokens: [], onlyItems: [id] }));
  await success(await ask(own(1)));
  const { field } = await problem(await ask(own(3)), 422, "filters-too-large");
  assert.match(field, /^\/prefixes\/[12]\/onlyItems$/);
});
