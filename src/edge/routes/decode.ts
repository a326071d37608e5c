/** `POST /v1/decode`: the best sequences for each prompt. */
import { foundItems } from "../../decode/found_items.ts";
import { sequencesOf } from "../../decode/found_sequences.ts";
import { checkEndToken } from "../../decode/options.ts";
import type { BeamSearchOptions, BeamSearchResult, GpuModel, Model } from "../../decode/types.ts";
import { wrapModel } from "../../decode/wrap_model.ts";
import type { ErrorFacts } from "../../errors.ts";
import type { ConstraintIndex } from "../../index/constraint_index.ts";
import {
  bodyOf,
  json,
  onIndex,
  type RequestContext,
  type Route,
  type Server,
} from "../request_context.ts";
import { checkDigest, RequestRules, rowsOf } from "../row_rules.ts";
import type { Lease } from "../served_index.ts";
import type { ModelFactory, ServedModel } from "../options.ts";
import { Refusal } from "../error_response.ts";
import { type DecodeRequest, defaultBeams } from "../schemas.ts";

/** A model on the CPU that answers at once leaves the event loop to others after so long, milliseconds. */
const TURN_MS = 20;

/** Where the model searches. */
export const decodeRoute: Route = {
  method: "POST",
  async answer(server, context) {
    const { settings: { model }, schemas } = server;
    if (!model) {
      throw new Refusal(501, "no-model", "This server has no model; it answers /v1/mask only");
    }
    const body = await bodyOf<DecodeRequest>(schemas.decode, server, context);
    return await onIndex(server, context, (lease) => decode(server, context, body, lease, model));
  },
};

async function decode(
  { settings }: Server,
  context: RequestContext,
  body: DecodeRequest,
  lease: Lease,
  factory: ModelFactory,
): Promise<Response> {
  const { limits, search, now, onError } = settings;
  const { signal, trace, checkTime } = context;
  const { index, decoder } = lease;
  checkDigest(body.index, lease);
  const rows = rowsOf("prompts", body.prompts, body, limits);
  const { beams = defaultBeams(limits), normalize, lengthPenalty, tokensPerBeam, endToken } = body;
  const asked = { normalize, lengthPenalty, tokensPerBeam, endToken };
  // What is undefined must not hide a default.
  const own = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined));
  const options: NonNullable<typeof search> = { ...search, ...own };
  checkTokens(index, options.endToken, options.vocabSize ?? index.vocabSize);
  trace.note("prompts", rows.length);
  trace.note("beams", beams);
  const prompts = rows.map(({ tokens }) => tokens);
  using rules = new RequestRules(lease, limits, checkTime);
  let served: ServedModel | undefined;
  try {
    context.during = "making the model";
    served = await trace.phase("model", () => makeModel(factory, prompts, signal));
    signal.throwIfAborted();
    context.during = "searching";
    const found = await trace.phase("decode", () =>
      decoder.beamSearch(inTurns(served!, now), {
        ...options,
        batchSize: rows.length,
        beamSize: beams,
        ...resultsAsked(index, beams, body),
        ...rules.ofAll(rows),
        signal,
      }));
    const results = await trace.phase("answer", () => resultsOf(index, found, body));
    return json({ index: index.digest, backend: found.backend, results });
  } finally {
    await release(served).catch((error) => onError(error, "disposing of the model"));
  }
}

/** The results that a search need not go beyond. Which sums are best is only known of all. */
function resultsAsked(
  { items }: ConstraintIndex,
  beams: number,
  { limit, duplicates = "best" }: DecodeRequest,
): Pick<BeamSearchOptions, "results" | "duplicates"> {
  const isSummed = items !== undefined && duplicates === "sum";
  if (limit === undefined || isSummed) return {};
  return { results: Math.min(limit, beams), duplicates: duplicates === "keep" ? "keep" : "best" };
}

function resultsOf(
  index: ConstraintIndex,
  result: BeamSearchResult,
  { limit, duplicates }: DecodeRequest,
) {
  const { items: hasItems } = index;
  return sequencesOf(result).map((found) =>
    (hasItems ? foundItems(index, found, duplicates) : found)
      .slice(0, limit)
      .map(({ ordinal, score, sequence, items }) => ({
        ordinal,
        score,
        sequence: Array.from(sequence),
        items: hasItems && Array.from<unknown, string>(items, String),
      }))
  );
}

/** @throws {Refusal} 422 if no sequence can end with the token. */
function checkTokens(index: ConstraintIndex, endToken: number | undefined, width: number): void {
  if (endToken === undefined) return;
  const refuse = (message: string, expected?: number) => {
    const facts = { field: "/endToken", expected, actual: endToken };
    return new Refusal(422, "wrong-end-token", message, facts);
  };
  if (endToken >= width) throw refuse(`The model has tokens below ${width}`, width - 1);
  try {
    checkEndToken(index, endToken);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw refuse("The token occurs in sequences of the index; an end token must not");
  }
}

/** @throws {Refusal} 422 where the model does not take a prompt. */
async function makeModel(factory: ModelFactory, prompts: number[][], signal: AbortSignal) {
  try {
    return await factory(prompts, { signal });
  } catch (error) {
    // The runtime's own are not about prompts, and have no facts.
    const isTold = error instanceof RangeError && ("row" in error || "actual" in error);
    if (!isTold) throw error;
    const { row, expected, actual } = error as ErrorFacts;
    const field = row === undefined ? "/prompts" : `/prompts/${row}`;
    throw new Refusal(422, "wrong-prompt", error.message, { field, expected, actual });
  }
}

/**
 * A model that answers at once would leave no turn of the event loop to anything else, deadlines included, until its
 * search ends.
 */
function inTurns(model: Model | GpuModel, now: () => number): Model | GpuModel {
  if (typeof model !== "function") return model;
  let since = now();
  let last = since;
  return wrapModel(model, (call) => {
    const time = now();
    // The clock of a Worker stands still until it leaves the turn.
    const isStill = time === last;
    last = time;
    if (!isStill && time - since < TURN_MS) return call();
    return new Promise((resolve) => setTimeout(resolve, 0)).then(() => {
      since = last = now();
      return call();
    });
  });
}

async function release(model: ServedModel | undefined): Promise<void> {
  if (model?.[Symbol.asyncDispose]) await model[Symbol.asyncDispose]!();
  else model?.[Symbol.dispose]?.();
}
