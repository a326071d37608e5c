/** Which bytes to ask for when several requests run at once. */
import { CHUNK_BYTES } from "../safetensors.ts";

/** The first request of several: the header and some data, so that small files take one request. */
export const FIRST_BYTES = 4 * CHUNK_BYTES;
const LEAST_BYTES = 4 * CHUNK_BYTES;
const MOST_BYTES = 32 * CHUNK_BYTES;

/** A run of whole chunks of the data, `end` exclusive. */
export interface Segment {
  start: number;
  end: number;
}

/**
 * Cuts the data into segments of whole chunks for `parallel` requests at a time: long enough that a request's round trip
 * does not matter, short enough that all have something to do until the end, and that data comes roughly in order.
 *
 * @param first bytes of data that the first request brings.
 */
export function planSegments(byteLength: number, parallel: number, first: number): Segment[] {
  const chunks = (bytes: number) => Math.floor(bytes / CHUNK_BYTES) * CHUNK_BYTES;
  const start = first >= byteLength ? byteLength : Math.max(chunks(first), CHUNK_BYTES);
  const segments = [{ start: 0, end: Math.min(start, byteLength) }];
  const fair = chunks((byteLength - start) / (4 * parallel));
  const length = Math.min(MOST_BYTES, Math.max(LEAST_BYTES, fair));
  for (let at = start; at < byteLength; at += length) {
    segments.push({ start: at, end: Math.min(at + length, byteLength) });
  }
  return segments;
}
