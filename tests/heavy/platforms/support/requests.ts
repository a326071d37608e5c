/** What the servers of the README are asked, and what they must answer. */
import assert from "node:assert/strict";
import { ConstraintIndex } from "../../../../mod.ts";
import { Stopwatch } from "./folder.ts";

/** Answers to a decode and a mask request. */
export interface Answers {
  decode: { results: { ordinal: number; score: number; sequence: number[] }[][] };
  mask: { results: { allowed: number[]; canEnd: boolean }[] };
}

/** Asks a server that has just started, and takes the time. */
export async function ask(server: URL, watch = new Stopwatch()): Promise<Answers> {
  const post = async (path: string, body: unknown) => {
    const response = await fetch(new URL(path, server), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    assert.equal(response.status, 200, await response.clone().text());
    return await response.json();
  };
  const searching = { prompts: [[7]], beams: 10 };
  const decode = await post("/v1/decode", searching);
  watch.stage("first answer");
  const mask = await post("/v1/mask", {
    prefixes: [[], decode.results[0][0].sequence.slice(0, 3)],
  });
  watch.stage("mask");
  const again = await Promise.all(Array.from({ length: 8 }, () => post("/v1/decode", searching)));
  watch.stage("eight more at once");
  for (const answer of again) assert.deepEqual(answer, decode);
  return { decode, mask };
}

/** Whether the answers come from an index: the best sequences that it holds, and what may follow in it. */
export async function check({ decode, mask }: Answers, file: Uint8Array): Promise<void> {
  using index = await ConstraintIndex.open(file);
  const [found] = decode.results;
  assert.equal(found.length, 10);
  for (const { ordinal, sequence } of found) assert.equal(index.ordinalOf(sequence), ordinal);
  const scores = found.map(({ score }) => score);
  assert.deepEqual(scores, scores.toSorted((a, b) => b - a));
  const prefixes = [[], found[0].sequence.slice(0, 3)];
  assert.deepEqual(
    mask.results,
    prefixes.map((prefix) => ({ allowed: [...index.allowedTokens(prefix)], canEnd: false })),
  );
}
