/** Where commands read and write: standard input, output and error. */

/** Where a subcommand reads and writes, so that it runs in tests as in a terminal. */
export interface Io {
  /** Appends to standard output. @throws {ClosedOutput} if nobody reads it any more. */
  out(text: string): void;
  /** Appends to standard error. */
  err(text: string): void;
  /** Whether somebody watches standard error: only then progress is shown. */
  readonly showProgress: boolean;
  /** Whether what is shown there may have colours. */
  readonly useColor?: boolean;
  /** Standard input, opened when asked for. */
  stdin(): ReadableStream<Uint8Array>;
  /** Aborted on Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Whoever reads standard output has seen enough: `cli query … | head`. */
export class ClosedOutput extends Error {
  override name = "ClosedOutput";
}

/** The process's own input and output. */
export function terminal(signal: AbortSignal): Io {
  return {
    out(text) {
      if (!writeText(Deno.stdout, text)) throw new ClosedOutput();
    },
    err: (text) => void writeText(Deno.stderr, text),
    showProgress: Deno.stderr.isTerminal(),
    useColor: Deno.stderr.isTerminal() && !Deno.noColor,
    stdin: () => Deno.stdin.readable,
    signal,
  };
}

/** Writes all of a text; false if nobody reads it. */
function writeText(stream: { writeSync(bytes: Uint8Array): number }, text: string): boolean {
  let bytes = new TextEncoder().encode(text);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return false;
    throw error;
  }
}
