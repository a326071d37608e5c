// The best `keep` of a stream of candidates. A candidate is 16 bytes: u64 key, u32 payload, f32 score.
// Keys are distinct and greater is better. Candidates gather in a buffer; when it is full, everything but
// the best `keep` is dropped and the worst of those becomes the threshold for what comes later.

let records: usize = 0;
let count: u32 = 0;
let keep: u32 = 0;
let capacity: u32 = 0;
/** Keys that do not exceed this cannot win. */
export let threshold: u64 = 0;

/** `buffer` has room for `size` > `limit` candidates. */
export function topKBegin(buffer: usize, limit: u32, size: u32): void {
  records = buffer;
  keep = limit;
  capacity = size;
  count = 0;
  threshold = 0;
}

/** Adds a candidate; returns true if the threshold has risen. */
export function topKOffer(key: u64, payload: u32, score: f32): bool {
  const at = records + (count << 4);
  store<u64>(at, key);
  store<u32>(at, payload, 8);
  store<f32>(at, score, 12);
  if (++count < capacity) return false;
  partition();
  return true;
}

/** Sorts the best, best first; returns how many there are. */
export function topKFinish(): u32 {
  if (count > keep) partition();
  if (count > 1) sort(0, count - 1);
  return count;
}

function keyAt(i: u32): u64 {
  return load<u64>(records + (i << 4));
}

function swap(i: u32, j: u32): void {
  const a = records + (i << 4);
  const b = records + (j << 4);
  const value = v128.load(a);
  v128.store(a, v128.load(b));
  v128.store(b, value);
}

/** Splits [low, high] by a pivot (Hoare); returns the last index of the greater part. */
function split(low: u32, high: u32): u32 {
  const middle = low + ((high - low) >> 1);
  // Median of three, moved to `low`.
  if (keyAt(middle) > keyAt(low)) swap(middle, low);
  if (keyAt(high) > keyAt(low)) swap(high, low);
  if (keyAt(high) > keyAt(middle)) swap(high, middle);
  const pivot = keyAt(middle);
  let i = low - 1;
  let j = high + 1;
  while (true) {
    do { ++i; } while (keyAt(i) > pivot);
    do { --j; } while (keyAt(j) < pivot);
    if (i >= j) return j;
    swap(i, j);
  }
}

/** Moves the best `keep` to the front, forgets the rest, sets the threshold. */
function partition(): void {
  let low: u32 = 0;
  let high = count - 1;
  const target = keep - 1;
  while (low < high) {
    const middle = split(low, high);
    if (target <= middle) high = middle;
    else low = middle + 1;
  }
  count = keep;
  threshold = keyAt(target); // everything before it is greater
}

function sort(low: u32, high: u32): void {
  while (high - low > 12) {
    const middle = split(low, high);
    sort(low, middle);
    low = middle + 1;
  }
  for (let i = low + 1; i <= high; ++i) {
    const value = v128.load(records + (i << 4));
    const key = keyAt(i);
    let j = i;
    while (j > low && keyAt(j - 1) < key) {
      v128.store(records + (j << 4), v128.load(records + ((j - 1) << 4)));
      --j;
    }
    v128.store(records + (j << 4), value);
  }
}

let outerRecords: usize = 0;
let outerCount: u32 = 0;
let outerKeep: u32 = 0;
let outerCapacity: u32 = 0;
let outerThreshold: u64 = 0;

/** Sets the current selection aside and opens another; {@link topKNestedFinish} comes back to it. */
export function topKNestedBegin(buffer: usize, limit: u32, size: u32): void {
  outerRecords = records;
  outerCount = count;
  outerKeep = keep;
  outerCapacity = capacity;
  outerThreshold = threshold;
  topKBegin(buffer, limit, size);
}

/** Closes the inner selection, whose best stay sorted in its buffer; returns how many there are. */
export function topKNestedFinish(): u32 {
  const found = topKFinish();
  records = outerRecords;
  count = outerCount;
  keep = outerKeep;
  capacity = outerCapacity;
  threshold = outerThreshold;
  return found;
}
