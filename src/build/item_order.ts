/** The order of item ids, by which they lead back to their entries. */
import { getBits, putBits } from "../index/bits/bit_vector.ts";
import { forEachValue } from "../index/bits/elias_fano.ts";
import {
  endsShape,
  idBits,
  type IntegerItems,
  type ItemsShape,
  orderBits,
  type StringItems,
} from "../index/format/item_shape.ts";
import { type Sections, sectionView } from "../index/section_views.ts";
import { LimitError } from "../errors.ts";
import { WasmHeap } from "../wasm/heap.ts";
import type { Progress } from "./progress.ts";
import { sortInPieces } from "./sort_records.ts";

/** A record: two words of an id, how many bytes of it are left, its entry. Entries differ, so no two records are equal. */
const WORDS = 4;
/** Bytes of an id that a record holds. */
const WINDOW = 8;

/** Ids as records hold them: window by window. */
interface Windows {
  /** Writes what comes behind `depth` bytes of the id of an entry. */
  write(entry: number, depth: number, record: Uint32Array): void;
}

/**
 * Sorts the entries by the ids that have been written, and writes that order.
 *
 * Memory: 16 bytes an entry, and 4 more for strings. Where ids begin alike, they are sorted again by what follows.
 *
 * @throws {LimitError} if there are more than fit.
 */
export async function writeItemOrder(
  items: ItemsShape,
  sections: Sections,
  progress: Progress,
  wasm?: WebAssembly.Module,
): Promise<void> {
  const { count } = items;
  const bytes = count * WORDS * 4;
  if (bytes > 2 ** 32 - 2 ** 24) {
    throw new LimitError(
      "too-many-items",
      `Cannot sort the ids of ${count} items: their records would take ${bytes} bytes; build without itemLookup`,
      { expected: 2 ** 32 - 2 ** 24, actual: bytes },
    );
  }
  const windows = items.type === "integer"
    ? integerWindows(items, sections)
    : stringWindows(items, sections);
  const heap = await WasmHeap.create(bytes + 2 ** 12, wasm);
  const address = heap.allocate(bytes);
  const records = { heap, address, words: WORDS, keyWords: WORDS, room: heap.allocate(WORDS * 4) };
  const words = heap.u32(address, count * WORDS);
  const record = (i: number) => words.subarray(i * WORDS, (i + 1) * WORDS);

  await progress.over("read ids in order", count, (from, to) => {
    for (let entry = from; entry < to; entry++) {
      words[entry * WORDS + 3] = entry;
      windows.write(entry, 0, record(entry));
    }
  });
  const groups = [{ from: 0, to: count, depth: 0 }];
  let sorted = 0;
  for (let group = groups.pop(); group; group = groups.pop()) {
    const { from, to, depth } = group;
    await sortInPieces(
      records,
      from,
      to - from,
      (done) => progress.tick("sort ids", sorted = Math.max(sorted, done), count),
    );
    for (let first = from, i = from + 1; i <= to; i++) {
      if (i < to && beginsAlike(words, first, i)) continue;
      if (i - first > 1 && words[first * WORDS + 2] > WINDOW) {
        for (let j = first; j < i; j++) {
          windows.write(words[j * WORDS + 3], depth + WINDOW, record(j));
        }
        groups.push({ from: first, to: i, depth: depth + WINDOW });
      }
      first = i;
    }
  }
  const order = sectionView(sections, "items.order");
  const bits = orderBits(items);
  for (let i = 0; i < count; i++) putBits(order, i * bits, bits, words[i * WORDS + 3]);
}

function beginsAlike(words: Uint32Array, a: number, b: number): boolean {
  const [x, y] = [a * WORDS, b * WORDS];
  return words[x] === words[y] && words[x + 1] === words[y + 1] && words[x + 2] === words[y + 2];
}

function integerWindows(items: IntegerItems, sections: Sections): Windows {
  const ids = sectionView(sections, "items.ids");
  const bits = idBits(items);
  return {
    write(entry, _, record) {
      record[1] = getBits(ids, entry * bits, Math.min(32, bits));
      record[0] = bits > 32 ? getBits(ids, entry * bits + 32, bits - 32) : 0;
      record[2] = WINDOW;
    },
  };
}

function stringWindows(items: StringItems, sections: Sections): Windows {
  const starts = new Uint32Array(items.count + 1);
  const low = sectionView(sections, "items.ends.low");
  const high = sectionView(sections, "items.ends.high");
  let i = 0;
  forEachValue({ shape: endsShape(items), low, high }, (end) => starts[++i] = end);
  const { buffer, byteOffset } = sectionView(sections, "items.text");
  const text = new Uint8Array(buffer, byteOffset, items.byteLength);
  return {
    write(entry, depth, record) {
      const start = starts[entry] + depth;
      const left = starts[entry + 1] - start;
      const byte = (at: number) => at < left ? text[start + at] : 0;
      const word = (at: number) =>
        byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3);
      record[0] = word(0);
      record[1] = word(4);
      record[2] = Math.min(left, WINDOW + 1);
    },
  };
}
