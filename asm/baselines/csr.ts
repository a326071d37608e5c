// The published STATIC layout: dense tables for the first d levels, then rows of (token, next state) pairs of 32 bits.
import {
  above,
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

/** bench/baselines/published_csr.ts writes it. */
@unmanaged
export class Csr {
  /** d, 1 or 2 */
  dense: u32;
  /** Words of a row of validity bits. */
  words: u32;
  /** [words] bits of the tokens that may come first. */
  first: usize;
  /** [V^(d-1), words] validity of the last dense level. */
  valid: usize;
  /** [V^d] u32 next states of the last dense level. */
  next: usize;
  /** [states + 1] u32: first pair of each row. */
  rows: usize;
  /** [pairs] (token, next state), u32 each. */
  pairs: usize;
}

function scanDense(row: usize, words: u32, logits: usize): void {
  let bound = f32x4.splat(limit);
  for (let j: u32 = 0; j < words; ++j) {
    let word = load<u32>(row + (j << 2));
    if (word == 0) continue;
    const x = logits + (j << 7);
    word &= above(x, bound, true);
    if (word == 0) continue;
    do {
      const token = ctz<u32>(word);
      word &= word - 1;
      offer(load<f32>(x + (token << 2)), (j << 5) + token, 0);
    } while (word != 0);
    bound = f32x4.splat(limit);
  }
}

function scanSparse(at: usize, end: usize, logits: usize): void {
  // Four logits are gathered, and compared at once.
  let bound = f32x4.splat(limit);
  while (at + 32 <= end) {
    let x = v128.load32_splat(logits + (load<u32>(at) << 2));
    x = v128.load32_lane(logits + (load<u32>(at, 8) << 2), x, 1);
    x = v128.load32_lane(logits + (load<u32>(at, 16) << 2), x, 2);
    x = v128.load32_lane(logits + (load<u32>(at, 24) << 2), x, 3);
    let mask: u32 = i32x4.bitmask(f32x4.gt(x, bound));
    if (mask != 0) {
      do {
        const pair = at + (ctz<u32>(mask) << 3);
        mask &= mask - 1;
        const token = load<u32>(pair);
        offer(load<f32>(logits + (token << 2)), token, load<u32>(pair, 4));
      } while (mask != 0);
      bound = f32x4.splat(limit);
    }
    at += 32;
  }
  for (; at < end; at += 8) {
    const token = load<u32>(at);
    const x = load<f32>(logits + (token << 2));
    if (x > limit) offer(x, token, load<u32>(at, 4));
  }
}

/** Looks up the rows of all beams at once, so that their cache misses overlap. */
function lookUp(s: Search, c: Csr, step: u32, batch: u32): void {
  const beams = rowsOf(s, step);
  for (let beam: u32 = 0; beam < beams; ++beam) {
    const input = inputOf(s, step, batch, beam);
    if (!isLive(s, input)) continue;
    const row = c.rows + (load<u32>(s.states + input) << 2);
    store<u32>(s.begins + (beam << 2), c.pairs + (load<u32>(row) << 3));
    store<u32>(s.stops + (beam << 2), c.pairs + (load<u32>(row, 4) << 3));
  }
  for (let beam: u32 = 0; beam < beams; ++beam) {
    if (!isLive(s, inputOf(s, step, batch, beam))) continue;
    // The token is read ahead and kept where nobody reads it.
    const begin = load<u32>(s.begins + (beam << 2));
    store<u32>(s.rowBuffer + (beam << 2), load<u32>(begin));
  }
}

/** One step over all rows. */
export function stepCsr(s: Search, step: u32, c: Csr): void {
  const beams = rowsOf(s, step);
  const isDense = step < c.dense;
  for (let batch: u32 = 0; batch < s.batches; ++batch) {
    beginBatch(s);
    if (!isDense) lookUp(s, c, step, batch);
    for (let beam: u32 = 0; beam < beams; ++beam) {
      const input = inputOf(s, step, batch, beam);
      const logits = logitsOf(s, step, batch, beam);
      if (!beginRow(s, input, beam, logits)) continue;
      if (isDense) {
        const bits = step + 1 < c.dense ? c.first : c.valid +
          (step == 0 ? 0 : load<u32>(s.states + input) * c.words << 2);
        scanDense(bits, c.words, logits);
      } else {
        scanSparse(
          load<u32>(s.begins + (beam << 2)),
          load<u32>(s.stops + (beam << 2)),
          logits,
        );
      }
    }
    const found = endBatch(s, step, batch);
    if (isDense) settle(s, c, step, batch, found);
  }
}

/** Next states of the winners of a dense level: up to its last the token, then the table's. */
function settle(s: Search, c: Csr, step: u32, batch: u32, found: u32): void {
  const input = inputOf(s, step, 0, 0);
  const output = outputOf(s, step, batch, 0);
  const history = (step * s.batches + batch) * s.beams << 2;
  for (let i: u32 = 0; i < found; ++i) {
    let state = load<u32>(s.tokens + history + (i << 2));
    if (step + 1 == c.dense) {
      if (step > 0) {
        const parent = load<u32>(s.parents + history + (i << 2));
        state += load<u32>(s.states + input + (parent << 2)) * s.vocab;
      }
      state = load<u32>(c.next + (state << 2));
    }
    store<u32>(s.states + output + (i << 2), state);
  }
}
