/** Opens a model's graphs on a provider, and releases them. */
import type { OnnxSessions } from "./decode_steps.ts";
import { quantizerOf } from "./quantizer.ts";
import {
  type Graph,
  isSession,
  openGraph,
  ortInTurn,
  type OrtModule,
  type SessionOptions,
} from "./session.ts";
import type { InferenceSession } from "./session.ts";
import { readSignature } from "./signature.ts";

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
    const quantizer = [decoder, decoderWithPast, encoder]
      .map((graph) => graph && !isSession(graph) ? quantizerOf(graph) : undefined)
      .find((type) => type !== undefined);
    return { ort, signature, prefill, decode, encoder: encoding, quantizer };
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
