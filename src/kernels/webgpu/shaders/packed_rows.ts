/** WGSL for rows of a level whose tokens are packed: the same as asm/kernels/packed_rows.ts. */
import { STARTS_KINDS } from "../../../index/format/layout.ts";
import { constants } from "./common.ts";

/** Goes behind `LEVEL_WGSL`, and reads what that reads. */
export const PACKED_ROWS_WGSL = /* wgsl */ `
${constants(STARTS_KINDS)}

/** First edge of a row of a packed level, EDGES for the state behind the last. */
fn row_start(state: u32) -> u32 {
  var start = state;
  if (p.STARTS_KIND == EXCEPTIONS) {
    // Entry i of the list belongs to row list[i] - i - 1: count those of earlier rows.
    var low = 0u;
    var high = p.EDGES - p.STATES;
    while (low < high) {
      let middle = low + ((high - low) >> 1u);
      if (level[p.STARTS + middle] - middle <= state) { low = middle + 1u; } else { high = middle; }
    }
    start = state + low;
  } else if (p.STARTS_KIND == BITVECTOR) {
    start = select_one(p.STARTS, p.STARTS_RANK, p.STARTS_SELECT, p.EDGES, p.STATES, state);
  }
  return min(start, p.EDGES);
}

/** Edges [x, y) of a row of a packed level. */
fn packed_row(state: u32) -> vec2u {
  return vec2u(row_start(state), row_start(state + 1u));
}

/** Token of an edge of a packed level, relative to TOKEN_MIN. */
fn packed_token(edge: u32) -> u32 {
  if (p.TOKEN_BITS == 0u) { return 0u; }
  // edge · bits has more than 32 bits: 32 edges fill TOKEN_BITS words.
  let bit = (edge & 31u) * p.TOKEN_BITS;
  let word = p.TOKENS + (edge >> 5u) * p.TOKEN_BITS + (bit >> 5u);
  let shift = bit & 31u;
  var value = level[word] >> shift;
  if (shift + p.TOKEN_BITS > 32u) { value |= level[word + 1u] << (32u - shift); }
  return value & ((1u << p.TOKEN_BITS) - 1u);
}
`;
