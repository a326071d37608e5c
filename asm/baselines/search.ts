// What the steps of all baselines share: rows of logits become scores, candidates are offered, winners are written.
// No filters, no end tokens, no penalties: sequences of one length.
import { rowMax, sumExp } from "../kernels/softmax";
import { threshold, topKBegin, topKFinish, topKOffer } from "../kernels/select";

/** The search record; bench/baselines/wasm_search.ts writes it. Beams are written to one half of each array and read from the other. */
@unmanaged
export class Search {
  /** B, M, V */
  batches: u32;
  beams: u32;
  vocab: u32;
  /** [B·M, V] f32 */
  logits: usize;
  /** Candidates of 16 bytes: of the batch row, and of one row. */
  buffer: usize;
  bufferSize: u32;
  rowBuffer: usize;
  rowBufferSize: u32;
  /** [2, B·M] f32 */
  scores: usize;
  /** [2, B·M] u32 each: what a method knows of a beam. */
  states: usize;
  ends: usize;
  /** [L, B·M] u32 each */
  tokens: usize;
  parents: usize;
  /** [B] u32: live beams. */
  counts: usize;
  /** [M] u32 each: scratch of a method. */
  begins: usize;
  stops: usize;
}

export const NONE: u32 = 0xffffffff;

// The row at hand: a logit x gives the score (x - shift) + base.
/** Its largest logit. */
export let shift: f32 = 0;
let base: f32 = 0;
let parentCode: u32 = 0;
/** Logits that do not exceed this cannot win. */
export let limit: f32 = 0;

/** Rows of a batch row. */
export function rowsOf(s: Search, step: u32): u32 {
  return step == 0 ? 1 : s.beams;
}

/** Place of a beam among those that a step reads. */
export function inputOf(s: Search, step: u32, batch: u32, beam: u32): usize {
  return ((step & 1) * s.batches * s.beams + batch * rowsOf(s, step) + beam) << 2;
}

/** Place of a beam among those that a step writes. */
export function outputOf(s: Search, step: u32, batch: u32, beam: u32): usize {
  return ((~step & 1) * s.batches * s.beams + batch * s.beams + beam) << 2;
}

/** Whether there is a beam. */
export function isLive(s: Search, input: usize): bool {
  return load<f32>(s.scores + input) > -Infinity;
}

/** Logits of a row. */
export function logitsOf(s: Search, step: u32, batch: u32, beam: u32): usize {
  return s.logits + ((batch * rowsOf(s, step) + beam) * s.vocab << 2);
}

export function beginBatch(s: Search): void {
  topKBegin(s.buffer, s.beams, s.bufferSize);
}

/** Makes a row the one at hand; false if none of its tokens can be a candidate. */
export function beginRow(s: Search, input: usize, beam: u32, logits: usize): bool {
  const score = load<f32>(s.scores + input);
  if (!(score > -Infinity)) return false;
  const largest = rowMax(logits, s.vocab);
  if (!(largest > -Infinity)) return false;
  shift = largest;
  base = <f32>(<f64>score - Math.log(sumExp(logits, s.vocab, largest)));
  parentCode = beam << 21;
  updateLimit();
  return true;
}

/** Key of a candidate: higher score first, then lower parent, then lower token. */
function makeKey(score: f32, code: u32): u64 {
  let bits = reinterpret<u32>(score + 0.0); // no negative zero
  bits ^= <u32>(<i32>bits >> 31) | 0x80000000;
  return (<u64>bits << 32) | <u64>~code;
}

/** Token of a candidate's key. */
export function tokenOf(key: u64): u32 {
  return ~<u32>key & 0x1fffff;
}

/** A bound on the logits that is never too high: `offer` decides exactly. */
function updateLimit(): void {
  limit = -Infinity;
  if (threshold == 0) return;
  const bits = <u32>(threshold >> 32);
  const score = <f64>reinterpret<f32>(bits ^ (bits >> 31 ? 0x80000000 : 0xffffffff));
  const slack = 1e-6 * (abs<f64>(score) + abs<f64>(base) + abs<f64>(shift));
  limit = <f32>(<f64>shift + (score - <f64>base) - slack);
}

/** Considers a token of the row at hand; `payload` is what a method needs of it should it win. */
export function offer(x: f32, token: u32, payload: u32): void {
  const score = (x - shift) + base;
  if (!(score > -Infinity)) return;
  const key = makeKey(score, parentCode | token);
  if (key > threshold && topKOffer(key, payload, score)) updateLimit();
}

/** Which of the 32 logits from an address on exceed a bound; `isRare` if there is mostly none. */
// @ts-ignore: decorator
@inline
export function above(x: usize, bound: v128, isRare: bool): u32 {
  const ab = i16x8.narrow_i32x4_s(
    f32x4.gt(v128.load(x), bound),
    f32x4.gt(v128.load(x, 16), bound),
  );
  const cd = i16x8.narrow_i32x4_s(
    f32x4.gt(v128.load(x, 32), bound),
    f32x4.gt(v128.load(x, 48), bound),
  );
  const ef = i16x8.narrow_i32x4_s(
    f32x4.gt(v128.load(x, 64), bound),
    f32x4.gt(v128.load(x, 80), bound),
  );
  const gh = i16x8.narrow_i32x4_s(
    f32x4.gt(v128.load(x, 96), bound),
    f32x4.gt(v128.load(x, 112), bound),
  );
  if (isRare && !v128.any_true(v128.or(v128.or(ab, cd), v128.or(ef, gh)))) return 0;
  return i8x16.bitmask(i8x16.narrow_i16x8_s(ab, cd)) |
    (i8x16.bitmask(i8x16.narrow_i16x8_s(ef, gh)) << 16);
}

/** Writes the winners of a batch row: scores, tokens, parents, and their payloads as states. Returns their number. */
export function endBatch(s: Search, step: u32, batch: u32): u32 {
  const found = topKFinish();
  store<u32>(s.counts + (batch << 2), found);
  const first = batch * rowsOf(s, step);
  const history = (step * s.batches + batch) * s.beams << 2;
  const output = outputOf(s, step, batch, 0);
  for (let i: u32 = 0; i < s.beams; ++i) {
    const at = i << 2;
    let score: f32 = -Infinity;
    let state = NONE;
    let token = NONE;
    let parent = first;
    if (i < found) {
      const record = s.buffer + (i << 4);
      const key = load<u64>(record);
      token = tokenOf(key);
      parent = first + (~<u32>key >> 21);
      state = load<u32>(record, 8);
      score = load<f32>(record, 12);
    }
    store<f32>(s.scores + output + at, score);
    store<u32>(s.states + output + at, state);
    store<u32>(s.tokens + history + at, token);
    store<u32>(s.parents + history + at, parent);
  }
  return found;
}

/**
 * For searches in JavaScript: of every row with a score its largest logit, and the score less the logarithm of
 * the sum of exp(logit - largest), so that a logit x gives (x - largest) + base. Other rows get -infinity.
 */
export function normalize(
  logits: usize,
  rows: u32,
  vocab: u32,
  scores: usize,
  shifts: usize,
  bases: usize,
): void {
  for (let row: u32 = 0; row < rows; ++row) {
    const score = load<f32>(scores + (row << 2));
    const largest = score > -Infinity ? rowMax(logits, vocab) : -Infinity;
    let from: f32 = -Infinity;
    if (largest > -Infinity) {
      from = <f32>(<f64>score - Math.log(sumExp(logits, vocab, largest)));
    }
    store<f32>(shifts + (row << 2), largest);
    store<f32>(bases + (row << 2), from);
    logits += vocab << 2;
  }
}
