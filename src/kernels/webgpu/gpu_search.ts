/** One search on WebGPU. */
import { BackendError, LimitError, ModelOutputError } from "../../errors.ts";
import type { FilterBits } from "../../index/filter_bits.ts";
import { NONE } from "../../index/format/layout.ts";
import type { Beams, KernelSearch, Logits, SearchShape } from "../kernel.ts";
import { checkLogits, infiniteLogit } from "../check_logits.ts";
import { lengthNorms } from "../length_norms.ts";
import { BEAM_BITS, BEAM_FIELDS, NORMALIZE_MODES } from "../constants.ts";
import {
  type CompiledKernel,
  freeBuffer,
  gridOf,
  makeBuffer,
  MAX_GRID,
  type Pipelines,
} from "./device.ts";
import type { GpuFilters } from "./gpu_filters.ts";
import { PARAM_BYTES, PARAM_FIELDS, type Params } from "./shaders/params.ts";
import { RECORD_WORDS } from "./shaders/rows.ts";

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

const BEAM_ARRAYS = BEAM_FIELDS.length;

/** Where a level stands in the index buffer, and its record with addresses relative to that, in words. */
export interface Level {
  offset: number;
  byteLength: number;
  record: Partial<Params>;
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
  /** [B·M] u32: what `tokens` and `parents` hold on the CPU side, ready for a kernel of the model. */
  readonly tokenBuffer: GPUBuffer;
  readonly parentBuffer: GPUBuffer;
  #shared: GpuShared;
  #shape: SearchShape;
  #stride: number;
  #beams: GPUBuffer[];
  #records: GPUBuffer;
  #params: GPUBuffer;
  #flags: GPUBuffer;
  #lengthNorms: GPUBuffer;
  #filterTable: GPUBuffer;
  #filterGeneration: number;
  #staging: GPUBuffer;
  #upload: GPUBuffer | undefined;
  #out: Float32Array<ArrayBuffer> | undefined;
  #owned: GPUBuffer[] = [];
  #errors: Promise<GPUError | null>[] = [];
  /** What the last readback brought. */
  #last: { beams: Beams; tokens: Uint32Array<ArrayBuffer>; parents: Uint32Array<ArrayBuffer> };

  constructor(shape: SearchShape, shared: GpuShared) {
    const { batchSize: B, beamSize: M, filters: rowFilters } = shape;
    const { device, levels, filters } = shared;
    this.#shared = shared;
    this.#shape = shape;
    this.#stride = B * M;
    const steps = levels.length + 1;
    const slots = 1 + Math.max(...levels.map(({ record }) => this.#keep(record.MAX_BRANCH!)));
    const recordBytes = this.#stride * 4 * (1 + slots * RECORD_WORDS) + 256;
    const tableWords = rowFilters ? this.#tableStride * steps : 64;
    this.#require(recordBytes, "candidates");
    this.#require(tableWords * 4, "filters");
    this.#require(4 * this.#stagingWords(steps), "results");
    if (B > MAX_GRID) throw tooLarge("batch rows", MAX_GRID, B);
    const table = rowFilters && this.#placeFilters(rowFilters, steps);
    this.#filterGeneration = filters.generation;
    const { STORAGE, COPY_DST, COPY_SRC, UNIFORM, MAP_READ } = GPUBufferUsage;
    const make = (label: string, words: number, usage = STORAGE | COPY_DST | COPY_SRC) => {
      const buffer = makeBuffer(device, label, words * 4, usage);
      this.#owned.push(buffer);
      return buffer;
    };
    this.#watch(device);
    this.#beams = [0, 1].map((i) => make(`beams ${i}`, BEAM_ARRAYS * this.#stride + B));
    this.#records = make("records", recordBytes / 4);
    this.tokenBuffer = make("tokens", this.#stride);
    this.parentBuffer = make("parents", this.#stride);
    this.#params = make("params", steps * PARAM_BYTES / 4, UNIFORM | COPY_DST);
    this.#flags = make("flags", steps);
    this.#lengthNorms = make("length norms", steps + 1);
    this.#filterTable = make("filter table", tableWords);
    this.#staging = make("staging", this.#stagingWords(steps), MAP_READ | COPY_DST);
    const { queue } = device;
    queue.writeBuffer(this.#flags, 0, new Uint32Array(steps).fill(NONE));
    queue.writeBuffer(this.#lengthNorms, 0, lengthNorms(steps + 1, shape.lengthPenalty));
    if (table) queue.writeBuffer(this.#filterTable, 0, table);
    const root = emptyBeams(this.#stride);
    root.scores.fill(0, 0, B);
    root.states.fill(0, 0, B);
    root.status.fill(BEAM_BITS.LIVE, 0, B);
    this.#last = { beams: root, tokens: new Uint32Array(), parents: new Uint32Array() };
    this.#write(root);
    this.#unwatch();
  }

  /** Places the filters; returns, per step and batch row, the words where edges and ends of its level start. */
  #placeFilters(
    filters: readonly (FilterBits | undefined)[],
    steps: number,
  ): Uint32Array<ArrayBuffer> {
    const { device } = this.#shared;
    const table = new Uint32Array(this.#tableStride * steps).fill(NONE);
    this.#watch(device);
    try {
      filters.forEach((filter, b) => {
        if (!filter) return;
        const start = this.#shared.filters.place(filter);
        filter.edges.forEach((edges, d) => {
          const at = d * this.#tableStride + 2 * b;
          const ends = filter.ends[d];
          table[at] = start + edges / 4;
          if (ends !== undefined) table[at + 1] = start + ends / 4;
        });
      });
    } finally {
      this.#unwatch();
    }
    return table;
  }

  get rows(): number {
    return this.step === 0 ? this.#shape.batchSize : this.#stride;
  }

  get isLive(): boolean {
    return this.#last.beams.status.some((status) =>
      status & (BEAM_BITS.LIVE | BEAM_BITS.STOPPABLE)
    );
  }

  tokens(): Uint32Array<ArrayBuffer> {
    return this.#last.tokens;
  }

  parents(): Uint32Array<ArrayBuffer> {
    return this.#last.parents;
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
    let bytes = new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength);
    if (bytes.length % 4 !== 0) {
      // Writes to the GPU are multiples of 4 bytes.
      const padded = new Uint8Array(bytes.length + 2);
      padded.set(bytes);
      bytes = padded;
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
  }

  /**
   * Encodes and submits one step over logits in GPU memory. Does not wait.
   *
   * @throws {ModelOutputError} if the buffer cannot hold the rows.
   */
  advanceOnGpu(logits: GpuLogits): void {
    const { device } = this.#shared;
    const { beamSize: M, logitWidth: W } = this.#shape;
    const rows = this.rows;
    if (this.#shape.filters && this.#shared.filters.generation !== this.#filterGeneration) {
      throw new BackendError(
        "out-of-memory",
        "Cannot search on the GPU: there was no memory for its filters",
      );
    }
    const binding = this.#bindLogits(logits);
    const level = this.#shared.levels[this.step];
    const record: Partial<Params> = {
      ...level?.record,
      STEP: this.step,
      ROWS: rows,
      ROWS_PER_BATCH: this.step === 0 ? 1 : M,
      BEAMS: M,
      WIDTH: W,
      LOGITS_OFFSET: binding.first,
      LOGITS_STRIDE: logits.rowStride,
      LOGITS_HALF: Number(logits.type === "float16"),
      MODE: NORMALIZE_MODES.indexOf(this.#shape.normalize),
      END_TOKEN: this.#shape.endToken ?? NONE,
      PAD_TOKEN: this.#shape.padToken,
      BEAM_STRIDE: this.#stride,
      KEEP: level ? this.#keep(level.record.MAX_BRANCH!) : 0,
      RECORDS_AT: Math.ceil(rows / 4) * 4,
      GRID_X: gridOf(rows)[0],
      FILTERED: Number(level !== undefined && this.#shape.filters !== undefined),
    };
    this.#watch(device);
    try {
      this.#encode(record, binding.resource, level);
    } finally {
      this.#unwatch();
    }
    this.#beams.reverse();
    this.step++;
  }

  /** Encodes and submits the dispatches of a step. */
  #encode(record: Partial<Params>, logits: GPUBufferBinding, level: Level | undefined): void {
    const { device, index, pipelines, filters, counters: { timing } } = this.#shared;
    const { batchSize: B } = this.#shape;
    const rows = this.rows;
    device.queue.writeBuffer(
      this.#params,
      this.step * PARAM_BYTES,
      Uint32Array.from(PARAM_FIELDS, (field) => record[field] ?? 0),
    );
    const [input, output] = this.#beams;
    const words = level?.byteLength
      ? { buffer: index, offset: level.offset, size: level.byteLength }
      : { buffer: index, offset: 0, size: 256 };
    const table = {
      buffer: this.#filterTable,
      ...(this.#shape.filters && {
        offset: this.step * this.#tableStride * 4,
        size: B * 8,
      }),
    };
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
        { buffer: this.#lengthNorms },
        { buffer: filters.buffer },
        table,
        { buffer: this.#records },
        { buffer: this.#flags },
      ],
      ...gridOf(rows),
    );
    run(
      pipelines.merge,
      [
        words,
        { buffer: input },
        { buffer: filters.buffer },
        table,
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
    const beamBytes = 4 * (BEAM_ARRAYS * stride + B);
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
    const array = (i: number) => words.slice(i * stride, (i + 1) * stride);
    const at = beamBytes / 4;
    this.#last = {
      beams: {
        scores: new Float32Array(array(0).buffer),
        states: array(1),
        edges: array(2),
        lengths: array(3),
        status: array(4),
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
      4 * BEAM_ARRAYS * this.#stride,
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
    return BEAM_ARRAYS * this.#stride + this.#shape.batchSize + 2 * this.#stride + steps;
  }

  /** Words of the filter table per step: offsets of bindings are multiples of 256 bytes. */
  get #tableStride(): number {
    return Math.ceil(this.#shape.batchSize / 32) * 64;
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

  #bindLogits(logits: GpuLogits): { resource: GPUBufferBinding; first: number } {
    const { buffer, offset, rowStride, type } = logits ?? {};
    const size = type === "float16" ? 2 : 4;
    const width = this.#shape.logitWidth;
    const end = offset + ((this.rows - 1) * rowStride + width) * size;
    // Bindings are multiples of 4 bytes.
    const needed = Math.ceil(end / 4) * 4;
    const isSound = (type === "float16" || type === "float32") && buffer instanceof GPUBuffer &&
      Number.isInteger(offset) && offset >= 0 && offset % size === 0 &&
      Number.isInteger(rowStride) && (rowStride >= width || this.rows === 1) &&
      needed <= buffer.size;
    if (!isSound) {
      throw new ModelOutputError(
        "bad-gpu-logits",
        `Cannot search: at step ${this.step} the model returned ${type} logits at byte ${offset} with ${rowStride} elements from row to row; ${this.rows} rows of ${width} need a GPUBuffer of ${needed} bytes, got ${
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
