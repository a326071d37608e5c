/**
 * int64 inputs as int32, in the bytes of an ONNX file. onnxruntime-web 1.30 has no GPU kernels for int64 for most of what
 * graphs do with ids (Shape, Reshape, …) and masks (Cast, …): it would read them back at every step. The same graph
 * with int32 stays on the GPU.
 *
 * Only tags and one-byte values change, so that nothing moves.
 */
import {
  ATTRIBUTE_GRAPH,
  type Field,
  fields,
  GRAPH_NODE,
  LENGTH_DELIMITED,
  MODEL_GRAPH,
  NODE_ATTRIBUTE,
  textOf,
  wholeOf,
} from "./protobuf.ts";

const INT64 = 7;
const INT32 = 6;
const GRAPH_INPUT = 11;
const GRAPH_VALUE_INFO = 13;
/** No field of a graph. */
const GRAPH_UNKNOWN = 3;
const VALUE_NAME = 1;
const VALUE_TYPE = 2;
const TYPE_TENSOR = 1;
const TENSOR_ELEMENT = 1;

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
  const visit = (graph: Field) => {
    for (const field of fields(bytes, graph)) {
      if (field.number === GRAPH_INPUT) {
        const names = [...fields(bytes, field, VALUE_NAME)];
        if (names.some((name) => inputs.includes(textOf(bytes, name)))) narrow(field);
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
    for (const graph of fields(bytes, wholeOf(bytes), MODEL_GRAPH)) visit(graph);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
  return isDone ? bytes : undefined;
}
