/** Tokens of forced runs: each live beam's next one, on levels whose rows have one edge each. */
import { PARAM_STRUCT } from "./params.ts";
import { BEAM_WGSL, LEVEL_WGSL, WORKGROUP } from "./common.ts";
import { PACKED_ROWS_WGSL } from "./packed_rows.ts";

/** The kernel as data: one dispatch per level. */
export const SPELL_KERNEL = {
  label: "espalier spell",
  bindings: [
    "uniform",
    "read-only-storage",
    "read-only-storage",
    "read-only-storage",
    "storage",
    "storage",
  ] as const,
  code: PARAM_STRUCT + /* wgsl */ `
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> level: array<u32>;
@group(0) @binding(2) var<storage, read> beams: array<u32>;
/** [rows] tokens that the beams end with. */
@group(0) @binding(3) var<storage, read> tokens: array<u32>;
/** [rows] states of the level; then of the next. */
@group(0) @binding(4) var<storage, read_write> states: array<u32>;
/** [rows, WIDTH] tokens to feed. */
@group(0) @binding(5) var<storage, read_write> run: array<u32>;
` + LEVEL_WGSL + PACKED_ROWS_WGSL + BEAM_WGSL + /* wgsl */ `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x * ${WORKGROUP}u + lane;
  if (row >= p.ROWS) { return; }
  // STEP counts from the first level of the run.
  if (p.STEP == 0u) {
    let isLive = (beams[BEAM_STATUS * p.BEAM_STRIDE + row] & LIVE) != 0u;
    states[row] = select(NONE, beams[BEAM_STATE * p.BEAM_STRIDE + row], isLive);
    run[row * p.WIDTH] = tokens[row];
  }
  let state = states[row];
  var token = p.PAD_TOKEN;
  var next = NONE;
  if (state < p.EDGES) {
    token = p.TOKEN_MIN + packed_token(state);
    next = child_state(state);
  }
  states[row] = next;
  if (p.STEP + 1u < p.WIDTH) { run[row * p.WIDTH + p.STEP + 1u] = token; }
}
`,
};
