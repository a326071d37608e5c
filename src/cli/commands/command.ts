/** What a command of the command line is made of. */
import type { Io } from "../io/terminal.ts";

/** A command: how it reads its arguments, and what it does. */
export interface Command<Options = unknown> {
  /** What `--help` prints. */
  readonly help: string;
  /** Exit code of errors that are not wrong usage, where 1 says something else. */
  readonly errorCode?: number;
  /**
   * Reads the arguments, without the command's name; undefined if they ask for help.
   *
   * @throws {UsageError} for wrong arguments.
   */
  parse(args: string[]): Options | undefined | Promise<Options | undefined>;
  /**
   * Does what the options say; returns the exit code.
   *
   * @throws {EspalierError} naming the file, where one is at fault.
   */
  run(options: Options, io: Io): Promise<number>;
}
