// Rows of a level that is stored as bitmaps: one bit per token of the level's window.
import * as L from "./layout.gen";
import { rank, selectOne } from "./bits";

/** Address of a bitmap row. */
export function bitmapRow(level: usize, state: u32): usize {
  return load<u32>(level, L.TOKENS) + ((state * load<u32>(level, L.ROW_WORDS)) << 2);
}

/** Edge number of the 1 bit of `token` (relative to TOKEN_MIN) in a bitmap row. */
export function bitmapEdge(level: usize, state: u32, token: u32): u32 {
  const edge = rank(
    load<u32>(level, L.TOKENS),
    load<u32>(level, L.TOKENS_RANK),
    ((state * load<u32>(level, L.ROW_WORDS)) << 5) + token,
  );
  const last = load<u32>(level, L.EDGES) - 1;
  return edge < last ? edge : last;
}

/** Place of an edge among the bits of a bitmap level; inside them whatever the bytes say. */
export function bitmapPlace(level: usize, edge: u32): u32 {
  const bits = (load<u32>(level, L.STATES) * load<u32>(level, L.ROW_WORDS)) << 5;
  const position = selectOne(
    load<u32>(level, L.TOKENS),
    load<u32>(level, L.TOKENS_RANK),
    load<u32>(level, L.TOKENS_SELECT),
    bits,
    load<u32>(level, L.EDGES),
    edge,
  );
  return position < bits ? position : bits - 1;
}
