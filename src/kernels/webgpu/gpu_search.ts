/** One search on WebGPU. */
import { BackendError, LimitError, ModelOutputError } from "../../errors.ts";
import { NONE } from "../../index/format/layout.ts";
import type { Beams, KernelSearch, Logits, SearchShape } from "../kernel.ts";
import { checkLogits, infiniteLogit } from "../check_logits.ts";
import { lengthNorms } from "../length_norms.ts";
import { BEAM_BITS, BEAM_FIELDS, NORMALIZE_MODES } from "../constants.ts";
import { maySettle } from "../settle.ts";
import { goesOn, ShownRows } from "../shown_rows.ts";
import {
  type CompiledKernel,
  compileOnce,
  freeBuffer,
  gridOf,
  makeBuffer,
  MAX_GRID,
  type Pipelines,
} from "./device.ts";
import type { GpuFilters } from "./gpu_filters.ts";
import { PARAM_BYTES, PARAM_FIELDS, type Params } from "./shaders/params.ts";
import { RECORD_WORDS } from "./shaders/rows.ts";
import { WORKGROUP } from "./shaders/common.ts";
import { SPELL_KERNEL } from "./shaders/spell.ts";

/** Logits [rows, W] where a model left them, in a buffer of its device. */
export interface GpuLogits {
  /** Has usage `STORAGE`. Read before the next step, then the model's again. */
  buffer: GPUBuffer;
  /** Bytes in front of the first logit; a multiple of the element's size. */
  offset: number;
  /** Elements (not bytes) from the start of one row to the start of the next; at least W. */
  rowStride: number;
  /** Kind of the elements. */
  type: "float32" | "float16";
}

/** Logits of runs in GPU memory: [rows, width, W]. */
export interface GpuRunLogits extends GpuLogits {
  /** Elements from the start of one position to the start of the next; at least W. */
  positionStride: number;
}

const BEAM_ARRAYS = BEAM_FIELDS.length;
/** Behind them: rows of runs that beams come of. */
const GPU_ARRAYS = BEAM_ARRAYS + 1;
/** Words of a batch row's rule. */
const RULE_WORDS = 8;
/** Logits of runs take no more. */
const RUN_BYTES = 2 ** 28;

/** Where a level stands in the index buffer, and its record with addresses relative to that, in words. */
export interface Level {
  offset: number;
  byteLength: number;
  record: Partial<Params>;
  edges: number;
  /** Sequences that end on it. */
  ends: number;
  /** Whether every row has one edge, and whether inner edges end sequences. */
  isUnary: boolean;
  hasInnerEnds: boolean;
}

/** What benches and tests want to know of a kernel's searches. */
export interface GpuCounters {
  /** Buffers mapped so far. */
  readbacks: number;
  /** Every dispatch writes two timestamps from `next` on. Needs the feature `timestamp-query`. */
  timing: { querySet: GPUQuerySet; next: number } | undefined;
}

/** What the searches of a kernel share. */
export interface GpuShared {
  readonly device: GPUDevice;
  readonly pipelines: Pipelines;
  /** The levels of the index, as they are stored. */
  readonly index: GPUBuffer;
  readonly levels: readonly Level[];
  readonly filters: GpuFilters;
  readonly counters: GpuCounters;
}

/** One search in GPU buffers. Nothing waits for the GPU but {@linkcode read}. */
export class GpuSearch implements KernelSearch {
  step = 0;
  /** [rows] u32: what `tokens` and `parents` hold on the CPU side, ready for a kernel of the model. */
  readonly tokenBuffer: GPUBuffer;
  readonly parentBuffer: GPUBuffer;
  #shared: GpuShared;
  #shape: SearchShape;
  #stride: number;
  #beams: GPUBuffer[];
  #records: GPUBuffer;
  #params: GPUBuffer;
  #flags: GPUBuffer;
  /** Factors from score to rank; then, from `#rulesAt` on, rules by step and batch row, and their lists. */
  #data: GPUBuffer;
  #rulesAt: number | undefined;
  /** Rows of a model on the CPU that is shown live ones alone. */
  #shown: ShownRows | undefined;
  #filterGeneration: number;
  #staging: GPUBuffer;
  #upload: GPUBuffer | undefined;
  #out: Float32Array<ArrayBuffer> | undefined;
  #owned: GPUBuffer[] = [];
  #errors: Promise<GPUError | null>[] = [];
  /** What the last readback brought. */
  #last: { beams: Beams; tokens: Uint32Array<ArrayBuffer>; parents: Uint32Array<ArrayBuffer> };

  /** @param isForCpu whether the model is on the CPU: the beams are read after every step. */
  constructor(shape: SearchShape, shared: GpuShared, isForCpu: boolean) {
    const { batchSize: B, beamSize: M } = shape;
    const { device, levels, filters } = shared;
    this.#shared = shared;
    this.#shape = shape;
    this.#stride = B * M;
    if (isForCpu && shape.liveRows) this.#shown = new ShownRows(B);
    const steps = levels.length + 1;
    const slots = 1 + Math.max(...levels.map(({ record }) => this.#keep(record.MAX_BRANCH!)));
    const recordBytes = this.#stride * 4 * (1 + slots * RECORD_WORDS) + 256;
    this.#require(recordBytes, "candidates");
    this.#require(4 * this.#stagingWords(steps), "results");
    if (B > MAX_GRID) throw tooLarge("batch rows", MAX_GRID, B);
    const data = this.#makeData();
    this.#require(4 * data.length, "filters");
    this.#filterGeneration = filters.generation;
    const { STORAGE, COPY_DST, COPY_SRC, UNIFORM, MAP_READ } = GPUBufferUsage;
    const make = (label: string, words: number, usage = STORAGE | COPY_DST | COPY_SRC) => {
      const buffer = makeBuffer(device, label, words * 4, usage);
      this.#owned.push(buffer);
      return buffer;
    };
    this.#watch(device);
    this.#beams = [0, 1].map((i) => make(`beams ${i}`, GPU_ARRAYS * this.#stride + B));
    this.#records = make("records", recordBytes / 4);
    this.tokenBuffer = make("tokens", this.#stride);
    this.parentBuffer = make("parents", this.#stride);
    this.#params = make("params", 2 * steps * PARAM_BYTES / 4, UNIFORM | COPY_DST);
    this.#flags = make("flags", steps);
    this.#data = make("search data", data.length);
    this.#staging = make("staging", this.#stagingWords(steps), MAP_READ | COPY_DST);
    const { queue } = device;
    queue.writeBuffer(this.#flags, 0, new Uint32Array(steps).fill(NONE));
    queue.writeBuffer(this.#data, 0, data);
    const root = emptyBeams(this.#stride);
    root.scores.fill(0, 0, B);
    root.states.fill(0, 0, B);
    root.status.fill(BEAM_BITS.LIVE, 0, B);
    this.#last = { beams: root, tokens: new Uint32Array(), parents: new Uint32Array() };
    this.#write(root);
    this.#unwatch();
  }

  /**
   * What the kernels read of the search: factors by length; and per step and batch row the words where the filter's bits of
   * edges and ends start, and where the lists of its exclusions start and end. Places the filters.
   */
  #makeData(): Uint32Array<ArrayBuffer> {
    const { batchSize: B, filters, exclusions, lengthPenalty } = this.#shape;
    const { device, levels } = this.#shared;
    const norms = new Uint32Array(lengthNorms(levels.length + 2, lengthPenalty).buffer);
    if (!filters && !exclusions) return norms;
    const lists =
      exclusions?.map((list) => list && list.loaded.heap.u32(list.address, list.byteLength / 4)) ??
        [];
    const at = this.#rulesAt = norms.length;
    let end = at + levels.length * B * RULE_WORDS;
    const data = new Uint32Array(end + lists.reduce((sum, list) => sum + (list?.length ?? 0), 0));
    data.set(norms);
    this.#watch(device);
    try {
      for (let b = 0; b < B; b++) {
        const filter = filters?.[b];
        const start = filter && this.#shared.filters.place(filter);
        levels.forEach((_, d) => {
          const rule = data.subarray(at + (d * B + b) * RULE_WORDS).fill(NONE, 0, 2);
          const ends = filter?.ends[d];
          if (filter) rule[0] = start! + filter.edges[d] / 4;
          if (ends !== undefined) rule[1] = start! + ends / 4;
          exclusions?.[b]?.lists[d].forEach((bytes, i) => rule[2 + i] = end + bytes / 4);
        });
        if (!lists[b]) continue;
        data.set(lists[b]!, end);
        end += lists[b]!.length;
      }
    } finally {
      this.#unwatch();
    }
    return data;
  }

  /** Rows of a batch row at a step: no more than there are prefixes for beams to stand on, if the model takes that. */
  #widthAt(step: number): number {
    const { beamSize, liveRows } = this.#shape;
    if (step === 0) return 1;
    if (!liveRows || this.#shown) return beamSize;
    const { levels } = this.#shared;
    const ended = levels.slice(0, step - 1).reduce((sum, { ends }) => sum + ends, 0);
    return Math.min(beamSize, ended + (levels[step - 1]?.edges ?? 0));
  }

  /** Beams of a batch row that the model is shown. */
  get width(): number {
    return this.#widthAt(this.step);
  }

  get rows(): number {
    return this.#shown?.beams.length ?? this.#allRows;
  }

  get #allRows(): number {
    return this.#shape.batchSize * this.width;
  }

  get isLive(): boolean {
    return this.#last.beams.status.some(goesOn);
  }

  tokens(): Uint32Array<ArrayBuffer> {
    const { tokens } = this.#last;
    return this.step > 0 && this.#shown ? this.#shown.beams.map((beam) => tokens[beam]) : tokens;
  }

  parents(): Uint32Array<ArrayBuffer> {
    return this.#shown?.parents ?? this.#last.parents;
  }

  batch(): Uint32Array<ArrayBuffer> {
    const beams = this.#shown?.beams ?? Uint32Array.from({ length: this.rows }, (_, i) => i);
    return beams.map((beam) => Math.floor(beam / this.width));
  }

  out(): Float32Array<ArrayBuffer> {
    const length = this.rows * this.#shape.logitWidth;
    if (this.#out?.length !== length) this.#out = new Float32Array(length);
    return this.#out;
  }

  /** One step with logits of the CPU: uploads them and reads the beams back. */
  async advance(logits: Logits): Promise<void> {
    const { device } = this.#shared;
    const { logitWidth } = this.#shape;
    checkLogits(logits, this.step, this.rows, logitWidth);
    const isHalf = logits.BYTES_PER_ELEMENT === 2;
    this.#require(this.#stride * logitWidth * 4, "logits");
    this.#watch(device);
    this.#upload ??= this.#own(
      makeBuffer(
        device,
        "logits",
        this.#stride * logitWidth * 4,
        GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
      ),
    );
    const given = new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength);
    let bytes = given;
    const rowBytes = logitWidth * logits.BYTES_PER_ELEMENT;
    const length = Math.ceil(this.#allRows * rowBytes / 4) * 4;
    if (bytes.length !== length) {
      // Rows go to the places of their beams; writes to the GPU are multiples of 4 bytes.
      bytes = new Uint8Array(length);
      for (let row = 0; row < this.rows; row++) {
        const beam = this.#shown?.beams[row] ?? row;
        bytes.set(given.subarray(row * rowBytes, (row + 1) * rowBytes), beam * rowBytes);
      }
    }
    device.queue.writeBuffer(this.#upload, 0, bytes as Uint8Array<ArrayBuffer>);
    this.#unwatch();
    this.advanceOnGpu({
      buffer: this.#upload,
      offset: 0,
      rowStride: logitWidth,
      type: isHalf ? "float16" : "float32",
    });
    await this.read();
    this.#shown?.follow(this.#last.beams.status, this.#last.parents);
  }

  /**
   * Encodes and submits one step over logits in GPU memory. Does not wait.
   *
   * @throws {ModelOutputError} if the buffer cannot hold the rows.
   */
  advanceOnGpu(logits: GpuLogits): void {
    const { resource, first } = this.#bindLogits(logits, this.#allRows);
    this.#advance(resource, first, logits, 0);
  }

  /** @param run 0; or 1 for the first position of runs, 2 for the others. */
  #advance(resource: GPUBufferBinding, first: number, logits: GpuLogits, run: number): void {
    const { device } = this.#shared;
    const { batchSize: B, logitWidth: W, filters, lengthPenalty, results } = this.#shape;
    if (filters && this.#shared.filters.generation !== this.#filterGeneration) {
      throw new BackendError(
        "out-of-memory",
        "Cannot search on the GPU: there was no memory for its filters",
      );
    }
    const { levels } = this.#shared;
    const level = levels[this.step];
    const rows = this.#allRows;
    const isRuled = level !== undefined && this.#rulesAt !== undefined;
    const record: Partial<Params> = {
      ...level?.record,
      STEP: this.step,
      ROWS: rows,
      ROWS_PER_BATCH: this.width,
      BEAMS: this.#widthAt(this.step + 1),
      WIDTH: W,
      LOGITS_OFFSET: first,
      LOGITS_STRIDE: logits.rowStride,
      LOGITS_HALF: Number(logits.type === "float16"),
      MODE: NORMALIZE_MODES.indexOf(this.#shape.normalize),
      END_TOKEN: this.#shape.endToken ?? NONE,
      PAD_TOKEN: this.#shape.padToken,
      BEAM_STRIDE: this.#stride,
      KEEP: level ? this.#keep(level.record.MAX_BRANCH!) : 0,
      RECORDS_AT: Math.ceil(rows / 4) * 4,
      GRID_X: gridOf(rows)[0],
      RULES_AT: isRuled ? this.#rulesAt! + this.step * B * RULE_WORDS : NONE,
      RESULTS: maySettle(this.#shape) && !this.#shape.placesOf ? results! : 0,
      FARTHEST: lengthPenalty === 0 ? 0 : lengthPenalty > 0 ? levels.length : this.step + 1,
      RUN: run,
    };
    this.#watch(device);
    try {
      this.#encode(record, resource, level);
    } finally {
      this.#unwatch();
    }
    this.#beams.reverse();
    this.step++;
  }

  /**
   * Logits that each row still needs, if from here on no live beam has a choice, as far as the index alone can tell: every
   * row of the levels that are left has one edge, and nothing ends before the last. Else undefined.
   */
  get runWidth(): number | undefined {
    const { step } = this;
    const { levels } = this.#shared;
    const { endToken, logitWidth } = this.#shape;
    const width = levels.length - step + (endToken === undefined ? 0 : 1);
    const { maxStorageBufferBindingSize } = this.#shared.device.limits;
    const most = Math.min(RUN_BYTES, maxStorageBufferBindingSize);
    if (step === 0 || width < 2 || this.#allRows * width * logitWidth * 4 > most) return undefined;
    const isForced = levels.slice(step).every(({ isUnary }) => isUnary) &&
      !levels.slice(step - 1).some(({ hasInnerEnds }) => hasInnerEnds);
    return isForced ? width : undefined;
  }

  /** Spells what is left into a buffer [rows, width]: what the model is fed. It belongs to the search. Does not wait. */
  async spellRuns(width: number): Promise<GPUBuffer> {
    const { device, levels, index } = this.#shared;
    const kernel = await compileOnce(device, SPELL_KERNEL);
    const rows = this.#allRows;
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    this.#watch(device);
    const usage = STORAGE | COPY_SRC | COPY_DST;
    const states = this.#own(makeBuffer(device, "run states", rows * 4, usage));
    const run = this.#own(makeBuffer(device, "run tokens", rows * width * 4, usage));
    const encoder = device.createCommandEncoder({ label: "espalier spell" });
    const pass = encoder.beginComputePass({ label: "espalier spell" });
    pass.setPipeline(kernel.pipeline);
    levels.slice(this.step).forEach((level, i) => {
      const record: Partial<Params> = {
        ...level.record,
        STEP: i,
        ROWS: rows,
        WIDTH: width,
        BEAM_STRIDE: this.#stride,
        PAD_TOKEN: this.#shape.padToken,
      };
      // Behind the records of the steps.
      const at = (levels.length + 1 + i) * PARAM_BYTES;
      device.queue.writeBuffer(this.#params, at, recordOf(record));
      const entries = [
        { buffer: this.#params, size: PARAM_BYTES },
        bindingOf(index, level),
        { buffer: this.#beams[0] },
        { buffer: this.tokenBuffer },
        { buffer: states },
        { buffer: run },
      ].map((resource, binding) => ({ binding, resource }));
      const group = device.createBindGroup({ label: "espalier", layout: kernel.layout, entries });
      pass.setBindGroup(0, group, [at]);
      pass.dispatchWorkgroups(Math.ceil(rows / WORKGROUP));
    });
    pass.end();
    device.queue.submit([encoder.finish()]);
    this.#unwatch();
    return run;
  }

  /**
   * Encodes and submits all steps that are left, over the logits of runs. Does not wait.
   *
   * @throws {ModelOutputError} if the buffer cannot hold them.
   */
  advanceRuns(logits: GpuRunLogits, width: number): void {
    const { resource, first } = this.#bindLogits(logits, this.#allRows, width);
    for (let position = 0; position < width; position++) {
      const from = first + position * logits.positionStride;
      this.#advance(resource, from, logits, position === 0 ? 1 : 2);
    }
  }

  /** Encodes and submits the dispatches of a step. */
  #encode(record: Partial<Params>, logits: GPUBufferBinding, level: Level | undefined): void {
    const { device, index, pipelines, filters, counters: { timing } } = this.#shared;
    const { batchSize: B } = this.#shape;
    device.queue.writeBuffer(this.#params, this.step * PARAM_BYTES, recordOf(record));
    const [input, output] = this.#beams;
    const words = bindingOf(index, level);
    const data = { buffer: this.#data };
    const encoder = device.createCommandEncoder({ label: `espalier step ${this.step}` });
    // One pass for both kernels, or one for each where a bench takes their times.
    let pass: GPUComputePassEncoder | undefined;
    const run = (kernel: CompiledKernel, buffers: GPUBufferBinding[], x: number, y = 1) => {
      if (timing) pass?.end();
      if (timing || !pass) {
        pass = encoder.beginComputePass({
          label: `espalier step ${this.step}`,
          timestampWrites: timing && {
            querySet: timing.querySet,
            beginningOfPassWriteIndex: timing.next++,
            endOfPassWriteIndex: timing.next++,
          },
        });
      }
      pass.setPipeline(kernel.pipeline);
      const entries = [{ buffer: this.#params, size: PARAM_BYTES }, ...buffers]
        .map((resource, binding) => ({ binding, resource }));
      const group = device.createBindGroup({ label: "espalier", layout: kernel.layout, entries });
      pass.setBindGroup(0, group, [this.step * PARAM_BYTES]);
      pass.dispatchWorkgroups(x, y);
    };
    run(
      pipelines.rows,
      [
        words,
        logits,
        { buffer: input },
        { buffer: filters.buffer },
        data,
        { buffer: this.#records },
        { buffer: this.#flags },
      ],
      ...gridOf(record.ROWS!),
    );
    run(
      pipelines.merge,
      [
        words,
        { buffer: input },
        { buffer: filters.buffer },
        data,
        { buffer: this.#records },
        { buffer: output },
        { buffer: this.tokenBuffer },
        { buffer: this.parentBuffer },
      ],
      B,
    );
    pass?.end();
    device.queue.submit([encoder.finish()]);
  }

  /**
   * Waits for the GPU and reads the beams: the one readback of a decode.
   *
   * @throws {ModelOutputError} if a logit was +infinity. @throws {BackendError} if the device is lost or refused.
   */
  async read(): Promise<Beams> {
    const { device } = this.#shared;
    const { batchSize: B } = this.#shape;
    const stride = this.#stride;
    const steps = this.#shared.levels.length + 1;
    const beamBytes = 4 * (GPU_ARRAYS * stride + B);
    const bytes = 4 * this.#stagingWords(steps);
    this.#watch(device);
    const encoder = device.createCommandEncoder({ label: "espalier readback" });
    encoder.copyBufferToBuffer(this.#beams[0], 0, this.#staging, 0, beamBytes);
    encoder.copyBufferToBuffer(this.tokenBuffer, 0, this.#staging, beamBytes, 4 * stride);
    encoder.copyBufferToBuffer(
      this.parentBuffer,
      0,
      this.#staging,
      beamBytes + 4 * stride,
      4 * stride,
    );
    encoder.copyBufferToBuffer(
      this.#flags,
      0,
      this.#staging,
      beamBytes + 8 * stride,
      4 * steps,
    );
    device.queue.submit([encoder.finish()]);
    this.#unwatch();
    this.#shared.counters.readbacks++;
    try {
      await this.#staging.mapAsync(GPUMapMode.READ, 0, bytes);
    } catch (error) {
      // What went wrong before says more than that nothing can be read.
      const earlier = await Promise.allSettled(this.#errors.splice(0));
      this.#throwErrors(earlier.map((e) => e.status === "fulfilled" ? e.value : null));
      throw error;
    }
    const words = new Uint32Array(this.#staging.getMappedRange(0, bytes).slice(0));
    this.#staging.unmap();
    this.#throwErrors(await Promise.all(this.#errors.splice(0)));
    const flags = words.subarray(beamBytes / 4 + 2 * stride);
    const step = flags.findIndex((row) => row !== NONE);
    if (step >= 0) throw infiniteLogit(step, flags[step]);
    // Where the beams are narrower than M, the places behind them are empty.
    const { beamSize: M } = this.#shape;
    const width = this.#widthAt(this.step);
    const spread = (values: Uint32Array<ArrayBuffer>, empty: number) => {
      if (width === M || this.step === 0) return values;
      const wide = new Uint32Array(stride).fill(empty);
      for (let b = 0; b < B; b++) wide.set(values.subarray(b * width, (b + 1) * width), b * M);
      return wide;
    };
    const MINUS_INFINITY = 0xff800000;
    const array = (i: number, empty: number) =>
      spread(words.slice(i * stride, (i + 1) * stride), empty);
    const at = beamBytes / 4;
    this.#last = {
      beams: {
        scores: new Float32Array(array(0, MINUS_INFINITY).buffer),
        states: array(1, NONE),
        edges: array(2, NONE),
        lengths: array(3, 0),
        status: array(4, 0),
      },
      tokens: words.slice(at, at + stride),
      parents: words.slice(at + stride, at + 2 * stride),
    };
    return this.#last.beams;
  }

  /**
   * Waits for the GPU and asks whether a beam is left to go on: a small readback, for sets of mixed lengths whose
   * searches mostly end early.
   */
  async stillLives(): Promise<boolean> {
    const { device } = this.#shared;
    const bytes = 4 * this.#shape.batchSize;
    const encoder = device.createCommandEncoder({ label: "espalier liveness" });
    encoder.copyBufferToBuffer(
      this.#beams[0],
      4 * GPU_ARRAYS * this.#stride,
      this.#staging,
      0,
      bytes,
    );
    device.queue.submit([encoder.finish()]);
    this.#shared.counters.readbacks++;
    await this.#staging.mapAsync(GPUMapMode.READ, 0, bytes);
    const isLive = new Uint32Array(this.#staging.getMappedRange(0, bytes)).some((word) => word > 0);
    this.#staging.unmap();
    return isLive;
  }

  beams(): Beams {
    return this.#last.beams;
  }

  load(step: number, beams: Beams): void {
    this.step = step;
    this.#last = { ...this.#last, beams };
    this.#write(beams);
  }

  [Symbol.dispose](): void {
    for (const buffer of this.#owned.splice(0)) freeBuffer(this.#shared.device, buffer);
  }

  #own(buffer: GPUBuffer): GPUBuffer {
    this.#owned.push(buffer);
    return buffer;
  }

  /** Candidates that one row may have to keep. */
  #keep(maxBranch: number): number {
    const { beamSize, tokensPerBeam = Infinity } = this.#shape;
    return Math.min(beamSize, tokensPerBeam, maxBranch);
  }

  #stagingWords(steps: number): number {
    return GPU_ARRAYS * this.#stride + this.#shape.batchSize + 2 * this.#stride + steps;
  }

  #write(beams: Beams): void {
    const { queue } = this.#shared.device;
    const arrays = [beams.scores, beams.states, beams.edges, beams.lengths, beams.status];
    arrays.forEach((array, i) => {
      queue.writeBuffer(this.#beams[0], i * this.#stride * 4, array as Uint32Array<ArrayBuffer>);
    });
  }

  /** Opens error scopes around what follows; {@linkcode #unwatch} closes them in the same turn. */
  #watch(device: GPUDevice): void {
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
  }

  /** Closes the scopes; their errors are looked at when the search is read. */
  #unwatch(): void {
    const { device } = this.#shared;
    for (let i = 0; i < 2; i++) {
      const error = device.popErrorScope();
      error.catch(() => {}); // the device is lost: reading says so
      this.#errors.push(error);
    }
  }

  #throwErrors(errors: readonly (GPUError | null)[]): void {
    const isMemory = (error: GPUError | null) =>
      "GPUOutOfMemoryError" in globalThis && error instanceof GPUOutOfMemoryError;
    // Using a buffer for which there was no memory is invalid as well: memory comes first.
    const error = errors.find(isMemory) ?? errors.find((error) => error !== null);
    if (!error) return;
    if (isMemory(error)) this.#shared.filters.forget();
    throw new BackendError(
      isMemory(error) ? "out-of-memory" : "validation",
      `Cannot search on the GPU: ${error.message}`,
      { actual: error.message },
    );
  }

  /** @throws {LimitError} if a buffer of the search cannot be bound. */
  #require(bytes: number, what: string): void {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.#shared.device.limits;
    const most = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    if (bytes > most) throw tooLarge(`bytes of ${what}`, most, bytes);
  }

  #bindLogits(
    logits: GpuLogits | GpuRunLogits,
    rows: number,
    positions = 1,
  ): { resource: GPUBufferBinding; first: number } {
    const { buffer, offset, rowStride, type } = logits ?? {};
    const { positionStride = 0 } = (logits ?? {}) as GpuRunLogits;
    const size = type === "float16" ? 2 : 4;
    const width = this.#shape.logitWidth;
    const end = offset +
      ((rows - 1) * rowStride + (positions - 1) * positionStride + width) * size;
    // Bindings are multiples of 4 bytes.
    const needed = Math.ceil(end / 4) * 4;
    const isSound = (type === "float16" || type === "float32") && buffer instanceof GPUBuffer &&
      Number.isInteger(offset) && offset >= 0 && offset % size === 0 &&
      Number.isInteger(rowStride) && (rowStride >= width || rows === 1) &&
      Number.isInteger(positionStride) && (positionStride >= width || positions === 1) &&
      needed <= buffer.size;
    if (!isSound) {
      throw new ModelOutputError(
        "bad-gpu-logits",
        `Cannot search: at step ${this.step} the model returned ${type} logits at byte ${offset} with ${rowStride} elements from row to row; ${rows} rows of ${
          positions > 1 ? `${positions} positions of ` : ""
        }${width} need a GPUBuffer of ${needed} bytes, got ${
          buffer instanceof GPUBuffer ? buffer.size : Object.prototype.toString.call(buffer)
        }`,
        { step: this.step, expected: needed, actual: buffer?.size },
      );
    }
    const start = Math.floor(offset / 256) * 256;
    this.#require(needed - start, "logits");
    return {
      resource: { buffer, offset: start, size: needed - start },
      first: (offset - start) / size,
    };
  }
}

/** A record as the kernels read it. */
function recordOf(record: Partial<Params>): Uint32Array<ArrayBuffer> {
  return Uint32Array.from(PARAM_FIELDS, (field) => record[field] ?? 0);
}

/** The words of a level; some, where there are none. */
function bindingOf(buffer: GPUBuffer, level: Level | undefined): GPUBufferBinding {
  return level?.byteLength
    ? { buffer, offset: level.offset, size: level.byteLength }
    : { buffer, offset: 0, size: 256 };
}

function tooLarge(what: string, expected: number, actual: number): LimitError {
  return new LimitError(
    "search-too-large",
    `Cannot search on this GPU: ${actual} ${what}, at most ${expected} fit; use fewer beams, or backend "wasm"`,
    { expected, actual },
  );
}

function emptyBeams(count: number): Beams {
  return {
    scores: new Float32Array(count).fill(-Infinity),
    states: new Uint32Array(count).fill(NONE),
    edges: new Uint32Array(count).fill(NONE),
    lengths: new Uint32Array(count),
    status: new Uint32Array(count),
  };
}
