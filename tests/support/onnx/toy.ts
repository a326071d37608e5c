/**
 * Small models of every form that exporters write: one layer of attention with seeded weights. Logits depend on every
 * token before, on positions and on masks.
 */
import { Random } from "../models.ts";
import type { ToyForm } from "./forms.ts";
import { Graph } from "./graph.ts";

/** What is far below every score, and finite. */
const FAR = -1e4;

/** The graphs of a toy as files. */
export interface ToyFiles {
  decoder: Uint8Array<ArrayBuffer>;
  /** Of an encoder-decoder. */
  encoder?: Uint8Array<ArrayBuffer>;
}

/** Writes a toy. The same seed gives the same weights in every form. */
export function writeToy(form: ToyForm): ToyFiles {
  const toy = new Toy(form);
  const decoder = toy.decoder();
  return form.encoder ? { decoder, encoder: toy.encoder() } : { decoder };
}

class Toy {
  #form: Required<ToyForm>;
  #hidden: number;

  constructor(form: ToyForm) {
    const defaults = {
      encoder: false,
      cache: true,
      ids: "int64",
      floats: "float32",
      positions: "all",
      positionIds: !form.encoder,
      mask: true,
      causal: true,
      merged: false,
      crossCache: "none",
      twoGraphs: false,
      withPast: false,
      vocabSize: 13,
      heads: 2,
      headSize: 4,
      layers: 1,
      maxPositions: 64,
      seed: 1,
    } as const;
    this.#form = { ...defaults, ...form };
    this.#hidden = this.#form.heads * this.#form.headSize;
  }

  /** Weights by name: the same in every graph of the toy. */
  #weight(g: Graph, name: string, dims: [number, number], scale: number): string {
    const hash = [...name].reduce((sum, c) => Math.imul(sum, 31) + c.charCodeAt(0), 7);
    const random = new Random(hash + this.#form.seed);
    const unit = () => random.uint32() / 2 ** 31 - 1;
    const values = Float32Array.from({ length: dims[0] * dims[1] }, () => unit() * scale);
    return g.floats(dims, values);
  }

  #project(g: Graph, x: string, name: string, from: number, to: number, scale = 1): string {
    const size = scale * 2 / Math.sqrt(from);
    return g.op("MatMul", [x, this.#weight(g, name, [from, to], size)]);
  }

  #embed(g: Graph, ids: string, name: string): string {
    const { vocabSize } = this.#form;
    return g.op("Gather", [this.#weight(g, name, [vocabSize, this.#hidden], 1), ids]);
  }

  #place(g: Graph, positions: string, name: string): string {
    const table = this.#weight(g, name, [this.#form.maxPositions, this.#hidden], 1);
    return g.op("Gather", [table, positions]);
  }

  /** [b, s, H] to [b, N, s, D]. */
  #split(g: Graph, x: string): string {
    const { heads, headSize } = this.#form;
    const shaped = g.op("Reshape", [x, g.ints([0, 0, heads, headSize])]);
    return g.op("Transpose", [shaped], { perm: [0, 2, 1, 3] });
  }

  /** One element of a shape, as a scalar. */
  #size(g: Graph, x: string, axis: number): string {
    return g.op("Gather", [g.op("Shape", [x]), g.ints([axis], [])]);
  }

  #range(g: Graph, from: string, to: string): string {
    return g.op("Range", [from, to, g.ints([1], [])]);
  }

  /** A mask [b, t] as what is added to scores: [b, 1, 1, t]. */
  #bias(g: Graph, mask: string): string {
    const kept = g.op("Cast", [mask], { to: 1 });
    const hidden = g.op("Sub", [g.floats([1], [1]), kept]);
    const far = g.op("Mul", [hidden, g.floats([1], [FAR])]);
    return g.op("Unsqueeze", [far, g.ints([1, 2])]);
  }

  #attend(g: Graph, q: string, k: string, v: string, bias: string[], name: string): string {
    const { headSize } = this.#form;
    const flipped = g.op("Transpose", [k], { perm: [0, 1, 3, 2] });
    const scaled = g.op("Mul", [q, g.floats([1], [1 / Math.sqrt(headSize)])]);
    let scores = g.op("MatMul", [scaled, flipped]);
    for (const b of bias) scores = g.op("Add", [scores, b]);
    const mixed = g.op("MatMul", [g.op("Softmax", [scores], { axis: -1 }), v]);
    const back = g.op("Transpose", [mixed], { perm: [0, 2, 1, 3] });
    const flat = g.op("Reshape", [back, g.ints([0, 0, this.#hidden])]);
    return this.#project(g, flat, name, this.#hidden, this.#hidden);
  }

  /** To the type of caches and back, so that what is kept and what is not are the same numbers. */
  #rounded(g: Graph, x: string): string {
    return this.#form.floats === "float32"
      ? x
      : g.op("Cast", [g.op("Cast", [x], { to: 10 })], { to: 1 });
  }

  #toCache(g: Graph, x: string): string {
    return this.#form.floats === "float32" ? x : g.op("Cast", [x], { to: 10 });
  }

  #fromCache(g: Graph, x: string): string {
    return this.#form.floats === "float32" ? x : g.op("Cast", [x], { to: 1 });
  }

  #crossCache(g: Graph, layer: number, kind: string, hidden: string): string {
    const name = `cross ${kind} ${layer}`;
    return this.#rounded(
      g,
      this.#split(g, this.#project(g, hidden, name, this.#hidden, this.#hidden)),
    );
  }

  encoder(): Uint8Array<ArrayBuffer> {
    const { ids, mask, crossCache, floats, heads, headSize, layers } = this.#form;
    const g = new Graph();
    const tokens = g.input("input_ids", ids, ["batch_size", "encoder_sequence_length"]);
    const range = this.#range(g, g.ints([0], []), this.#size(g, tokens, 1));
    let x = g.op("Add", [
      this.#embed(g, tokens, "encoder tokens"),
      this.#place(g, range, "places"),
    ]);
    const bias = mask
      ? [this.#bias(g, g.input("attention_mask", ids, ["batch_size", "encoder_sequence_length"]))]
      : [];
    const part = (kind: string) =>
      this.#split(g, this.#project(g, x, `encoder ${kind}`, this.#hidden, this.#hidden, 2));
    x = g.op("Tanh", [
      g.op("Add", [x, this.#attend(g, part("q"), part("k"), part("v"), bias, "encoder out")]),
    ]);
    const shape = ["batch_size", "encoder_sequence_length", this.#hidden];
    g.output("last_hidden_state", this.#toCache(g, x), floats, shape);
    if (crossCache === "encoder") {
      for (let i = 0; i < layers; i++) {
        for (const kind of ["key", "value"]) {
          const cache = this.#toCache(g, this.#crossCache(g, i, kind, this.#rounded(g, x)));
          const shape = ["batch_size", heads, "encoder_sequence_length", headSize];
          g.output(`present.${i}.encoder.${kind}`, cache, floats, shape);
        }
      }
    }
    return g.encode();
  }

  decoder(): Uint8Array<ArrayBuffer> {
    const { encoder, cache, ids, floats, positions, positionIds, mask, merged } = this.#form;
    const { crossCache, withPast, heads, headSize, layers, vocabSize } = this.#form;
    const g = new Graph();
    const inputs: Inputs = {
      tokens: g.input("input_ids", ids, ["batch_size", "sequence_length"]),
      past: new Map(),
    };
    if (encoder) {
      const shape = ["batch_size", "encoder_sequence_length", this.#hidden];
      if (mask) inputs.crossMask = g.input("encoder_attention_mask", ids, shape.slice(0, 2));
      const needsHidden = !withPast && (crossCache !== "encoder" || merged);
      if (needsHidden) inputs.hidden = g.input("encoder_hidden_states", floats, shape);
    } else if (mask) {
      inputs.mask = g.input("attention_mask", ids, ["batch_size", "total_sequence_length"]);
    }
    if (positionIds) {
      inputs.positions = g.input("position_ids", ids, ["batch_size", "sequence_length"]);
    }
    const hasCross = encoder && crossCache !== "none";
    const sides = encoder ? [".decoder", ...(hasCross ? [".encoder"] : [])] : [""];
    const caches = cache || withPast
      ? Array.from(
        { length: layers },
        (_, i) => sides.flatMap((side) => [`${i}${side}.key`, `${i}${side}.value`]),
      ).flat()
      : [];
    // A decoder of two graphs has presents but no past.
    const isFirst = this.#form.twoGraphs && !withPast;
    const shapeOf = (name: string, length: string) => [
      "batch_size",
      heads,
      name.includes(".encoder.") ? "encoder_sequence_length" : length,
      headSize,
    ];
    if (!isFirst) {
      for (const name of caches) {
        const input = g.input(`past_key_values.${name}`, floats, shapeOf(name, "past_length"));
        inputs.past.set(name, input);
      }
    }
    if (positions.startsWith("kept")) {
      const shape = positions === "kept" ? [] : [1];
      inputs.kept = g.input("num_logits_to_keep", "int64", shape);
    }
    const isShown = (name: string) =>
      !name.includes(".encoder.") || crossCache === "each" || crossCache === "first" && !withPast;
    const shown = caches.filter(isShown);
    let results: Map<string, string>;
    if (merged) {
      const branch = g.input("use_cache_branch", "bool", [1]);
      const bodies = [true, false].map((usesCache) => {
        const body = new Graph();
        const values = this.#body(body, inputs, usesCache);
        for (const name of ["logits", ...shown]) {
          body.output(`${name}_${usesCache}`, values.get(name)!, floats);
        }
        return body;
      });
      const made = g.ops("If", [branch], 1 + shown.length, {
        then_branch: { graph: bodies[0] },
        else_branch: { graph: bodies[1] },
      });
      results = new Map(["logits", ...shown].map((name, i) => [name, made[i]]));
    } else {
      results = this.#body(g, inputs, inputs.past.size > 0);
    }
    const rowShape = positions === "flat" ? [] : ["logits_length"];
    g.output("logits", results.get("logits")!, floats, ["batch_size", ...rowShape, vocabSize]);
    for (const name of shown) {
      g.output(`present.${name}`, results.get(name)!, floats, shapeOf(name, "total_length"));
    }
    return g.encode();
  }

  /** The decoder itself: logits and caches by name. */
  #body(g: Graph, inputs: Inputs, usesCache: boolean): Map<string, string> {
    const { positions, vocabSize, encoder, layers, crossCache, merged } = this.#form;
    const { tokens, mask, past, hidden, crossMask } = inputs;
    const results = new Map<string, string>();
    const zero = g.ints([0], []);
    const first = past.get(encoder ? "0.decoder.key" : "0.key");
    const before = usesCache && first ? this.#size(g, first, 2) : zero;
    const total = g.op("Add", [before, this.#size(g, tokens, 1)]);
    const places = inputs.positions ?? this.#range(g, before, total);
    const place = inputs.positions || !mask ? places : this.#fromMask(g, mask, before);
    let x = g.op("Add", [this.#embed(g, tokens, "tokens"), this.#place(g, place, "places")]);
    const query = g.op("Unsqueeze", [this.#range(g, before, total), g.ints([1])]);
    const seen = g.op("LessOrEqual", [this.#range(g, zero, total), query]);
    const bias = this.#form.causal
      ? [g.op("Where", [seen, g.floats([1], [0]), g.floats([1], [FAR])])]
      : [];
    if (mask) bias.push(this.#bias(g, mask));
    for (let i = 0; i < layers; i++) {
      const part = (kind: string) =>
        this.#split(g, this.#project(g, x, `${kind} ${i}`, this.#hidden, this.#hidden, 2));
      const side = encoder ? ".decoder" : "";
      const [k, v] = ["key", "value"].map((kind) => {
        const name = `${i}${side}.${kind}`;
        const fresh = this.#rounded(g, part(kind));
        const old = usesCache ? past.get(name) : undefined;
        const all = old ? g.op("Concat", [this.#fromCache(g, old), fresh], { axis: 2 }) : fresh;
        results.set(name, this.#toCache(g, all));
        return all;
      });
      x = g.op("Tanh", [
        g.op("Add", [x, this.#attend(g, part("q"), k, v, bias, `out ${i}`)]),
      ]);
      if (!encoder) continue;
      const [ck, cv] = ["key", "value"].map((kind) => {
        const name = `${i}.encoder.${kind}`;
        const old = (usesCache || crossCache === "encoder") ? past.get(name) : undefined;
        const all = old
          ? this.#fromCache(g, old)
          : this.#crossCache(g, i, kind, this.#fromCache(g, hidden!));
        // Merged exports return a stand-in where the caches are there already.
        const kept = merged && usesCache && crossCache === "first"
          ? g.op("Slice", [all, g.ints([0]), g.ints([1]), g.ints([0])])
          : all;
        results.set(name, this.#toCache(g, kept));
        return all;
      });
      const q = this.#split(g, this.#project(g, x, `cross q ${i}`, this.#hidden, this.#hidden, 2));
      const crossBias = crossMask ? [this.#bias(g, crossMask)] : [];
      x = g.op("Tanh", [
        g.op("Add", [x, this.#attend(g, q, ck, cv, crossBias, `cross out ${i}`)]),
      ]);
    }
    if (positions === "last" || positions === "flat") {
      x = g.op("Slice", [x, g.ints([-1]), g.ints([2 ** 31 - 1]), g.ints([1])]);
      if (positions === "flat") x = g.op("Squeeze", [x, g.ints([1])]);
    } else if (inputs.kept) {
      const from = g.op("Reshape", [g.op("Neg", [inputs.kept]), g.ints([1])]);
      x = g.op("Slice", [x, from, g.ints([2 ** 31 - 1]), g.ints([1])]);
    }
    const logits = this.#project(g, x, "head", this.#hidden, vocabSize, 2);
    results.set("logits", this.#toCache(g, logits));
    return results;
  }

  /** Positions as OPT counts them: by the ones of the mask. */
  #fromMask(g: Graph, mask: string, before: string): string {
    const wide = g.op("Cast", [mask], { to: 7 });
    const counted = g.op("Sub", [g.op("CumSum", [wide, g.ints([1], [])]), g.ints([1], [])]);
    const start = g.op("Unsqueeze", [before, g.ints([0])]);
    const own = g.op("Slice", [counted, start, g.ints([2 ** 31 - 1]), g.ints([1])]);
    return g.op("Max", [own, g.ints([0], [])]);
  }
}

interface Inputs {
  tokens: string;
  mask?: string;
  positions?: string;
  hidden?: string;
  crossMask?: string;
  kept?: string;
  past: Map<string, string>;
}
