/** Long lists of sequences on standard output, as text or as JSON lines. */
import { Progress } from "../../build/progress.ts";
import { UsageError } from "../errors.ts";
import { rawInteger } from "./json.ts";
import type { Io } from "./terminal.ts";

/** Characters that are written at once. */
const PIECE = 2 ** 16;
/** Turns between two looks at the clock. */
const TURNS_PER_TICK = 2 ** 10;

/** Collects lines, writes many at once, and lets Ctrl-C through. */
export class Listing {
  #io: Io;
  #pace: Progress;
  #text = "";
  #turns = 0;

  /** @param onProgress called from time to time with what {@linkcode turn} was told. */
  constructor(io: Io, onProgress?: (done: number, total?: number) => void) {
    this.#io = io;
    this.#pace = new Progress({ signal: io.signal, onProgress });
  }

  /** Appends a line. */
  line(text: string): void {
    this.#text += `${text}\n`;
    if (this.#text.length >= PIECE) this.flush();
  }

  /** Writes what was collected. */
  flush(): void {
    if (this.#text !== "") this.#io.out(this.#text);
    this.#text = "";
  }

  /**
   * To be awaited, where it is a promise, at every turn of a loop.
   *
   * @throws the reason of the signal, once it is aborted.
   */
  turn(done: number, total: number): Promise<void> | undefined {
    return ++this.#turns % TURNS_PER_TICK === 0
      ? this.#pace.tick("listing", done, total)
      : undefined;
  }
}

/** An object as JSON on one line; integers of any size keep all their digits. */
export function jsonLine(value: object): string {
  const fields = Object.entries(value).filter(([, part]) => part !== undefined).map(
    // Tokens by themselves: asking for each of them what it is takes most of the time.
    ([name, part]) => `"${name}":${part instanceof Uint32Array ? `[${part.join()}]` : json(part)}`,
  );
  return `{${fields.join()}}`;
}

function json(value: unknown): string {
  return JSON.stringify(value, (_key, part) => {
    if (typeof part === "bigint") return rawInteger(part);
    return part instanceof Uint32Array ? Array.from(part) : part;
  });
}

/** Tokens as text: `3 1 4`. */
export function tokensText(tokens: ArrayLike<number>): string {
  let text = tokens.length > 0 ? String(tokens[0]) : "";
  for (let i = 1; i < tokens.length; i++) text += ` ${tokens[i]}`;
  return text;
}

/** Item ids as text: integers as they are, strings in quotation marks, since they may hold anything. */
export function itemsText(items: readonly (bigint | string)[]): string {
  return items.map((item) => typeof item === "string" ? JSON.stringify(item) : item).join(", ");
}

/** Reads `--limit`, where 0 is none. @throws {UsageError} if it is no such number. */
export function limitOf(text: string): number {
  if (!/^\d{1,15}$/.test(text)) {
    throw new UsageError(`Expected --limit N, 0 for all, found "${text}"`);
  }
  return Number(text) || Infinity;
}
