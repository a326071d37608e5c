/** Reads the body of a request: no more than is allowed, and as long as somebody waits. */
import { orAborted } from "../storage/abort.ts";
import { Refusal } from "./error_response.ts";

/** Room to begin with. */
const FIRST_BYTES = 2 ** 12;

/**
 * The body of a request that brings JSON.
 *
 * @throws {Refusal} 400, 413 or 415; the signal's reason.
 */
export async function readBody(
  request: Request,
  limit: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { headers } = request;
  const type = headers.get("content-type");
  const charset = type?.match(/;\s*charset\s*=\s*"?([^";\s]*)/i)?.[1];
  const isJson = /^application\/json\s*(;|$)/i.test(type ?? "") &&
    (charset === undefined || /^utf-?8$/i.test(charset));
  if (!isJson) throw unsupported("content-type", "application/json", type);
  const encoding = headers.get("content-encoding");
  if (encoding !== null && !/^identity$/i.test(encoding)) {
    throw unsupported("content-encoding", "identity", encoding);
  }
  const declared = headers.get("content-length");
  if (declared !== null && Number(declared) > limit) throw tooLarge(limit, Number(declared));
  return await readBytes(request, limit, signal);
}

/** No schema goes deeper. */
const MAX_DEPTH = 32;

/** @throws {Refusal} 400. */
export function parseJson(bytes: Uint8Array): unknown {
  if (depthOf(bytes) > MAX_DEPTH) {
    const message = `The body is nested more than ${MAX_DEPTH} deep`;
    throw new Refusal(400, "invalid-request", message, { field: "", expected: MAX_DEPTH });
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Refusal(400, "not-json", "The body is not JSON in UTF-8", { field: "" });
  }
}

/** How deep JSON is nested, as soon as that is too much: a parser would first make all of it. */
function depthOf(bytes: Uint8Array): number {
  let depth = 0;
  let most = 0;
  let isText = false;
  for (let i = 0; i < bytes.length && most <= MAX_DEPTH; i++) {
    const byte = bytes[i];
    if (isText) {
      if (byte === BACKSLASH) i++;
      else isText = byte !== QUOTE;
    } else if (byte === QUOTE) isText = true;
    else if (byte === BRACKET || byte === BRACE) most = Math.max(most, ++depth);
    else if (byte === BRACKET + 2 || byte === BRACE + 2) depth--;
  }
  return most;
}

const [QUOTE, BACKSLASH, BRACKET, BRACE] = Array.from('"\\[{', (c) => c.charCodeAt(0));

/** Into one buffer: a body that comes byte by byte must not take more memory than another. */
async function readBytes(
  { body }: Request,
  limit: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  let bytes = new Uint8Array(Math.min(limit, FIRST_BYTES));
  let length = 0;
  const reader = body?.getReader();
  try {
    while (reader) {
      const { value } = await orAborted(reader.read(), signal).catch(() => {
        signal.throwIfAborted();
        throw new Refusal(400, "body-broken", "The body broke off");
      });
      if (!value) break;
      const end = length + value.length;
      if (end > limit) throw tooLarge(limit, end);
      if (end > bytes.length) {
        const larger = new Uint8Array(Math.min(limit, Math.max(end, 2 * bytes.length)));
        larger.set(bytes);
        bytes = larger;
      }
      bytes.set(value, length);
      length = end;
    }
  } catch (error) {
    reader?.cancel().catch(() => {});
    throw error;
  }
  return bytes.subarray(0, length);
}

function unsupported(header: string, expected: string, actual: string | null): Refusal {
  const message = `The body must come with ${header}: ${expected}`;
  return new Refusal(415, "unsupported-media-type", message, { expected, actual }, {
    accept: "application/json",
  });
}

function tooLarge(limit: number, actual: number): Refusal {
  return new Refusal(413, "body-too-large", `The body has more than ${limit} bytes`, {
    expected: limit,
    actual,
  });
}
