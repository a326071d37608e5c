/** Faults that digests cannot tell: what a verified index does not have. */
import { getBits, isSound, isZeroFrom, popcount } from "./bits/bit_vector.ts";
import { forEachValue, isSoundEliasFano } from "./bits/elias_fano.ts";
import { bitVectorView, sectionView } from "./section_views.ts";
import type { LoadedIndex } from "./index_memory.ts";
import { idBits, type IntegerItems, orderBits, type StringItems } from "./format/item_shape.ts";
import { openStrings } from "./item_lookup.ts";
import { ItemFinder } from "./item_finder.ts";
import { Entries } from "./entries.ts";
import { hasEntry, hasOrdinal } from "./entry_set.ts";
import { filterBitsAt, openList } from "./named_filters.ts";
import { type ErrorFacts, IndexIntegrityError } from "../errors.ts";
import { partCount } from "./format/header.ts";
import { innerEdges, LEVEL_RECORD_BYTES, planSections, sectionWords } from "./format/layout.ts";

/** What is wrong with the items and in which section, or undefined. Reads them once. */
export function findItemsFault(
  loaded: LoadedIndex,
): { section: string; what: string } | undefined {
  const { items, size } = loaded.shape;
  if (!items) return undefined;
  if (items.count > size) {
    const starts = bitVectorView(loaded, "items.starts", items.count, size);
    if (!isSound(starts) || (starts.words[0] & 1) === 0) {
      return {
        section: "items.starts",
        what: "its bits and samples do not give one start a sequence",
      };
    }
  }
  const fault = items.type === "string"
    ? findStringFault(loaded, items)
    : findIntegerFault(loaded, items);
  if (fault || !items.lookup) return fault;
  const order = sectionView(loaded, "items.order");
  const isInOrder = isZeroFrom(order, items.count * orderBits(items)) &&
    ItemFinder.whileLoading(loaded).isSound();
  return isInOrder ? undefined : { section: "items.order", what: "it is not the order of the ids" };
}

function findIntegerFault(loaded: LoadedIndex, items: IntegerItems) {
  const section = "items.ids";
  const ids = sectionView(loaded, section);
  const bits = idBits(items);
  if (!isZeroFrom(ids, items.count * bits)) return { section, what: "unused bits are not zero" };
  if (bits === 0) return undefined;
  const range = BigInt(items.max) - BigInt(items.min);
  const [largestLow, largestHigh] = [Number(range & 0xffffffffn), Number(range >> 32n)];
  let hasSmallest = false;
  let hasLargest = false;
  for (let i = 0; i < items.count; i++) {
    const low = getBits(ids, i * bits, Math.min(32, bits));
    const high = bits > 32 ? getBits(ids, i * bits + 32, bits - 32) : 0;
    if (low === 0 && high === 0) hasSmallest = true;
    if (high < largestHigh || high === largestHigh && low < largestLow) continue;
    if (high !== largestHigh || low !== largestLow) return { section, what: "an id is too large" };
    hasLargest = true;
  }
  return hasSmallest && hasLargest
    ? undefined
    : { section, what: "smallest and largest id are not those of the header" };
}

function findStringFault(loaded: LoadedIndex, items: StringItems) {
  const { shape, low, high, text } = openStrings(loaded, items);
  const list = { shape, low, high: high.words };
  if (!isSound(high) || !isSoundEliasFano(list, text.length + 1, false)) {
    return {
      section: "items.ends",
      what: "its numbers and samples do not ascend to the last byte",
    };
  }
  const section = "items.text";
  if (!isZeroFrom(sectionView(loaded, section), 8 * text.length)) {
    return { section, what: "unused bits are not zero" };
  }
  let last = 0;
  let isWhole = true;
  forEachValue(list, (end) => {
    // An id ends in front of a continuation byte: within a character.
    if ((text[end] & 0xc0) === 0x80) isWhole = false;
    last = end;
  });
  return isWhole && last === text.length && isUtf8(text)
    ? undefined
    : { section, what: "it is not the UTF-8 of the ids" };
}

function isUtf8(text: Uint8Array): boolean {
  const PIECE = 2 ** 20;
  const strict = new TextDecoder("utf-8", { fatal: true });
  try {
    for (let at = 0; at < text.length; at += PIECE) {
      strict.decode(text.subarray(at, at + PIECE), { stream: true });
    }
    strict.decode();
    return true;
  } catch {
    return false;
  }
}

/** What is wrong with the filters and in which section, or undefined. Reads them once. */
export function findFilterFault(
  loaded: LoadedIndex,
): { section: string; what: string } | undefined {
  const { filters = [], size } = loaded.shape;
  for (const [i, { encoding, ones, entries }] of filters.entries()) {
    const section = `filter${i}`;
    if (entries !== undefined && !areSoundEntries(loaded, i, entries)) {
      return { section: `${section}.entries`, what: "it does not say what its sequences say" };
    }
    if (encoding === "sparse") {
      if (isSoundEliasFano(openList(loaded, i), size, true)) continue;
      return { section, what: "ordinals do not ascend, or are not as many as the header says" };
    }
    const bits = sectionView(loaded, `filter${i}.bits`);
    if (!isZeroFrom(bits, size)) return { section, what: "unused bits are not zero" };
    if (bits.reduce((sum, word) => sum + popcount(word), 0) !== ones) {
      return { section, what: "it allows another number of sequences than the header says" };
    }
  }
  return undefined;
}

/** Whether a filter has as many shared entries as the header says, and some of just the sequences that it allows. */
function areSoundEntries(loaded: LoadedIndex, filter: number, count: number): boolean {
  const { items } = loaded.shape;
  const all = Entries.whileLoading(loaded);
  if (all.sharedCount !== items!.shared) return false;
  const bits = sectionView(loaded, `filter${filter}.entries`);
  if (!isZeroFrom(bits, all.sharedCount)) return false;
  if (bits.reduce((sum, word) => sum + popcount(word), 0) !== count) return false;
  const ordinals = filterBitsAt(loaded, filter);
  let isSame = true;
  all.forEachShared(({ ordinal, first, end, number }) => {
    let isAllowed = false;
    for (let i = number; i < number + end - first; i++) isAllowed ||= hasEntry(bits, i);
    isSame &&= isAllowed === hasOrdinal(ordinals, ordinal);
  });
  return isSame;
}

/** What `verifyLevel` answers (asm/kernels/verify.ts). */
const FINDINGS = [
  "sound",
  "its rank or select samples do not fit its bits",
  "a bit vector has a wrong number of ones",
  "its row starts do not ascend",
  "tokens of a row do not ascend",
  "a token is outside the level's window, or the window is not tight",
  "its longest row is not as long as the header says",
  "an edge neither ends nor goes on",
  "unused bits are not zero",
];

/**
 * Checks the structure behind the digests: samples, counts, ascending tokens, unused bytes. Reads the parts
 * `first` … `end` - 1 once, by default all: the levels, then filters and items.
 *
 * @throws {IndexIntegrityError} naming the level or the section.
 */
export function verifyStructure(
  loaded: LoadedIndex,
  first = 0,
  end = partCount(loaded.shape),
): void {
  const { heap, shape, data, table } = loaded;
  const { sections } = planSections(shape.levels);
  const parts = (d: number) => sectionWords(shape.levels[d], innerEdges(shape.levels, d));
  let next = 0;
  for (let d = 0; d < first; d++) next += parts(d).length;
  for (let d = first; d < Math.min(end, shape.levels.length); d++) {
    let finding = heap.exports.verifyLevel(table + d * LEVEL_RECORD_BYTES);
    let section: string | undefined;
    for (const [part, words] of parts(d)) {
      const { name, offset, byteLength } = sections[next++];
      // The word of slack behind packed tokens is unused, too.
      const used = 4 * (part === "tokens" ? words - 1 : words);
      const from = data + offset + used;
      if (finding === 0 && !heap.exports.isZero(from, data + offset + byteLength)) {
        finding = FINDINGS.length - 1;
        section = name;
      }
    }
    if (finding !== 0) {
      throw untrusted(`on level ${d}`, FINDINGS[finding], { level: d, section });
    }
  }
  if (end <= shape.levels.length) return;
  const fault = findItemsFault(loaded) ?? findFilterFault(loaded);
  if (fault) throw untrusted(`in "${fault.section}"`, fault.what, { section: fault.section });
}

function untrusted(where: string, actual: string, facts: ErrorFacts): IndexIntegrityError {
  return new IndexIntegrityError(
    "structure",
    `Cannot trust the index: ${where}, ${actual}; rebuild it from the sequences`,
    { ...facts, actual },
  );
}
