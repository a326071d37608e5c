/** Errors of the command line: wrong usage, and errors that say which file they are about. */
import { EspalierError } from "../errors.ts";
import { isAddress } from "./io/addresses.ts";
import { fieldsOf, safeJson } from "./io/json.ts";

/** The command was called in a way that it does not know. */
export class UsageError extends Error {
  override name = "UsageError";
}

/**
 * The same error, saying which file it is about, and which line where that is known.
 *
 * @param line from 1, as editors count.
 */
export function aboutFile<E>(error: E, file: string, line?: number): E | EspalierError {
  if (!(error instanceof EspalierError) || error.file !== undefined || error.url !== undefined) {
    return error;
  }
  const { name: _name, code, ...facts } = error;
  const place = line === undefined ? file : `${file}, line ${line}`;
  const kind = error.constructor as typeof EspalierError;
  const source = isAddress(file) ? { url: file } : { file };
  return new kind(code, `${place}: ${error.message}`, { ...facts, ...source }, { cause: error });
}

/** An error as people read it: what happened, the facts, and what to try after wrong usage. */
export function errorText(error: unknown, help: string): string {
  const { code, message, facts } = describe(error);
  const lines = [`error: ${message}`];
  const fields = Object.entries(facts).map(([key, value]) => `  ${key} ${safeJson(value)}`);
  if (error instanceof EspalierError) lines.push(`  code ${code}${fields.join("")}`);
  if (error instanceof UsageError) lines.push(`  try: ${help}`);
  const isExpected = error instanceof EspalierError || error instanceof UsageError ||
    error instanceof Deno.errors.NotCapable;
  // Any other error is a bug of ours: its stack trace helps to fix it.
  if (!isExpected && error instanceof Error && error.stack) lines.push(error.stack);
  return lines.map((line) => `${line}\n`).join("");
}

/** An error as one JSON object on a line: its code, its message and the facts. */
export function errorJson(error: unknown): string {
  const { code, message, facts } = describe(error);
  return `${safeJson({ error: { code, message, ...facts } })}\n`;
}

function describe(
  error: unknown,
): { code: string; message: string; facts: Record<string, unknown> } {
  const message = messageOf(error);
  if (error instanceof EspalierError) {
    const { name: _name, code: _code, ...facts } = fieldsOf(error);
    return { code: error.code, message, facts };
  }
  return { code: error instanceof UsageError ? "usage" : "unexpected", message, facts: {} };
}

/** The message of whatever was thrown. */
function messageOf(error: unknown): string {
  try {
    if (error instanceof Error) return String(error.message);
    return typeof error === "object" ? safeJson(error) : String(error);
  } catch {
    return "something was thrown that cannot be shown";
  }
}
