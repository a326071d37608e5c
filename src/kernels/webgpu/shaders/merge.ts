/** One workgroup per batch row: the best M candidates of its rows become the beams of the next step. */
import { PARAM_STRUCT } from "./params.ts";
import { RECORD_WORDS } from "./rows.ts";
import { BITMAP_ROWS_WGSL } from "./bitmap_rows.ts";
import { BEAM_WGSL, LEVEL_WGSL, RADIX_WGSL, RULES_WGSL, WORKGROUP } from "./common.ts";

/** Most beams per batch row: what the sort in workgroup memory holds. */
const MAX_BEAMS = 1024;

/** The kernel as data. */
export const MERGE_KERNEL = {
  label: "espalier merge",
  bindings: [
    "uniform",
    "read-only-storage",
    "read-only-storage",
    "read-only-storage",
    "read-only-storage",
    "read-only-storage",
    "storage",
    "storage",
    "storage",
  ] as const,
  code: PARAM_STRUCT + /* wgsl */ `
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> level: array<u32>;
@group(0) @binding(2) var<storage, read> beams: array<u32>;
@group(0) @binding(3) var<storage, read> filters: array<u32>;
@group(0) @binding(4) var<storage, read> data: array<u32>;
@group(0) @binding(5) var<storage, read> records: array<u32>;
/** Beams of the next step, then one word per batch row: 1 = a beam lives. */
@group(0) @binding(6) var<storage, read_write> winners: array<u32>;
@group(0) @binding(7) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(8) var<storage, read_write> parents: array<u32>;
` + LEVEL_WGSL + BITMAP_ROWS_WGSL + BEAM_WGSL + RADIX_WGSL + RULES_WGSL + /* wgsl */ `
var<private> batch: u32;

var<workgroup> high: array<u32, ${MAX_BEAMS}>;
var<workgroup> low: array<u32, ${MAX_BEAMS}>;
var<workgroup> place: array<u32, ${MAX_BEAMS}>;
var<workgroup> found: atomic<u32>;
var<workgroup> live: atomic<u32>;
/** Whether the first results may still change. */
var<workgroup> open: atomic<u32>;

/** Word of slot i of the batch row's records, or NONE if the slot is empty. */
fn slot(i: u32) -> u32 {
  let slots = p.KEEP + 1u;
  let row = batch * p.ROWS_PER_BATCH + i / slots;
  if (i % slots >= records[row]) { return NONE; }
  return p.RECORDS_AT + (row * slots + i % slots) * ${RECORD_WORDS}u;
}

fn candidate(i: u32) -> vec2u {
  let at = slot(i);
  if (at == NONE) { return vec2u(0u); }
  return vec2u(records[at], records[at + 1u]);
}

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  batch = group.x;
  let n = p.ROWS_PER_BATCH * (p.KEEP + 1u);
  var bar = vec2u(0u);
  if (n > p.BEAMS) { bar = threshold(n, p.BEAMS, lane); }
  if (lane == 0u) {
    atomicStore(&found, 0u);
    atomicStore(&live, 0u);
    atomicStore(&open, select(0u, 1u, p.RESULTS == 0u));
  }
  var size = 1u;
  while (size < p.BEAMS) { size <<= 1u; }
  for (var i = lane; i < size; i += ${WORKGROUP}u) {
    high[i] = 0u;
    low[i] = 0u;
  }
  workgroupBarrier();
  for (var i = lane; i < n; i += ${WORKGROUP}u) {
    let key = candidate(i);
    if (key.x == 0u || !reaches(key, bar)) { continue; }
    let at = atomicAdd(&found, 1u);
    high[at] = key.x;
    low[at] = key.y;
    place[at] = slot(i);
  }
  workgroupBarrier();

  // Bitonic sort, best first; empty places have key 0 and go last.
  for (var run = 2u; run <= size; run <<= 1u) {
    for (var reach = run >> 1u; reach > 0u; reach >>= 1u) {
      for (var i = lane; i < size; i += ${WORKGROUP}u) {
        let j = i ^ reach;
        if (j > i) {
          let isLess = high[i] < high[j] || (high[i] == high[j] && low[i] < low[j]);
          if (isLess == ((i & run) == 0u)) {
            let a = vec3u(high[i], low[i], place[i]);
            high[i] = high[j];
            low[i] = low[j];
            place[i] = place[j];
            high[j] = a.x;
            low[j] = a.y;
            place[j] = a.z;
          }
        }
      }
      workgroupBarrier();
    }
  }

  let count = atomicLoad(&found);
  for (var i = lane; i < p.BEAMS; i += ${WORKGROUP}u) {
    var score = 0xff800000u; // -infinity
    var state = NONE;
    var edge = NONE;
    var length = 0u;
    var status = 0u;
    var token = p.PAD_TOKEN;
    var source = batch * p.ROWS_PER_BATCH;
    if (i < count) {
      let code = ~low[i];
      source += code >> 21u;
      edge = records[place[i] + 2u];
      score = records[place[i] + 3u];
      if ((code & STOP) != 0u) {
        length = beams[BEAM_LENGTH * p.BEAM_STRIDE + source];
        status = ENDED;
      } else {
        let winner = code & (STOP - 1u);
        if (p.BITMAP != 0u) {
          edge = bitmap_edge(beams[BEAM_STATE * p.BEAM_STRIDE + source], winner - p.TOKEN_MIN);
        }
        length = p.STEP + 1u;
        state = child_state(edge);
        if (state == NONE) {
          status = select(STOPPABLE, ENDED, p.END_TOKEN == NONE);
        } else {
          status = LIVE;
          if (is_end(edge) && end_allowed(edge)) { status |= STOPPABLE; }
        }
        if (status != ENDED) { token = winner; }
      }
    }
    let isLive = (status & (LIVE | STOPPABLE)) != 0u;
    if (isLive) { atomicStore(&live, 1u); }
    if (i < p.RESULTS) {
      if (status != ENDED) { atomicStore(&open, 1u); }
    } else if (isLive && p.RESULTS != 0u && p.FARTHEST != 0u) {
      let bound = orderable(bitcast<f32>(score) * length_norm(p.FARTHEST));
      if (bound >= high[p.RESULTS - 1u]) { atomicStore(&open, 1u); }
    }
    let beam = batch * p.BEAMS + i;
    winners[BEAM_SCORE * p.BEAM_STRIDE + beam] = score;
    winners[BEAM_STATE * p.BEAM_STRIDE + beam] = state;
    winners[BEAM_EDGE * p.BEAM_STRIDE + beam] = edge;
    winners[BEAM_LENGTH * p.BEAM_STRIDE + beam] = length;
    winners[BEAM_STATUS * p.BEAM_STRIDE + beam] = status;
    tokens[beam] = token;
    parents[beam] = source;
    var origin = source;
    if (p.RUN == 2u) { origin = beams[BEAM_ORIGIN * p.BEAM_STRIDE + source]; }
    winners[BEAM_ORIGIN * p.BEAM_STRIDE + beam] = origin;
  }
  workgroupBarrier();
  // A settled batch row keeps its results alone: see settle.ts. Every lane writes over its own.
  if (atomicLoad(&open) == 0u) {
    for (var i = lane; i < p.BEAMS; i += ${WORKGROUP}u) {
      if (i < p.RESULTS) { continue; }
      let beam = batch * p.BEAMS + i;
      winners[BEAM_SCORE * p.BEAM_STRIDE + beam] = 0xff800000u;
      winners[BEAM_STATE * p.BEAM_STRIDE + beam] = NONE;
      winners[BEAM_EDGE * p.BEAM_STRIDE + beam] = NONE;
      winners[BEAM_LENGTH * p.BEAM_STRIDE + beam] = 0u;
      winners[BEAM_STATUS * p.BEAM_STRIDE + beam] = 0u;
      tokens[beam] = p.PAD_TOKEN;
    }
    if (lane == 0u) { atomicStore(&live, 0u); }
  }
  // One word per batch row behind the beams: whether it still lives.
  if (lane == 0u) { winners[(BEAM_ORIGIN + 1u) * p.BEAM_STRIDE + batch] = atomicLoad(&live); }
}

fn end_allowed(edge: u32) -> bool {
  if (p.RULES_AT == NONE) { return true; }
  let at = rule(batch, 1u);
  let number = end_number(edge);
  if (at != NONE && ((filters[at + (number >> 5u)] >> (number & 31u)) & 1u) == 0u) { return false; }
  return !is_listed(vec2u(rule(batch, 4u), rule(batch, 5u)), number);
}
`,
};
