/** From item ids back to the entries that have them: a binary search in the order of the ids. */
import { EspalierError, typeError } from "../errors.ts";
import { onesBefore } from "./bits/bit_vector.ts";
import { Entries, type EntryPlace } from "./entries.ts";
import { endsShape, idBits, ITEM_FIELDS, type ItemsShape, orderBits } from "./format/item_shape.ts";
import { type LoadedIndex, RESULT_BYTES } from "./index_memory.ts";
import { requireItems } from "./item_lookup.ts";
import { bitVectorView, sectionView } from "./section_views.ts";

/** Bytes of a key that fit the scratch behind the record. */
const SHORT = 1024;
const RECORD_BYTES = ITEM_FIELDS.length * 4;
/** Word of the scratch that has the address of the key; its length is in the next. */
const KEY = RESULT_BYTES / 4 + ITEM_FIELDS.indexOf("ITEM_KEY");

const known = new WeakMap<LoadedIndex, ItemFinder>();
const encoder = new TextEncoder();

/** Finds entries of an index by their ids. */
export class ItemFinder {
  readonly #loaded: LoadedIndex;
  readonly #items: ItemsShape;
  /** Addresses of the record and the key, in the scratch of the index. */
  readonly #record: number;
  readonly #key: number;
  readonly #fields: Uint32Array;
  /** Smallest and largest of integers. */
  readonly #min: bigint;
  readonly #max: bigint;

  private constructor(loaded: LoadedIndex, items: ItemsShape) {
    this.#loaded = loaded;
    this.#items = items;
    this.#record = loaded.scratch + RESULT_BYTES;
    this.#key = this.#record + RECORD_BYTES + 4; // a multiple of 8
    const isText = items.type === "string";
    const at = ({ length, byteOffset }: Uint32Array) => length > 0 ? byteOffset : 0;
    const { lowBits, highBits } = isText
      ? endsShape(items)
      : { lowBits: idBits(items), highBits: 0 };
    const high = bitVectorView(loaded, "items.ends.high", highBits, 0);
    const fields: Record<typeof ITEM_FIELDS[number], number> = {
      ITEM_ORDER: at(sectionView(loaded, "items.order")),
      ITEM_ORDER_BITS: orderBits(items),
      ITEM_COUNT: items.count,
      ITEM_VALUES: at(sectionView(loaded, isText ? "items.text" : "items.ids")),
      ITEM_VALUE_BITS: lowBits,
      ITEM_TEXT_BYTES: isText ? items.byteLength : 0,
      ITEM_ENDS_LOW: at(sectionView(loaded, "items.ends.low")),
      ITEM_ENDS_HIGH: at(high.words),
      ITEM_ENDS_RANK: at(high.ranks),
      ITEM_ENDS_SELECT: at(high.selects),
      ITEM_ENDS_BITS: highBits,
      ITEM_KEY: 0,
      ITEM_KEY_LENGTH: 0,
    };
    this.#fields = Uint32Array.from(ITEM_FIELDS, (name) => fields[name]);
    this.#min = BigInt(isText ? 0 : items.min);
    this.#max = BigInt(isText ? 0 : items.max);
  }

  /**
   * That of an index.
   *
   * @throws {EspalierError} with code `"no-items"` or `"no-item-lookup"` if the index was built without, `"not-loaded"`
   * before items are there.
   */
  static of(loaded: LoadedIndex): ItemFinder {
    if (requireItems(loaded).lookup) return ItemFinder.whileLoading(loaded);
    throw new EspalierError(
      "no-item-lookup",
      "Cannot find items by their ids: the index has no lookup; build it with itemLookup",
    );
  }

  /** As {@linkcode ItemFinder.of} for an index with a lookup, for verification, which looks before anyone else may. */
  static whileLoading(loaded: LoadedIndex): ItemFinder {
    let finder = known.get(loaded);
    if (!finder) known.set(loaded, finder = new ItemFinder(loaded, loaded.shape.items!));
    return finder;
  }

  /** Whether the order has every entry once, by id. One pass. */
  isSound(): boolean {
    this.#writeRecord(0, 0);
    return Boolean(this.#loaded.heap.exports.isOrdered(this.#record, this.#key));
  }

  /**
   * Entries with an id, ascending; none if there is no such item.
   *
   * @throws {TypeError} for an id of another type than those of the index.
   */
  #entriesOf(id: bigint | string): number[] {
    const { heap } = this.#loaded;
    checkId(id, this.#items.type);
    if (typeof id === "bigint") {
      if (id < this.#min || id > this.#max) return [];
      const key = id - this.#min;
      const words = heap.u32(this.#key, 2);
      words[0] = Number(key & 0xffffffffn);
      words[1] = Number(key >> 32n);
      return this.#entriesOfKey(this.#key, 8);
    }
    // A lone surrogate would be written as another character.
    if (!id.isWellFormed()) return [];
    // No character takes more than 3 bytes of UTF-8 a unit.
    if (3 * id.length <= SHORT) {
      const { written } = encoder.encodeInto(id, heap.u8(this.#key, SHORT));
      return this.#entriesOfKey(this.#key, written);
    }
    const bytes = encoder.encode(id);
    const key = heap.allocate(bytes.length);
    heap.u8(key, bytes.length).set(bytes);
    const entries = this.#entriesOfKey(key, bytes.length);
    heap.free(key);
    return entries;
  }

  /** Writes the record of a search; the words in front of it take what the search answers. */
  #writeRecord(key: number, byteLength: number): Uint32Array {
    const { heap, scratch } = this.#loaded;
    const words = heap.u32(scratch, RESULT_BYTES / 4 + ITEM_FIELDS.length);
    words.set(this.#fields, RESULT_BYTES / 4);
    words[KEY] = key;
    words[KEY + 1] = byteLength;
    return words;
  }

  #entriesOfKey(key: number, byteLength: number): number[] {
    const words = this.#writeRecord(key, byteLength);
    const { heap: { exports }, scratch } = this.#loaded;
    const count = exports.findItem(this.#record, scratch);
    const entries: number[] = [];
    for (let i = 0; i < count; i++) entries.push(exports.itemAt(this.#record, words[0] + i));
    return entries;
  }

  /** Where the entries with an id stand, ascending. @throws {TypeError} for an id of another type than those of the index. */
  placesOf(id: bigint | string): EntryPlace[] {
    return this.#entriesOf(id).map((entry) => this.#placeOf(entry));
  }

  #placeOf(entry: number): EntryPlace {
    const { items, size } = this.#loaded.shape;
    if (items!.count === size) return { ordinal: entry };
    const starts = bitVectorView(this.#loaded, "items.starts", items!.count, size);
    // Within the set, whatever the section holds.
    const ordinal = Math.min(size, Math.max(1, onesBefore(starts, entry + 1))) - 1;
    const { first, end, number } = Entries.of(this.#loaded).of(ordinal);
    if (number === undefined) return { ordinal };
    return {
      ordinal,
      shared: { number: number + entry - first, from: number, to: number + end - first },
    };
  }
}

/** @throws {TypeError} for an id of another type than those of the index. */
function checkId(id: bigint | string, type: "integer" | "string"): void {
  const expected = type === "integer" ? "bigint" : "string";
  const actual: string = typeof id;
  if (actual === expected) return;
  const isNumber = typeof id === "number" && Number.isSafeInteger(id);
  const hint = isNumber ? `, such as ${expected === "bigint" ? `${id}n` : `"${id}"`}` : "";
  throw typeError(
    `Cannot find an item by a ${actual}: the ids of the index are ${type}s, expected a ${expected}${hint}`,
    { expected, actual },
  );
}
