/** An ONNX model that is open: searches through it, and what runs them. */
import { rangeError } from "../../errors.ts";
import type { OnnxModel, PromptedModel } from "./types.ts";
import { cpuModel, cpuReorder } from "./cpu.ts";
import { closeSessions } from "./sessions.ts";
import { gpuModel, gpuReorder } from "./gpu.ts";
import type { Probed } from "./probe.ts";
import type { OnnxProvider } from "./session.ts";
import { hidesPadding } from "./signature.ts";
import { padPrompts, type Prompts } from "./prompts.ts";
import { disposed, OnnxSearch, type OnnxSessions } from "./decode_steps.ts";

/** Sessions that have been tried out. */
export interface Opened extends Probed {
  readonly sessions: OnnxSessions;
}

/** The device of a model that runs on one, and how to open it on the CPU. */
export interface OpenGpu {
  readonly device: GPUDevice;
  readonly openCpu?: () => Promise<Opened>;
}

/** See {@linkcode OnnxModel}. */
export class OpenOnnxModel implements OnnxModel {
  readonly vocabSize: number;
  readonly provider: OnnxProvider;
  readonly reason: string;
  #opened: Opened;
  #startToken: number | undefined;
  #padToken: number;
  #gpu: OpenGpu | undefined;
  /** The model on the CPU, opened when a search on the GPU fails. */
  #fallback: Promise<Opened> | undefined;
  #searches = new Set<AsyncDisposable>();
  #closed: Promise<void> | undefined;

  constructor(
    opened: Opened,
    startToken: number | undefined,
    padToken: number,
    reason: string,
    gpu?: OpenGpu,
  ) {
    this.vocabSize = opened.vocabSize;
    this.provider = gpu ? "webgpu" : "wasm";
    const { noRuns, sessions: { quantizer } } = opened;
    this.reason = [
      reason,
      ...(noRuns ? [`no runs: ${noRuns}`] : []),
      ...(quantizer ? [`rows depend on each other: ${quantizer} has one scale for all`] : []),
    ].join("; ");
    this.#opened = opened;
    this.#startToken = startToken;
    this.#padToken = padToken;
    this.#gpu = gpu;
  }

  withPrompts(prompts: readonly ArrayLike<number>[]): PromptedModel {
    let isDisposed = false;
    const check = () => {
      if (isDisposed || this.#closed) throw disposed();
    };
    check();
    const padded = this.#pad(prompts);
    const { sessions, noRuns } = this.#opened;
    const hasRuns = noRuns === undefined;
    const open: AsyncDisposable[] = [];
    const keep = <T extends AsyncDisposable>(search: T): T => {
      check();
      open.push(search);
      this.#searches.add(search);
      return search;
    };
    const onCpu = (sessions: OnnxSessions): OnnxSearch<Uint32Array> =>
      keep(new OnnxSearch(sessions, cpuReorder(sessions.ort), padded, this.#startToken));
    const dispose = () => {
      isDisposed = true;
      for (const search of open.splice(0)) {
        search[Symbol.asyncDispose]().then(() => this.#searches.delete(search));
      }
    };
    if (!this.#gpu) {
      const search = onCpu(sessions);
      const model = cpuModel(() => search, this.vocabSize, hasRuns);
      return Object.assign(model, { [Symbol.dispose]: dispose });
    }
    const { device, openCpu } = this.#gpu;
    let fallback: OnnxSearch<Uint32Array> | undefined;
    const openSearch = async () => {
      check();
      return fallback ??= onCpu(await this.#openFallback(openCpu!));
    };
    // Whether it scores runs there, too, is known only when it is open.
    const cpu = openCpu && cpuModel(openSearch, this.vocabSize, false);
    const reorder = gpuReorder(sessions.ort, device);
    const search = keep(new OnnxSearch<GPUBuffer>(sessions, reorder, padded, this.#startToken));
    return { ...gpuModel(search, device, hasRuns), cpu, [Symbol.dispose]: dispose };
  }

  #pad(prompts: readonly ArrayLike<number>[]): Prompts {
    const { signature } = this.#opened.sessions;
    const { encoder } = signature;
    const limit = encoder ? 2 ** 31 : this.vocabSize;
    const padToken = Math.min(this.#padToken, limit - 1);
    const padded = padPrompts(prompts, encoder ? "right" : "left", padToken, limit);
    if (padded.isEven || hidesPadding(signature)) return padded;
    throw rangeError(
      `Cannot search with prompts of ${
        Math.min(...padded.lengths)
      } to ${padded.width} tokens in one batch: the ONNX model takes no "${
        encoder ? "encoder_" : ""
      }attention_mask" to hide padding with; search those of each length on their own`,
      { expected: padded.width, actual: Math.min(...padded.lengths) },
    );
  }

  async #openFallback(openCpu: () => Promise<Opened>): Promise<OnnxSessions> {
    this.#fallback ??= openCpu();
    try {
      return (await this.#fallback).sessions;
    } catch (error) {
      this.#fallback = undefined; // the next search tries again
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#closed ??= this.#close();
  }

  /** Sessions are released last: tensors on the GPU are freed through them. */
  async #close(): Promise<void> {
    await Promise.all(Array.from(this.#searches, (search) => search[Symbol.asyncDispose]()));
    await closeSessions(this.#opened.sessions);
    const fallback = await this.#fallback?.catch(() => undefined);
    if (fallback) await closeSessions(fallback.sessions);
  }
}
