/** Results of points in a file of JSON lines: whatever is finished is in it, whenever the run ends. */
import type { Origin } from "../lib/origin.ts";
import type { Point } from "./plan.ts";

/** Milliseconds: median, and what one in ten is below and above. */
export interface Spread {
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
}

/** What was measured. A step is one of `length`, averaged over a search, logits given. */
export interface Measured {
  /** Milliseconds that a whole step takes: log-softmax, constraint, selection. */
  readonly step: Spread;
  /** What it takes beyond one log-sum-exp in WASM over its live rows, round by round; not known on a GPU. */
  readonly constraint?: Spread;
  /** Bytes that a search looks things up in: the growth of the heap where those are objects. */
  readonly byteLength: number;
  readonly buildMs: number;
  /** Peak of the process after building and one search, bytes, the set included, and the set. */
  readonly peakBytes: number;
  readonly setBytes: number;
  readonly repeats: number;
  readonly exact: boolean;
  /** Share of the returned sequences that are not in the set. */
  readonly invalid: number;
  /** Load average of the machine behind the last round. */
  readonly load: number;
  /** Step against ours in the same round, median; ours, milliseconds; share of our beams that it does not return. */
  readonly ratio?: number;
  readonly ours?: { readonly step: number; readonly constraint: number };
  readonly missed?: number;
  /** Adapter, on a GPU. */
  readonly adapter?: string;
}

/** Why a point has no figures. */
export interface Failed {
  readonly reason: string;
}

export interface Result {
  readonly point: Point;
  readonly origin: Origin;
  readonly outcome: Measured | Failed;
  /** How often it has been measured, if not once: the fastest for both sides together counts. */
  readonly tries?: number;
}

/** What makes a result another one: what was measured, on which machine, by which code. */
export function keyOf(point: Point, { machine, deno, code }: Origin): string {
  const parts = Object.entries({ ...point, machine, deno, code });
  return JSON.stringify(parts.sort(([a], [b]) => a < b ? -1 : 1));
}

/**
 * Results in lines of JSON. A last line that is torn, because the run was ended amid it, is left out.
 *
 * @returns them, and how many bytes hold whole lines.
 * @throws {SyntaxError} if another line is no JSON.
 */
export function parseLines(bytes: Uint8Array): { results: Result[]; whole: number } {
  const whole = bytes.lastIndexOf(10) + 1;
  const text = new TextDecoder().decode(bytes.subarray(0, whole));
  const results = text.split("\n").filter(Boolean).map((line, i) => {
    try {
      return JSON.parse(line);
    } catch {
      throw new SyntaxError(`Line ${i + 1} of the results is no JSON: mend or remove it`);
    }
  });
  return { results, whole };
}

/** A file of results, open for more. */
export class ResultStore {
  readonly #file: string;
  readonly #byKey: Map<string, Result>;

  private constructor(file: string, results: readonly Result[]) {
    this.#file = file;
    this.#byKey = new Map(results.map((result) => [keyOf(result.point, result.origin), result]));
  }

  /** Opens a file, or begins it. Cuts off a torn last line. */
  static async open(file: string): Promise<ResultStore> {
    const bytes = await Deno.readFile(file).catch((error) => {
      if (error instanceof Deno.errors.NotFound) return new Uint8Array();
      throw error;
    });
    const { results, whole } = parseLines(bytes);
    if (whole < bytes.length) await Deno.writeFile(file, bytes.subarray(0, whole));
    return new ResultStore(file, results);
  }

  get(point: Point, origin: Origin): Result | undefined {
    return this.#byKey.get(keyOf(point, origin));
  }

  /** Adds a result, to the file at once. */
  async add(result: Result): Promise<void> {
    this.#byKey.set(keyOf(result.point, result.origin), result);
    await Deno.writeTextFile(this.#file, `${JSON.stringify(result)}\n`, { append: true });
  }

  /** Forgets points of an origin, and what other code measured of them on its machine. */
  async drop(points: readonly Point[], origin: Origin): Promise<void> {
    const dropped = new Set(points.map((point) => keyOf(point, { ...origin, deno: "", code: "" })));
    for (const [key, result] of this.#byKey) {
      const { point, origin: from } = result;
      if (dropped.has(keyOf(point, { ...from, deno: "", code: "" }))) this.#byKey.delete(key);
    }
    const lines = Array.from(this.#byKey.values(), (result) => `${JSON.stringify(result)}\n`);
    const whole = `${this.#file}.new`;
    await Deno.writeTextFile(whole, lines.join(""));
    await Deno.rename(whole, this.#file);
  }
}
