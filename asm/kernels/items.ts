// Looks item ids up: a binary search over entries in the order of their ids. No read leaves the sections, whatever they
// hold.
import { nextOne, selectOne } from "./bits";
import * as L from "./layout.gen";

/** The `bits` (0 … 64) from bit number `at` on. */
function packed(words: usize, at: u64, bits: u32): u64 {
  if (bits == 0) return 0;
  const word = words + (<usize>(at >> 5) << 2);
  const shift = at & 31;
  let value = bits + <u32>shift > 32 ? load<u64>(word) : <u64>load<u32>(word);
  value >>= shift;
  if (bits + <u32>shift > 64) value |= (<u64>load<u32>(word, 8)) << (64 - shift);
  return bits < 64 ? value & ((<u64>1 << bits) - 1) : value;
}

/** The entry at a place of the order. */
function entryAt(items: usize, place: u32): u32 {
  const order = load<u32>(items, L.ITEM_ORDER);
  if (order == 0) return place;
  const bits = load<u32>(items, L.ITEM_ORDER_BITS);
  return <u32>packed(order, <u64>place * bits, bits);
}

/** Byte behind the string with number i. */
function endOfString(items: usize, i: u32, position: u32): u32 {
  const bits = load<u32>(items, L.ITEM_VALUE_BITS);
  const low = <u32>packed(load<u32>(items, L.ITEM_ENDS_LOW), <u64>i * bits, bits);
  return min(<u32>(<u64>(position - i) << bits) + low, load<u32>(items, L.ITEM_TEXT_BYTES));
}

let textBegin: usize = 0;
let textLength: u32 = 0;

/** Finds the string of an entry: sets the two above. */
function findText(items: usize, entry: u32): void {
  const words = load<u32>(items, L.ITEM_ENDS_HIGH);
  const bits = load<u32>(items, L.ITEM_ENDS_BITS);
  let start: u32 = 0;
  let position: u32 = 0;
  if (entry > 0) {
    position = selectOne(
      words,
      load<u32>(items, L.ITEM_ENDS_RANK),
      load<u32>(items, L.ITEM_ENDS_SELECT),
      bits,
      load<u32>(items, L.ITEM_COUNT),
      entry - 1,
    );
    start = endOfString(items, entry - 1, position);
    position++;
  }
  const end = endOfString(items, entry, nextOne(words, bits, position));
  textBegin = load<u32>(items, L.ITEM_VALUES) + start;
  textLength = end > start ? end - start : 0;
}

/** Compares the string of an entry with the wanted one, by bytes: below 0, 0 or above 0. */
function compareString(items: usize, entry: u32): i32 {
  findText(items, entry);
  const wanted = load<u32>(items, L.ITEM_KEY);
  const wantedLength = load<u32>(items, L.ITEM_KEY_LENGTH);
  const shorter = min(textLength, wantedLength);
  for (let i: u32 = 0; i < shorter; ++i) {
    const difference = <i32>load<u8>(textBegin + i) - <i32>load<u8>(wanted + i);
    if (difference != 0) return difference;
  }
  return <i32>textLength - <i32>wantedLength;
}

/** The integer of an entry, relative to the smallest. */
function integerAt(items: usize, entry: u32): u64 {
  const bits = load<u32>(items, L.ITEM_VALUE_BITS);
  return packed(load<u32>(items, L.ITEM_VALUES), <u64>entry * bits, bits);
}

/** Compares the id of an entry with the wanted one. */
function compare(items: usize, entry: u32): i32 {
  if (load<u32>(items, L.ITEM_ENDS_HIGH) != 0) return compareString(items, entry);
  const id = integerAt(items, entry);
  const wanted = load<u64>(load<u32>(items, L.ITEM_KEY));
  return id < wanted ? -1 : <i32>(id > wanted);
}

/** The first place from `low` on whose id is not below the wanted one, or with `isAfter` above it; `high` if there is none. */
function seek(items: usize, low: u32, high: u32, isAfter: i32): u32 {
  while (low < high) {
    const middle = low + ((high - low) >> 1);
    if (compare(items, itemAt(items, middle)) < isAfter) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Writes the first place in the order of ids that has the wanted id to `out`; returns how many have it. The record `items`
 * has the ITEM_FIELDS of src/index/format/item_shape.ts.
 */
export function findItem(items: usize, out: usize): u32 {
  const count = load<u32>(items, L.ITEM_COUNT);
  const first = seek(items, 0, count, 0);
  store<u32>(out, first);
  // There are few, mostly: steps that double find the end sooner than another search of all.
  let end = first;
  let low = first;
  let step: u32 = 1;
  while (end < count && compare(items, itemAt(items, end)) == 0) {
    low = end + 1;
    end += step;
    step <<= 1;
  }
  return seek(items, low, min(end, count), 1) - first;
}

/** The entry at a place of the order of ids. */
export function itemAt(items: usize, place: u32): u32 {
  return min(entryAt(items, place), load<u32>(items, L.ITEM_COUNT) - 1);
}

/** Whether the order has every entry once, by id and then as they stand. `room` holds 8 bytes. */
export function isOrdered(items: usize, room: usize): bool {
  const count = load<u32>(items, L.ITEM_COUNT);
  let last: u32 = 0;
  for (let place: u32 = 0; place < count; ++place) {
    const entry = entryAt(items, place);
    if (entry >= count) return false;
    if (place > 0) {
      const order = compare(items, entry);
      if (order < 0 || (order == 0 && entry <= last)) return false;
    }
    last = entry;
    if (load<u32>(items, L.ITEM_ENDS_HIGH) != 0) {
      findText(items, entry);
      store<u32>(items, <u32>textBegin, L.ITEM_KEY);
      store<u32>(items, textLength, L.ITEM_KEY_LENGTH);
    } else {
      store<u32>(items, <u32>room, L.ITEM_KEY);
      store<u64>(room, integerAt(items, entry));
    }
  }
  return true;
}
