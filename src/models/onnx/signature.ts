/** What an exported decoder is: read from the names, types and shapes of its inputs and outputs. */
import { BackendError } from "../../errors.ts";

/** A named tensor of a graph. Dimensions that are not fixed are strings, or 2^32 - 1 where they have no name. */
export interface TensorInfo {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly (number | string)[];
}

/** Inputs and outputs of a graph. */
export interface GraphInfo {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
}

/** Type of ids, masks and positions. */
export type IntType = "int64" | "int32";

/** An input of whole numbers. */
export interface IntInput extends TensorInfo {
  readonly type: IntType;
}

/** A cache: an input that continues an output of the step before. */
export interface CacheInfo extends TensorInfo {
  /** `past_key_values.*` */
  readonly name: string;
  /** `present.*` */
  readonly output: string;
  /** Whether it belongs to cross attention: made once, the same for all beams of a batch row. */
  readonly isCross: boolean;
}

/** What inputs are for. */
export type Role = "ids" | "mask" | "positions" | "crossMask" | "kept";

/** A graph, sorted by what its inputs are for. */
export interface GraphInputs {
  readonly ints: Readonly<Partial<Record<Role, IntInput>>>;
  /** `encoder_hidden_states` */
  readonly hidden?: TensorInfo;
  /** `use_cache_branch` */
  readonly branch?: string;
  readonly past: readonly CacheInfo[];
  readonly outputs: ReadonlyMap<string, TensorInfo>;
}

/** A whole model. */
export interface GraphSignature {
  /** Takes the prompt. */
  readonly prefill: GraphInputs;
  /** Goes on with caches: the same graph, or the second of two. */
  readonly decode: GraphInputs;
  readonly encoder?: GraphInputs;
  /** Caches that the decoder makes; those of cross attention with {@linkcode crossFrom} = "prefill" among them. */
  readonly past: readonly CacheInfo[];
  readonly crossFrom: "encoder" | "prefill" | undefined;
  readonly logits: TensorInfo;
}

const ROLES: Record<string, Role> = {
  input_ids: "ids",
  attention_mask: "mask",
  decoder_attention_mask: "mask",
  position_ids: "positions",
  encoder_attention_mask: "crossMask",
  num_logits_to_keep: "kept",
};

const PAST = /^past_key_values\.(.+)$/;

/** The error for a model that cannot be served: it names the input or output at fault. */
export function unsupported(
  what: "input" | "output" | "model",
  name: string,
  why: string,
  facts: { expected?: unknown; actual?: unknown } = {},
  cause?: unknown,
): BackendError {
  return new BackendError(
    "unsupported-model",
    `Cannot search with this ONNX model: ${what}${name && ` "${name}"`} ${why}`,
    { actual: name, ...facts },
    cause === undefined ? undefined : { cause },
  );
}

/** Whether a dimension may have any size. */
export const isFree = (dimension: number | string): boolean =>
  typeof dimension === "string" || dimension < 0 || dimension >= 2 ** 31;

/** @throws {BackendError} naming an input that nothing can be put into. */
function readGraph({ inputs, outputs }: GraphInfo, isEncoder: boolean): GraphInputs {
  const ints: Partial<Record<Role, IntInput>> = {};
  const past: CacheInfo[] = [];
  let hidden: TensorInfo | undefined;
  let branch: string | undefined;
  for (const input of inputs) {
    const { name, type, shape } = input;
    const role = ROLES[name];
    const suffix = PAST.exec(name)?.[1];
    if (role && !(isEncoder && role !== "ids" && role !== "mask")) {
      if (ints[role]) throw unsupported("input", name, `means the same as "${ints[role].name}"`);
      if (type !== "int64" && type !== "int32") {
        throw unsupported("input", name, `has type ${type}; expected int64 or int32`, {
          expected: ["int64", "int32"],
          actual: type,
        });
      }
      const fits = role === "kept"
        ? shape.length <= 1 && shape.every((d) => d === 1 || isFree(d))
        : shape.length === 2 && shape.every(isFree);
      if (!fits) {
        throw unsupported(
          "input",
          name,
          `has shape [${shape}]; expected [batch, sequence] of any size: export with dynamic axes`,
          { expected: ["batch_size", "sequence_length"], actual: shape },
        );
      }
      ints[role] = { name, type, shape };
    } else if (name === "encoder_hidden_states" && !isEncoder) {
      hidden = input;
    } else if (name === "use_cache_branch" && type === "bool" && !isEncoder) {
      branch = name;
    } else if (suffix && !isEncoder) {
      past.push({
        name,
        type,
        shape,
        output: `present.${suffix}`,
        isCross: /\bencoder\b/.test(suffix),
      });
      checkCache(input);
    } else {
      throw unsupported(
        "input",
        name,
        `is not known; expected those of a text ${isEncoder ? "encoder" : "decoder"}: ${
          isEncoder
            ? "input_ids, attention_mask"
            : [...Object.keys(ROLES), "encoder_hidden_states", "use_cache_branch"].join(", ") +
              ", past_key_values.*"
        }`,
      );
    }
  }
  if (!ints.ids) throw unsupported("input", "input_ids", "is missing", { actual: undefined });
  return { ints, hidden, branch, past, outputs: new Map(outputs.map((o) => [o.name, o])) };
}

/** @throws {BackendError} if a cache is not rows of one length each. */
function checkCache({ name, type, shape }: TensorInfo): void {
  const isFloat = type === "float32" || type === "float16";
  const free = shape.slice(1).filter(isFree).length;
  if (isFloat && isFree(shape[0] ?? 0) && free === 1) return;
  throw unsupported(
    "input",
    name,
    `is ${type} [${shape}]; expected float32 or float16 [batch, heads, length, size], of which batch and length may have any size`,
    { expected: ["batch_size", "heads", "past_sequence_length", "size"], actual: shape },
  );
}

/**
 * Reads what a model is.
 *
 * @throws {BackendError} with code `"unsupported-model"`, naming the input or output at fault.
 */
export function readSignature(
  decoder: GraphInfo,
  decoderWithPast?: GraphInfo,
  encoderInfo?: GraphInfo,
): GraphSignature {
  const prefill = readGraph(decoder, false);
  const decode = decoderWithPast ? readGraph(decoderWithPast, false) : prefill;
  const encoder = encoderInfo && readGraph(encoderInfo, true);
  const logits = prefill.outputs.get("logits");
  if (!logits) throw unsupported("output", "logits", "is missing", { actual: undefined });
  for (const { outputs } of new Set([prefill, decode])) checkLogits(outputs.get("logits"));
  checkEncoder(prefill, decode, encoder);
  const crossFrom = whoMakesCross(prefill, decode, encoder);
  const past = decode.past.filter(({ isCross }) => !isCross || crossFrom === "prefill");
  for (const { name, output, type, isCross } of past) {
    const makers = new Set(isCross ? [prefill] : [prefill, decode]);
    for (const { outputs } of makers) {
      const made = outputs.get(output);
      if (made?.type === type) continue;
      throw unsupported(
        "output",
        output,
        made ? `is ${made.type}, input "${name}" ${type}` : `is missing: input "${name}" needs it`,
        { expected: type, actual: made?.type },
      );
    }
  }
  return { prefill, decode, encoder, past, crossFrom, logits };
}

function checkLogits(logits: TensorInfo | undefined): void {
  const { type, shape = [] } = logits ?? {};
  const isFloat = type === "float32" || type === "float16";
  if (isFloat && (shape.length === 2 || shape.length === 3)) return;
  throw unsupported(
    "output",
    "logits",
    `is ${type ?? "missing"} [${shape}]; expected float32 or float16 [batch, sequence, vocabulary]`,
    { expected: ["batch_size", "sequence_length", "vocab_size"], actual: shape },
  );
}

/** @throws {BackendError} if decoder and encoder do not belong together. */
function checkEncoder(
  prefill: GraphInputs,
  decode: GraphInputs,
  encoder: GraphInputs | undefined,
): void {
  for (const { hidden, past, ints } of [prefill, decode]) {
    const needed = hidden?.name ?? past.find(({ isCross }) => isCross)?.name ??
      ints.crossMask?.name;
    if (needed && !encoder) {
      throw unsupported("input", needed, "needs an encoder: pass it as `encoder`");
    }
    if (encoder && !needed) {
      throw unsupported("model", "", "takes nothing from an encoder, but one was passed");
    }
    if (!hidden || !encoder) continue;
    const made = encoder.outputs.get("last_hidden_state");
    if (made?.type === hidden.type) continue;
    throw unsupported(
      "output",
      "last_hidden_state",
      `of the encoder is ${made?.type ?? "missing"}; input "${hidden.name}" needs ${hidden.type}`,
      { expected: hidden.type, actual: made?.type },
    );
  }
}

/** @throws {BackendError} if the caches of cross attention come from nowhere. */
function whoMakesCross(
  prefill: GraphInputs,
  decode: GraphInputs,
  encoder: GraphInputs | undefined,
): GraphSignature["crossFrom"] {
  const cross = decode.past.filter(({ isCross }) => isCross);
  if (cross.length === 0) return undefined;
  if (cross.every(({ output, type }) => encoder?.outputs.get(output)?.type === type)) {
    return "encoder";
  }
  if (prefill.branch || prefill !== decode) return "prefill";
  throw unsupported(
    "input",
    cross[0].name,
    `comes from nowhere: no encoder has output "${
      cross[0].output
    }", and the decoder has no "use_cache_branch" to make it at the first step; export a merged decoder, or pass the second graph as \`decoderWithPast\``,
  );
}

/** Whether prompts of a batch may differ in length: masks hide what they are padded with. */
export function hidesPadding({ prefill, decode, encoder }: GraphSignature): boolean {
  const masks = encoder
    ? [encoder.ints.mask, prefill.ints.crossMask, decode.ints.crossMask]
    : [prefill.ints.mask, decode.ints.mask];
  return masks.every((mask) => mask !== undefined);
}
