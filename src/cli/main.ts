/**
 * The command line: builds, inspects, verifies and pushes index files, and shows what they are for.
 *
 * ```sh
 * deno task cli build sids.npy -o catalogue.safetensors --vocab 2048
 * deno task cli inspect catalogue.safetensors
 * deno task cli query catalogue.safetensors 3,1
 * deno task cli verify catalogue.safetensors
 * deno task cli push catalogue.safetensors s3://indexes/
 * ```
 *
 * @module
 */
import type { Command } from "./commands/command.ts";
import { build } from "./commands/build.ts";
import { convert } from "./commands/convert.ts";
import { decode } from "./commands/decode.ts";
import { diff } from "./commands/diff.ts";
import { errorJson, errorText, UsageError } from "./errors.ts";
import { inspect } from "./commands/inspect.ts";
import { ClosedOutput, type Io, terminal } from "./io/terminal.ts";
import { push } from "./commands/push.ts";
import { query } from "./commands/query.ts";
import { environment } from "./args/s3_flags.ts";
import { serve } from "./commands/serve.ts";
import { verify } from "./commands/verify.ts";
import { printable } from "../errors.ts";
import { VERSION } from "../version.gen.ts";

export type { Io };

const HELP = `Espalier keeps a generative model inside a set of allowed token sequences

An index is one file that holds the set. It is built offline, uploaded, and opened where the model runs.

Usage: deno task cli COMMAND [arguments]

Commands
  build     makes an index from tables: NumPy, Parquet, CSV, JSON lines
  inspect   shows what an index holds and what it costs, from its header alone
  query     shows what may follow a prefix, with counts, or lists the sequences below it
  decode    finds the best sequences for a prompt, with an ONNX model
  serve     answers HTTP requests from an index and a model
  diff      compares two indexes: what was added, what was removed
  verify    reads a whole index and checks all that can be checked
  push      puts an index where it is to be opened from: S3, what speaks like it, or a folder
  convert   makes an index of the arrays of the published implementation (.npz), or those of an index
  help      this text; help COMMAND for the rest; --version for the version

Examples
  deno task cli build sids.npy -o catalogue.safetensors --vocab 2048
  deno task cli build names.txt -o names.safetensors --tokenizer o200k
  deno task cli inspect catalogue.safetensors
  deno task cli query catalogue.safetensors 3,1
  deno task cli push catalogue.safetensors s3://indexes/catalogue.safetensors
  deno task cli verify https://cdn.example.com/catalogue.safetensors

Exit codes: 0 ok, 1 the input or the file is bad, 2 wrong usage, 130 interrupted, 141 nobody reads on (… | head);
those of diff are 0 same, 1 different, 2 trouble
With --json, results go to standard output and errors to standard error as one JSON object each; the help of a command
names the fields, which are left out where there is nothing to say. Errors: error, with code, message and what they are
about (file, row, expected, actual, …)
`;

const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ["build", build],
  ["inspect", inspect],
  ["query", query],
  ["decode", decode],
  ["serve", serve],
  ["diff", diff],
  ["verify", verify],
  ["push", push],
  ["convert", convert],
]);

/** What shells give a process that ends because nobody reads on: 128 + SIGPIPE. */
const CLOSED_OUTPUT = 141;

/** Why the process is to end. */
class Interrupted extends Error {
  override name = "Interrupted";

  constructor(readonly exitCode: number) {
    super("Interrupted");
  }
}

/**
 * Runs a command.
 *
 * @param args without the names of runtime and script.
 * @param given where it reads and writes; defaults to the process's own.
 * @returns the exit code: 0 ok, 1 the input or a file is bad, 2 wrong usage, 130 interrupted, 141 nobody reads on; the
 * help of a command says where it has others.
 */
export async function main(
  args: string[],
  given: Io = terminal(new AbortController().signal),
): Promise<number> {
  // What is shown may come from a file: a terminal must not obey it. In JSON the escapes mean the same characters.
  const io: Io = { ...given, out: (text) => given.out(printable(text, "\n")) };
  const [name = "", ...rest] = args;
  if (name === "help" && rest.length > 0) return await main([rest[0], "--help"], given);
  const command = COMMANDS.get(name);
  try {
    if (name === "help" || name === "--help" || name === "-h") {
      io.out(HELP);
      return 0;
    }
    if (name === "--version") {
      io.out(`${VERSION}\n`);
      return 0;
    }
    if (name === "demo") {
      throw new UsageError('There is no command "demo" any more: run "deno task demo"');
    }
    if (!command) {
      throw new UsageError(name ? `Unknown command "${name}"` : "Expected a command, found none");
    }
    const options = await command.parse(rest);
    if (options) return await command.run(options, io);
    io.out(command.help);
    return 0;
  } catch (error) {
    if (error instanceof ClosedOutput) return CLOSED_OUTPUT;
    if (io.signal.aborted) {
      const { reason } = io.signal;
      io.err("interrupted\n");
      return reason instanceof Interrupted ? reason.exitCode : 130;
    }
    const code = report(error, command && name, args.includes("--json"), io);
    return command?.errorCode ?? code;
  }
}

/** Tells an error as text or as JSON; returns the exit code. */
function report(error: unknown, command: string | undefined, isJson: boolean, io: Io): number {
  const text = isJson
    ? errorJson(error)
    : errorText(error, `deno task cli help${command ? ` ${command}` : ""}`);
  io.err(printable(text, "\n"));
  return error instanceof UsageError ? 2 : 1;
}

if (import.meta.main) {
  // "deno task" runs in the folder of deno.json; files are meant from where it was called.
  const calledFrom = environment("INIT_CWD");
  if (calledFrom) Deno.chdir(calledFrom);
  const interrupt = new AbortController();
  const listen = (signal: Deno.Signal, exitCode: number) =>
    Deno.addSignalListener(signal, () => interrupt.abort(new Interrupted(exitCode)));
  listen("SIGINT", 130);
  if (Deno.build.os !== "windows") {
    listen("SIGTERM", 143);
    listen("SIGHUP", 129);
  }
  Deno.exit(await main(Deno.args, terminal(interrupt.signal)));
}
