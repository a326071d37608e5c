/**
 * One core of the evaluation: opens model and index, reads tasks from standard input, writes a line of JSON for each.
 *
 * A process, because onnxruntime-web 1.30.0 does not start in a Worker of Deno: `location.origin` is "null" there.
 */
import { createDecoder } from "../../mod.ts";
import { loadPlaces } from "../../demo/places.ts";
import { constrained, indexOf, unconstrained } from "../../demo/search.ts";
import { Speller } from "../../demo/speller.ts";

/** Queries to be answered together, and how. */
export interface Task {
  readonly queries: readonly string[];
  readonly isConstrained: boolean;
  readonly beamSize: number;
}

/** What was spelt. */
export interface Answer {
  /** For each query the best ten at most, best first. */
  readonly keys: readonly (readonly string[])[];
  /** Milliseconds of the search. */
  readonly time: number;
}

if (import.meta.main) {
  const tasks: Task[] = await new Response(Deno.stdin.readable).json();
  await using speller = await Speller.open();
  using index = await indexOf((await loadPlaces()).keys);
  using decoder = await createDecoder(index, { backend: "wasm" });
  for (const { queries, isConstrained, beamSize } of tasks) {
    const began = performance.now();
    using model = speller.forQueries(queries);
    const options = { batchSize: queries.length, beamSize, best: Math.min(10, beamSize) };
    const spelt = isConstrained
      ? await constrained(decoder, model, options)
      : await unconstrained(model, index.maxLength, options);
    const keys = spelt.map((row) => row.map(({ key }) => key));
    const answer: Answer = { keys, time: performance.now() - began };
    console.log(JSON.stringify(answer));
  }
}
