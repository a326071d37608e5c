/** WGSL that several kernels share. Declarations of bindings are the kernels' own. */
import { BEAM_FIELDS, KERNEL_CONSTANTS } from "../../constants.ts";

/** Threads of a workgroup. The radix selection has one bin for each. */
export const WORKGROUP = 256;

/** Constants as WGSL declares them. */
export function constants(values: Readonly<Record<string, number>>): string {
  return Object.entries(values).map(([name, value]) => `const ${name} = ${value}u;`).join("\n");
}

/**
 * Rank, select, states and ends of one level: the same as asm/kernels/bits.ts and levels.ts, over `level`, the words of
 * the level, and `p`, its record. NONE marks absent sections.
 */
export const LEVEL_WGSL = /* wgsl */ `
const NONE = 0xffffffffu;

fn rank(words: u32, ranks: u32, position: u32) -> u32 {
  var count = level[ranks + (position >> 9u)];
  let last = words + (position >> 5u);
  for (var at = words + ((position >> 9u) << 4u); at < last; at++) {
    count += countOneBits(level[at]);
  }
  return count + countOneBits(level[last] & ((1u << (position & 31u)) - 1u));
}

fn bit(words: u32, position: u32) -> bool {
  return ((level[words + (position >> 5u)] >> (position & 31u)) & 1u) != 0u;
}

/** Position of the one with number k, or bits if there is none. */
fn select_one(words: u32, ranks: u32, selects: u32, bits: u32, ones: u32, number: u32) -> u32 {
  var k = number;
  if (k >= ones) { return bits; }
  let lastBlock = bits >> 9u;
  let sample = k >> 9u;
  var low = min(level[selects + sample], lastBlock);
  var high = lastBlock;
  if (sample < (ones >> 9u)) { high = min(level[selects + sample + 1u], lastBlock); }
  while (low < high) {
    let middle = low + ((high - low + 1u) >> 1u);
    if (level[ranks + middle] <= k) { low = middle; } else { high = middle - 1u; }
  }
  k -= level[ranks + low];
  let end = min((low << 4u) + 16u, (bits >> 5u) + 1u);
  for (var word = low << 4u; word < end; word++) {
    var value = level[words + word];
    let count = countOneBits(value);
    if (k < count) {
      for (; k > 0u; k--) { value &= value - 1u; }
      return min((word << 5u) + countTrailingZeros(value), bits);
    }
    k -= count;
  }
  return bits;
}

/** State of the next level that an edge leads to, or NONE. */
fn child_state(edge: u32) -> u32 {
  if (p.INNER_EDGES == 0u) { return NONE; }
  var state = edge;
  if (p.INNER != NONE) {
    if (!bit(p.INNER, edge)) { return NONE; }
    state = rank(p.INNER, p.INNER_RANK, edge);
  }
  return select(NONE, state, state < p.INNER_EDGES);
}

fn is_end(edge: u32) -> bool {
  if (p.END != NONE) { return bit(p.END, edge); }
  if (p.INNER != NONE) { return !bit(p.INNER, edge); }
  return p.INNER_EDGES == 0u;
}

fn end_number(edge: u32) -> u32 {
  if (p.END != NONE) { return rank(p.END, p.END_RANK, edge); }
  if (p.INNER != NONE) { return edge - rank(p.INNER, p.INNER_RANK, edge); }
  return edge;
}
`;

/** Beams: status bits, modes, and the arrays of a beam buffer. */
export const BEAM_WGSL = /* wgsl */ `
${constants(KERNEL_CONSTANTS)}
${constants(Object.fromEntries(BEAM_FIELDS.map((name, i) => [name, i])))}

/** GPU only: row of a run that a beam comes of, behind the other arrays; and then whether each batch row lives. */
const BEAM_ORIGIN = ${BEAM_FIELDS.length}u;

/** The bits of a finite float as a number that orders as the float does; never 0. */
fn orderable(value: f32) -> u32 {
  var bits = bitcast<u32>(value);
  if (bits == 0x80000000u) { bits = 0u; } // no negative zero
  return select(bits ^ 0x80000000u, ~bits, (bits >> 31u) != 0u);
}

/** Whether bits are those of a finite float. WGSL may assume all floats are: only bits can tell. */
fn is_finite(bits: u32) -> bool {
  return (bits & 0x7f800000u) != 0x7f800000u;
}
`;

/**
 * Exact selection in one workgroup: the key of the candidate with rank k among `n`, by radix, eight bits at a
 * time. The kernel declares `fn candidate(i: u32) -> vec2u`: distinct keys, (0, 0) = no candidate. Only
 * candidates at or above the result are among the best k; it is (0, 0) where there are at most k.
 */
export const RADIX_WGSL = /* wgsl */ `
var<workgroup> bins: array<atomic<u32>, ${WORKGROUP}>;
var<workgroup> above: array<u32, ${WORKGROUP}>;
var<workgroup> chosen: vec4u; // digit, candidates above it, candidates in it, candidates in all

fn threshold(n: u32, k: u32, lane: u32) -> vec2u {
  var prefix = vec2u(0u);
  var mask = vec2u(0u);
  var need = k;
  for (var digit = 0u; digit < 8u; digit++) {
    let shift = 24u - 8u * (digit & 3u);
    let isLow = digit >= 4u;
    atomicStore(&bins[lane], 0u);
    workgroupBarrier();
    for (var i = lane; i < n; i += ${WORKGROUP}u) {
      let key = candidate(i);
      if (key.x != 0u && all((key & mask) == prefix)) {
        atomicAdd(&bins[(select(key.x, key.y, isLow) >> shift) & 0xffu], 1u);
      }
    }
    workgroupBarrier();
    // Candidates in this bin and above: a scan from the top.
    above[lane] = atomicLoad(&bins[lane]);
    workgroupBarrier();
    for (var reach = 1u; reach < ${WORKGROUP}u; reach <<= 1u) {
      var sum = above[lane];
      if (lane + reach < ${WORKGROUP}u) { sum += above[lane + reach]; }
      workgroupBarrier();
      above[lane] = sum;
      workgroupBarrier();
    }
    let here = atomicLoad(&bins[lane]);
    let before = above[lane] - here;
    if (lane == 0u) { chosen = vec4u(0u, 0u, 0u, above[0]); }
    workgroupBarrier();
    if (before < need && need <= above[lane]) {
      chosen = vec4u(lane, before, here, above[0]);
    }
    workgroupBarrier();
    let found = workgroupUniformLoad(&chosen);
    if (digit == 0u && found.w <= k) { return vec2u(0u); }
    need -= found.y;
    if (isLow) {
      prefix.y |= found.x << shift;
      mask.y |= 0xffu << shift;
    } else {
      prefix.x |= found.x << shift;
      mask.x |= 0xffu << shift;
    }
    if (need == found.z) { return prefix; } // all of this bin are in
  }
  return prefix;
}

fn reaches(key: vec2u, bar: vec2u) -> bool {
  return key.x > bar.x || (key.x == bar.x && key.y >= bar.y);
}
`;

/**
 * What a batch row allows: see `RULE_FIELDS`. Reads `data`, the words of a search: factors from score to rank by length, f32
 * bits; then rules and the lists of exclusions.
 */
export const RULES_WGSL = /* wgsl */ `
fn length_norm(length: u32) -> f32 { return bitcast<f32>(data[length]); }

fn rule(batch: u32, field: u32) -> u32 {
  if (p.RULES_AT == NONE) { return select(NONE, 0u, field > 1u); }
  return data[p.RULES_AT + 8u * batch + field];
}

/** Entries of an ascending list, from word \`list.x\` up to \`list.y\`, that are below a value: as the word behind them. */
fn first_from(list: vec2u, value: u32) -> u32 {
  var low = list.x;
  var high = list.y;
  while (low < high) {
    let middle = (low + high) >> 1u;
    if (data[middle] < value) { low = middle + 1u; } else { high = middle; }
  }
  return low;
}

fn is_listed(list: vec2u, value: u32) -> bool {
  if (list.x >= list.y) { return false; }
  let at = first_from(list, value);
  return at < list.y && data[at] == value;
}
`;
