/** The HTTP handler: spans, where OpenTelemetry is set up. */

import assert from "node:assert/strict";
import { catalogue, get, post, serve } from "../support/edge.ts";

const API = Symbol.for("opentelemetry.js.api.1");
const bytes = await catalogue(5, 50);

interface Recorded {
  name: string;
  parent?: string;
  attributes: Record<string, unknown>;
  status?: number;
  isEnded: boolean;
}

/** A provider as `@opentelemetry/api` registers it. */
function fakeProvider() {
  const spans: Recorded[] = [];
  const open: Recorded[] = [];
  const tracer = {
    startActiveSpan(
      name: string,
      { attributes }: { attributes: Record<string, unknown> },
      run: (span: unknown) => unknown,
    ) {
      const span: Recorded = {
        name,
        attributes: { ...attributes },
        parent: open.at(-1)?.name,
        isEnded: false,
      };
      spans.push(span);
      open.push(span);
      return run({
        setAttribute: (key: string, value: unknown) => void (span.attributes[key] = value),
        setStatus: ({ code }: { code: number }) => void (span.status = code),
        end: () => {
          span.isEnded = true;
          open.pop();
        },
      });
    },
  };
  return { spans, api: { trace: { getTracer: () => tracer } } };
}

Deno.test("a request is a span, and so is each of its phases", async () => {
  const holder = globalThis as { [API]?: unknown };
  const before = holder[API];
  const { spans, api } = fakeProvider();
  holder[API] = api;
  try {
    await using handler = serve({ index: bytes });
    await handler(post("/v1/decode", { prompts: [[1], [2]], beams: 3 }));
    const root = spans[0];
    assert.equal(root.name, "espalier /v1/decode");
    assert.equal(root.parent, undefined);
    assert.equal(root.attributes["http.response.status_code"], 200);
    assert.equal(root.attributes["espalier.prompts"], 2);
    assert.equal(root.attributes["espalier.beams"], 3);
    assert.match(String(root.attributes["espalier.index"]), /^[0-9a-f]{64}$/);
    assert.deepEqual(
      spans.slice(1).map(({ name, parent }) => [name, parent]),
      ["body", "parse", "queue", "index", "model", "decode", "answer"].map((phase) => [
        `espalier.${phase}`,
        root.name,
      ]),
    );
    assert(spans.every(({ isEnded }) => isEnded));
    spans.length = 0;
    await handler(get("/nowhere"));
    assert.equal(spans[0].attributes["http.response.status_code"], 404);
    await using broken = serve({ index: new Uint8Array(9) });
    spans.length = 0;
    await broken(post("/v1/mask", { prefixes: [[]] }));
    assert.deepEqual([spans[0].status, spans.at(-1)!.name, spans.at(-1)!.status], [
      2,
      "espalier.index",
      2,
    ]);
  } finally {
    holder[API] = before;
  }
});

Deno.test("Deno's own telemetry gets the spans", async () => {
  const code = `
    import { buildIndex } from ${JSON.stringify(import.meta.resolve("../../src/build/mod.ts"))};
    import { createHandler } from ${JSON.stringify(import.meta.resolve("../../src/edge/mod.ts"))};
    using index = await buildIndex([[1, 2]], { vocabSize: 4 });
    await using handler = createHandler({ index: index.toBytes() });
    await handler(new Request("http://x/v1/mask", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"prefixes":[[1]]}',
    }));
  `;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", code],
    env: { OTEL_DENO: "true", OTEL_EXPORTER_OTLP_PROTOCOL: "console", NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  for (const name of ["espalier /v1/mask", "espalier.index", "espalier.mask"]) {
    assert(text.includes(name), `${name} is not in\n${text}`);
  }
});
