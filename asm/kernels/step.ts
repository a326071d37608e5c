// One step of the constrained beam search: log-sum-exp, candidates, exact top M, next states. The search
// record `s` and its fields are laid out in src/kernels/wasm/search_layout.ts.
//
// Rows come in ascending order, in one or more calls; a step runs to its end before another begins.
//
// Scores only fall: in f32, too, no child scores higher than its parent, except in mode "none". Early stop rests on that:
// no logit is above the largest, whose logarithm of the sum is not below 0.
import * as L from "./layout.gen";
import { bitmapEdge, bitmapRow } from "./bitmap_rows";
import { childState, isEnd, endNumber } from "./levels";
import { packedPair, packedRows, packedToken } from "./packed_rows";
import { bit, NONE } from "./bits";
import { beginDead, isDead, isEndAllowed, isOpen } from "./exclusions";
import { logSum, rowMax, widen } from "./softmax";
import {
  threshold,
  topKFinish,
  topKNestedBegin,
  topKNestedFinish,
  topKBegin,
  topKOffer,
} from "./select";


// The row at hand: a logit x gives the score (x - shift) + base and the rank score · lengthNorm.
let shift: f32 = 0;
let base: f32 = 0;
let lengthNorm: f32 = 1;
/** Parent beam, in the place where keys carry it. */
let parentCode: u32 = 0;
/** Logits that do not exceed this cannot win. */
let limit: f32 = 0;
let overflow: bool = false;

/** Key of a candidate: higher rank first, then lower parent, then lower token. */
function makeKey(rank: f32, code: u32): u64 {
  let bits = reinterpret<u32>(rank + 0.0); // no negative zero
  bits ^= <u32>(<i32>bits >> 31) | 0x80000000;
  return (<u64>bits << 32) | <u64>~code;
}

function thresholdRank(): f32 {
  const bits = <u32>(threshold >> 32);
  return reinterpret<f32>(bits ^ (bits >> 31 ? 0x80000000 : 0xffffffff));
}

/** A bound on the logits that is never too high: `offer` decides exactly. */
function updateLimit(): void {
  if (threshold == 0) {
    limit = -Infinity;
    return;
  }
  const target = <f64>thresholdRank() / <f64>lengthNorm;
  const slack = 1e-6 * (abs<f64>(target) + abs<f64>(base) + abs<f64>(shift));
  limit = <f32>(<f64>shift + (target - <f64>base) - slack);
}

/** Considers the score s; true if the limit may rise. */
function offerScore(s: f32, code: u32, edge: u32): void {
  if (!(s > -Infinity)) return;
  if (s == Infinity) {
    overflow = true;
    return;
  }
  const key = makeKey(s * lengthNorm, parentCode | code);
  if (key > threshold && topKOffer(key, edge, s)) updateLimit();
}

function offer(x: f32, code: u32, edge: u32): void {
  offerScore((x - shift) + base, code, edge);
}

/** Bits of the last word of a bitmap row that stand for tokens. */
function lastMask(level: usize): u32 {
  return 0xffffffff >> (-load<u32>(level, L.TOKEN_COUNT) & 31);
}

function scanBitmap(level: usize, state: u32, rule: usize, logits: usize): void {
  const words = load<u32>(level, L.ROW_WORDS);
  const place = (state * words) << 5;
  let filter = edgesAllowed(rule);
  beginDead(rule, place);
  const first = load<u32>(level, L.TOKEN_MIN);
  const row = bitmapRow(level, state);
  if (filter != 0) filter += (state * words) << 2;
  let bound = f32x4.splat(limit);
  let x = logits + (first << 2);
  const mask = lastMask(level);
  for (let j: u32 = 0; j < words; ++j, x += 128) {
    let word = load<u32>(row + (j << 2));
    if (j == words - 1) word &= mask;
    if (filter != 0) word &= load<u32>(filter + (j << 2));
    if (word == 0) continue;
    const a = f32x4.gt(v128.load(x), bound);
    const b = f32x4.gt(v128.load(x, 16), bound);
    const c = f32x4.gt(v128.load(x, 32), bound);
    const d = f32x4.gt(v128.load(x, 48), bound);
    const e = f32x4.gt(v128.load(x, 64), bound);
    const f = f32x4.gt(v128.load(x, 80), bound);
    const g = f32x4.gt(v128.load(x, 96), bound);
    const h = f32x4.gt(v128.load(x, 112), bound);
    const ab = i16x8.narrow_i32x4_s(a, b);
    const cd = i16x8.narrow_i32x4_s(c, d);
    const ef = i16x8.narrow_i32x4_s(e, f);
    const gh = i16x8.narrow_i32x4_s(g, h);
    if (!v128.any_true(v128.or(v128.or(ab, cd), v128.or(ef, gh)))) continue;
    word &= i8x16.bitmask(i8x16.narrow_i16x8_s(ab, cd)) |
      (i8x16.bitmask(i8x16.narrow_i16x8_s(ef, gh)) << 16);
    if (word == 0) continue;
    do {
      const token = ctz<u32>(word);
      word &= word - 1;
      if (isDead(place + (j << 5) + token)) continue;
      offer(load<f32>(x + (token << 2)), first + (j << 5) + token, NONE);
    } while (word != 0);
    bound = f32x4.splat(limit);
  }
}

function scanPacked(level: usize, begin: u32, end: u32, rule: usize, logits: usize): void {
  const filter = edgesAllowed(rule);
  beginDead(rule, begin);
  const tokens = load<u32>(level, L.TOKENS);
  const first = load<u32>(level, L.TOKEN_MIN);
  const last = load<u32>(level, L.TOKEN_COUNT) - 1;
  const bits = load<u32>(level, L.TOKEN_BITS);
  const mask: u32 = (1 << bits) - 1;
  logits += first << 2;
  let edge = begin;
  let bound = f32x4.splat(limit);
  // Four logits are gathered and compared at once. In damaged bytes tokens may be too large.
  for (; end - edge > 3; edge += 4) {
    const ab = packedPair(tokens, bits, edge);
    const cd = packedPair(tokens, bits, edge + 2);
    const a = min(<u32>ab & mask, last);
    const b = min(<u32>(ab >> bits) & mask, last);
    const c = min(<u32>cd & mask, last);
    const d = min(<u32>(cd >> bits) & mask, last);
    let x = v128.load32_splat(logits + (a << 2));
    x = v128.load32_lane(logits + (b << 2), x, 1);
    x = v128.load32_lane(logits + (c << 2), x, 2);
    x = v128.load32_lane(logits + (d << 2), x, 3);
    let hits: u32 = i32x4.bitmask(f32x4.gt(x, bound));
    if (hits == 0) continue;
    do {
      scanEdge(tokens, bits, mask, edge + ctz<u32>(hits), first, last, filter, logits);
      hits &= hits - 1;
    } while (hits != 0);
    bound = f32x4.splat(limit);
  }
  for (; edge < end; ++edge) scanEdge(tokens, bits, mask, edge, first, last, filter, logits);
}

// @ts-ignore: decorator
@inline
function scanEdge(
  tokens: usize,
  bits: u32,
  mask: u32,
  edge: u32,
  first: u32,
  last: u32,
  filter: usize,
  logits: usize,
): void {
  const token = packedToken(tokens, bits, mask, edge);
  if (token > last) return;
  const x = load<f32>(logits + (token << 2));
  if (x > limit && (filter == 0 || bit(filter, edge)) && !isDead(edge)) offer(x, first + token, edge);
}

/** Token and edge (NONE on a bitmap level) of the logit that {@link gather} copied last. */
let gatheredToken: u32 = 0;
let gatheredEdge: u32 = 0;

/** Copies the logits of the allowed tokens of a row to `out`; returns their number. */
function gather(
  level: usize,
  state: u32,
  begin: u32,
  end: u32,
  rule: usize,
  logits: usize,
  out: usize,
): u32 {
  const most = load<u32>(level, L.MAX_BRANCH);
  logits += load<u32>(level, L.TOKEN_MIN) << 2;
  let filter = edgesAllowed(rule);
  let n: u32 = 0;
  if (load<u32>(level, L.BITMAP)) {
    const words = load<u32>(level, L.ROW_WORDS);
    const row = bitmapRow(level, state);
    const place = (state * words) << 5;
    beginDead(rule, place);
    if (filter != 0) filter += (state * words) << 2;
    const mask = lastMask(level);
    for (let j: u32 = 0; j < words; ++j, logits += 128) {
      let word = load<u32>(row + (j << 2));
      if (j == words - 1) word &= mask;
      if (filter != 0) word &= load<u32>(filter + (j << 2));
      while (word != 0 && n < most) {
        const token = ctz<u32>(word);
        word &= word - 1;
        if (isDead(place + (j << 5) + token)) continue;
        store<f32>(out + (n++ << 2), load<f32>(logits + (token << 2)));
        gatheredToken = load<u32>(level, L.TOKEN_MIN) + (j << 5) + token;
        gatheredEdge = NONE;
      }
    }
    return n;
  }
  const tokens = load<u32>(level, L.TOKENS);
  const width = load<u32>(level, L.TOKEN_COUNT);
  const bits = load<u32>(level, L.TOKEN_BITS);
  const mask: u32 = (1 << bits) - 1;
  beginDead(rule, begin);
  for (let edge = begin; edge < end && n < most; ++edge) {
    const token = packedToken(tokens, bits, mask, edge);
    if (token >= width || (filter != 0 && !bit(filter, edge)) || isDead(edge)) continue;
    store<f32>(out + (n++ << 2), load<f32>(logits + (token << 2)));
    gatheredToken = load<u32>(level, L.TOKEN_MIN) + token;
    gatheredEdge = edge;
  }
  return n;
}

/** Record of what a batch row allows on the step's level, or 0. */
function ruleOf(s: usize, batch: u32): usize {
  const rules = load<u32>(s, L.RULES);
  return rules == 0 ? 0 : rules + batch * <u32>L.RULE_BYTES;
}

function edgesAllowed(rule: usize): usize {
  return rule == 0 ? 0 : load<u32>(rule, L.EDGES_ALLOWED);
}

/** Opens the selection and looks up all rows and what they begin with at once, so that their cache misses overlap. */
function beginBatch(s: usize, batch: u32, perBatch: u32): void {
  topKBegin(load<u32>(s, L.BUFFER), load<u32>(s, L.BEAMS), load<u32>(s, L.BUFFER_SIZE));
  const level = load<u32>(s, L.LEVEL);
  if (level == 0 || load<u32>(level, L.BITMAP)) return;
  const states = load<u32>(s, L.INPUT) + L.BEAM_STATE * load<u32>(s, L.BEAM_STRIDE);
  const begins = load<u32>(s, L.ROW_BEGINS);
  packedRows(level, states + ((batch * perBatch) << 2), perBatch, begins, load<u32>(s, L.ROW_ENDS));
  const touched = load<u32>(s, L.ROW_TOUCHED);
  const tokens = load<u32>(level, L.TOKENS);
  const bits = load<u32>(level, L.TOKEN_BITS);
  const mask: u32 = (1 << bits) - 1;
  const filter = edgesAllowed(ruleOf(s, batch));
  for (let i: u32 = 0; i < perBatch << 2; i += 4) {
    const begin = min(load<u32>(begins + i), load<u32>(level, L.EDGES) - 1);
    let sum = packedToken(tokens, bits, mask, begin);
    if (filter != 0) sum += bit(filter, begin);
    store<u32>(touched + i, sum);
  }
}

/** A score without the logarithm of a sum of exponentials, which is at least that of the largest. */
function fallen(score: f32, log: f64): f32 {
  return <f32>(<f64>score - log);
}

/** Adds the candidates of one row; false if a logit is +infinity, or nobody has written the row. */
function stepRow(s: usize, batch: u32, perBatch: u32, beam: u32, logits: usize, form: u32): bool {
  const stride = load<u32>(s, L.BEAM_STRIDE);
  const at = load<u32>(s, L.INPUT) + ((batch * perBatch + beam) << 2);
  const status = load<u32>(at + L.BEAM_STATUS * stride);
  if (status == 0) return true;
  const score = load<f32>(at + L.BEAM_SCORE * stride);
  const edge = load<u32>(at + L.BEAM_EDGE * stride);
  const lengthNorms = load<u32>(s, L.LENGTH_NORMS);
  const step = load<u32>(s, L.STEP);
  const endToken = load<u32>(s, L.END_TOKEN);
  parentCode = beam << 21;
  overflow = false;
  if (status & L.ENDED) {
    lengthNorm = load<f32>(lengthNorms + (load<u32>(at + L.BEAM_LENGTH * stride) << 2));
    offerScore(score, L.STOP, edge);
    return true;
  }

  const width = load<u32>(s, L.WIDTH);
  if (form == L.MARKED) {
    const lastLogit = logits + ((width - 1) << 2);
    if (load<u32>(logits) == L.UNWRITTEN || load<u32>(lastLogit) == L.UNWRITTEN) return false;
  }
  const mode = load<u32>(s, L.MODE);
  const level = load<u32>(s, L.LEVEL);
  const stops = (status & L.STOPPABLE) != 0 && endToken != NONE;
  let endLogit: f32 = -Infinity;
  if (form == L.FLOAT16) {
    const scratch = load<u32>(s, L.SCRATCH);
    if (stops) {
      widen(logits + (endToken << 1), scratch, 1);
      endLogit = load<f32>(scratch);
    }
    // Only "vocab" reads the whole row.
    if (mode == L.MODE_VOCAB) {
      widen(logits, scratch, width);
    } else if (status & L.LIVE) {
      const first = load<u32>(level, L.TOKEN_MIN);
      widen(logits + (first << 1), scratch + (first << 2), load<u32>(level, L.TOKEN_COUNT));
    }
    logits = scratch;
  } else if (stops) {
    endLogit = load<f32>(logits + (endToken << 2));
  }
  const state = load<u32>(at + L.BEAM_STATE * stride);
  const rule = ruleOf(s, batch);
  const isBitmap = level != 0 && load<u32>(level, L.BITMAP);
  const begin = load<u32>(load<u32>(s, L.ROW_BEGINS) + (beam << 2));
  const end = load<u32>(load<u32>(s, L.ROW_ENDS) + (beam << 2));
  let largest: f32 = 0;
  let isOnly = false;
  shift = 0;
  base = score;
  if (mode == L.MODE_VOCAB) largest = rowMax(logits, width);
  if (mode == L.MODE_ALLOWED || largest == Infinity) {
    const allowed = load<u32>(s, L.GATHER);
    let n: u32 = 0;
    if (status & L.LIVE) n = gather(level, state, begin, end, rule, logits, allowed);
    if (stops) store<f32>(allowed + (n++ << 2), endLogit);
    const most = rowMax(allowed, n);
    isOnly = mode == L.MODE_ALLOWED && n == 1;
    if (most == Infinity && !isOnly) return false;
    // +infinity where nothing is allowed takes all probability: nothing is left for the row.
    largest = mode == L.MODE_ALLOWED && !isOnly ? most : -Infinity;
    if (largest > -Infinity) base = fallen(score, logSum(allowed, n, largest));
  } else if (mode == L.MODE_VOCAB && largest > -Infinity) {
    base = fallen(score, logSum(logits, width, largest));
  }
  if (isOnly) {
    // Among one token, whatever its logit: probability 1.
    lengthNorm = load<f32>(lengthNorms + ((stops ? step : step + 1) << 2));
    if (stops) offer(0, L.STOP, edge);
    else offer(0, gatheredToken, gatheredEdge);
  } else if (endLogit == Infinity) {
    return false;
  }
  if (mode != L.MODE_NONE) shift = largest;
  if (largest > -Infinity) {
    if (status & L.LIVE) {
      lengthNorm = load<f32>(lengthNorms + ((step + 1) << 2));
      const perBeam = load<u32>(s, L.TOKENS_PER_BEAM);
      if (perBeam != 0) {
        const rowShift = shift;
        const rowBase = base;
        const rowNorm = lengthNorm;
        const rows = load<u32>(s, L.ROW_BUFFER);
        topKNestedBegin(rows, perBeam, load<u32>(s, L.ROW_BUFFER_SIZE));
        shift = 0;
        base = 0;
        lengthNorm = 1;
        updateLimit();
        if (isBitmap) scanBitmap(level, state, rule, logits);
        else scanPacked(level, begin, end, rule, logits);
        const n = topKNestedFinish();
        shift = rowShift;
        base = rowBase;
        lengthNorm = rowNorm;
        for (let i: u32 = 0; i < n; ++i) {
          const record = rows + (i << 4);
          const code = ~<u32>load<u64>(record) & 0x1fffff;
          offer(load<f32>(record, 12), code, load<u32>(record, 8));
        }
      } else {
        updateLimit();
        if (isBitmap) scanBitmap(level, state, rule, logits);
        else scanPacked(level, begin, end, rule, logits);
      }
    }
    if (stops) {
      lengthNorm = load<f32>(lengthNorms + (step << 2));
      offer(endLogit, L.STOP, edge);
    }
  }
  if ((status & L.STOPPABLE) != 0 && endToken == NONE) {
    lengthNorm = load<f32>(lengthNorms + (step << 2));
    offerScore(score, L.STOP, edge);
  }
  return !overflow;
}

/** Writes the winners of a batch row as the beams of the next step. */
function endBatch(s: usize, batch: u32, perBatch: u32): void {
  const found = topKFinish();
  const beams = load<u32>(s, L.BEAMS);
  const stride = load<u32>(s, L.BEAM_STRIDE);
  const input = load<u32>(s, L.INPUT);
  const level = load<u32>(s, L.LEVEL);
  const step = load<u32>(s, L.STEP);
  const endToken = load<u32>(s, L.END_TOKEN);
  const pad = load<u32>(s, L.PAD_TOKEN);
  const rule = ruleOf(s, batch);
  const isBitmap = level != 0 && load<u32>(level, L.BITMAP);
  let record: usize = load<u32>(s, L.BUFFER);
  let out: usize = load<u32>(s, L.OUTPUT) + ((batch * beams) << 2);
  let tokens: usize = load<u32>(s, L.TOKENS_OUT) + ((batch * beams) << 2);
  let parents: usize = load<u32>(s, L.PARENTS_OUT) + ((batch * beams) << 2);
  for (let i: u32 = 0; i < beams; ++i) {
    let score: f32 = -Infinity;
    let state = NONE;
    let edge = NONE;
    let length: u32 = 0;
    let status: u32 = 0;
    let token = pad;
    let source = batch * perBatch;
    if (i < found) {
      const code = ~<u32>load<u64>(record);
      source += code >> 21;
      edge = load<u32>(record, 8);
      score = load<f32>(record, 12);
      const at = input + (source << 2);
      if (code & L.STOP) {
        length = load<u32>(at + L.BEAM_LENGTH * stride);
        status = L.ENDED;
      } else {
        const winner = code & (L.STOP - 1);
        if (isBitmap) {
          edge = bitmapEdge(
            level,
            load<u32>(at + L.BEAM_STATE * stride),
            winner - load<u32>(level, L.TOKEN_MIN),
          );
        }
        length = step + 1;
        state = childState(level, edge);
        if (state == NONE) {
          status = endToken == NONE ? L.ENDED : L.STOPPABLE;
        } else {
          status = L.LIVE;
          if (isEnd(level, edge) && isEndAllowed(rule, endNumber(level, edge))) {
            status |= L.STOPPABLE;
            // What lies below may be forbidden.
            const below = rule == 0 ? 0 : rule + load<u32>(s, L.RULES_STRIDE);
            if (below != 0 && !isOpen(level + L.RECORD_BYTES, state, below)) {
              status = endToken == NONE ? L.ENDED : L.STOPPABLE;
            }
          }
        }
        if (!(status & L.ENDED)) token = winner;
      }
      record += 16;
    }
    store<f32>(out + L.BEAM_SCORE * stride, score);
    store<u32>(out + L.BEAM_STATE * stride, state);
    store<u32>(out + L.BEAM_EDGE * stride, edge);
    store<u32>(out + L.BEAM_LENGTH * stride, length);
    store<u32>(out + L.BEAM_STATUS * stride, status);
    store<u32>(tokens, token);
    store<u32>(parents, source);
    out += 4;
    tokens += 4;
    parents += 4;
  }
}

/**
 * Consumes the logits of `rows` rows from row `first` on, which stand where ROW_LOGITS says ([WIDTH] each; `form`: f32, f16,
 * or f32 in rows that were marked). Returns NONE, or the row in which a logit of an allowed token, or a score, is +infinity,
 * or a mark still stands: then the step is void.
 */
export function stepRows(s: usize, first: u32, rows: u32, form: u32): u32 {
  const perBatch = load<u32>(s, L.ROWS_PER_BATCH);
  const logits = load<u32>(s, L.ROW_LOGITS);
  for (let row = first; row < first + rows; ++row) {
    const batch = row / perBatch;
    const beam = row - batch * perBatch;
    if (beam == 0) beginBatch(s, batch, perBatch);
    if (!stepRow(s, batch, perBatch, beam, load<u32>(logits + (row << 2)), form)) return row;
    if (beam == perBatch - 1) endBatch(s, batch, perBatch);
  }
  return NONE;
}
