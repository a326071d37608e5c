/** The kernel on WASM SIMD: see asm/kernels/step.ts for the arithmetic. */
import { ModelOutputError } from "../../errors.ts";
import { LEVEL_RECORD_BYTES, NONE } from "../../index/format/layout.ts";
import type { LoadedIndex } from "../../index/index_memory.ts";
import type { Beams, Kernel, KernelSearch, Logits, Runs, SearchShape } from "../kernel.ts";
import { checkLogits, infiniteLogit } from "../check_logits.ts";
import { RULE_FIELDS, ruleTable } from "../exclusions.ts";
import { lengthNorms } from "../length_norms.ts";
import { BEAM_BITS, BEAM_FIELDS, NORMALIZE_MODES } from "../constants.ts";
import { maySettle, settle } from "../settle.ts";
import { goesOn, ShownRows } from "../shown_rows.ts";
import { type ForcedBeam, ForcedRuns, type TokenScore } from "./runs.ts";
import { LOGITS_FORMS, SEARCH_FIELDS, UNWRITTEN } from "./search_layout.ts";

/** Logits that live elsewhere come in through a window of about so many bytes. */
const WINDOW_BYTES = 2 ** 18;
const CANDIDATE_BYTES = 16;
/** Places of names in a list. */
const numbered = <Name extends string>(names: readonly Name[]) =>
  Object.fromEntries(names.map((name, i) => [name, i])) as Record<Name, number>;
const FIELD = numbered(SEARCH_FIELDS);
const FORM = numbered(LOGITS_FORMS);

/** A kernel over the memory of an index. Searches share the memory, each has its own workspace. */
export class WasmKernel implements Kernel {
  readonly backend = "wasm";
  #loaded: LoadedIndex | undefined;

  constructor(loaded: LoadedIndex) {
    this.#loaded = loaded;
  }

  begin(shape: SearchShape): KernelSearch {
    if (!this.#loaded) throw new Error("The kernel has been disposed");
    return new WasmSearch(this.#loaded, shape);
  }

  [Symbol.dispose](): void {
    this.#loaded = undefined;
  }
}

/** Candidates that the buffer holds: those that are kept, and those that wait to be sorted out. */
function bufferSize(limit: number): number {
  return 2 * limit + 64;
}

class WasmSearch implements KernelSearch {
  step = 0;
  #loaded: LoadedIndex;
  #shape: SearchShape;
  #maxLength: number;
  /** Words of one beam array. */
  #stride: number;
  #workspace: number;
  #isDisposed = false;
  /** Addresses in the workspace. */
  #record: number;
  #input: number;
  #output: number;
  #tokens: number;
  #parents: number;
  #rowLogits: number;
  #run: number;
  #rules: number | undefined;
  #rulesStride: number;
  #norms: Float32Array;
  /** Rows of a model that is shown live ones alone. */
  #shown: ShownRows | undefined;
  /** Logits: made when they are first asked for. */
  #out: number | undefined;
  #window: number | undefined;
  /** Step whose rows of `#out` have been marked. */
  #markedStep = -1;

  constructor(loaded: LoadedIndex, shape: SearchShape) {
    const { batchSize: B, beamSize: M, logitWidth: W, tokensPerBeam } = shape;
    const { filters, exclusions } = shape;
    const isRuled = filters !== undefined || exclusions !== undefined;
    const { levels } = loaded.shape;
    this.#loaded = loaded;
    this.#shape = shape;
    this.#maxLength = levels.length;
    this.#stride = B * M;
    const maxBranch = levels.reduce((most, level) => Math.max(most, level.maxBranch), 0);
    const perBeam = tokensPerBeam !== undefined && tokensPerBeam < M ? tokensPerBeam : 0;

    // Lay the workspace out, then reserve it in one piece.
    let bytes = 0;
    const place = (size: number) => {
      const offset = bytes;
      bytes += Math.ceil(size / 64) * 64 + 64;
      return offset;
    };
    const beamBytes = BEAM_FIELDS.length * this.#stride * 4;
    const offsets = {
      record: place(SEARCH_FIELDS.length * 4),
      input: place(beamBytes),
      output: place(beamBytes),
      tokens: place(this.#stride * 4),
      parents: place(this.#stride * 4),
      buffer: place(bufferSize(M) * CANDIDATE_BYTES),
      rowBuffer: place(perBeam ? bufferSize(perBeam) * CANDIDATE_BYTES : 0),
      scratch: place(W * 4 + 128),
      gather: place((maxBranch + 1) * 4),
      begins: place(M * 4),
      ends: place(M * 4),
      touched: place(M * 4),
      lengthNorms: place((this.#maxLength + 2) * 4),
      rowLogits: place(this.#stride * 4),
      run: place((this.#maxLength + 2) * 4),
      rules: place(isRuled ? levels.length * B * RULE_FIELDS.length * 4 : 0),
    };
    const { heap } = loaded;
    const base = this.#workspace = heap.allocate(bytes);
    this.#record = base + offsets.record;
    this.#input = base + offsets.input;
    this.#output = base + offsets.output;
    this.#tokens = base + offsets.tokens;
    this.#parents = base + offsets.parents;
    this.#rowLogits = base + offsets.rowLogits;
    this.#run = base + offsets.run;
    this.#rulesStride = B * RULE_FIELDS.length * 4;
    this.#shown = shape.liveRows ? new ShownRows(B) : undefined;
    const norms = this.#norms = lengthNorms(this.#maxLength + 2, shape.lengthPenalty);
    heap.f32(base + offsets.lengthNorms, norms.length).set(norms);
    if (isRuled) {
      this.#rules = base + offsets.rules;
      const rules = heap.u32(this.#rules, levels.length * B * RULE_FIELDS.length);
      for (let batch = 0; batch < B; batch++) {
        const table = ruleTable(filters?.[batch], levels.length, exclusions?.[batch]);
        for (let d = 0; d < levels.length; d++) {
          const own = table.subarray(d * RULE_FIELDS.length, (d + 1) * RULE_FIELDS.length);
          rules.set(own, (d * B + batch) * RULE_FIELDS.length);
        }
      }
    }
    const fields: Partial<Record<keyof typeof FIELD, number>> = {
      BEAMS: M,
      WIDTH: W,
      MODE: NORMALIZE_MODES.indexOf(shape.normalize),
      END_TOKEN: shape.endToken ?? NONE,
      PAD_TOKEN: shape.padToken,
      TOKENS_PER_BEAM: perBeam,
      BEAM_STRIDE: this.#stride * 4,
      TOKENS_OUT: this.#tokens,
      PARENTS_OUT: this.#parents,
      BUFFER: base + offsets.buffer,
      BUFFER_SIZE: bufferSize(M),
      ROW_BUFFER: base + offsets.rowBuffer,
      ROW_BUFFER_SIZE: bufferSize(perBeam),
      SCRATCH: base + offsets.scratch,
      GATHER: base + offsets.gather,
      ROW_BEGINS: base + offsets.begins,
      ROW_ENDS: base + offsets.ends,
      ROW_TOUCHED: base + offsets.touched,
      LENGTH_NORMS: base + offsets.lengthNorms,
      RULES_STRIDE: this.#rulesStride,
      ROW_LOGITS: this.#rowLogits,
    };
    const record = heap.u32(this.#record, SEARCH_FIELDS.length);
    SEARCH_FIELDS.forEach((field, i) => record[i] = fields[field] ?? 0);
    const root = this.#view(this.#input);
    root.scores.fill(-Infinity).fill(0, 0, B);
    root.states.fill(NONE).fill(0, 0, B);
    root.edges.fill(NONE);
    root.lengths.fill(0);
    root.status.fill(0).fill(BEAM_BITS.LIVE, 0, B);
  }

  get rows(): number {
    if (this.#shown) return this.#shown.beams.length;
    return this.step === 0 ? this.#shape.batchSize : this.#stride;
  }

  get isLive(): boolean {
    return this.#view(this.#input).status.some(goesOn);
  }

  tokens(): Uint32Array<ArrayBuffer> {
    if (this.step === 0) return new Uint32Array();
    const tokens = this.#words(this.#tokens);
    return this.#shown?.beams.map((beam) => tokens[beam]) ?? tokens.slice();
  }

  parents(): Uint32Array<ArrayBuffer> {
    if (this.step === 0) return new Uint32Array();
    return this.#shown?.parents?.slice() ?? this.#words(this.#parents).slice();
  }

  batch(): Uint32Array<ArrayBuffer> {
    const perBatch = this.#perBatch;
    const beams = this.#shown?.beams ?? Uint32Array.from({ length: this.rows }, (_, i) => i);
    return beams.map((beam) => Math.floor(beam / perBatch));
  }

  out(): Float32Array<ArrayBuffer> {
    if (this.#isDisposed) throw new Error("The search has been disposed");
    const { heap } = this.#loaded;
    const { logitWidth } = this.#shape;
    // Sized for every later step at once: growing again would detach the view of another search.
    this.#out ??= heap.allocate(this.#stride * logitWidth * 4 + 128);
    if (this.#markedStep !== this.step) {
      this.#markedStep = this.step;
      const words = heap.u32(this.#out, this.rows * logitWidth);
      for (let at = 0; at < words.length; at += logitWidth) {
        words[at] = UNWRITTEN;
        words[at + logitWidth - 1] = UNWRITTEN;
      }
    }
    return heap.f32(this.#out, this.rows * logitWidth);
  }

  advance(logits: Logits): void {
    const { logitWidth } = this.#shape;
    const rows = this.rows;
    const address = this.#addressOf(logits);
    if (address === undefined) checkLogits(logits, this.step, rows, logitWidth);
    const isMarked = address === this.#out && this.#markedStep === this.step;
    this.#openStep();
    if (address === undefined) this.#stepThroughWindow(logits, rows);
    else this.#stepRows(0, rows, address, logitWidth * 4, isMarked ? FORM.MARKED : FORM.FLOAT32);
    [this.#input, this.#output] = [this.#output, this.#input];
    this.step++;
    const beams = this.#view(this.#input);
    if (maySettle(this.#shape)) {
      settle(beams, this.#words(this.#tokens), this.#shape, this.step, this.#norms);
    }
    this.#shown?.follow(beams.status, this.#words(this.#parents));
  }

  /** Writes what the kernel reads of a step. */
  #openStep(): void {
    const { step } = this;
    const { heap, table } = this.#loaded;
    const record = heap.u32(this.#record, SEARCH_FIELDS.length);
    const isLevel = step < this.#maxLength;
    record[FIELD.LEVEL] = isLevel ? table + step * LEVEL_RECORD_BYTES : 0;
    record[FIELD.STEP] = step;
    record[FIELD.ROWS_PER_BATCH] = this.#perBatch;
    record[FIELD.INPUT] = this.#input;
    record[FIELD.OUTPUT] = this.#output;
    record[FIELD.RULES] = isLevel ? this.#ruleAt(step, 0) : 0;
  }

  /** Address of a batch row's rule for a level, or 0. */
  #ruleAt(step: number, batch: number): number {
    if (this.#rules === undefined) return 0;
    return this.#rules + step * this.#rulesStride + batch * RULE_FIELDS.length * 4;
  }

  get #perBatch(): number {
    return this.step === 0 ? 1 : this.#shape.beamSize;
  }

  runs(): Runs | undefined {
    const { heap, table } = this.#loaded;
    const { step } = this;
    const { states, edges, status } = this.#view(this.#input);
    const [tokens, parents] = [this.tokens(), this.parents()];
    const found: ForcedBeam[] = [];
    for (let beam = 0; beam < status.length; beam++) {
      if (!goesOn(status[beam])) continue;
      const batch = Math.floor(beam / this.#perBatch);
      let edge = edges[beam];
      let rest: number[] = [];
      if (status[beam] & BEAM_BITS.LIVE) {
        // More than one way is the rule: most often the first beam says so.
        const level = table + step * LEVEL_RECORD_BYTES;
        const rule = this.#ruleAt(step, batch);
        const { followRun } = heap.exports;
        const count = status[beam] & BEAM_BITS.STOPPABLE
          ? 0
          : followRun(level, states[beam], rule, this.#rulesStride, this.#run);
        if (count === 0) return undefined;
        [edge, ...rest] = heap.u32(this.#run, count + 1);
      }
      const row = this.#shown ? found.length : beam;
      found.push({ beam, batch, token: tokens[row], parent: parents[row], rest, edge });
    }
    if (found.length === 0) return undefined;
    return new ForcedRuns(found, {
      shape: this.#shape,
      step,
      norms: this.#norms,
      scores: (...args) => this.#scoreRun(...args),
      view: () => this.#view(this.#input),
    });
  }

  /** Scores tokens behind the logits of one row of a run. */
  #scoreRun(
    logits: Logits,
    rows: number,
    width: number,
    row: number,
    targets: number[],
  ): TokenScore[] {
    const { heap } = this.#loaded;
    const { logitWidth } = this.#shape;
    checkLogits(logits, this.step, rows * width, logitWidth);
    this.#openStep();
    const { window, form } = this.#windowFor(logits);
    const bits = new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength);
    const rowBytes = logitWidth * logits.BYTES_PER_ELEMENT;
    return targets.map((target, i) => {
      const at = (row * width + i) * rowBytes;
      heap.u8(window, rowBytes).set(bits.subarray(at, at + rowBytes));
      if (!heap.exports.scoreToken(this.#record, window, form, target, this.#run)) {
        throw infiniteLogit(this.step + i, row);
      }
      const [log] = new Float64Array(heap.memory.buffer, this.#run, 1);
      return { log, delta: heap.f32(this.#run + 8, 1)[0] };
    });
  }

  beams(): Beams {
    const { scores, states, edges, lengths, status } = this.#view(this.#input);
    return {
      scores: scores.slice(),
      states: states.slice(),
      edges: edges.slice(),
      lengths: lengths.slice(),
      status: status.slice(),
    };
  }

  load(step: number, beams: Beams): void {
    this.step = step;
    this.#markedStep = -1;
    const view = this.#view(this.#input);
    view.scores.set(beams.scores);
    view.states.set(beams.states);
    view.edges.set(beams.edges);
    view.lengths.set(beams.lengths);
    view.status.set(beams.status);
  }

  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    const { heap } = this.#loaded;
    heap.free(this.#workspace);
    if (this.#out !== undefined) heap.free(this.#out);
    if (this.#window !== undefined) heap.free(this.#window);
  }

  /** Where logits stand that need no copy. */
  #addressOf(logits: Logits): number | undefined {
    if (!(logits instanceof Float32Array)) return undefined;
    const isOurs = logits.buffer === this.#loaded.heap.memory.buffer;
    if (isOurs && logits.length === this.rows * this.#shape.logitWidth) return logits.byteOffset;
    // The memory has grown since the view was taken. What was written before is still there; what was
    // written later is lost, and then the marks are.
    const isDetached = (logits.buffer as ArrayBuffer).detached;
    return isDetached && this.#markedStep === this.step ? this.#out : undefined;
  }

  /** Memory for logits that live elsewhere. */
  #windowFor(logits: Logits): { window: number; rows: number; form: number } {
    const { logitWidth } = this.#shape;
    const form = logits.BYTES_PER_ELEMENT === 2 ? FORM.FLOAT16 : FORM.FLOAT32;
    // Sized in single-precision rows, so that it serves any later step as well.
    const rows = Math.max(1, Math.floor(WINDOW_BYTES / (logitWidth * 4)));
    const window = this.#window ??= this.#loaded.heap.allocate(rows * logitWidth * 4 + 128);
    return { window, rows, form };
  }

  /** Copies logits through a window of a few rows. */
  #stepThroughWindow(logits: Logits, rows: number): void {
    const { heap } = this.#loaded;
    const { window, rows: windowRows, form } = this.#windowFor(logits);
    const bits = new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength);
    const rowBytes = this.#shape.logitWidth * logits.BYTES_PER_ELEMENT;
    for (let row = 0; row < rows; row += windowRows) {
      const count = Math.min(windowRows, rows - row);
      heap.u8(window, count * rowBytes)
        .set(bits.subarray(row * rowBytes, (row + count) * rowBytes));
      this.#stepRows(row, count, window, rowBytes, form);
    }
  }

  /** Steps with the logits of some rows, which stand behind each other. */
  #stepRows(first: number, rows: number, address: number, rowBytes: number, form: number): void {
    const { exports } = this.#loaded.heap;
    const shown = this.#shown?.beams;
    const addresses = this.#words(this.#rowLogits);
    const beamOf = (row: number) => shown ? shown[row] : row;
    for (let i = 0; i < rows; i++) addresses[beamOf(first + i)] = address + i * rowBytes;
    // Beams that are not shown go with the row before them, those in front with the first.
    const isLast = first + rows === this.rows;
    const from = first === 0 ? 0 : beamOf(first);
    const to = isLast ? this.#shape.batchSize * this.#perBatch : beamOf(first + rows);
    const bad = exports.stepRows(this.#record, from, to - from, form) >>> 0;
    if (bad === NONE) return;
    const row = shown ? shown.indexOf(bad) : bad;
    if (form === FORM.MARKED && this.#isUnwritten(row)) {
      throw new ModelOutputError(
        "unwritten-logits",
        `Cannot search: at step ${this.step} the model has not written row ${row} of "input.out"; fill all ${this.#shape.logitWidth} logits, and read "input.out" again after every await, because memory that grows detaches earlier views`,
        { step: this.step, row },
      );
    }
    throw infiniteLogit(this.step, row);
  }

  /** Whether a mark stands at an end of a row of `#out`. */
  #isUnwritten(row: number): boolean {
    const { logitWidth } = this.#shape;
    const words = this.#loaded.heap.u32(this.#out! + row * logitWidth * 4, logitWidth);
    return words[0] === UNWRITTEN || words[logitWidth - 1] === UNWRITTEN;
  }

  #words(address: number): Uint32Array<ArrayBuffer> {
    return this.#loaded.heap.u32(address, this.#stride);
  }

  #view(address: number): Beams {
    const { heap } = this.#loaded;
    const bytes = this.#stride * 4;
    return {
      scores: heap.f32(address, this.#stride),
      states: heap.u32(address + bytes, this.#stride),
      edges: heap.u32(address + 2 * bytes, this.#stride),
      lengths: heap.u32(address + 3 * bytes, this.#stride),
      status: heap.u32(address + 4 * bytes, this.#stride),
    };
  }
}
