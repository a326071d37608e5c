/** Writes ONNX files: nodes by operator name, weights as initializers, If branches as nested graphs. */
// deno-lint-ignore-file no-import-prefix -- pinned here, next to what it is for
import type { onnx as Onnx } from "npm:onnx-proto@8.0.1";
import proto from "npm:onnx-proto@8.0.1";

const { onnx } = proto as unknown as { onnx: typeof Onnx };

/** Element types of ONNX that the tests use. */
export const TYPES = { float32: 1, int32: 6, int64: 7, bool: 9, float16: 10 } as const;

/** Name of an element type. */
export type ElementType = keyof typeof TYPES;

/** A named input or output. Strings are symbolic dimensions, "" one without a name; no shape: to be inferred. */
export interface Value {
  name: string;
  type: ElementType;
  shape?: readonly (number | string)[];
}

type Attribute = number | readonly number[] | { float: number } | { graph: Graph };

let names = 0;

/** A graph in the making. Names are unique over all graphs, so that branches may read what is outside. */
export class Graph {
  readonly #nodes: Onnx.INodeProto[] = [];
  readonly #weights: Onnx.ITensorProto[] = [];
  readonly inputs: Value[] = [];
  readonly outputs: Value[] = [];

  /** Declares an input and returns its name. */
  input(name: string, type: ElementType, shape: Value["shape"]): string {
    this.inputs.push({ name, type, shape });
    return name;
  }

  /** Makes a value an output, under a name. */
  output(name: string, value: string, type: ElementType, shape?: Value["shape"]): void {
    this.#nodes.push({ opType: "Identity", input: [value], output: [name] });
    this.outputs.push({ name, type, shape });
  }

  /** Adds a node with one output and returns that. */
  op(opType: string, input: string[], attributes: Record<string, Attribute> = {}): string {
    return this.ops(opType, input, 1, attributes)[0];
  }

  /** Adds a node with several outputs. */
  ops(
    opType: string,
    input: string[],
    count: number,
    attributes: Record<string, Attribute> = {},
  ): string[] {
    const output = Array.from({ length: count }, () => `${opType}_${names++}`);
    const { INT, INTS, FLOAT, GRAPH } = onnx.AttributeProto.AttributeType;
    const attribute = Object.entries(attributes).map(([name, value]) => {
      if (typeof value === "number") return { name, type: INT, i: value };
      if ("float" in value) return { name, type: FLOAT, f: value.float };
      if ("graph" in value) return { name, type: GRAPH, g: value.graph.toProto() };
      return { name, type: INTS, ints: [...value] };
    });
    this.#nodes.push({ opType, name: output[0], input, output, attribute });
    return output;
  }

  /** A constant of floats. */
  floats(dims: readonly number[], values: ArrayLike<number>): string {
    const name = `weight_${names++}`;
    const rawData = new Uint8Array(Float32Array.from(values).buffer);
    this.#weights.push({ name, dims: [...dims], dataType: TYPES.float32, rawData });
    return name;
  }

  /** A constant of int64. */
  ints(values: readonly number[], dims: readonly number[] = [values.length]): string {
    const name = `ints_${names++}`;
    const rawData = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    this.#weights.push({ name, dims: [...dims], dataType: TYPES.int64, rawData });
    return name;
  }

  /** The message of this graph. */
  toProto(): Onnx.IGraphProto {
    const info = ({ name, type, shape }: Value): Onnx.IValueInfoProto => ({
      name,
      type: {
        tensorType: {
          elemType: TYPES[type],
          shape: shape && {
            dim: shape.map((d) =>
              typeof d === "number" ? { dimValue: d } : d ? { dimParam: d } : {}
            ),
          },
        },
      },
    });
    return {
      name: `graph_${names++}`,
      node: this.#nodes,
      initializer: this.#weights,
      input: this.inputs.map(info),
      output: this.outputs.map(info),
    };
  }

  /** The bytes of a model file. */
  encode(): Uint8Array<ArrayBuffer> {
    const model = {
      irVersion: 8,
      opsetImport: [{ domain: "", version: 13 }],
      graph: this.toProto(),
    };
    return Uint8Array.from(onnx.ModelProto.encode(model).finish());
  }
}
