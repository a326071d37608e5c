/** WGSL for rows of a level that is stored as bitmaps: the same as asm/kernels/bitmap_rows.ts. */

/** Goes behind `LEVEL_WGSL`, and reads what that reads. */
export const BITMAP_ROWS_WGSL = /* wgsl */ `
/** Whether a row has the token with number i of the level's window. */
fn bitmap_has(state: u32, i: u32) -> bool {
  return bit(p.TOKENS, bitmap_place(state, i));
}

/** Place of the token with number i of a row in the bitmaps of the level. */
fn bitmap_place(state: u32, i: u32) -> u32 {
  return state * p.ROW_WORDS * 32u + i;
}

/** Edge of a token that the row has. */
fn bitmap_edge(state: u32, token: u32) -> u32 {
  let edge = rank(p.TOKENS, p.TOKENS_RANK, bitmap_place(state, token));
  return min(edge, p.EDGES - 1u);
}
`;
