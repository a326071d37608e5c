/** One workgroup per row: log-sum-exp, and the row's best candidates. */
import { PARAM_STRUCT } from "./params.ts";
import { BITMAP_ROWS_WGSL } from "./bitmap_rows.ts";
import { BEAM_WGSL, LEVEL_WGSL, RADIX_WGSL, RULES_WGSL, WORKGROUP } from "./common.ts";
import { PACKED_ROWS_WGSL } from "./packed_rows.ts";

/** Words of a candidate: key (2), edge, score. */
export const RECORD_WORDS = 4;

/** The kernel as data. */
export const ROWS_KERNEL = {
  label: "espalier rows",
  bindings: [
    "uniform",
    "read-only-storage",
    "read-only-storage",
    "read-only-storage",
    "read-only-storage",
    "read-only-storage",
    "storage",
    "storage",
  ] as const,
  code: PARAM_STRUCT + /* wgsl */ `
@group(0) @binding(0) var<uniform> p: Params;
/** Words of the level. */
@group(0) @binding(1) var<storage, read> level: array<u32>;
/** f32 bits, or pairs of f16 bits. */
@group(0) @binding(2) var<storage, read> logits: array<u32>;
@group(0) @binding(3) var<storage, read> beams: array<u32>;
/** Bits of all filters. */
@group(0) @binding(4) var<storage, read> filters: array<u32>;
@group(0) @binding(5) var<storage, read> data: array<u32>;
/** [rows] counts, then [rows, KEEP + 1] candidates. */
@group(0) @binding(6) var<storage, read_write> records: array<u32>;
/** [steps] smallest row with an infinite logit of an allowed token. */
@group(0) @binding(7) var<storage, read_write> flags: array<atomic<u32>>;
` + LEVEL_WGSL + PACKED_ROWS_WGSL + BITMAP_ROWS_WGSL + BEAM_WGSL + RADIX_WGSL + RULES_WGSL +
    /* wgsl */ `
const LOWEST = -3.4028234e38;
/** Bits. */
const INFINITY = 0x7f800000u;

var<private> row: u32;
var<private> state: u32;
var<private> begin: u32;
var<private> filter_at: u32;
/** Whether one token is allowed alone, in mode "allowed": it has probability 1, whatever its logit. */
var<private> isOnly: bool;
/** Row of the logits. */
var<private> source: u32;
/** Excluded edges of the row, as words of \`data\`. */
var<private> dead: vec2u;

var<workgroup> partial: array<f32, ${WORKGROUP}>;
var<workgroup> slots: atomic<u32>;

/** Bits of a logit as f32. */
fn logit_bits(token: u32) -> u32 {
  if (isOnly) { return 0u; }
  let at = p.LOGITS_OFFSET + source * p.LOGITS_STRIDE + token;
  if (p.LOGITS_HALF == 0u) { return logits[at]; }
  let half = (logits[at >> 1u] >> ((at & 1u) * 16u)) & 0xffffu;
  let sign = (half & 0x8000u) << 16u;
  let exponent = (half >> 10u) & 31u;
  let mantissa = half & 0x3ffu;
  if (exponent == 31u) { return sign | 0x7f800000u | (mantissa << 13u); }
  if (exponent == 0u) { return sign | bitcast<u32>(f32(mantissa) * 5.9604644775390625e-8); }
  return sign | ((exponent + 112u) << 23u) | (mantissa << 13u);
}

/** Token of candidate i of the row, or NONE if it is not allowed. */
fn allowed_token(i: u32) -> u32 {
  if (p.BITMAP != 0u) {
    let place = bitmap_place(state, i);
    if (!bitmap_has(state, i)) { return NONE; }
    if (filter_at != NONE && !filter_bit(place)) { return NONE; }
    if (is_listed(dead, place)) { return NONE; }
    return p.TOKEN_MIN + i;
  }
  let token = packed_token(begin + i);
  if (token >= p.TOKEN_COUNT) { return NONE; }
  if (filter_at != NONE && !filter_bit(begin + i)) { return NONE; }
  if (is_listed(dead, begin + i)) { return NONE; }
  return p.TOKEN_MIN + token;
}

fn filter_bit(position: u32) -> bool {
  return ((filters[filter_at + (position >> 5u)] >> (position & 31u)) & 1u) != 0u;
}

/** Key of candidate i: by logit, then lower token. The score of a row ascends with the logit. */
fn candidate(i: u32) -> vec2u {
  let token = allowed_token(i);
  if (token == NONE) { return vec2u(0u); }
  let bits = logit_bits(token);
  if (!is_finite(bits)) {
    note(bits);
    return vec2u(0u);
  }
  return vec2u(orderable(bitcast<f32>(bits)), ~token);
}

/** +infinity is an error where a token is allowed. */
fn note(bits: u32) {
  if (bits == INFINITY) { atomicMin(&flags[p.STEP], source); }
}

fn reduce_max(lane: u32, value: f32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var half = ${WORKGROUP / 2}u; half > 0u; half >>= 1u) {
    if (lane < half) { partial[lane] = max(partial[lane], partial[lane + half]); }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&partial[0]);
}

fn reduce_sum(lane: u32, value: f32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var half = ${WORKGROUP / 2}u; half > 0u; half >>= 1u) {
    if (lane < half) { partial[lane] += partial[lane + half]; }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&partial[0]);
}

/** exp(logit - shift), 0 for what is impossible. */
fn weight(token: u32, shift: f32) -> f32 {
  let bits = logit_bits(token);
  if (!is_finite(bits)) { return 0.0; }
  return exp(max(bitcast<f32>(bits) - shift, -87.0));
}

/** A score without the logarithm of a sum of weights, which is at least that of the largest, 1: scores only fall. */
fn fallen(score: f32, sum: f32) -> f32 {
  return score - log(max(sum, 1.0));
}

fn emit(code: u32, edge: u32, score: f32, length: u32) {
  let bits = bitcast<u32>(score);
  if (!is_finite(bits)) {
    note(bits);
    return;
  }
  let key = orderable(score * length_norm(length));
  let at = p.RECORDS_AT + (row * (p.KEEP + 1u) + atomicAdd(&slots, 1u)) * ${RECORD_WORDS}u;
  let beam = row % p.ROWS_PER_BATCH;
  records[at] = key;
  records[at + 1u] = ~((beam << 21u) | code);
  records[at + 2u] = edge;
  records[at + 3u] = bits;
}

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  // What barriers depend on stays in locals: private variables do not count as uniform.
  let at = group.y * p.GRID_X + group.x;
  if (at >= p.ROWS) { return; }
  row = at;
  let status = beams[BEAM_STATUS * p.BEAM_STRIDE + at];
  let score = bitcast<f32>(beams[BEAM_SCORE * p.BEAM_STRIDE + at]);
  let edge = beams[BEAM_EDGE * p.BEAM_STRIDE + at];
  if (lane == 0u) { atomicStore(&slots, 0u); }
  workgroupBarrier();

  if ((status & (LIVE | STOPPABLE)) != 0u) {
    source = row;
    if (p.RUN == 2u) { source = beams[BEAM_ORIGIN * p.BEAM_STRIDE + at]; }
    let isLive = (status & LIVE) != 0u;
    let stops = (status & STOPPABLE) != 0u && p.END_TOKEN != NONE;
    let here = beams[BEAM_STATE * p.BEAM_STRIDE + at];
    let batch = at / p.ROWS_PER_BATCH;
    state = here;
    filter_at = rule(batch, 0u);
    var n = 0u;
    var places = vec2u(0u);
    if (isLive) {
      if (p.BITMAP != 0u) {
        n = p.TOKEN_COUNT;
        places.x = bitmap_place(here, 0u);
      } else {
        let edges = packed_row(here);
        begin = edges.x;
        n = max(edges.x, edges.y) - edges.x;
        places.x = begin;
      }
    }
    places.y = places.x + n;
    dead = vec2u(rule(batch, 2u), rule(batch, 3u));
    if (dead.x < dead.y) { dead = vec2u(first_from(dead, places.x), first_from(dead, places.y)); }

    var shift = 0.0;
    var base = score;
    var isPossible = true;
    if (p.MODE == MODE_VOCAB) {
      var most = LOWEST;
      var infinite = 0.0;
      for (var token = lane; token < p.WIDTH; token += ${WORKGROUP}u) {
        let bits = logit_bits(token);
        if (is_finite(bits)) {
          most = max(most, bitcast<f32>(bits));
        } else if (bits == INFINITY) {
          infinite = 1.0;
        }
      }
      shift = reduce_max(lane, most);
      // Where no such token is allowed, it takes all probability: nothing is left for the row.
      isPossible = reduce_max(lane, infinite) == 0.0;
      var total = 0.0;
      // Short partial sums, so that rounding does not pile up in wide rows.
      for (var first = lane; first < p.WIDTH; first += ${WORKGROUP * 64}u) {
        var sum = 0.0;
        let end = min(p.WIDTH, first + ${WORKGROUP * 64}u);
        for (var token = first; token < end; token += ${WORKGROUP}u) {
          sum += weight(token, shift);
        }
        total += sum;
      }
      base = fallen(score, reduce_sum(lane, total));
    } else if (p.MODE == MODE_ALLOWED) {
      var most = LOWEST;
      var count = select(0.0, 1.0, stops && lane == 0u);
      for (var i = lane; i < n; i += ${WORKGROUP}u) {
        count += select(0.0, 1.0, allowed_token(i) != NONE);
      }
      isOnly = reduce_sum(lane, count) == 1.0;
      for (var i = lane; i < n; i += ${WORKGROUP}u) {
        let token = allowed_token(i);
        if (token == NONE) { continue; }
        let bits = logit_bits(token);
        if (is_finite(bits)) { most = max(most, bitcast<f32>(bits)); }
      }
      if (stops && lane == 0u) {
        let bits = logit_bits(p.END_TOKEN);
        if (is_finite(bits)) { most = max(most, bitcast<f32>(bits)); }
      }
      shift = reduce_max(lane, most);
      var total = 0.0;
      for (var i = lane; i < n; i += ${WORKGROUP}u) {
        let token = allowed_token(i);
        if (token != NONE) { total += weight(token, shift); }
      }
      if (stops && lane == 0u) { total += weight(p.END_TOKEN, shift); }
      base = fallen(score, reduce_sum(lane, total));
    }

    if (isLive) {
      var bar = vec2u(0u);
      if (n > p.KEEP) { bar = threshold(n, p.KEEP, lane); }
      for (var i = lane; i < n; i += ${WORKGROUP}u) {
        let key = candidate(i);
        if (key.x == 0u || !isPossible || !reaches(key, bar)) { continue; }
        let token = ~key.y;
        let x = bitcast<f32>(logit_bits(token));
        emit(token, select(begin + i, NONE, p.BITMAP != 0u), (x - shift) + base, p.STEP + 1u);
      }
    }
    if (stops && lane == 0u) {
      let bits = logit_bits(p.END_TOKEN);
      note(bits);
      if (is_finite(bits) && isPossible) {
        emit(STOP, edge, (bitcast<f32>(bits) - shift) + base, p.STEP);
      }
    }
  }
  // An ended beam carries on; without an end token stopping is free.
  if (lane == 0u) {
    if ((status & ENDED) != 0u) {
      emit(STOP, edge, score, beams[BEAM_LENGTH * p.BEAM_STRIDE + row]);
    } else if ((status & STOPPABLE) != 0u && p.END_TOKEN == NONE) {
      emit(STOP, edge, score, p.STEP);
    }
  }
  workgroupBarrier();
  if (lane == 0u) { records[row] = atomicLoad(&slots); }
}
`,
};
