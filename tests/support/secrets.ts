/** Looks for secrets wherever an error could show them. */
import assert from "node:assert/strict";

/** Asserts that no secret stands in an error: message, stack, causes, own properties, as printed, as JSON. */
export function assertNoSecret(error: unknown, secrets: readonly string[]): void {
  const texts = new Set<string>();
  collect(error, texts, new Set());
  texts.add(Deno.inspect(error, { depth: 20, showHidden: true, strAbbreviateSize: 1e6 }));
  texts.add(JSON.stringify(error) ?? "");
  texts.add(String(error));
  for (const text of texts) {
    for (const secret of secrets) {
      for (const form of new Set([secret, encodeURIComponent(secret), btoa(secret)])) {
        assert.ok(!text.includes(form), `"${form}" stands in: ${text.slice(0, 600)}`);
      }
    }
  }
}

/** Texts of all properties, hidden ones too, whatever they lead to. */
function collect(value: unknown, texts: Set<string>, seen: Set<unknown>): void {
  if (typeof value === "string") texts.add(value);
  if (typeof value !== "object" || value === null || seen.has(value)) return;
  seen.add(value);
  for (const key of Reflect.ownKeys(value)) {
    texts.add(String(key));
    collect(Reflect.get(value, key), texts, seen);
  }
}
