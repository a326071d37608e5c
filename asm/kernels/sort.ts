// Sorting for the builder. A row becomes a key: its tokens as a big-endian bit string in u32 words, so that
// comparing words compares rows. Keys are first dealt into buckets by their top bits (one most-significant
// radix pass), then each bucket, which fits a cache, is sorted in place.
//
// A record is `words` u32: `keyWords` of key, then what travels with it.

/** Updates { min, max } per column (u32 pairs) with the rows of a chunk of `size`-byte elements. */
export function scanColumns(rows: usize, count: u32, length: u32, size: u32, bounds: usize): void {
  for (let i: u32 = 0; i < count; ++i) {
    for (let column: u32 = 0; column < length; ++column) {
      const token = element(rows, size);
      rows += size;
      const at = bounds + (column << 3);
      if (token < load<u32>(at)) store<u32>(at, token);
      if (token > load<u32>(at, 4)) store<u32>(at, token, 4);
    }
  }
}

function element(at: usize, size: u32): u32 {
  if (size == 2) return load<u16>(at);
  if (size == 1) return load<u8>(at);
  return load<u32>(at);
}

/** Packs a row into `keyWords` words at `out`; columns are u32 pairs { smallest token, bits }. */
function packRow(row: usize, length: u32, size: u32, columns: usize, out: usize): void {
  let bits: u64 = 0;
  let filled: u32 = 0;
  for (let column: u32 = 0; column < length; ++column) {
    const at = columns + (column << 3);
    const width = load<u32>(at, 4);
    bits = (bits << width) | <u64>(element(row, size) - load<u32>(at));
    row += size;
    filled += width;
    if (filled >= 32) {
      filled -= 32;
      store<u32>(out, <u32>(bits >> filled));
      out += 4;
    }
  }
  if (filled > 0) store<u32>(out, <u32>(bits << (32 - filled)));
}

/** Counts the rows of a chunk per bucket, the top bits of the key that `shift` leaves. */
export function countBuckets(
  rows: usize,
  count: u32,
  length: u32,
  size: u32,
  columns: usize,
  key: usize,
  shift: u32,
  counts: usize,
): void {
  for (let i: u32 = 0; i < count; ++i) {
    packRow(rows, length, size, columns, key);
    rows += length * size;
    const at = counts + ((load<u32>(key) >> shift) << 2);
    store<u32>(at, load<u32>(at) + 1);
  }
}

/**
 * Deals the keys of a chunk into buckets; `cursors` hold the next free record of each, and `ends` where each
 * ends. False if a bucket overflows: the rows are not those that were counted.
 */
export function dealRows(
  rows: usize,
  count: u32,
  length: u32,
  size: u32,
  columns: usize,
  key: usize,
  shift: u32,
  cursors: usize,
  ends: usize,
  records: usize,
  words: u32,
  keyWords: u32,
  firstRow: u32,
): bool {
  for (let i: u32 = 0; i < count; ++i) {
    packRow(rows, length, size, columns, key);
    rows += length * size;
    const bucket = (load<u32>(key) >> shift) << 2;
    const slot = load<u32>(cursors + bucket);
    if (slot >= load<u32>(ends + bucket)) return false;
    store<u32>(cursors + bucket, slot + 1);
    const record = records + <usize>slot * (words << 2);
    for (let w: u32 = 0; w < keyWords; ++w) store<u32>(record + (w << 2), load<u32>(key + (w << 2)));
    if (words > keyWords) store<u32>(record + (keyWords << 2), firstRow + i);
  }
  return true;
}

/** Words of key that a record of a row of its own length carries; the rest is read from the heap. */
const INLINE: u32 = 3;

/** Deals rows of mixed lengths: heap rows are { words, key… }; records are { 3 words of key, address, row }. */
export function dealHeap(
  heap: usize,
  count: u32,
  shift: u32,
  cursors: usize,
  records: usize,
  words: u32,
  firstRow: u32,
): usize {
  for (let i: u32 = 0; i < count; ++i) {
    const at = cursors + ((load<u32>(heap, 4) >> shift) << 2);
    const slot = load<u32>(at);
    store<u32>(at, slot + 1);
    const record = records + <usize>slot * (words << 2);
    store<u32>(record, <u32>heap, 12);
    fill(record, 0);
    if (words > INLINE + 1) store<u32>(record, firstRow + i, 16);
    heap += (load<u32>(heap) + 1) << 2;
  }
  return heap;
}

/** Puts the words of key from `depth` on into a record; 0 behind the end of the row. */
function fill(record: usize, depth: u32): void {
  const row: usize = load<u32>(record, 12);
  const size = load<u32>(row);
  for (let w: u32 = 0; w < INLINE; ++w) {
    const at = depth + w;
    store<u32>(record + (w << 2), at < size ? load<u32>(row + ((at + 1) << 2)) : 0);
  }
}

let recordBytes: usize = 0;
let keyBytes: usize = 0;
/** Room for one record. */
let spare: usize = 0;

function isLess(a: usize, b: usize): bool {
  const first = load<u32>(a);
  const second = load<u32>(b);
  if (first != second) return first < second;
  for (let w: usize = 4; w < keyBytes; w += 4) {
    const x = load<u32>(a + w);
    const y = load<u32>(b + w);
    if (x != y) return x < y;
  }
  return false;
}

function copy(to: usize, from: usize): void {
  for (let w: usize = 0; w < recordBytes; w += 4) store<u32>(to + w, load<u32>(from + w));
}

function swap(a: usize, b: usize): void {
  for (let w: usize = 0; w < recordBytes; w += 4) {
    const value = load<u32>(a + w);
    store<u32>(a + w, load<u32>(b + w));
    store<u32>(b + w, value);
  }
}

function median(a: usize, b: usize, c: usize): usize {
  if (isLess(a, b)) {
    if (isLess(b, c)) return b;
    return isLess(a, c) ? c : a;
  }
  if (isLess(a, c)) return a;
  return isLess(b, c) ? c : b;
}

/** Splits the records [low, high] by a pivot (Hoare); returns the last of the lesser part, never `high`. */
function partition(low: usize, high: usize): usize {
  const count = (high - low) / recordBytes + 1;
  const eighth = (count >> 3) * recordBytes;
  const middle = low + (count >> 1) * recordBytes;
  const pivot = count < 256 ? median(low, middle, high) : median(
    median(low, low + eighth, low + 2 * eighth),
    median(middle - eighth, middle, middle + eighth),
    median(high - 2 * eighth, high - eighth, high),
  );
  copy(spare, pivot);
  let i = low - recordBytes;
  let j = high + recordBytes;
  while (true) {
    do { i += recordBytes; } while (isLess(i, spare));
    do { j -= recordBytes; } while (isLess(spare, j));
    if (i >= j) break;
    swap(i, j);
  }
  // The split ends at `high` when the pivot is the greatest: step back to make progress.
  return j == high ? j - recordBytes : j;
}

function quicksort(low: usize, high: usize): void {
  while (high - low > 16 * recordBytes) {
    const j = partition(low, high);
    if (j - low < high - j) {
      quicksort(low, j);
      low = j + recordBytes;
    } else {
      quicksort(j + recordBytes, high);
      high = j;
    }
  }
  for (let i = low + recordBytes; i <= high; i += recordBytes) {
    if (!isLess(i, i - recordBytes)) continue;
    copy(spare, i);
    let j = i;
    do {
      copy(j, j - recordBytes);
      j -= recordBytes;
    } while (j > low && isLess(spare, j - recordBytes));
    copy(j, spare);
  }
}

/** Sorts records of fixed-length rows by their keys. `room` holds one record. */
export function sortRecords(records: usize, count: u32, words: u32, keyWords: u32, room: usize): void {
  if (count < 2) return;
  recordBytes = words << 2;
  keyBytes = keyWords << 2;
  spare = room;
  quicksort(records, records + (count - 1) * recordBytes);
}

/**
 * Splits records as the sort would: no key of the first n is greater than one of the rest. Returns n, 0 < n <
 * `count`, for hosts that sort in pieces.
 */
export function splitRecords(
  records: usize,
  count: u32,
  words: u32,
  keyWords: u32,
  room: usize,
): u32 {
  recordBytes = words << 2;
  keyBytes = keyWords << 2;
  spare = room;
  const last = partition(records, records + (count - 1) * recordBytes);
  return <u32>((last - records) / recordBytes) + 1;
}

/** Sorts records of {@link dealHeap}. */
export function sortHeap(records: usize, count: u32, words: u32, room: usize): void {
  recordBytes = words << 2;
  keyBytes = INLINE << 2;
  spare = room;
  refine(records, count, 0);
}

function refine(records: usize, count: u32, depth: u32): void {
  if (count < 2) return;
  quicksort(records, records + (count - 1) * recordBytes);
  // Rows that agree so far and go on are sorted by what follows.
  let begin = records;
  const end = records + count * recordBytes;
  while (begin < end) {
    let next = begin + recordBytes;
    while (next < end && !isLess(begin, next)) next += recordBytes;
    if (next > begin + recordBytes && load<u32>(load<u32>(begin, 12)) > depth + INLINE) {
      for (let at = begin; at < next; at += recordBytes) fill(at, depth + INLINE);
      refine(begin, <u32>((next - begin) / recordBytes), depth + INLINE);
    }
    begin = next;
  }
}
