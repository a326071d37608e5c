/** Requests for the demo's model. */
import { promptOf } from "../../demo/speller.ts";
import { canMisspell, misspeller } from "../eval/misspell.ts";
import { random } from "./support.ts";

/** Requests for misspelt names, a prompt each. */
export function spellerBodies(keys: readonly string[], beams: number): string[] {
  const next = random(1);
  const misspell = misspeller(2);
  const names = keys.filter(canMisspell);
  return Array.from({ length: 500 }, () => {
    const { query } = misspell(names[next() % names.length]);
    return JSON.stringify({ prompts: [promptOf(query)], beams });
  });
}
