/** Errors of the command line can always be shown, whatever their facts are and whatever was thrown. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { EspalierError } from "../../src/errors.ts";
import { errorJson, errorText, UsageError } from "../../src/cli/errors.ts";
import { safeJson } from "../../src/cli/io/json.ts";
import { cli, Folder } from "../support/cli.ts";

/** A value inside so many arrays or objects. */
function nested(depth: number, wrap: (value: unknown) => unknown): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = wrap(value);
  return value;
}

const circle: unknown[] = [];
circle.push(circle, { circle });
const twins: unknown[] = [];
for (let i = 0, last: unknown = 1; i < 30; i++) twins.unshift(last = [last, last]);

const ODD: [name: string, value: unknown, json: string | RegExp][] = [
  ["bigint", 2n ** 64n, "18446744073709551616"],
  ["bigints in a list", [1n, -(2n ** 63n)], "[1,-9223372036854775808]"],
  ["typed arrays", [Uint32Array.of(1, 2), BigInt64Array.of(-1n)], "[[1,2],[-1]]"],
  ["undefined", undefined, "null"],
  ["no numbers", [NaN, Infinity, -0], "[null,null,0]"],
  ["symbol", Symbol("a"), '"Symbol(a)"'],
  ["function", [() => 1], /^\["\(\) ?=> ?1"\]$/],
  ["half a character", "\ud800", '"\\ud800"'],
  ["deep arrays", nested(200_000, (value) => [value]), /^\[{16}"…"\]{16}$/],
  ["deep objects", nested(200_000, (a) => ({ a })), /^(?:\{"a":){16}"…"\}{16}$/],
  ["deep toJSON", nested(200_000, (a) => ({ toJSON: () => a })), '"…"'],
  ["circle", circle, '["…",{"circle":"…"}]'],
  ["two of each, 30 levels deep", twins[0], /^\[\[/],
  ["error", new RangeError("too far"), '"RangeError: too far"'],
  ["date", [new Date(0), new Date(NaN)], '["1970-01-01T00:00:00.000Z",null]'],
  ["no prototype", Object.assign(Object.create(null), { a: 1 }), '{"a":1}'],
  ["__proto__", JSON.parse('{"__proto__":1}'), '{"__proto__":1}'],
  ["getter that throws", {
    a: 1,
    get b() {
      throw new Error("no");
    },
  }, '{"a":1,"b":"…"}'],
  ["toJSON that throws", [{
    toJSON() {
      throw new Error("no");
    },
  }], '["…"]'],
  ["toJSON of itself", {
    toJSON() {
      return this;
    },
  }, '"…"'],
  [
    "proxy that throws",
    new Proxy({}, {
      ownKeys() {
        throw new Error("no");
      },
    }),
    '"…"',
  ],
  ["proxy that was revoked", revoked(), '"…"'],
  ["long list", new Array(1e6).fill(0), /^\[(?:0,){10000}"…"\]$/],
];

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

Deno.test("Facts of any kind are shown as text and as JSON", () => {
  for (const [name, value, json] of ODD) {
    const found = safeJson(value);
    if (typeof json === "string") assert.equal(found, json, name);
    else assert.match(found, json, name);
    if (name.includes("revoked")) continue; // nobody can even ask what it is
    const error = new EspalierError("odd", "An odd value", { actual: value });
    const parsed = JSON.parse(errorJson(error));
    assert.deepEqual([parsed.error.code, parsed.error.message], ["odd", "An odd value"], name);
    assert.ok("actual" in parsed.error || value === undefined, name);
    assert.match(errorText(error, "help"), /^error: An odd value\n {2}code odd {2}actual /, name);
  }
});

Deno.test("Whatever is thrown is shown", () => {
  const getter = new EspalierError("odd", "A field that fails");
  Object.defineProperty(getter, "actual", { enumerable: true, get: () => assert.fail() });
  const message = Object.defineProperty(new Error(), "message", { get: () => assert.fail() });
  // Nobody can even ask what a revoked proxy is.
  const odd = ODD.filter(([name]) => !name.includes("revoked")).map(([, value]) => value);
  const thrown = [...odd, getter, message, new UsageError("wrong"), null];
  for (const value of thrown) {
    const { error } = JSON.parse(errorJson(value));
    assert.equal(typeof error.code, "string");
    assert.equal(typeof error.message, "string");
    assert.match(errorText(value, "help"), /^error: /);
  }
  assert.equal(JSON.parse(errorJson(getter)).error.actual, "…");
});

Deno.test("JSON values are shown as JSON.stringify does", () => {
  fc.assert(fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
    assert.equal(safeJson(value), JSON.stringify(value));
  }));
});

Deno.test("A row that is nested deeply is refused in its place", async () => {
  await using folder = await Folder.create();
  const deep = (open: string, close: string) => open.repeat(50_000) + 1 + close.repeat(50_000);
  const arrays = deep("[", "]"), objects = deep('{"a":', "}");
  const out = ["-o", folder.at("x.st"), "--vocab", "9", "--json"];
  const cases: [line: string, args: string[]][] = [
    [arrays, []],
    [objects, []],
    [`[${objects}]`, []],
    [arrays, ["--sequence", "sid"]],
    [`{"sid": ${arrays}}`, ["--sequence", "sid"]],
    [`{"sid": ${objects}}`, ["--sequence", "sid"]],
    [`{"sid": [${objects}]}`, ["--sequence", "sid"]],
    [`{"a": ${arrays}}`, ["--columns", "a"]],
    [`{"sid": [1], "id": ${arrays}}`, ["--sequence", "sid", "--item-column", "id"]],
    [`{"sid": [1], "id": ${objects}}`, ["--sequence", "sid", "--filter-column", "f=id"]],
    [arrays, ["--tokenizer", "bytes"]],
    [`{"s": ${objects}}`, ["--tokenizer", "bytes", "--column", "s"]],
  ];
  for (const [line, args] of cases) {
    const input = await folder.write("x.jsonl", `${line}\n`);
    const rest = args.includes("--tokenizer") ? out.filter((arg) => !/vocab|^9$/.test(arg)) : out;
    for (const flags of [rest, rest.slice(0, -1)]) {
      const { code, err } = await cli(["build", input, ...args, ...flags]);
      assert.equal(code, 1, err.slice(0, 1000));
      assert.doesNotMatch(err, /Maximum call stack|unexpected/);
      assert.ok(err.includes(input));
      if (flags === rest) assert.equal(JSON.parse(err).error.file, input);
    }
  }
});
