// Parallel prefix verification: binary search over the sorted sequences for every token of every beam, or for its
// best few. A beam's state is the range of rows that begin with its prefix. Rows are kept by column: a step
// compares one column.
import {
  beginBatch,
  beginRow,
  endBatch,
  inputOf,
  isLive,
  limit,
  logitsOf,
  offer,
  outputOf,
  rowsOf,
  Search,
} from "./search";
import { best } from "./top";

/** First row of [low, high) whose token is not below `token`. */
function lowerBound<T>(column: usize, low: u32, high: u32, token: u32): u32 {
  let at = low;
  let size = high - low;
  if (size == 0) return at;
  while (size > 1) {
    const half = size >> 1;
    at += <u32>load<T>(column + <usize>(at + half - 1) * sizeof<T>()) < token ? half : 0;
    size -= half;
  }
  return at + u32(<u32>load<T>(column + <usize>at * sizeof<T>()) < token);
}

/** Doubled from 1 on until so many rows from `low` on end with one that is not below `token`, or with the last. */
// @ts-ignore: decorator
@inline
function reach<T>(column: usize, low: u32, high: u32, token: u32): u32 {
  let size: u32 = 1;
  while (
    size < high - low && <u32>load<T>(column + <usize>(low + size - 1) * sizeof<T>()) < token
  ) size <<= 1;
  return min(size, high - low);
}

/** Offers a token if it is the one of a row. */
// @ts-ignore: decorator
@inline
function verify<T>(column: usize, row: u32, high: u32, token: u32, logits: usize): void {
  if (row >= high || <u32>load<T>(column + <usize>row * sizeof<T>()) != token) return;
  const x = load<f32>(logits + (token << 2));
  if (x > limit) offer(x, token, row);
}

/**
 * All tokens. Four searches run side by side: they halve the same range, and wait for no other's load. The range
 * begins where the four before ended, and is doubled until it holds all.
 */
function scanAll<T>(column: usize, low: u32, high: u32, vocab: u32, logits: usize): void {
  let token: u32 = 0;
  for (; token + 4 <= vocab; token += 4) {
    let size = reach<T>(column, low, high, token + 3);
    let a = column + <usize>low * sizeof<T>();
    let b = a;
    let c = a;
    let d = a;
    while (size > 1) {
      const half = <usize>(size >> 1) * sizeof<T>();
      const last = half - sizeof<T>();
      a = <u32>load<T>(a + last) < token ? a + half : a;
      b = <u32>load<T>(b + last) < token + 1 ? b + half : b;
      c = <u32>load<T>(c + last) < token + 2 ? c + half : c;
      d = <u32>load<T>(d + last) < token + 3 ? d + half : d;
      size -= size >> 1;
    }
    a += usize(<u32>load<T>(a) < token) * sizeof<T>();
    b += usize(<u32>load<T>(b) < token + 1) * sizeof<T>();
    c += usize(<u32>load<T>(c) < token + 2) * sizeof<T>();
    d += usize(<u32>load<T>(d) < token + 3) * sizeof<T>();
    verify<T>(column, <u32>((a - column) / sizeof<T>()), high, token, logits);
    verify<T>(column, <u32>((b - column) / sizeof<T>()), high, token + 1, logits);
    verify<T>(column, <u32>((c - column) / sizeof<T>()), high, token + 2, logits);
    verify<T>(column, <u32>((d - column) / sizeof<T>()), high, token + 3, logits);
    // At the last row at the latest: a range is never empty.
    low = min(<u32>((d - column) / sizeof<T>()), high - 1);
  }
  for (; token < vocab; ++token) {
    verify<T>(column, lowerBound<T>(column, low, high, token), high, token, logits);
  }
}

/** Reads the first row of every beam's range, so that their cache misses overlap. */
function readAhead<T>(s: Search, step: u32, batch: u32, column: usize): void {
  for (let beam: u32 = 0; beam < s.beams; ++beam) {
    const input = inputOf(s, step, batch, beam);
    if (!isLive(s, input)) continue;
    // Kept where nobody reads it.
    const row = load<u32>(s.states + input);
    store<u32>(s.begins + (beam << 2), <u32>load<T>(column + <usize>row * sizeof<T>()));
  }
}

function step<T>(s: Search, step: u32, column: usize, rows: u32, cut: u32): void {
  const beams = rowsOf(s, step);
  for (let batch: u32 = 0; batch < s.batches; ++batch) {
    beginBatch(s);
    if (step > 0) readAhead<T>(s, step, batch, column);
    for (let beam: u32 = 0; beam < beams; ++beam) {
      const input = inputOf(s, step, batch, beam);
      const logits = logitsOf(s, step, batch, beam);
      const low = step == 0 ? 0 : load<u32>(s.states + input);
      const high = step == 0 ? rows : load<u32>(s.ends + input);
      if (!beginRow(s, input, beam, logits)) continue;
      if (cut == 0) {
        scanAll<T>(column, low, high, s.vocab, logits);
        continue;
      }
      const count = best(s, logits, cut);
      for (let i: u32 = 0; i < count; ++i) {
        const token = load<u32>(s.rowBuffer + (i << 2));
        verify<T>(column, lowerBound<T>(column, low, high, token), high, token, logits);
      }
    }
    const found = endBatch(s, step, batch);
    const history = (step * s.batches + batch) * s.beams << 2;
    const output = outputOf(s, step, batch, 0);
    for (let i: u32 = 0; i < found; ++i) {
      const parent = inputOf(s, step, 0, load<u32>(s.parents + history + (i << 2)));
      const high = step == 0 ? rows : load<u32>(s.ends + parent);
      const token = load<u32>(s.tokens + history + (i << 2));
      const low = load<u32>(s.states + output + (i << 2));
      const size = reach<T>(column, low, high, token + 1);
      store<u32>(s.ends + output + (i << 2), lowerBound<T>(column, low, low + size, token + 1));
    }
  }
}

/** One step over all rows: `column` holds the tokens of the level, `cut` tokens of a row are tested, 0 = all. */
export function stepPpv16(s: Search, at: u32, column: usize, rows: u32, cut: u32): void {
  step<u16>(s, at, column, rows, cut);
}

/** The same for tokens of 32 bits. */
export function stepPpv32(s: Search, at: u32, column: usize, rows: u32, cut: u32): void {
  step<u32>(s, at, column, rows, cut);
}
