/** What the header of an index file says, and whether it can be true. */
import { IndexFormatError, shortFact } from "../../errors.ts";
import type { Header } from "../../storage/safetensors.ts";
import { isSoundItems, itemsSections, type ItemsShape, sharedCount } from "./item_shape.ts";
import {
  FORMAT_VERSION,
  innerEdges,
  isCount,
  type LevelShape,
  MAX_LENGTH,
  MAX_VOCAB,
  planSections,
  rowWords,
  type Section,
} from "./layout.ts";
import { areSoundFilters, filterSections, type FilterShape, isFilterName } from "./filter_shape.ts";

/** Shape of a whole index. */
export interface IndexShape {
  /** Sequences. */
  size: number;
  vocabSize: number;
  levels: LevelShape[];
  /** Named filters; absent where there are none. */
  filters?: FilterShape[];
  /** Item ids; absent where there are none. */
  items?: ItemsShape;
  /** What made the sequences of texts; absent where they are none, or nobody said. */
  tokenizer?: TokenizerShape;
  /** What a reader must know to read the index rightly; absent if that is version 1 of the format. */
  requires?: string[];
}

/** A tokenizer by its name and, where that is a file's, the SHA-256 of the file, hex. */
export interface TokenizerShape {
  name: string;
  digest?: string;
}

/** Whether this names a tokenizer: 1 to 200 characters, none of them a control character. */
export function isSoundTokenizer(tokenizer: unknown): tokenizer is TokenizerShape {
  if (typeof tokenizer !== "object" || tokenizer === null) return false;
  const { name, digest } = tokenizer as Record<string, unknown>;
  return isFilterName(name) &&
    (digest === undefined || typeof digest === "string" && /^[0-9a-f]{64}$/.test(digest));
}

/** Parts that arrive one after the other: the levels, then filters and items together, where there are any. */
export function partCount({ levels, filters, items }: IndexShape): number {
  return levels.length + (filters || items ? 1 : 0);
}

/**
 * Places all sections of an index.
 *
 * @throws {LimitError} if the data would not fit below 4 GiB.
 */
export function planData(
  { levels, size, filters = [], items }: IndexShape,
): { sections: Section[]; byteLength: number } {
  return planSections(levels, [
    ...filters.flatMap((filter, i) => filterSections(filter, i, size, sharedCount(items))),
    ...(items ? itemsSections(items, size) : []),
  ]);
}

const FORMAT = "espalier";

/** What files of version 2 may require of a reader: sections without which it would answer wrongly. */
const FILTER_ENTRIES = "filter entries";
const KNOWN_REQUIREMENTS: readonly string[] = [FILTER_ENTRIES];

/** `__metadata__` of the file, digests aside. What uses nothing of version 2 is written as version 1. */
export function encodeShape(shape: IndexShape): Record<string, string> {
  const isByEntry = shape.filters?.some(({ entries }) => entries !== undefined) === true;
  const written: IndexShape = isByEntry ? { ...shape, requires: [FILTER_ENTRIES] } : shape;
  const version = isByEntry || shape.items?.lookup === "permuted" ? FORMAT_VERSION : 1;
  return { format: FORMAT, version: String(version), index: JSON.stringify(written) };
}

/**
 * Makes sure that metadata is that of an index of a version that is known. Asked first: other files are refused as what
 * they are, and nothing more is expected of later versions.
 *
 * @throws {IndexFormatError} if it is not.
 */
export function checkMetadata({ format, version }: Record<string, unknown>): void {
  if (format !== FORMAT) {
    throw new IndexFormatError(
      "not-an-index",
      `Cannot read the index: this safetensors file is no Espalier index; build one with "deno task cli build", or buildIndex`,
      { expected: FORMAT, actual: shortFact(format) },
    );
  }
  if (version !== "1" && version !== String(FORMAT_VERSION)) {
    const actual = shortFact(version);
    throw new IndexFormatError(
      "unknown-version",
      `Cannot read the index: expected format version 1 to ${FORMAT_VERSION}, got ${actual}; update Espalier or rebuild the index`,
      { expected: String(FORMAT_VERSION), actual },
    );
  }
}

/**
 * Reads the shape from a header and checks that counts, sizes and sections agree, so that no address
 * derived from it leaves the data.
 *
 * @throws {IndexFormatError} if they do not.
 */
export function decodeShape(header: Header): IndexShape {
  let shape: IndexShape;
  try {
    shape = JSON.parse(header.metadata.index);
  } catch {
    // The parser's own message quotes the text, whatever stands there.
    throw inconsistent("the shape is not JSON");
  }
  checkShape(shape);
  const { sections, byteLength } = planData(shape);
  // Sections that a later version adds, and that it does not require, stand behind those that are known.
  const more = header.metadata.version === "1" ? 0 : header.tensors.length - sections.length;
  const isWhole = more > 0
    ? byteLength <= header.dataByteLength
    : byteLength === header.dataByteLength && sections.length === header.tensors.length;
  if (!isWhole) {
    throw inconsistent("sections and counts differ", {
      expected: byteLength,
      actual: header.dataByteLength,
    });
  }
  for (const [i, { name, offset, byteLength }] of sections.entries()) {
    const tensor = header.tensors[i];
    if (tensor.name !== name || tensor.offset !== offset || tensor.byteLength !== byteLength) {
      throw inconsistent(`section "${name}" is not where the counts place it`, { section: name });
    }
  }
  return shape;
}

function checkShape(shape: IndexShape): void {
  const levels = shape?.levels;
  if (!Array.isArray(levels) || levels.length < 1 || levels.length > MAX_LENGTH) {
    throw inconsistent(`there are not 1 … ${MAX_LENGTH} levels`, {
      actual: shortFact(levels?.length),
    });
  }
  if (!isCount(shape.vocabSize, 2, MAX_VOCAB)) {
    throw inconsistent(`vocabSize is not 2 … ${MAX_VOCAB}`, {
      actual: shortFact(shape.vocabSize),
    });
  }
  const areCounts = (level?: LevelShape) =>
    [level?.edges, level?.states].every((count) => isCount(count, 1, 2 ** 32 - 2));
  if (!levels.every(areCounts)) {
    throw inconsistent("a level is missing");
  }
  let size = 0;
  levels.forEach((level, d) => {
    if (!isSoundLevel(level, d === 0 ? 1 : innerEdges(levels, d - 1), innerEdges(levels, d))) {
      throw inconsistent(`the counts of level ${d} do not agree`, { level: d });
    }
    if (level.tokenMin + level.tokenCount > shape.vocabSize) {
      throw inconsistent(`level ${d} has tokens outside the vocabulary`, {
        level: d,
        expected: shape.vocabSize,
        actual: level.tokenMin + level.tokenCount - 1,
      });
    }
    size += level.ends;
  });
  if (shape.size !== size || size >= 2 ** 32 - 1) {
    throw inconsistent("size is not the number of ends", {
      expected: size,
      actual: shortFact(shape.size),
    });
  }
  const { filters, items, tokenizer, requires = [] } = shape;
  const unknown = Array.isArray(requires)
    ? requires.find((what) => !KNOWN_REQUIREMENTS.includes(what))
    : "nothing that can be read";
  if (unknown !== undefined) {
    const actual = shortFact(unknown);
    throw new IndexFormatError(
      "unknown-section",
      `Cannot read the index: it requires ${
        JSON.stringify(actual)
      }, which this version of Espalier does not know; update Espalier or rebuild the index`,
      { expected: KNOWN_REQUIREMENTS.join(), actual },
    );
  }
  if (items !== undefined && !isSoundItems(items, size)) {
    throw inconsistent("what it says of the item ids cannot be");
  }
  if (filters !== undefined && !areSoundFilters(filters, size, sharedCount(items))) {
    throw inconsistent("what it says of the named filters cannot be");
  }
  if (tokenizer !== undefined && !isSoundTokenizer(tokenizer)) {
    throw inconsistent("what it says of the tokenizer cannot be");
  }
}

function isSoundLevel(level: LevelShape, states: number, inner: number): boolean {
  const { edges, tokenMin, tokenCount, maxBranch, ends } = level;
  const leaves = edges - inner;
  return level.states === states && states <= edges && inner <= edges &&
    isCount(tokenMin, 0, MAX_VOCAB) && isCount(tokenCount, 1, MAX_VOCAB) &&
    isCount(maxBranch, 1, Math.min(tokenCount, edges)) && edges <= states * maxBranch &&
    isCount(ends, leaves, edges) &&
    level.inner === (inner > 0 && leaves > 0) && level.end === (ends > leaves) &&
    (level.encoding === "bitmap"
      ? level.starts === "bits" && states * rowWords(level) * 32 < 2 ** 32
      : level.encoding === "packed" &&
        (level.starts === "one" ? edges === states : level.starts === "bits" ||
          level.starts === "list" && edges > states));
}

function inconsistent(
  what: string,
  facts: ConstructorParameters<typeof IndexFormatError>[2] = {},
): IndexFormatError {
  return new IndexFormatError(
    "inconsistent-header",
    `Cannot read the index: ${what}; the file is damaged, rebuild it`,
    facts,
  );
}
