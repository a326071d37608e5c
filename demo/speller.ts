/**
 * The trained model: it reads a misspelt name and spells the right one, letter by letter. Both are folded:
 * which accents a name has, the list of places knows. How it was trained: speller/train/train.py.
 */

import type { Model } from "../src/decode/types.ts";
import { EspalierError } from "../src/errors.ts";
import { createOnnxModel } from "../src/models/onnx/mod.ts";
import type { OnnxModel } from "../src/models/onnx/types.ts";
import { fold } from "./fold.ts";
import vocabulary from "./speller/vocab.json" with { type: "json" };

/** W: characters and a few tokens beside them. */
export const VOCAB_SIZE = vocabulary.tokens.length;
/** The token that ends a name. */
export const END_TOKEN = vocabulary.end;

const IDS: ReadonlyMap<string, number> = new Map(vocabulary.tokens.map((token, id) => [token, id]));

/**
 * A folded name as tokens, without the end.
 *
 * @throws {EspalierError} if it has a character that no name had in training.
 */
export function tokensOf(key: string): number[] {
  const tokens: number[] = [];
  for (const character of key) {
    const id = IDS.get(character);
    if (id === undefined) {
      const why = `The model cannot spell "${character}", of "${key}"`;
      throw new EspalierError("demo-data", why, { actual: character });
    }
    tokens.push(id);
  }
  return tokens;
}

/** Tokens as text. */
export function textOf(tokens: Iterable<number>): string {
  return Array.from(tokens, (id) => vocabulary.tokens[id]).join("");
}

/** What the model reads: the characters of a query that it knows, as many as it has positions for. */
export function promptOf(query: string): number[] {
  const known = Array.from(fold(query), (c) => IDS.get(c)).filter((id) => id !== undefined);
  return [...known.slice(0, vocabulary.positions - 1), END_TOKEN];
}

/** The model, open on the CPU. */
export class Speller implements AsyncDisposable {
  readonly #model: OnnxModel;

  private constructor(model: OnnxModel) {
    this.#model = model;
  }

  /** Opens it: half a second, most of which onnxruntime-web takes to load. */
  static async open(): Promise<Speller> {
    const file = (name: string) => new URL(`./speller/${name}`, import.meta.url);
    return new Speller(
      await createOnnxModel(file("decoder.onnx"), {
        encoder: file("encoder.onnx"),
        provider: "wasm",
        startToken: vocabulary.start,
        padToken: vocabulary.pad,
      }),
    );
  }

  /** The model of a search with one batch row for each query. Dispose of it after the search. */
  forQueries(queries: readonly string[]): Model & Disposable {
    const model = this.#model.withPrompts(queries.map(promptOf));
    if (typeof model === "function") return model;
    throw new EspalierError("demo-model", "The model runs on the GPU, but the CPU was asked for");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#model[Symbol.asyncDispose]();
  }
}
