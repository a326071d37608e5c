/** Reads ONNX files as protobuf messages, where they are. Field numbers are those of onnx.proto. */

export const MODEL_GRAPH = 7;
export const GRAPH_NODE = 1;
export const NODE_ATTRIBUTE = 5;
export const ATTRIBUTE_GRAPH = 6;
/** Kind of fields that are messages, texts or bytes. */
export const LENGTH_DELIMITED = 2;

/** A field of a message: its number, and where its tag and content are. */
export interface Field {
  number: number;
  tag: number;
  start: number;
  end: number;
}

/** A file as one field. */
export const wholeOf = (bytes: Uint8Array): Field => ({
  number: 0,
  tag: 0,
  start: 0,
  end: bytes.length,
});

/** A field as text. */
export const textOf = (bytes: Uint8Array, { start, end }: Field): string =>
  new TextDecoder().decode(bytes.subarray(start, end));

/** Fields of a protobuf message. @throws {RangeError} if it is none. */
export function* fields(bytes: Uint8Array, message: Field, wanted?: number): Generator<Field> {
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
