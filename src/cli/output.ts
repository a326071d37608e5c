/** What the subcommands write: text, a progress line, and files that appear whole or not at all. */
import { basename, dirname, join } from "node:path";
import { StorageError } from "../errors.ts";
import { createLocked, removeAbandonedFiles } from "./abandoned.ts";

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

/**
 * A file under construction: it stands beside its place as `.NAME.espalier-<random>.tmp` until it is published.
 * Disposing of it removes it unless it was. Where the process is killed, the next one that writes there does.
 *
 * @example
 * ```ts ignore
 * await using file = await WholeFile.create("index.safetensors");
 * await file.write(bytes);
 * await file.seal();
 * await file.publish();
 * ```
 */
export class WholeFile implements AsyncDisposable {
  #path: string;
  #temporary: string;
  /** Open, and so locked, until it is in its place. */
  #file: Deno.FsFile;
  #isSealed = false;
  #isPublished = false;
  #isDisposed = false;

  private constructor(path: string, temporary: string, file: Deno.FsFile) {
    this.#path = path;
    this.#temporary = temporary;
    this.#file = file;
  }

  /**
   * Starts a file that is to stand at `path`. What stands there now stays until {@linkcode publish}.
   *
   * @throws {StorageError} if the folder is missing or read-only, or if something other than a file is there.
   */
  static async create(path: string): Promise<WholeFile> {
    // Renaming onto a device would replace it, onto a folder would fail after all the work.
    const present = await Deno.stat(path).catch(() => undefined);
    if (present && !present.isFile) {
      throw cannotWrite(path, "something that is no file stands there; choose another name");
    }
    const [folder, name] = [dirname(path), `.${basename(path)}.espalier-`];
    const escaped = name.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
    await removeAbandonedFiles(folder, new RegExp(`^${escaped}[0-9a-f]{8}\\.tmp$`));
    const temporary = join(folder, `${name}${crypto.randomUUID().slice(0, 8)}.tmp`);
    try {
      return new WholeFile(path, temporary, await createLocked(temporary));
    } catch (cause) {
      if (cause instanceof Deno.errors.NotFound) {
        throw cannotWrite(path, `the folder "${folder}" does not exist; create it`, cause);
      }
      throw cannotWrite(path, reason(cause), cause);
    }
  }

  /** Appends bytes. */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      if (this.#isSealed) throw new Error("The file is sealed");
      while (bytes.length > 0) bytes = bytes.subarray(await this.#file.write(bytes));
    } catch (cause) {
      throw cannotWrite(this.#path, reason(cause), cause);
    }
  }

  /** Brings all bytes to the disk. No more can be written. */
  async seal(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (cause) {
      throw cannotWrite(this.#path, reason(cause), cause);
    }
    this.#isSealed = true;
  }

  /** Puts the sealed file in its place, in one step. */
  async publish(): Promise<void> {
    if (!this.#isSealed) throw new Error("The file is not sealed");
    try {
      await Deno.rename(this.#temporary, this.#path);
    } catch (cause) {
      throw cannotWrite(this.#path, reason(cause), cause);
    }
    this.#isPublished = true;
  }

  /** Removes the file unless it was published. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#file.close();
    if (!this.#isPublished) await Deno.remove(this.#temporary).catch(() => {});
  }
}

function cannotWrite(file: string, what: string, cause?: unknown): StorageError {
  return new StorageError("cannot-write", `Cannot write "${file}": ${what}`, { file }, { cause });
}

function reason(cause: unknown): string {
  // The runtime's advice would be to allow everything, and names the temporary file.
  if (cause instanceof Deno.errors.NotCapable) return "it may not be written; choose another place";
  return cause instanceof Error ? cause.message : String(cause);
}

const REDRAW_MS = 100;
/** Rates and the time left are told once a stage has taken so long. */
const RATE_AFTER_MS = 1000;
const BAR_WIDTH = 20;

/** What has been done so far, to tell how fast it goes. */
export interface Rates {
  readonly rows?: number;
  readonly bytes?: number;
}

/** One line on standard error that is drawn over and leaves nothing behind. */
export class ProgressLine implements Disposable {
  #io: Io;
  #last = -Infinity;
  #stage = "";
  #began = 0;
  /** What was done when the stage began. */
  #from: Rates & { readonly done: number } = { done: 0 };

  constructor(io: Io) {
    this.#io = io;
  }

  /** Shows how much is done, and how fast, at most ten times a second; nothing where nobody watches. */
  show(what: string, done: number, total?: number, rates: Rates = {}): void {
    const now = performance.now();
    if (!this.#io.showProgress || now - this.#last < REDRAW_MS) return;
    this.#last = now;
    if (what !== this.#stage) {
      this.#stage = what;
      this.#began = now;
      this.#from = { ...rates, done };
    }
    const share = total === undefined ? undefined : Math.min(1, done / Math.max(1, total));
    const parts = share === undefined
      ? [`${what} ${grouped(Math.floor(done))}`]
      : [`${what} ${Math.floor(100 * share)} %${this.#bar(share)}`];
    const seconds = (now - this.#began) / 1000;
    if (1000 * seconds >= RATE_AFTER_MS) {
      const { rows, bytes } = rates;
      const { rows: firstRows = 0, bytes: firstBytes = 0, done: first } = this.#from;
      if (rows) parts.push(`${grouped(Math.round((rows - firstRows) / seconds))} rows/s`);
      if (bytes) parts.push(`${((bytes - firstBytes) / seconds / 1e6).toFixed(1)} MB/s`);
      const left = (total! - done) * seconds / (done - first);
      if (Number.isFinite(left)) parts.push(`${duration(left)} left`);
    }
    this.#io.err(`\r\x1b[K${parts.join(", ")}`);
  }

  #bar(share: number): string {
    const full = Math.round(BAR_WIDTH * share);
    const [done, rest] = ["━".repeat(full), "─".repeat(BAR_WIDTH - full)];
    return this.#io.useColor ? ` \x1b[32m${done}\x1b[2;39m${rest}\x1b[0m` : ` ${done}${rest}`;
  }

  /** What clears the line, to be written in front of other text. */
  cleared(): string {
    const isShown = this.#last > -Infinity;
    this.#last = -Infinity;
    return isShown ? "\r\x1b[K" : "";
  }

  /** Clears the line. */
  [Symbol.dispose](): void {
    const clear = this.cleared();
    if (clear) this.#io.err(clear);
  }
}

/** Seconds as "4 s", "2 min 5 s" or "1 h 3 min". */
export function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Bytes as "1 234 MB". */
export function megabytes(bytes: number): string {
  return `${grouped(Math.ceil(bytes / 1e6))} MB`;
}

/** 1234567 as "1 234 567". */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, " ");
}

/** "1 row", "1 234 rows". */
export function counted(count: number, what: string): string {
  return `${grouped(count)} ${what}${count === 1 ? "" : "s"}`;
}

/** Bytes for each of `items`, with their unit. */
export function bytesPerItem(bytes: number, items: number): string {
  return `${(bytes / items).toFixed(2)} bytes`;
}

/** One fact per line: its name, then the rest. */
export function facts(rows: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}\n`).join("");
}

/** A table with a head; figures to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i].length)));
  return [head, ...rows]
    .map((row) => `  ${row.map((cell, i) => cell.padStart(widths[i])).join("  ")}\n`)
    .join("");
}
