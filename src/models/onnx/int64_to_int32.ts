/**
 * int64 inputs as int32, in the bytes of an ONNX file. onnxruntime-web 1.30 has no GPU kernels for int64 for most of what
 * graphs do with ids (Shape, Reshape, …) and masks (Cast, …): it would read them back at every step. The same graph
 * with int32 stays on the GPU.
 *
 * Only tags and one-byte values change, so that nothing moves. Field numbers are those of onnx.proto.
 */
const INT64 = 7;
const INT32 = 6;
const MODEL_GRAPH = 7;
const GRAPH_NODE = 1;
const GRAPH_INPUT = 11;
const GRAPH_VALUE_INFO = 13;
/** No field of a graph. */
const GRAPH_UNKNOWN = 3;
const NODE_ATTRIBUTE = 5;
const ATTRIBUTE_GRAPH = 6;
const VALUE_NAME = 1;
const VALUE_TYPE = 2;
const TYPE_TENSOR = 1;
const TENSOR_ELEMENT = 1;
const LENGTH_DELIMITED = 2;

/** A field of a message: its number, and where its tag and content are. */
interface Field {
  number: number;
  tag: number;
  start: number;
  end: number;
}

/**
 * A copy of a model in which some inputs have type int32. Types of values in between, which say int64 still, are hidden:
 * they are inferred anew.
 *
 * @returns undefined if there is none of type int64, or the file is not understood.
 */
export function narrowInts(
  model: Uint8Array,
  inputs: readonly string[],
): Uint8Array | undefined {
  const bytes = model.slice();
  let isDone = false;
  const narrow = (value: Field) => {
    for (const type of fields(bytes, value, VALUE_TYPE)) {
      for (const tensor of fields(bytes, type, TYPE_TENSOR)) {
        for (const { start } of fields(bytes, tensor, TENSOR_ELEMENT)) {
          if (bytes[start] !== INT64) continue;
          bytes[start] = INT32;
          isDone = true;
        }
      }
    }
  };
  const decode = ({ start, end }: Field) => new TextDecoder().decode(bytes.subarray(start, end));
  const visit = (graph: Field) => {
    for (const field of fields(bytes, graph)) {
      if (field.number === GRAPH_INPUT) {
        if ([...fields(bytes, field, VALUE_NAME)].some((name) => inputs.includes(decode(name)))) {
          narrow(field);
        }
      } else if (field.number === GRAPH_VALUE_INFO) {
        bytes[field.tag] = GRAPH_UNKNOWN << 3 | LENGTH_DELIMITED;
      } else if (field.number === GRAPH_NODE) {
        for (const attribute of fields(bytes, field, NODE_ATTRIBUTE)) {
          for (const branch of fields(bytes, attribute, ATTRIBUTE_GRAPH)) visit(branch);
        }
      }
    }
  };
  try {
    const whole = { number: 0, tag: 0, start: 0, end: bytes.length };
    for (const graph of fields(bytes, whole, MODEL_GRAPH)) visit(graph);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
  return isDone ? bytes : undefined;
}

/** Fields of a protobuf message. @throws {RangeError} if it is none. */
function* fields(bytes: Uint8Array, message: Field, wanted?: number): Generator<Field> {
  let at = message.start;
  const varint = (): number => {
    for (let value = 0, scale = 1;; scale *= 128) {
      if (at >= message.end) throw new RangeError("Message is cut off");
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.end) {
    const tag = at;
    const key = varint();
    let start = at;
    const kind = key & 7;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === LENGTH_DELIMITED) {
      const length = varint();
      start = at;
      at += length;
    } else throw new RangeError(`Field of kind ${kind}`);
    if (at > message.end) throw new RangeError("Field is cut off");
    const number = Math.floor(key / 8);
    if (wanted === undefined || number === wanted) yield { number, tag, start, end: at };
  }
}
