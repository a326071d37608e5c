/** What tests of the HTTP handler share: catalogues, stores that misbehave, requests. */

import assert from "node:assert/strict";
import { type ByteRange, type ByteSource, ConstraintIndex, createDecoder } from "../../mod.ts";
import { createHandler, type Handler, type HandlerOptions } from "../../src/edge/mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { mix, modelOf, Random, RULES } from "./models.ts";

export const VOCAB = 64;
export const BASE = "http://edge.test";

/** A stored index of a few thousand sequences of 1 … 4 tokens, with filters and item ids. */
export async function catalogue(seed: number, size = 3000): Promise<Uint8Array<ArrayBuffer>> {
  const random = new Random(seed);
  const rows = Array.from(
    { length: size },
    () => Array.from({ length: random.pick([1, 2, 3, 4, 4, 4]) }, () => random.below(VOCAB - 1)),
  );
  const flags = () => rows.map(() => random.below(2) === 0);
  using index = await buildIndex(rows, {
    vocabSize: VOCAB,
    items: rows.map((_, row) => 2n ** 62n + BigInt(row)),
    filters: { fresh: flags(), adult: flags(), de: flags() },
  });
  return index.toBytes();
}

/** The model that all tests serve: logits depend on the prompts. */
export const model = (prompts: number[][]) => modelOf(RULES.smooth, seedOf(prompts));

function seedOf(prompts: number[][]): number {
  return prompts.flat().reduce((seed, token) => mix(seed + token + 1), prompts.length);
}

/** What `/v1/decode` should answer with, found by a search beside the handler. */
export async function expected(bytes: Uint8Array, prompts: number[][], beams: number) {
  using index = await ConstraintIndex.open(bytes);
  using decoder = await createDecoder(index, { backend: "wasm" });
  const found = await decoder.beamSearch(model(prompts), {
    batchSize: prompts.length,
    beamSize: beams,
  });
  return {
    index: index.digest,
    ordinals: prompts.map((_, row) =>
      Array.from(found.ordinals.subarray(row * beams, row * beams + found.counts[row]))
    ),
  };
}

/** A source whose bytes change, and which fails or hangs when told. */
export class Store implements ByteSource {
  bytes: Uint8Array;
  /** Reads so far. */
  reads = 0;
  /** Called before each read; may throw, or wait. */
  before: (read: number, range?: ByteRange) => void | Promise<void> = () => {};

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  async read(range?: ByteRange): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    await this.before(++this.reads, range);
    const { start = 0, end } = range ?? {};
    return new Blob([this.bytes.slice(start, end)]).stream();
  }
}

/** A clock that can be put forward. */
export class Clock {
  #ahead = 0;
  now = () => performance.now() + this.#ahead;
  skip(milliseconds: number) {
    this.#ahead += milliseconds;
  }
}

/** A handler on the CPU, so that no GPU is looked for, that prints nothing. */
export function serve(options: Partial<HandlerOptions> & Pick<HandlerOptions, "index">): Handler {
  return createHandler({ model, decoder: { backend: "wasm" }, onError: () => {}, ...options });
}

/** A request with a JSON body. */
export function post(path: string, body: unknown, init: RequestInit = {}): Request {
  return new Request(BASE + path, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...init,
    headers: { "content-type": "application/json", ...init.headers as Record<string, string> },
  });
}

export function get(path: string, init?: RequestInit): Request {
  return new Request(BASE + path, init);
}

/** Checks that an answer is a problem of a status and code; gives what it says. */
export async function problem(response: Response, status: number, code: string) {
  const body = await response.json();
  assert.equal(response.status, status, JSON.stringify(body));
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  assert.equal(body.status, status);
  assert.equal(body.code, code, JSON.stringify(body));
  assert.equal(body.type, "about:blank");
  assert(body.title.length > 0 && body.detail.length > 0);
  return body;
}

/** JSON of an answer that must be a success. */
// deno-lint-ignore no-explicit-any -- tests look into it
export async function success(response: Response): Promise<any> {
  const body = await response.json();
  assert.equal(response.status, 200, JSON.stringify(body));
  return body;
}

/** Waits until something holds. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!await holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** A promise that is settled from outside. */
export function latch() {
  return Promise.withResolvers<void>();
}
