/**
 * A search of the tries in JavaScript. Logits live in a WASM memory and the log-sum-exp is that of all other
 * methods, so that only the constraint differs.
 */
import { Best } from "./best.ts";
import { spellBeams } from "./history.ts";
import type { MethodSearch, MethodShape } from "./method.ts";
import type { BaselineHeap } from "./module.ts";

/** The logits of one row, and how they become scores: fround(fround(x - shift) + base). */
export interface Row {
  logits: Float32Array;
  /** Place of the row's first logit. */
  at: number;
  shift: number;
  base: number;
  /** What the codes of the row's candidates begin with. */
  code: number;
}

/** A trie whose nodes are of one kind. */
export interface Trie<Node> extends BaselineHeap {
  readonly root: Node;
  readonly length: number;
  readonly vocabSize: number;
  /** Offers all children of a node; the payload of a candidate is the trie's to choose. */
  scan(node: Node, step: number, row: Row, best: Best): void;
  /** The child that a winner stands for. */
  child(node: Node, step: number, token: number, payload: number): Node;
}

/** One search over a trie. */
export class JsSearch<Node> implements MethodSearch {
  #trie: Trie<Node>;
  #shape: MethodShape;
  #step = 0;
  #best: Best;
  #nodes: Node[];
  #next: Node[];
  #tokens: Uint32Array;
  #parents: Uint32Array;
  #counts: Uint32Array;
  #workspace: number;
  #addresses: { scores: number; shifts: number; bases: number; logits: number };
  #row: Row;
  /** Views of the workspace, of all rows. */
  #scores: Float32Array;
  #shifts: Float32Array;
  #bases: Float32Array;

  constructor(trie: Trie<Node>, shape: MethodShape) {
    const { batchSize, beamSize } = shape;
    const beams = batchSize * beamSize;
    this.#trie = trie;
    this.#shape = shape;
    this.#best = new Best(beamSize);
    this.#nodes = new Array<Node>(beams).fill(trie.root);
    this.#next = new Array<Node>(beams).fill(trie.root);
    this.#tokens = new Uint32Array(trie.length * beams);
    this.#parents = new Uint32Array(trie.length * beams);
    this.#counts = new Uint32Array(batchSize);
    const part = Math.ceil(beams / 16) * 64;
    const at = this.#workspace = trie.heap.allocate(3 * part + beams * trie.vocabSize * 4 + 128);
    this.#addresses = {
      scores: at,
      shifts: at + part,
      bases: at + 2 * part,
      logits: at + 3 * part,
    };
    this.#row = { logits: new Float32Array(), at: 0, shift: 0, base: 0, code: 0 };
    this.#scores = this.#shifts = this.#bases = this.#row.logits;
    this.#view();
    this.#scores.fill(-Infinity).fill(0, 0, batchSize);
  }

  logits(): Float32Array {
    this.#view();
    return this.#row.logits.subarray(0, this.#rows * this.#trie.vocabSize);
  }

  advance(): void {
    this.#view();
    const { exports, vocabSize } = this.#trie;
    const { scores, shifts, bases, logits } = this.#addresses;
    exports.normalize(logits, this.#rows, vocabSize, scores, shifts, bases);
    const perBatch = this.#step === 0 ? 1 : this.#shape.beamSize;
    for (let batch = 0; batch < this.#shape.batchSize; batch++) {
      this.#best.clear();
      for (let beam = 0; beam < perBatch; beam++) this.#scan(batch * perBatch + beam, beam);
      this.#take(batch, perBatch);
    }
    [this.#nodes, this.#next] = [this.#next, this.#nodes];
    this.#step++;
  }

  beams(): { sequences: Uint32Array; scores: Float32Array; counts: Uint32Array } {
    this.#view();
    const counts = this.#counts.slice();
    return {
      sequences: spellBeams(this.#shape, this.#step, this.#tokens, this.#parents, counts),
      scores: this.#scores.slice(),
      counts,
    };
  }

  [Symbol.dispose](): void {
    this.#trie.heap.free(this.#workspace);
  }

  get #rows(): number {
    const { batchSize, beamSize } = this.#shape;
    return this.#step === 0 ? batchSize : batchSize * beamSize;
  }

  #scan(at: number, beam: number): void {
    const row = this.#row;
    row.base = this.#bases[at];
    if (row.base === -Infinity) return;
    row.shift = this.#shifts[at];
    row.at = at * this.#trie.vocabSize;
    row.code = beam << 21;
    this.#trie.scan(this.#nodes[at], this.#step, row, this.#best);
  }

  /** Writes the winners of a batch row. */
  #take(batch: number, perBatch: number): void {
    const { batchSize, beamSize } = this.#shape;
    const best = this.#best;
    best.sort();
    this.#counts[batch] = best.count;
    for (let i = 0; i < beamSize; i++) {
      const beam = batch * beamSize + i;
      const history = this.#step * batchSize * beamSize + beam;
      this.#scores[beam] = -Infinity;
      if (i >= best.count) continue;
      const token = best.codes[i] & 0x1fffff;
      const parent = batch * perBatch + (best.codes[i] >>> 21);
      this.#scores[beam] = best.scores[i];
      this.#tokens[history] = token;
      this.#parents[history] = parent;
      const node = this.#nodes[parent];
      this.#next[beam] = this.#trie.child(node, this.#step, token, best.payloads[i]);
    }
  }

  /** Takes the views afresh if the memory has grown. */
  #view(): void {
    const { heap, vocabSize } = this.#trie;
    if (this.#row.logits.buffer === heap.memory.buffer) return;
    const beams = this.#shape.batchSize * this.#shape.beamSize;
    const { scores, shifts, bases, logits } = this.#addresses;
    this.#scores = heap.f32(scores, beams);
    this.#shifts = heap.f32(shifts, beams);
    this.#bases = heap.f32(bases, beams);
    this.#row.logits = heap.f32(logits, beams * vocabSize);
  }
}
