/** Finds nodes that make rows depend on each other, in the bytes of an ONNX file. */
import {
  ATTRIBUTE_GRAPH,
  type Field,
  fields,
  GRAPH_NODE,
  MODEL_GRAPH,
  NODE_ATTRIBUTE,
  textOf,
  wholeOf,
} from "./protobuf.ts";

const NODE_TYPE = 4;
const MODEL_FUNCTION = 25;
const FUNCTION_NODE = 7;

/**
 * Node types that quantize activations by one scale for the whole tensor. Others have a scale for each row or less, such
 * as MatMulNBits for each block of a row, or are given scales that are fixed.
 */
const TYPES = new Set(["DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"]);

/**
 * The first node type of a graph, of its branches or functions, that quantizes rows together.
 *
 * @returns undefined if there is none, or the file is not understood.
 */
export function quantizerOf(model: Uint8Array): string | undefined {
  const search = (graph: Field, kind: number): string | undefined => {
    for (const node of fields(model, graph, kind)) {
      for (const field of fields(model, node)) {
        if (field.number === NODE_TYPE) {
          const type = textOf(model, field);
          if (TYPES.has(type)) return type;
        } else if (field.number === NODE_ATTRIBUTE) {
          for (const branch of fields(model, field, ATTRIBUTE_GRAPH)) {
            const found = search(branch, GRAPH_NODE);
            if (found) return found;
          }
        }
      }
    }
  };
  try {
    for (const field of fields(model, wholeOf(model))) {
      const found = field.number === MODEL_GRAPH
        ? search(field, GRAPH_NODE)
        : field.number === MODEL_FUNCTION
        ? search(field, FUNCTION_NODE)
        : undefined;
      if (found) return found;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
}
