/** The HTTP handler: its OpenAPI document says what it takes and gives. */

import assert from "node:assert/strict";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import fc from "fast-check";
import { ConstraintIndex } from "../../mod.ts";
import { createHandler } from "../../src/edge/mod.ts";
import { runs } from "../support/long.ts";
import { catalogue, get, post, serve, success } from "../support/edge.ts";
import { randomRequest } from "../support/edge_requests.ts";
import { Random } from "../support/models.ts";

const bytes = await catalogue(3, 300);
/** Small enough that random requests meet them. */
const limits = {
  prompts: 3,
  prefixes: 3,
  promptTokens: 5,
  beams: 8,
  exclusions: 4,
  filterTerms: 3,
};

/** Checks values against the schemas of the document. */
function validatorOf(document: { components: { schemas: unknown } }) {
  const text = JSON.stringify(document.components.schemas);
  const $defs = JSON.parse(text.replaceAll("#/components/schemas/", "#/$defs/"));
  const ajv = new Ajv2020({ allowUnionTypes: true });
  ajv.addSchema({ $id: "document", $defs });
  const compiled = new Map<string, ValidateFunction>();
  return (name: string, value: unknown): boolean => {
    let validate = compiled.get(name);
    if (!validate) {
      validate = ajv.compile({ $ref: `document#/$defs/${name}` });
      compiled.set(name, validate);
    }
    return validate(value) as boolean;
  };
}

Deno.test("the document is valid OpenAPI 3.1, whatever the options", async () => {
  for (const options of [{}, { bearerTokens: ["t"] }, { bearerTokens: ["t"], openMetrics: true }]) {
    for (const model of [undefined, () => () => new Float32Array()]) {
      await using handler = createHandler({ index: bytes, model, ...options });
      const headers = { authorization: "Bearer t" };
      const document = await success(await handler(get("/openapi.json", { headers })));
      const result = await new Validator().validate(document);
      assert.deepEqual(result.errors, undefined);
      assert(result.valid);
      assert.equal(document.openapi, "3.1.0");
      assert.deepEqual(Object.keys(document.paths), [
        "/v1/decode",
        "/v1/mask",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
      ]);
      assert.equal("501" in document.paths["/v1/decode"].post.responses, !model);
      assert.equal("securitySchemes" in document.components, "bearerTokens" in options);
    }
  }
});

Deno.test("the document's schemas take exactly the requests that the handler takes", async () => {
  await using handler = serve({ index: bytes, limits });
  using index = await ConstraintIndex.open(bytes);
  const document = await success(await handler(get("/openapi.json")));
  const isValid = validatorOf(document);
  const counts = { taken: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(fc.nat(), async (seed) => {
      const { path, body } = randomRequest(new Random(seed), {
        ...limits,
        indexes: [index.digest],
      });
      const response = await handler(post(path, JSON.stringify(body)));
      const answer = await response.json();
      const isTaken = answer.code !== "invalid-request";
      counts[isTaken ? "taken" : "refused"]++;
      const name = path === "/v1/decode" ? "Decode" : "Mask";
      const parsed = JSON.parse(JSON.stringify(body));
      assert.equal(isValid(`${name}Request`, parsed), isTaken, JSON.stringify([body, answer]));
      const answerName = response.status === 200 ? `${name}Answer` : "Problem";
      assert(isValid(answerName, answer), JSON.stringify(answer));
    }),
    { numRuns: runs(1000), seed: 7 },
  );
  assert(counts.taken > 100 && counts.refused > 100, JSON.stringify(counts));
});

Deno.test("status answers fit the document", async () => {
  await using handler = serve({ index: bytes });
  const isValid = validatorOf(await success(await handler(get("/openapi.json"))));
  assert(isValid("Ready", await (await handler(get("/readyz"))).json()));
  await handler(post("/v1/mask", { prefixes: [[]] }));
  assert(isValid("Ready", await success(await handler(get("/readyz")))));
  assert(isValid("Health", await success(await handler(get("/healthz")))));
  await using broken = serve({ index: new Uint8Array(9) });
  await broken(post("/v1/mask", { prefixes: [[]] }));
  const ready = await (await broken(get("/readyz"))).json();
  assert(ready.lastError && isValid("Ready", ready), JSON.stringify(ready));
});

Deno.test("what is not in the document is not asked for", async () => {
  await using handler = serve({ index: bytes });
  const document = await success(await handler(get("/openapi.json")));
  const text = JSON.stringify(document);
  const refs = [...text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(([, name]) =>
    name
  );
  for (const name of refs) assert(name in document.components.schemas, name);
  for (const name of Object.keys(document.components.schemas)) assert(refs.includes(name), name);
});
