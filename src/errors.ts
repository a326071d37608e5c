/**
 * Errors as data: one base class, a few subclasses that say which room an error comes from, a `code`
 * to switch on, and the facts that explain it.
 */

/** The facts that an error may carry. Which are there depends on the `code`. */
export interface ErrorFacts {
  /** What would have been accepted. */
  expected?: unknown;
  /** What was found instead. */
  actual?: unknown;
  /** Byte offset in the file or stream. */
  offset?: number;
  /** Address that was read, without credentials. */
  url?: string;
  /** File that was read or written. */
  file?: string;
  /** Row of the input, or row of the logits, from 0. */
  row?: number;
  /** Position in the row, from 0. */
  column?: number;
  /** Level of the index, from 0. */
  level?: number;
  /** Token at fault. */
  token?: number;
  /** Step of the search, from 0. */
  step?: number;
  /** Section of the index file, array of an archive, or graph of a model. */
  section?: string;
  /** Name of a filter. */
  filter?: string;
  /** Size of the stored object. */
  byteLength?: number;
  /** How long a store asks to be left alone, milliseconds. */
  retryAfterMs?: number;
}

/**
 * Text from a file or a header, as messages and terminals may show it: control characters, line separators and marks
 * that turn the direction of writing are escaped.
 *
 * @param kept one that stays as it is.
 */
export function printable(text: string, kept = ""): string {
  return text.replace(
    /[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu,
    (c) => c === kept ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Longest list that is a fact, longest text of one, and of a message. */
const MAX_LIST = 1024;
const MAX_FACT = 256;
const MAX_MESSAGE = 2000;

const cut = (text: string, most: number) =>
  text.length > most ? `${text.slice(0, most - 1)}…` : text;

/** What messages say, short and without control characters. */
const line = (message: string) => printable(cut(message, MAX_MESSAGE));

/** A value from a file as a fact of an error: a short text or another primitive, never what is nested. */
export function shortFact(value: unknown, most = 100): unknown {
  if (typeof value === "string" || typeof value === "bigint") return cut(`${value}`, most);
  if (typeof value !== "object" || value === null) return value;
  return Array.isArray(value) ? `an array of ${value.length}` : "an object";
}

/** The facts of an error are properties of it. */
export interface EspalierError extends Readonly<ErrorFacts> {}

/** Every error that Espalier raises on purpose, except wrong arguments (`TypeError`, `RangeError`). */
export class EspalierError extends Error {
  /** Stable word to switch on, e.g. `"token-out-of-range"`. */
  readonly code: string;

  /** A code, a sentence that says what to do, and the facts: what is nested or long in them is shortened. */
  constructor(code: string, message: string, facts: ErrorFacts = {}, options?: ErrorOptions) {
    super(line(message), options);
    this.code = code;
    const shown = (fact: unknown) => shortFact(fact, MAX_FACT);
    for (const [name, fact] of Object.entries(facts)) {
      // Places are whole, to be found again.
      const isPlace = name === "url" || name === "file";
      const isList = Array.isArray(fact) && fact.length <= MAX_LIST;
      const short = isList ? fact.map(shown) : shown(fact);
      Reflect.set(this, name, isPlace ? fact : short);
    }
  }
}

/** The rows given to the builder cannot become an index. */
export class BuildInputError extends EspalierError {}

/** The bytes are not an index that this version reads. */
export class IndexFormatError extends EspalierError {}

/** The bytes were an index once: a digest or the structure does not agree. */
export class IndexIntegrityError extends EspalierError {}

/** The object changed while it was read. */
export class IndexChangedError extends EspalierError {}

/** Bytes could not be read or written. */
export class StorageError extends EspalierError {}

/** The asked-for backend cannot run here, or failed. */
export class BackendError extends EspalierError {}

/** The model returned something that is not logits for the rows it was shown. */
export class ModelOutputError extends EspalierError {}

/** A size is beyond what the format or the machine can hold. */
export class LimitError extends EspalierError {}

// Set by hand: bundlers shorten the names of classes.
const CLASSES = {
  EspalierError,
  BuildInputError,
  IndexFormatError,
  IndexIntegrityError,
  IndexChangedError,
  StorageError,
  BackendError,
  ModelOutputError,
  LimitError,
};
for (const [name, { prototype }] of Object.entries(CLASSES)) {
  Object.defineProperty(prototype, "name", { value: name });
}

/** Makes a `RangeError` that carries its facts like an {@linkcode EspalierError}. */
export function rangeError(message: string, facts: ErrorFacts = {}): RangeError & ErrorFacts {
  return Object.assign(new RangeError(line(message)), facts);
}

/** Makes a `TypeError` that carries its facts like an {@linkcode EspalierError}. */
export function typeError(message: string, facts: ErrorFacts = {}): TypeError & ErrorFacts {
  return Object.assign(new TypeError(line(message)), facts);
}

/**
 * Makes sure that all options have names that are known: one that is misspelt would be passed over, and a filter with it.
 *
 * @param call what was called, for the message.
 * @param known names of a function's options.
 * @throws {TypeError} naming the first that is not known, and the known one that is nearest to it.
 */
export function checkOptionNames(call: string, options: object, known: readonly string[]): void {
  if (typeof options !== "object" || options === null) {
    const actual = options === null ? "null" : typeof options;
    throw typeError(`Cannot call ${call}: expected options as an object, got ${actual}`, {
      expected: "object",
      actual,
    });
  }
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const nearest = known.reduce((a, b) => distance(name, b) < distance(name, a) ? b : a);
    throw typeError(
      `Cannot call ${call}: there is no option "${name}"; the nearest is "${nearest}"`,
      { expected: nearest, actual: name },
    );
  }
}

/** Letters to insert, remove or replace to make one word of another (Levenshtein); case does not count. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 0; i < from.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < to.length; j++) {
      const isSame = from[i].toLowerCase() === to[j].toLowerCase();
      next.push(Math.min(row[j] + Number(!isSame), row[j + 1] + 1, next[j] + 1));
    }
    row = next;
  }
  return row[to.length];
}
