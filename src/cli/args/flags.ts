/** Flags and arguments that several commands take in the same form. */
import { parseArgs, type ParseArgsConfig } from "node:util";
import { UsageError } from "../errors.ts";
import { shownName } from "../io/addresses.ts";

/** Flags that every command has. */
export const COMMON_OPTIONS = {
  json: { type: "boolean", default: false },
  help: { type: "boolean", short: "h" },
} as const;

/** Flags as `parseArgs` takes them. */
type Flags = NonNullable<ParseArgsConfig["options"]>;

/**
 * Reads flags and other arguments.
 *
 * @throws {UsageError} for flags that are unknown or lack their value.
 */
export function parseFlags<T extends Flags>(
  args: string[],
  options: T,
): ReturnType<typeof parseArgs<{ args: string[]; allowPositionals: true; options: T }>> {
  try {
    return parseArgs({ args, allowPositionals: true, options });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new UsageError(error.message.split(". ")[0], { cause: error });
  }
}

/**
 * The one argument of a command that takes one.
 *
 * @throws {UsageError} if there is none, or more.
 */
export function onlyArgument(positionals: readonly string[], name: string): string {
  if (positionals.length === 1) return positionals[0];
  throw new UsageError(
    positionals.length === 0
      ? `Expected ${name}, found none`
      : `Expected one ${name}, found ${positionals.length}: ${
        positionals.map(shownName).join(" ")
      }`,
  );
}

/** Least that `--memory` may be: a number without its unit is mostly smaller. */
const LEAST_MEMORY = 1e6;

/**
 * "4GB" of `--memory` in bytes; units are powers of 1000, or of 1024 with an i, and bytes where none is given.
 *
 * @throws {UsageError} for what is no size, and for less than a megabyte.
 */
export function parseMemory(text: string): number {
  const [, digits, unit = "", binary] = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?$/i.exec(text) ?? [];
  const power = " kmgt".indexOf(unit.toLowerCase() || " ");
  const bytes = Number(digits) * (binary ? 1024 : 1000) ** power;
  if (bytes >= LEAST_MEMORY) return Math.floor(bytes);
  const hint = /^\d+$/.test(text) ? ", which is bytes: give a unit" : "";
  throw new UsageError(
    `Expected --memory of 1MB or more, such as 512MB or 4GB, found "${text}"${hint}`,
  );
}

/** @throws {UsageError} for an index that would have the name of a table, an archive or a list. */
export function checkIndexName(out: string): void {
  const [ending] = /\.(npy|npz|parquet|pq|jsonl?|ndjson|csv|tsv|tab|txt)$/i.exec(out) ?? [];
  if (ending === undefined) return;
  throw new UsageError(
    `Expected -o OUT.safetensors, because an index is written there, found "${out}", the name of a ${ending} file`,
  );
}
