/** Half-precision inputs for onnxruntime-node. */
import type { InferenceSession, Tensor } from "./session.ts";

/**
 * The session, or one that hands it tensors of half precision as 16-bit words, which it takes everywhere: Deno 2.9.6 tells
 * native code that a Float16Array is empty.
 */
export function withHalfAsWords(session: InferenceSession): InferenceSession {
  const { inputNames, outputNames, inputMetadata, outputMetadata } = session;
  const half = inputMetadata.filter((input) => input.isTensor && input.type === "float16");
  if (half.length === 0) return session;
  const run = (feeds: Record<string, Tensor>, ...rest: unknown[]) => {
    const words = half.map(({ name }) => [name, asWords(feeds[name])]);
    const all = { ...feeds, ...Object.fromEntries(words) };
    return session.run(all, ...rest as [string[], InferenceSession.RunOptions]);
  };
  const release = () => session.release();
  const adapted = { inputNames, outputNames, inputMetadata, outputMetadata, run, release };
  return adapted as unknown as InferenceSession;
}

function asWords(
  { type, dims, data }: Tensor,
): Pick<Tensor, "type" | "dims" | "data" | "location"> {
  const { buffer, byteOffset, length } = data as Uint16Array<ArrayBuffer>;
  const words = new Uint16Array(buffer, byteOffset, length);
  return { type, dims, data: words, location: "cpu" };
}
