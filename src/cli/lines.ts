/** Lines of text, read as they come, and how far. */

/** What lines are read from; called when the first is asked for, so that nothing stays open where none is. */
export type OpenStream = () => ReadableStream<Uint8Array> | Promise<ReadableStream<Uint8Array>>;

/** How to read lines. */
export interface LineOptions {
  /** Longest line, in characters: without a limit another kind of file would be read to its end. */
  longest: number;
  /** The error for a longer one. */
  tooLong: (characters: number) => Error;
  /** The error for bytes that are no UTF-8; without it they become U+FFFD. */
  notUtf8?: () => Error;
  signal?: AbortSignal;
}

/**
 * Reads lines of UTF-8, without their ends (LF or CR LF); behind the last end none follows. Memory: one chunk and one
 * line.
 *
 * @throws the reason of the signal, once it is aborted, even while it waits for input.
 */
export async function* readLines(
  open: OpenStream,
  { longest, tooLong, notUtf8, signal }: LineOptions,
): AsyncGenerator<string, void, void> {
  const reader = (await open()).getReader();
  // A pending read ends when the stream is cancelled, so Ctrl-C works while a pipe is silent.
  const cancel = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener("abort", cancel, { once: true });
  const decoder = new TextDecoder("utf-8", { fatal: notUtf8 !== undefined });
  const decode = (bytes: Uint8Array | undefined) => {
    try {
      return decoder.decode(bytes, { stream: bytes !== undefined });
    } catch (error) {
      throw notUtf8?.() ?? error;
    }
  };
  let text = "";
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { value, done } = await reader.read();
      signal?.throwIfAborted();
      text += decode(value);
      let start = 0;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
        yield text.slice(start, text[end - 1] === "\r" && end > start ? end - 1 : end);
        start = end + 1;
      }
      text = text.slice(start);
      if (text.length > longest) throw tooLong(text.length);
      if (!done) continue;
      if (text !== "") yield text;
      return;
    }
  } finally {
    signal?.removeEventListener("abort", cancel);
    await reader.cancel().catch(() => {});
  }
}

/** Counts the bytes of a stream as they are read. */
export class Meter {
  bytes = 0;
  readonly open: OpenStream;

  constructor(open: OpenStream) {
    this.open = async () =>
      (await open()).pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          transform: (chunk, controller) => {
            this.bytes += chunk.length;
            controller.enqueue(chunk);
          },
        }),
      );
  }
}
