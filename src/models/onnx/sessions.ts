/** Opens a model's graphs on a provider, and tries them out. */
import { EspalierError } from "../../errors.ts";
import { readSignature, unsupported } from "./signature.ts";
import {
  type Graph,
  messageOf,
  openGraph,
  ortInTurn,
  type OrtModule,
  type SessionOptions,
} from "./session.ts";
import type { InferenceSession } from "./session.ts";
import { padPrompts } from "./prompts.ts";
import {
  type CacheReorder,
  type Move,
  OnnxSearch,
  type OnnxSessions,
  type StepLogits,
} from "./decode_steps.ts";

/** Errors that say what is wrong with a model. */
const PLAIN = ["unsupported-model", "reads-back"];

/** The graphs of a model: bytes, or sessions. */
export interface Sources<T = Uint8Array | InferenceSession> {
  readonly decoder: T;
  readonly decoderWithPast?: T;
  readonly encoder?: T;
}

/**
 * Opens the graphs and reads what they are.
 *
 * @param options where to run them.
 * @throws {BackendError} if a graph cannot be opened, or the model cannot be served.
 */
export async function openSessions(
  ort: OrtModule,
  { decoder, decoderWithPast, encoder }: Sources,
  options: SessionOptions,
): Promise<OnnxSessions> {
  const graphs: Graph[] = [];
  const open = async (source: Uint8Array | InferenceSession, part: keyof Sources) => {
    const graph = await openGraph(ort, source, options, part);
    graphs.push(graph);
    return graph;
  };
  try {
    const prefill = await open(decoder, "decoder");
    const decode = decoderWithPast ? await open(decoderWithPast, "decoderWithPast") : prefill;
    const encoding = encoder && await open(encoder, "encoder");
    const signature = readSignature(prefill, decoderWithPast && decode, encoding);
    return { ort, signature, prefill, decode, encoder: encoding };
  } catch (error) {
    await release(ort, graphs);
    throw error;
  }
}

/** Releases the sessions that are ours, behind what runs in them. */
export async function closeSessions(
  { ort, prefill, decode, encoder }: OnnxSessions,
): Promise<void> {
  await release(ort, new Set([prefill, decode, ...(encoder ? [encoder] : [])]));
}

async function release(ort: OrtModule, graphs: Iterable<Graph>): Promise<void> {
  for (const { session, isOwned } of graphs) {
    // What cannot be released is gone already.
    if (isOwned) await ortInTurn(ort, () => session.release()).catch(() => {});
  }
}

/**
 * Runs three steps of a search with two beams: that finds graphs that do not do what their names say.
 *
 * @param move what each step is told.
 * @param look sees the logits of each step.
 * @throws {BackendError} with code `"unsupported-model"` if a step fails.
 */
export async function probe<M extends Move>(
  sessions: OnnxSessions,
  reorder: CacheReorder<M>,
  move: (step: number) => M,
  look: (logits: StepLogits) => void = () => {},
): Promise<{ vocabSize: number }> {
  // An odd number of positions: rows of half-precision numbers that are no whole words, the GPU refuses.
  const prompts = padPrompts([[0, 0, 0]], "left", 0, 1);
  await using search = new OnnxSearch(sessions, reorder, prompts, sessions.signature.encoder && 0);
  const widths = new Set<number>();
  for (const step of [0, 1, 2]) {
    try {
      const logits = await search.step(step, move(step));
      look(logits);
      widths.add(logits.width);
    } catch (error) {
      if (error instanceof EspalierError && PLAIN.includes(error.code)) throw error;
      const isRun = error instanceof EspalierError && error.code === "run-failed";
      const cause = isRun ? error.cause : error;
      throw unsupported("model", "", `fails at step ${step}: ${messageOf(cause)}`, {}, cause);
    }
  }
  if (widths.size === 1) return { vocabSize: [...widths][0] };
  throw unsupported("output", "logits", `changes its width: ${[...widths].join(", ")}`);
}
