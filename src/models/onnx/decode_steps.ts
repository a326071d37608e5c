/** The steps of one search through an ONNX model: prefill, caches that follow their beams, runs. */
import { BackendError, EspalierError } from "../../errors.ts";
import { type DecoderCall, decoderFeeds, promptMask } from "./feeds.ts";
import { checkLogits, type StepLogits } from "./logits.ts";
import { type CacheReorder, checkRows, type Move, rowsOf, type RunMove } from "./rows.ts";
import type { CacheInfo, GraphSignature } from "./signature.ts";
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
  /** A node type that makes rows depend on each other, if the graphs are known to have one. */
  readonly quantizer?: string;
}

/** One search. Holds tensors between steps; dispose of it to let go of them. */
export class OnnxSearch<I> implements AsyncDisposable {
  #sessions: OnnxSessions;
  #reorder: CacheReorder<I>;
  #prompts: Prompts;
  #startToken: number | undefined;
  /** Step that comes next, unless it is 0. */
  #next = 0;
  #running: Promise<StepLogits> | undefined;
  #isDisposed = false;
  #closed: Promise<void> | undefined;
  /** Batch rows of the rows that the last step had: of those that all tensors below have. */
  #batch: Uint32Array = new Uint32Array();
  /** What lives from step to step, by input. */
  #ids: Tensor | undefined;
  #past = new Map<string, Tensor>();
  /** What is the same for all rows of a batch row. */
  #cross = new Map<string, Tensor>();
  #logits: Tensor | undefined;

  /** @param startToken what the decoder begins with, where there is an encoder that takes the prompts. */
  constructor(
    sessions: OnnxSessions,
    reorder: CacheReorder<I>,
    prompts: Prompts,
    startToken?: number,
  ) {
    this.#sessions = sessions;
    this.#reorder = reorder;
    this.#prompts = prompts;
    this.#startToken = startToken;
  }

  /**
   * Runs one step. The logits are valid until the next call.
   *
   * @throws {EspalierError} if it is not this step's turn, or rows do not continue those of the step before.
   * @throws {ModelOutputError} if logits have a wrong shape. @throws {BackendError} with code `"run-failed"` if a
   * graph fails.
   */
  async step(step: number, move: Move<I>): Promise<StepLogits> {
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

  /**
   * Runs several tokens of each row at once, in place of the step that is next: [rows, at least width, W]. What the
   * search holds stays as it is, so that other runs may follow. The logits are valid until the next call.
   *
   * @throws as {@linkcode step}.
   */
  async scoreRun(step: number, run: RunMove<I>): Promise<StepLogits> {
    this.#check(step, run, run);
    this.#running = this.#score(step, run);
    try {
      return await this.#running;
    } finally {
      this.#running = undefined;
    }
  }

  async #take(step: number, move: Move<I>): Promise<StepLogits> {
    if (step === 0) await this.#begin();
    else await this.#follow(step, move);
    const { signature } = this.#sessions;
    const usesPast = step > 0 && this.#hasCache;
    const kept = this.#hasCache
      ? signature.past.filter(({ isCross }) => !isCross || step === 0)
      : [];
    const outputs = await this.#run(step, {
      batch: this.#batch,
      ids: this.#ids!,
      given: new Map([...this.#past, ...this.#cross]),
      before: step === 0 ? 0 : this.#total(step - 1),
      fresh: step === 0 ? this.#total(0) : 1,
      keep: 1,
      usesPast,
    }, kept);
    for (const { name, output, isCross } of kept) {
      const tensors = isCross ? this.#cross : this.#past;
      free(tensors.get(name));
      tensors.set(name, outputs[output]);
    }
    const logits = checkLogits(outputs.logits, step, move.rows, 1);
    if (this.#isDisposed) throw disposed();
    this.#next = step + 1;
    return logits;
  }

  async #score(step: number, run: RunMove<I>): Promise<StepLogits> {
    const { rows, batch, parents, width, lengths } = run;
    const given = new Map<string, Tensor>();
    const temporary: Tensor[] = [];
    const put = (name: string, target: Tensor, source: Tensor) => {
      given.set(name, target);
      if (target !== source) temporary.push(target);
    };
    try {
      if (step === 1) this.#dropUnused();
      await this.#gather(this.#past, rows, parents, put);
      await this.#gather(this.#cross, rows, rowsOf(this.#batch, batch), put);
      const ids = await this.#extend(run, width);
      temporary.push(ids);
      const { logits } = await this.#run(step, {
        batch,
        ids,
        given,
        before: this.#total(step - 1),
        fresh: width,
        lengths,
        keep: width,
        usesPast: this.#hasCache,
      });
      return checkLogits(logits, step, rows, width);
    } finally {
      for (const tensor of temporary) free(tensor);
    }
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

  #check(step: number, move: Move<I>, run?: RunMove<I>): void {
    if (this.#isDisposed) throw disposed();
    const isTurn = step === this.#next || step === 0;
    if (this.#running || !isTurn || run && step === 0) {
      throw new EspalierError(
        "out-of-turn",
        `Cannot run step ${step} of these prompts: step ${this.#next} is next; give every search that overlaps with another its own withPrompts()`,
        { step, expected: this.#next, actual: step },
      );
    }
    checkRows(step, move, this.#batch, this.#prompts.rows, run);
  }

  get #hasCache(): boolean {
    return this.#sessions.signature.decode.past.length > 0;
  }

  /** Tokens of a row after a step, the padding of its prompt included. */
  #total(step: number): number {
    return (this.#startToken === undefined ? this.#prompts.width : 1) + step;
  }

  /** The token that each row starts with, and what the encoder makes of the prompts. */
  async #begin(): Promise<void> {
    this.#clear();
    const { ort, signature, encoder } = this.#sessions;
    const { rows, width, ids } = this.#prompts;
    const { type } = signature.prefill.ints.ids!;
    this.#batch = Uint32Array.from({ length: rows }, (_, row) => row);
    if (!encoder) {
      this.#ids = intTensor(ort, type, rows, width, (row, i) => ids[row * width + i]);
      return;
    }
    this.#ids = intTensor(ort, type, rows, 1, () => this.#startToken!);
    const { ids: input, mask } = signature.encoder!.ints;
    const feeds: Record<string, Tensor> = {
      [input!.name]: intTensor(ort, input!.type, rows, width, (row, i) => ids[row * width + i]),
    };
    if (mask) feeds[mask.name] = promptMask(ort, mask.type, this.#prompts, this.#batch);
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

  /** Rows follow their beams. What belongs to batch rows moves only if the number of rows of one has changed. */
  async #follow(step: number, move: Move<I>): Promise<void> {
    const { rows, batch, parents } = move;
    if (step === 1) this.#dropUnused();
    for (
      const [tensors, from] of [
        [this.#past, parents],
        [this.#cross, rowsOf(this.#batch, batch)],
      ] as const
    ) {
      await this.#gather(tensors, rows, from, (name, target, source) => {
        if (target === source) return;
        tensors.set(name, target);
        free(source);
      });
    }
    this.#batch = batch;
    const before = this.#ids;
    this.#ids = await this.#extend(move, 1);
    free(before);
  }

  /** Rows of tensors: `put` is given each with what it comes from. Without parents they are those that there are. */
  async #gather(
    tensors: ReadonlyMap<string, Tensor>,
    rows: number,
    parents: I | Uint32Array | undefined,
    put: (name: string, target: Tensor, source: Tensor) => void,
  ): Promise<void> {
    for (const [name, source] of tensors) {
      put(name, parents ? await this.#reorder.gather(source, rows, parents) : source, source);
    }
  }

  /** Ids for the next call: the new tokens, behind those before if the graph has no caches. */
  async #extend(move: Move<I>, width: number): Promise<Tensor> {
    const { type } = this.#sessions.signature.decode.ints.ids!;
    const previous = this.#hasCache ? undefined : this.#ids;
    return await this.#reorder.extend(previous, move, width, type);
  }

  /** What only the first step took of the encoder would move along with its rows. */
  #dropUnused(): void {
    const { signature: { prefill, decode } } = this.#sessions;
    const { hidden, past } = this.#hasCache ? decode : prefill;
    for (const [name, tensor] of this.#cross) {
      if (name === hidden?.name || past.some((cache) => cache.name === name)) continue;
      this.#cross.delete(name);
      free(tensor);
    }
  }

  /** Runs the decoder, and keeps the logits until the next time. */
  async #run(
    step: number,
    call: DecoderCall,
    kept: readonly CacheInfo[] = [],
  ): Promise<Record<string, Tensor>> {
    const { ort, signature, prefill, decode } = this.#sessions;
    const inputs = call.usesPast ? signature.decode : signature.prefill;
    const isDecoderOnly = this.#startToken === undefined;
    const feeds = decoderFeeds(ort, inputs, this.#prompts, isDecoderOnly, call);
    const fetches = ["logits", ...kept.map(({ output }) => output)];
    const graph = call.usesPast ? decode : prefill;
    const outputs = await this.#runGraph(graph, step, feeds, fetches);
    free(this.#logits);
    this.#logits = outputs.logits;
    return outputs;
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

/** The error of a search that must not go on. */
export function disposed(): EspalierError {
  return new EspalierError(
    "disposed",
    "Cannot search with this ONNX model: it, or these prompts, have been disposed of",
  );
}
