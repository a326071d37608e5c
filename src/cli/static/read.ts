/** Sequences from the arrays of the published implementation (layout: static_layout.ts), which are not trusted. */
import { BuildInputError, type ErrorFacts } from "../../errors.ts";
import { MAX_LENGTH, MAX_VOCAB } from "../../index/format/layout.ts";
import type { ArrayReader } from "../numpy/npz.ts";
import type { NpyValues } from "../numpy/read_array.ts";
import { ARRAYS } from "./layout.ts";

/** The arrays, all with shapes that fit each other; nothing more is known of them. */
export interface StaticArrays {
  vocabSize: number;
  startMask: NpyValues;
  /** Token and next state of each transition, one after the other. */
  packed: Uint32Array;
  indptr: Uint32Array;
  /** These three repeat what the others say, and may be left out. */
  branches?: Uint32Array;
  dense?: { levels: number; mask: NpyValues; states?: Uint32Array };
}

type Name = keyof typeof ARRAYS;

/**
 * Reads the arrays. Memory: all of them, as wide as they came.
 *
 * @throws {BuildInputError} if one is missing, or has another dtype or shape.
 */
export async function readStaticArrays(source: ArrayReader): Promise<StaticArrays> {
  const read = async (array: Name, what: "integers" | "flags", shape: (number | null)[]) => {
    const name = ARRAYS[array].find((name) => source.names.includes(name));
    if (name === undefined) return undefined;
    const found = await source.read(name, what, (found) => checkShape(array, shape, found));
    return found.values;
  };
  const need = async (...args: Parameters<typeof read>) => await read(...args) ?? missing(args[0]);
  const startMask = await need("startMask", "flags", [null]);
  const vocabSize = startMask.length;
  if (vocabSize < 2 || vocabSize > MAX_VOCAB) {
    throw wrong("startMask", `has ${vocabSize} tokens, expected 2 to ${MAX_VOCAB}`, "npy-shape", {
      expected: MAX_VOCAB,
      actual: vocabSize,
    });
  }
  const packed = asUint32(await need("packed", "integers", [null, 2]), "packed");
  const indptr = asUint32(await need("indptr", "integers", [null]), "indptr");
  checkStarts(indptr, packed.length / 2, vocabSize);
  const branches = await read("branches", "integers", [null]);
  const name = ARRAYS.denseMask.find((name) => source.names.includes(name));
  let dense: StaticArrays["dense"];
  if (name !== undefined) {
    const { values: mask, shape } = await source.read(name, "flags", (shape) => {
      // A table without any dimension would be one of no tokens.
      checkShape("denseMask", [vocabSize, ...shape.slice(1).map(() => vocabSize)], shape);
    });
    const states = await read("denseStates", "integers", shape);
    dense = { levels: shape.length, mask, states: states && asUint32(states, "denseStates") };
  }
  return {
    vocabSize,
    startMask,
    packed,
    indptr,
    branches: branches && asUint32(branches, "branches"),
    dense,
  };
}

/** @throws {BuildInputError} */
function missing(array: Name): never {
  const names = ARRAYS[array];
  throw new BuildInputError(
    "missing-array",
    `Expected an array ${names[0]}, found none; save what build_static_index returns, by name`,
    { expected: names, section: names[0] },
  );
}

/** @param expected null for any length. @throws {BuildInputError} */
function checkShape(
  array: Name,
  expected: readonly (number | null)[],
  shape: readonly number[],
): void {
  const isRight = shape.length === expected.length &&
    expected.every((length, i) => length === null || length === shape[i]);
  if (isRight) return;
  const wanted = expected.map((length) => length ?? "any").join(", ");
  throw wrong(array, `has shape (${shape.join(", ")}), expected (${wanted})`, "npy-shape", {
    expected,
    actual: shape,
  });
}

function asUint32(values: NpyValues, array: Name): Uint32Array {
  const position = values.findIndex((value: number | bigint) => value < 0 || value >= 2 ** 32);
  if (position >= 0) {
    throw wrong(array, `holds ${values[position]} as number ${position}, expected 0 to 2^32 - 1`);
  }
  if (values instanceof Int32Array) return new Uint32Array(values.buffer);
  if (values instanceof Uint32Array) return values;
  return Uint32Array.from(values, Number);
}

function checkStarts(indptr: Uint32Array, rows: number, vocabSize: number): void {
  if (indptr.length < vocabSize + 2) {
    throw wrong(
      "indptr",
      `has ${indptr.length} numbers, expected ${vocabSize + 2} or more`,
      "npy-shape",
    );
  }
  const fall = indptr.findIndex((start, i) => i > 0 && start < indptr[i - 1]);
  if (fall >= 0) throw wrong("indptr", `falls to ${indptr[fall]} at number ${fall}`);
  const last = indptr[indptr.length - 1];
  if (last > rows) throw wrong("indptr", `ends at ${last}, ${ARRAYS.packed[0]} at ${rows}`);
}

/** The error for an array that is not as the published builder leaves it. */
function wrong(array: Name, what: string, code = "bad-arrays", facts: ErrorFacts = {}) {
  const [section] = ARRAYS[array];
  return new BuildInputError(
    code,
    `Cannot convert the arrays: ${section} ${what}; build them again from the sequences`,
    { ...facts, section },
  );
}

/** How many sequences there are, if the arrays are sound. */
export function countSequences({ packed, vocabSize }: StaticArrays): number {
  let count = 0;
  for (let i = 0; i < packed.length; i += 2) {
    if (packed[i] < vocabSize && packed[i + 1] === 0) count++;
  }
  return count;
}

/** The sequences, sorted, each valid until the next. Every state is reached once, or it is an error. */
export function staticSequences(arrays: StaticArrays): Iterable<Uint32Array> {
  return new Walk(arrays).sequences();
}

/**
 * One walk over the tree. What it finds to be otherwise than the published builder leaves it is an error, at the latest
 * behind the last sequence.
 */
class Walk {
  #arrays: StaticArrays;
  /** Tokens of a sequence; all that is used is overwritten before. */
  #tokens = new Uint32Array(MAX_LENGTH);
  /** By depth: transitions of the state at hand that are left, and the token of the last one. */
  #next = new Uint32Array(MAX_LENGTH);
  #end = new Uint32Array(MAX_LENGTH);
  #last = new Int32Array(MAX_LENGTH);
  /** By depth: most transitions of a state. */
  #widest = new Uint32Array(MAX_LENGTH);
  #isReached: Uint8Array;
  /** Tokens of every sequence; 0 while that is not known. */
  #length: number;
  #transitions = 0;
  /** Prefixes as long as the dense tables have dimensions. */
  #prefixes = 0;

  constructor(arrays: StaticArrays) {
    this.#arrays = arrays;
    this.#isReached = new Uint8Array(arrays.indptr.length);
    this.#length = arrays.branches?.length ?? 0;
  }

  *sequences(): Generator<Uint32Array, void, void> {
    const { vocabSize, startMask, packed } = this.#arrays;
    for (let start = 0; start < vocabSize; start++) {
      if (!Number(startMask[start])) continue;
      this.#widest[0]++;
      this.#tokens[0] = start;
      this.#enter(start + 1, 1);
      for (let depth = 1; depth > 0;) {
        if (this.#next[depth] === this.#end[depth]) {
          depth--;
          continue;
        }
        const row = this.#next[depth]++;
        this.#take(packed[2 * row], row, depth);
        const state = packed[2 * row + 1];
        if (state !== 0) {
          this.#enter(state, ++depth);
          continue;
        }
        this.#length ||= depth + 1;
        if (this.#length !== depth + 1) throw this.#badLength("ends", depth + 1);
        yield this.#tokens.subarray(0, depth + 1);
      }
    }
    this.#finish();
  }

  /** Goes on to a state behind `depth` tokens. */
  #enter(state: number, depth: number): void {
    const { indptr, dense } = this.#arrays;
    if (depth === (this.#length || MAX_LENGTH)) throw this.#badLength("goes on", depth);
    if (state + 1 >= indptr.length || this.#isReached[state]) {
      const why = this.#isReached[state] ? "is reached twice" : `is none of ${indptr.length - 1}`;
      throw wrong("packed", `leads ${this.#shown(depth)} to state ${state}, which ${why}`);
    }
    this.#isReached[state] = 1;
    this.#next[depth] = indptr[state];
    this.#end[depth] = indptr[state + 1];
    this.#last[depth] = -1;
    const count = indptr[state + 1] - indptr[state];
    if (count === 0) throw wrong("indptr", `lets nothing follow ${this.#shown(depth)}`);
    this.#widest[depth] = Math.max(this.#widest[depth], count);
    if (depth === dense?.levels) this.#lookUp(dense, state, depth);
  }

  /** Appends a token. */
  #take(token: number, row: number, depth: number): void {
    const { vocabSize } = this.#arrays;
    if (token >= vocabSize) {
      throw wrong(
        "packed",
        `has token ${token} in row ${row}, expected less than ${vocabSize}`,
        "token-out-of-range",
        { row, token, expected: vocabSize, actual: token },
      );
    }
    if (token <= this.#last[depth]) {
      throw wrong("packed", `has token ${token} behind ${this.#last[depth]} in row ${row}`);
    }
    this.#last[depth] = this.#tokens[depth] = token;
    this.#transitions++;
  }

  /** Compares the dense tables for a prefix. */
  #lookUp(dense: NonNullable<StaticArrays["dense"]>, state: number, depth: number): void {
    this.#prefixes++;
    let cell = 0;
    for (let i = 0; i < depth; i++) cell = cell * this.#arrays.vocabSize + this.#tokens[i];
    if (!Number(dense.mask[cell])) {
      throw wrong("denseMask", `lacks ${this.#shown(depth)}, which ${ARRAYS.packed[0]} has`);
    }
    if (dense.states && dense.states[cell] !== state) {
      throw wrong(
        "denseStates",
        `has state ${dense.states[cell]} for ${this.#shown(depth)}, expected ${state}`,
      );
    }
  }

  /** Compares what can be counted only at the end. */
  #finish(): void {
    const { vocabSize, packed, branches, dense } = this.#arrays;
    let stored = 0;
    for (let i = 0; i < packed.length; i += 2) if (packed[i] < vocabSize) stored++;
    if (stored !== this.#transitions) {
      throw wrong(
        "startMask",
        `leads to ${this.#transitions} of the ${stored} transitions in ${ARRAYS.packed[0]}`,
      );
    }
    const level = branches?.findIndex((most, depth) => most !== this.#widest[depth]) ?? -1;
    if (level >= 0) {
      throw wrong(
        "branches",
        `has ${branches![level]} for level ${level}, expected ${this.#widest[level]}`,
        undefined,
        { level, expected: this.#widest[level], actual: branches![level] },
      );
    }
    if (!dense) return;
    let marked = 0;
    for (let i = 0; i < dense.mask.length; i++) if (dense.mask[i]) marked++;
    if (marked === this.#prefixes) return;
    throw wrong("denseMask", `has ${marked} prefixes, expected ${this.#prefixes}`);
  }

  #badLength(what: string, depth: number): BuildInputError {
    const expected = this.#length || `at most ${MAX_LENGTH}`;
    return wrong("packed", `${what} behind ${this.#shown(depth)}, expected ${expected} tokens`);
  }

  #shown(depth: number): string {
    const tokens = this.#tokens.subarray(0, Math.min(depth, 16)).join(" ");
    return depth > 16 ? `${tokens} …` : tokens;
  }
}
