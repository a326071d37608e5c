/** Lines of text by the chunk: millions of strings, and the place of every bad byte. */
import { BuildInputError } from "../../errors.ts";

/** What lines are read from; called when the first is asked for, so that nothing stays open where none is. */
export type OpenStream = () => ReadableStream<Uint8Array> | Promise<ReadableStream<Uint8Array>>;

/** Lines that follow one another. */
export interface LineBatch {
  /** Number of the first, from 1. */
  readonly first: number;
  /** Without their ends. */
  readonly lines: readonly string[];
  /** Bytes read so far. */
  readonly bytes: number;
}

/** Longest line, in bytes: without a limit another kind of file would be read to its end. */
const MAX_LINE_BYTES = 2 ** 20;

const LF = 10;

// Byte order marks within the text are part of it.
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads lines of UTF-8 that end with LF or CR LF; behind the last end none follows, and a byte order mark in front is
 * no part of the first. Memory: one chunk and one line.
 *
 * @param name of the file, for messages.
 * @throws {BuildInputError} naming file and line, for what is no UTF-8, and for lines without an end.
 * @throws the reason of the signal, once it is aborted, even while it waits for input.
 */
export async function* readLineBatches(
  open: OpenStream,
  name: string,
  signal?: AbortSignal,
): AsyncGenerator<LineBatch, void, void> {
  const reader = (await open()).getReader();
  // A pending read ends when the stream is cancelled, so Ctrl-C works while a pipe is silent.
  const cancel = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener("abort", cancel, { once: true });
  let first = 1;
  let total = 0;
  let rest: Uint8Array = new Uint8Array(0);
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { value, done } = await reader.read();
      signal?.throwIfAborted();
      total += value?.length ?? 0;
      const bytes = done ? rest : joined(rest, value);
      const end = done ? bytes.length : bytes.lastIndexOf(LF) + 1;
      rest = bytes.slice(end);
      if (end > 0) {
        const lines = decodeLines(bytes.subarray(0, end), name, first);
        yield { first, lines, bytes: total };
        first += lines.length;
      }
      if (done) return;
      if (rest.length > MAX_LINE_BYTES) {
        throw badLine("line-too-long", name, first, `${rest.length} bytes without an end`);
      }
    }
  } finally {
    signal?.removeEventListener("abort", cancel);
    await reader.cancel().catch(() => {});
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function decodeLines(bytes: Uint8Array, name: string, first: number): string[] {
  let text: string;
  try {
    text = strict.decode(bytes);
  } catch {
    throw badLine("not-utf-8", name, first + badLineIn(bytes), "bytes that are no UTF-8");
  }
  if (first === 1 && text.startsWith("\ufeff")) text = text.slice(1);
  const lines = text.split("\n");
  if (text.endsWith("\n")) lines.pop();
  for (let i = 0; i < lines.length; i++) {
    if (lines[i].endsWith("\r")) lines[i] = lines[i].slice(0, -1);
  }
  return lines;
}

/** Which of the lines is no UTF-8, from 0: no character goes on behind the end of a line. */
function badLineIn(bytes: Uint8Array): number {
  let start = 0;
  for (let line = 0;; line++) {
    const end = bytes.indexOf(LF, start) + 1 || bytes.length;
    try {
      strict.decode(bytes.subarray(start, end));
    } catch {
      return line;
    }
    start = end;
  }
}

function badLine(code: string, file: string, line: number, found: string): BuildInputError {
  return new BuildInputError(
    code,
    `${file}, line ${line}: expected a line of UTF-8, found ${found}; mend the line or convert the file`,
    { file, expected: "UTF-8", actual: found },
  );
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
