/** A search of the WASM baselines: its workspace, and the record that asm/baselines/search.ts reads. */
import { spellBeams } from "./history.ts";
import type { MethodSearch, MethodShape } from "./method.ts";
import type { BaselineHeap } from "./module.ts";

const CANDIDATE_BYTES = 16;
/** SIMD loops read so far past the end of the logits. */
const SLACK = 128;

/** Candidates that a buffer holds: those that are kept, and those that wait to be sorted out. */
const bufferSize = (keep: number) => 2 * keep + 64;

/** What stays the same in all searches of a method. */
export interface WasmMethod extends BaselineHeap {
  readonly length: number;
  readonly vocabSize: number;
  /** Candidates that are kept of one row, for methods that select within rows. */
  readonly perRow?: number;
  /** Runs one step over the record at an address. */
  step(search: number, step: number): void;
}

/** One search in a method's heap. */
export class WasmSearch implements MethodSearch {
  #method: WasmMethod;
  #shape: MethodShape;
  #step = 0;
  #workspace: number;
  #logits: number;
  #scores: number;
  #tokens: number;
  #parents: number;
  #counts: number;

  constructor(method: WasmMethod, shape: MethodShape) {
    const { heap, length, vocabSize, perRow = 0 } = method;
    const { batchSize, beamSize } = shape;
    const beams = batchSize * beamSize;
    this.#method = method;
    this.#shape = shape;
    let bytes = 0;
    const place = (size: number) => {
      const offset = bytes;
      bytes += Math.ceil(size / 64) * 64 + 64;
      return offset;
    };
    const offsets = {
      record: place(64),
      buffer: place(bufferSize(beamSize) * CANDIDATE_BYTES),
      rowBuffer: place(Math.max(bufferSize(perRow) * CANDIDATE_BYTES, beamSize * 4)),
      scores: place(2 * beams * 4),
      states: place(2 * beams * 4),
      ends: place(2 * beams * 4),
      tokens: place(length * beams * 4),
      parents: place(length * beams * 4),
      counts: place(batchSize * 4),
      begins: place(beamSize * 4),
      stops: place(beamSize * 4),
      logits: place(beams * vocabSize * 4 + SLACK),
    };
    const base = this.#workspace = heap.allocate(bytes);
    this.#logits = base + offsets.logits;
    this.#scores = base + offsets.scores;
    this.#tokens = base + offsets.tokens;
    this.#parents = base + offsets.parents;
    this.#counts = base + offsets.counts;
    // In the order of the fields of `Search`.
    const record = [
      batchSize,
      beamSize,
      vocabSize,
      this.#logits,
      base + offsets.buffer,
      bufferSize(beamSize),
      base + offsets.rowBuffer,
      bufferSize(perRow),
      this.#scores,
      base + offsets.states,
      base + offsets.ends,
      this.#tokens,
      this.#parents,
      this.#counts,
      base + offsets.begins,
      base + offsets.stops,
    ];
    heap.u32(base + offsets.record, record.length).set(record);
    heap.f32(this.#scores, 2 * beams).fill(-Infinity).fill(0, 0, batchSize);
    heap.u32(base + offsets.states, 2 * beams).fill(0);
  }

  logits(): Float32Array {
    const { batchSize, beamSize } = this.#shape;
    const rows = this.#step === 0 ? batchSize : batchSize * beamSize;
    return this.#method.heap.f32(this.#logits, rows * this.#method.vocabSize);
  }

  advance(): void {
    this.#method.step(this.#workspace, this.#step++);
  }

  beams(): { sequences: Uint32Array; scores: Float32Array; counts: Uint32Array } {
    const { heap } = this.#method;
    const { batchSize, beamSize } = this.#shape;
    const beams = batchSize * beamSize;
    const steps = this.#step;
    const counts = heap.u32(this.#counts, batchSize).slice();
    const scores = heap.f32(this.#scores + (steps & 1) * beams * 4, beams).slice();
    const tokens = heap.u32(this.#tokens, steps * beams);
    const parents = heap.u32(this.#parents, steps * beams);
    return {
      sequences: spellBeams(this.#shape, steps, tokens, parents, counts),
      scores,
      counts,
    };
  }

  [Symbol.dispose](): void {
    this.#method.heap.free(this.#workspace);
  }
}
