/** The steps of one search through an ONNX model: prefill, caches that follow their beams, what is fed and fetched. */
import { BackendError, EspalierError, ModelOutputError } from "../../errors.ts";
import { type CacheInfo, type GraphInputs, type GraphSignature, isFree } from "./signature.ts";
import {
  type Graph,
  intTensor,
  messageOf,
  ortInTurn,
  type OrtModule,
  type Tensor,
} from "./session.ts";
import type { Prompts } from "./prompts.ts";

/** A model that is open on a provider. */
export interface OnnxSessions {
  readonly ort: OrtModule;
  readonly signature: GraphSignature;
  readonly prefill: Graph;
  readonly decode: Graph;
  readonly encoder?: Graph;
}

/** What a step is told of its rows; where tokens and parents are depends on the provider. */
export interface Move {
  readonly rows: number;
  /** M: rows of a batch row from step 1 on. */
  readonly beamSize: number;
}

/** How rows move where they live: in the memory of the CPU, or of the GPU. What is returned is the caller's to dispose. */
export interface CacheReorder<M extends Move> {
  /** [rows, …] with row i = source[parents[i]]; the source itself if that is the same. */
  gather(source: Tensor, move: M): Tensor | Promise<Tensor>;
  /** [rows, width + 1] ids: those of the parents, if there are any before, and then the tokens. */
  extend(previous: Tensor | undefined, move: M, type: "int64" | "int32"): Tensor | Promise<Tensor>;
  /** Resolves when all that was submitted has run, or the device is known to be lost. */
  settle?(): Promise<void>;
}

/** Logits as a graph leaves them: [rows, positions, W], of which the last position counts. */
export interface StepLogits {
  readonly tensor: Tensor;
  readonly positions: number;
  readonly width: number;
}

/** One search. Holds tensors between steps; dispose of it to let go of them. */
export class OnnxSearch<M extends Move> implements AsyncDisposable {
  #sessions: OnnxSessions;
  #reorder: CacheReorder<M>;
  #prompts: Prompts;
  #startToken: number | undefined;
  /** Step that comes next, unless it is 0. */
  #next = 0;
  #running: Promise<StepLogits> | undefined;
  #isDisposed = false;
  #closed: Promise<void> | undefined;
  /** What lives from step to step, by input. */
  #ids: Tensor | undefined;
  #past = new Map<string, Tensor>();
  #cross = new Map<string, Tensor>();
  #logits: Tensor | undefined;

  /** @param startToken what the decoder begins with, where there is an encoder that takes the prompts. */
  constructor(
    sessions: OnnxSessions,
    reorder: CacheReorder<M>,
    prompts: Prompts,
    startToken?: number,
  ) {
    this.#sessions = sessions;
    this.#reorder = reorder;
    this.#prompts = prompts;
    this.#startToken = startToken;
  }

  /**
   * Runs one step. The logits are valid until the next.
   *
   * @throws {EspalierError} if it is not this step's turn. @throws {ModelOutputError} if logits have a wrong shape.
   * @throws {BackendError} with code `"run-failed"` if a graph fails.
   */
  async step(step: number, move: M): Promise<StepLogits> {
    this.#check(step, move);
    this.#running = this.#take(step, move);
    try {
      return await this.#running;
    } catch (error) {
      this.#clear();
      this.#next = 0;
      throw error;
    } finally {
      this.#running = undefined;
    }
  }

  async #take(step: number, move: M): Promise<StepLogits> {
    if (step === 0) await this.#begin();
    else await this.#follow(step, move);
    const logits = await this.#run(step, move);
    if (this.#isDisposed) throw disposed();
    this.#next = step + 1;
    return logits;
  }

  /** Resolves when no step runs any more and all tensors are free: until then the sessions must stay open. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    if (this.#running) await this.#running.catch(() => {});
    const logits = this.#logits;
    this.#logits = undefined;
    this.#clear();
    if (!logits) return;
    // The search may be about to read them.
    await this.#reorder.settle?.();
    free(logits);
  }

  #check(step: number, { rows, beamSize }: M): void {
    if (this.#isDisposed) throw disposed();
    if (this.#running || step !== 0 && step !== this.#next) {
      throw new EspalierError(
        "out-of-turn",
        `Cannot run step ${step} of these prompts: step ${this.#next} is next; give every search that overlaps with another its own withPrompts()`,
        { step, expected: this.#next, actual: step },
      );
    }
    const expected = this.#prompts.rows * (step === 0 ? 1 : beamSize);
    if (rows !== expected) {
      throw new EspalierError(
        "wrong-batch",
        `Cannot search: there are ${this.#prompts.rows} prompts, but the search has ${
          step === 0 ? rows : rows / beamSize
        } batch rows; pass batchSize: prompts.length`,
        { expected, actual: rows },
      );
    }
  }

  get #hasCache(): boolean {
    return this.#sessions.signature.decode.past.length > 0;
  }

  /** The token that each row starts with, and what the encoder makes of the prompts. */
  async #begin(): Promise<void> {
    this.#clear();
    const { ort, signature, encoder } = this.#sessions;
    const { rows, width, ids } = this.#prompts;
    const { type } = signature.prefill.ints.ids!;
    if (!encoder) {
      this.#ids = intTensor(ort, type, rows, width, (row, i) => ids[row * width + i]);
      return;
    }
    this.#ids = intTensor(ort, type, rows, 1, () => this.#startToken!);
    const { ids: input, mask } = signature.encoder!.ints;
    const feeds: Record<string, Tensor> = {
      [input!.name]: intTensor(ort, input!.type, rows, width, (row, i) => ids[row * width + i]),
    };
    if (mask) feeds[mask.name] = this.#crossMask(mask.type, 1);
    const wanted = new Map<string, string>();
    const { hidden } = signature.prefill;
    if (hidden ?? signature.decode.hidden) wanted.set("encoder_hidden_states", "last_hidden_state");
    if (signature.crossFrom === "encoder") {
      for (const { name, output, isCross } of signature.decode.past) {
        if (isCross) wanted.set(name, output);
      }
    }
    const outputs = await this.#runGraph(encoder, 0, feeds, [...wanted.values()]);
    for (const [name, output] of wanted) this.#cross.set(name, outputs[output]);
  }

  /** Rows follow their beams; what belongs to batch rows is handed to each of their beams once, at step 1. */
  async #follow(step: number, move: M): Promise<void> {
    const moved = [this.#past];
    if (step === 1) moved.push(this.#cross);
    for (const tensors of moved) {
      for (const [name, source] of tensors) {
        const target = await this.#reorder.gather(source, move);
        if (target === source) continue;
        tensors.set(name, target);
        free(source);
      }
    }
    const { ids } = this.#sessions.signature.decode.ints;
    const before = this.#ids;
    this.#ids = await this.#reorder.extend(this.#hasCache ? undefined : before, move, ids!.type);
    free(before);
  }

  async #run(step: number, { rows, beamSize }: M): Promise<StepLogits> {
    const { signature, prefill, decode: next } = this.#sessions;
    const isFirst = step === 0 || !this.#hasCache;
    const graph = isFirst ? signature.prefill : signature.decode;
    const feeds = this.#feeds(graph, step, rows, step === 0 ? 1 : beamSize);
    const kept: CacheInfo[] = this.#hasCache
      ? signature.past.filter(({ isCross }) => !isCross || step === 0)
      : [];
    const fetches = ["logits", ...kept.map(({ output }) => output)];
    const outputs = await this.#runGraph(isFirst ? prefill : next, step, feeds, fetches);
    free(this.#logits);
    this.#logits = outputs.logits;
    for (const { name, output, isCross } of kept) {
      const tensors = isCross ? this.#cross : this.#past;
      free(tensors.get(name));
      tensors.set(name, outputs[output]);
    }
    const { dims } = outputs.logits;
    const width = dims[dims.length - 1];
    const positions = dims.length === 2 ? 1 : dims[1];
    if (dims[0] === rows && dims.length <= 3 && positions >= 1) {
      return { tensor: outputs.logits, positions, width };
    }
    throw new ModelOutputError(
      "bad-logits-shape",
      `Cannot search: at step ${step} the ONNX model returned logits [${dims}] for ${rows} rows`,
      { step, expected: rows, actual: dims },
    );
  }

  async #runGraph(
    { session }: Graph,
    step: number,
    feeds: Record<string, Tensor>,
    fetches: string[],
  ): Promise<Record<string, Tensor>> {
    try {
      return await ortInTurn(this.#sessions.ort, () => {
        if (this.#isDisposed) throw disposed();
        // What it throws, a run would write on the console, too: its level is its own, not that of the session.
        return session.run(feeds, fetches, { logSeverityLevel: 4 }) as Promise<
          Record<string, Tensor>
        >;
      });
    } catch (cause) {
      if (this.#isDisposed) throw disposed();
      // Where the device is lost, the decoder must know before it sees the error.
      await this.#reorder.settle?.();
      throw new BackendError(
        "run-failed",
        `Cannot search: the ONNX model fails at step ${step}: ${
          messageOf(cause)
        }; make sure that it has a position for every token of prompt and sequence, and that an encoder knows all tokens of the prompts`,
        { step },
        { cause },
      );
    }
  }

  #feeds(
    { ints, hidden, branch, past }: GraphInputs,
    step: number,
    rows: number,
    perBatch: number,
  ): Record<string, Tensor> {
    const { ort } = this.#sessions;
    const { lengths, width } = this.#prompts;
    const isDecoderOnly = this.#startToken === undefined;
    /** Tokens in front that are only padding, tokens in all, and those that the step computes. */
    const padding = (row: number) =>
      isDecoderOnly ? width - lengths[Math.floor(row / perBatch)] : 0;
    const total = (isDecoderOnly ? width : 1) + step;
    const fresh = step > 0 && this.#hasCache ? 1 : total;
    const feeds: Record<string, Tensor> = { [ints.ids!.name]: this.#ids! };
    if (ints.mask) {
      const { name, type } = ints.mask;
      feeds[name] = intTensor(ort, type, rows, total, (row, i) => Number(i >= padding(row)));
    }
    if (ints.positions) {
      const { name, type } = ints.positions;
      const at = (row: number, i: number) => Math.max(0, total - fresh + i - padding(row));
      feeds[name] = intTensor(ort, type, rows, fresh, at);
    }
    if (ints.crossMask) {
      feeds[ints.crossMask.name] = this.#crossMask(ints.crossMask.type, perBatch);
    }
    if (ints.kept) {
      const { name, type, shape } = ints.kept;
      const one = type === "int64" ? BigInt64Array.of(1n) : Int32Array.of(1);
      feeds[name] = new ort.Tensor(type, one, shape.map(() => 1));
    }
    if (hidden) feeds[hidden.name] = this.#cross.get(hidden.name)!;
    if (branch) feeds[branch] = new ort.Tensor("bool", Uint8Array.of(Number(step > 0)), [1]);
    for (const cache of past) {
      feeds[cache.name] = this.#past.get(cache.name) ?? this.#cross.get(cache.name) ??
        emptyCache(ort, cache, rows);
    }
    return feeds;
  }

  #crossMask(type: "int64" | "int32", perBatch: number): Tensor {
    const { rows, width, lengths } = this.#prompts;
    const isReal = (row: number, i: number) => Number(i < lengths[Math.floor(row / perBatch)]);
    return intTensor(this.#sessions.ort, type, rows * perBatch, width, isReal);
  }

  #clear(): void {
    for (const tensors of [this.#past, this.#cross]) {
      for (const tensor of tensors.values()) free(tensor);
      tensors.clear();
    }
    free(this.#ids);
    free(this.#logits);
    this.#ids = this.#logits = undefined;
  }
}

function free(tensor: Tensor | undefined): void {
  try {
    tensor?.dispose();
  } catch {
    // Its session has been released, by whom it belongs to.
  }
}

/** A cache of no tokens. */
function emptyCache(ort: OrtModule, { type, shape }: CacheInfo, rows: number): Tensor {
  const dims = shape.map((d, axis) => axis === 0 ? rows : isFree(d) ? 0 : Number(d));
  return type === "float32"
    ? new ort.Tensor("float32", new Float32Array(), dims)
    : new ort.Tensor("float16", new Uint16Array(), dims);
}

/** The error of a search that must not go on. */
export function disposed(): EspalierError {
  return new EspalierError(
    "disposed",
    "Cannot search with this ONNX model: it, or these prompts, have been disposed of",
  );
}
