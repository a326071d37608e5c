// Structure of one level: everything that digests cannot tell. The header has been checked before: counts
// and sections agree, so every read below stays inside.
import * as L from "./layout.gen";
import { bit } from "./bits";
import { packedRow, packedToken, rowBegin, rowEnd } from "./packed_rows";

/** What {@link verifyLevel} found; 0 = sound. */
const SAMPLES: u32 = 1; // rank or select samples do not fit the bits
const COUNT: u32 = 2; // a bit vector has too many or too few ones, or ones behind its end
const STARTS: u32 = 3; // row starts do not ascend, or leave a row empty
const ORDER: u32 = 4; // tokens of a row do not ascend
const TOKEN: u32 = 5; // a token outside the level's window, or the window is not tight
const BRANCH: u32 = 6; // maxBranch is not the longest row
const ENDS: u32 = 7; // a leaf that is no end
const PADDING: u32 = 8; // bytes that are not used are not zero

function verifyBits(words: usize, ranks: usize, selects: usize, bits: u32, ones: u32): u32 {
  let count: u32 = 0;
  let nextSelect: u32 = 0;
  const total = (bits >> 5) + 1;
  for (let word: u32 = 0; word < total; ++word) {
    if ((word & 15) == 0 && load<u32>(ranks + ((word >> 4) << 2)) != count) return SAMPLES;
    let value = load<u32>(words + (word << 2));
    if (word == total - 1 && value >> (bits & 31) != 0) return COUNT;
    count += popcnt<u32>(value);
    if (count > ones) return COUNT;
    while (nextSelect < count) {
      if (load<u32>(selects + ((nextSelect >> 9) << 2)) != word >> 4) return SAMPLES;
      nextSelect += 512;
    }
  }
  if (count != ones) return COUNT;
  if (nextSelect == count && load<u32>(selects + ((count >> 9) << 2)) != bits >> 9) return SAMPLES;
  return 0;
}

/** Checks a level; returns 0 or what is wrong. */
export function verifyLevel(level: usize): u32 {
  const edges = load<u32>(level, L.EDGES);
  const states = load<u32>(level, L.STATES);
  const width = load<u32>(level, L.TOKEN_COUNT);
  const tokens = load<u32>(level, L.TOKENS);
  let smallest = width;
  let largest: u32 = 0;
  let longest: u32 = 0;
  let wrong: u32 = 0;
  if (load<u32>(level, L.BITMAP)) {
    const words = load<u32>(level, L.ROW_WORDS);
    wrong = verifyBits(
      tokens,
      load<u32>(level, L.TOKENS_RANK),
      load<u32>(level, L.TOKENS_SELECT),
      (states * words) << 5,
      edges,
    );
    if (wrong) return wrong;
    for (let state: u32 = 0; state < states; ++state) {
      const row = tokens + ((state * words) << 2);
      let length: u32 = 0;
      for (let j: u32 = 0; j < words; ++j) {
        const word = load<u32>(row + (j << 2));
        if (word == 0) continue;
        length += popcnt<u32>(word);
        smallest = min(smallest, (j << 5) + ctz<u32>(word));
        largest = max(largest, (j << 5) + 31 - clz<u32>(word));
      }
      if (length == 0) return STARTS;
      longest = max(longest, length);
    }
  } else {
    const kind = load<u32>(level, L.STARTS_KIND);
    const starts = load<u32>(level, L.STARTS);
    if (kind == L.BITVECTOR) {
      wrong = verifyBits(
        starts,
        load<u32>(level, L.STARTS_RANK),
        load<u32>(level, L.STARTS_SELECT),
        edges,
        states,
      );
      if (wrong) return wrong;
      if (!bit(starts, 0)) return STARTS;
    } else if (kind == L.EXCEPTIONS) {
      let last: u32 = 0;
      for (let i: u32 = 0; i < edges - states; ++i) {
        const edge = load<u32>(starts + (i << 2));
        if (edge <= last || edge >= edges) return STARTS;
        last = edge;
      }
    }
    const bits = load<u32>(level, L.TOKEN_BITS);
    const mask: u32 = (1 << bits) - 1;
    for (let state: u32 = 0; state < states; ++state) {
      packedRow(level, state);
      let last: u32 = 0;
      for (let edge = rowBegin; edge < rowEnd; ++edge) {
        const token = packedToken(tokens, bits, mask, edge);
        if (token >= width) return TOKEN;
        if (edge > rowBegin && token <= last) return ORDER;
        last = token;
        smallest = min(smallest, token);
        largest = max(largest, token);
      }
      longest = max(longest, rowEnd - rowBegin);
    }
    if (bits > 0) {
      // The bits behind the last token, and the word of slack.
      const used = <u64>edges * bits;
      const word = tokens + <usize>((used >> 5) << 2);
      if ((used & 31) != 0 && load<u32>(word) >> (<u32>used & 31) != 0) return PADDING;
    }
  }
  if (smallest != 0 || largest != width - 1) return TOKEN;
  if (longest != load<u32>(level, L.MAX_BRANCH)) return BRANCH;

  const inner = load<u32>(level, L.INNER);
  if (inner != 0) {
    const ones = load<u32>(level, L.INNER_EDGES);
    wrong = verifyBits(
      inner,
      load<u32>(level, L.INNER_RANK),
      load<u32>(level, L.INNER_SELECT),
      edges,
      ones,
    );
    if (wrong) return wrong;
  }
  const end = load<u32>(level, L.END);
  if (end != 0) {
    wrong = verifyBits(
      end,
      load<u32>(level, L.END_RANK),
      load<u32>(level, L.END_SELECT),
      edges,
      load<u32>(level, L.ENDS),
    );
    if (wrong) return wrong;
    if (inner != 0) {
      for (let word: u32 = 0; word <= edges >> 5; ++word) {
        let either = load<u32>(inner + (word << 2)) | load<u32>(end + (word << 2));
        const valid = word < edges >> 5 ? <u32>0xffffffff : (1 << (edges & 31)) - 1;
        if ((either & valid) != valid) return ENDS;
      }
    }
  }
  return 0;
}

/** Whether all bytes of [from, to) are zero; both are multiples of 4. */
export function isZero(from: usize, to: usize): bool {
  while (from < to) {
    if (load<u32>(from) != 0) return false;
    from += 4;
  }
  return true;
}
