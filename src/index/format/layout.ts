/**
 * The one layout table. Builder, header reader, WASM kernels and WGSL kernels derive every offset from
 * this file (`asm/kernels/layout.gen.ts` is generated from it).
 *
 * ```text
 * file   │ u64 header length │ JSON header, padded with spaces │ data                        │
 *        0                   8                                 └ a multiple of 256           end
 *
 * data   │ level 0 │ level 1 │ … │ filter 0 │ filter 1 │ … │ items │
 *          every section starts on a multiple of 256 bytes, u32 little-endian
 *
 * level, packed  │ tokens │ starts, starts.rank, starts.select │ inner* │ end* │
 * level, bitmap  │ bitmap, bitmap.rank, bitmap.select          │ inner* │ end* │
 * filter, bits   │ bits        │ entries* │
 * filter, sparse │ low │ high  │ entries* │
 * items, integer │ starts* │ ids                          │ order* │
 * items, string  │ starts* │ ends.low │ ends.high* │ text │ order* │
 * ```
 *
 * - `tokens`: edge k is the `tokenBits` bits from bit k·tokenBits on, plus `tokenMin`. One word of slack
 *   follows, so that an unaligned 32-bit read at any edge stays inside. Absent where `tokenBits` is 0.
 * - `starts`: the edges that are no first child, ascending (`"list"`), or a bit per edge, 1 = first child
 *   (`"bits"`), or absent because every row has one child (`"one"`).
 * - `bitmap`: one row of `ceil(tokenCount / 32)` words per state; the edge number of a 1 bit is its rank.
 * - `inner`: a bit per edge, 1 = has children; only where leaves and inner edges meet on a level.
 * - `end`: a bit per edge, 1 = a sequence ends here; only where an inner edge also ends.
 * - `*.rank`: how many ones precede each block of 512 bits, `floor(bits / 512) + 1` words.
 * - `*.select`: block in which the one with number 512·i stands, `floor(ones / 512) + 1` words.
 *   Bit vectors themselves have `floor(bits / 32) + 1` words.
 *
 * Named filters (named_filters.ts), by number because names are free text:
 * - `filterN.bits`: a bit per ordinal, 1 = allowed.
 * - `filterN.low`, `filterN.high`: the ordinals that are allowed (that are not, where `inverted`), Elias–Fano.
 * - `filterN.entries`: a bit per item of the sequences that have several, in order, 1 = allowed. Such a file is version 2
 *   and lists "filter entries" under `requires`: a reader that ignored them would show forbidden items.
 *
 * Item ids (items.ts), one or more per sequence, sorted by ordinal, those of a sequence by id:
 * - `items.starts`: a bit per item, 1 = first of its sequence; only where a sequence has several.
 * - `items.ids`: packed like tokens, `bits(max - min)` bits each, relative to `min`.
 * - `items.order`: the items in the order of their ids (integers as numbers, strings by UTF-8 bytes, equal ids as they
 *   stand), packed like tokens; only where that is another order, and in files of version 2.
 * - `items.text`: UTF-8, one id after the other. `items.ends`: the byte behind each, Elias–Fano.
 *
 * Elias–Fano (elias_fano.ts): number i is `low[i] + 2^lowBits · (position of one i in high - i)`.
 * What would have no words is left out.
 */
import { LimitError } from "../../errors.ts";
import { bitVectorSections, packedSections, type SectionSize } from "../bits/sections.ts";

/** Sections start on multiples of so many bytes: the default alignment of WebGPU storage bindings. */
export const ALIGNMENT = 256;
/** Longest sequence. */
export const MAX_LENGTH = 1024;
/** Largest vocabulary. */
export const MAX_VOCAB = 2 ** 20;
/** The number that means "none" for ordinals, tokens, states and edges. */
export const NONE = 0xffffffff;
/** Version of the format that this code writes and reads. */
export const FORMAT_VERSION = 2;

/** How the tokens of a level are stored. */
export type Encoding = "packed" | "bitmap";
/** How the row starts of a packed level are stored. */
export type Starts = "one" | "list" | "bits";

/** What the header says of a level; everything else follows from it. */
export interface LevelShape {
  /** Distinct prefixes of this length: edges of the level. */
  edges: number;
  /** Rows of the level: distinct prefixes, one token shorter, that go on. */
  states: number;
  /** How the tokens are stored. */
  encoding: Encoding;
  /** How row starts are stored; `"bits"` for bitmaps, whose bits tell them. */
  starts: Starts;
  /** Most children of a row. */
  maxBranch: number;
  /** Smallest token of the level. */
  tokenMin: number;
  /** Largest token - smallest token + 1. */
  tokenCount: number;
  /** Whether an `inner` bit vector is stored. */
  inner: boolean;
  /** Whether an `end` bit vector is stored. */
  end: boolean;
  /** Sequences that end on this level. */
  ends: number;
}

/** A named run of words in the data. */
export interface Section {
  /** Tensor name in the file, `level3.tokens` */
  name: string;
  /** Byte offset from the start of the data. */
  offset: number;
  /** Bytes, padding included. */
  byteLength: number;
}

/** Whether a value of a header is an integer in [least, most]. */
export function isCount(value: unknown, least: number, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

/** Bits that a token of a level takes, relative to the level's smallest token. */
export function tokenBits(level: Pick<LevelShape, "tokenCount">): number {
  return 32 - Math.clz32(level.tokenCount - 1);
}

/** Words of one bitmap row. */
export function rowWords(level: Pick<LevelShape, "tokenCount">): number {
  return Math.ceil(level.tokenCount / 32);
}

/** Sections of one level, in file order. */
export function sectionWords(level: LevelShape, innerEdges: number): SectionSize[] {
  const sections: SectionSize[] = [];
  if (level.encoding === "bitmap") {
    const bits = level.states * rowWords(level) * 32;
    sections.push(...bitVectorSections("bitmap", bits, level.edges));
  } else {
    sections.push(...packedSections("tokens", level.edges, tokenBits(level)));
    if (level.starts === "list") sections.push(["starts", level.edges - level.states]);
    if (level.starts === "bits") {
      sections.push(...bitVectorSections("starts", level.edges, level.states));
    }
  }
  if (level.inner) sections.push(...bitVectorSections("inner", level.edges, innerEdges));
  if (level.end) sections.push(...bitVectorSections("end", level.edges, level.ends));
  return sections;
}

/** Bytes that a section of so many bytes takes in the data. */
export const aligned = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** Bytes that a level takes in the data, padding included. */
export function levelByteLength(level: LevelShape, innerEdges: number): number {
  return sectionWords(level, innerEdges)
    .reduce((sum, [, words]) => sum + aligned(words * 4), 0);
}

/** Edges with children of level d: they are the states of level d + 1. */
export function innerEdges(levels: readonly LevelShape[], d: number): number {
  return d + 1 < levels.length ? levels[d + 1].states : 0;
}

/**
 * Places all sections in level order, then those of filters and items.
 *
 * @throws {LimitError} if the data would not fit below 4 GiB.
 */
export function planSections(
  levels: readonly LevelShape[],
  attached: readonly SectionSize[] = [],
): { sections: Section[]; byteLength: number } {
  const sections: Section[] = [];
  let offset = 0;
  const place = (name: string, words: number) => {
    const byteLength = aligned(words * 4);
    sections.push({ name, offset, byteLength });
    offset += byteLength;
  };
  levels.forEach((level, d) => {
    for (const [part, words] of sectionWords(level, innerEdges(levels, d))) {
      place(`level${d}.${part}`, words);
    }
  });
  for (const [name, words] of attached) place(name, words);
  if (offset > MAX_DATA_BYTES) {
    throw new LimitError(
      "index-too-large",
      `Cannot hold an index of ${offset} bytes: at most ${MAX_DATA_BYTES} bytes are addressable; split the set`,
      { expected: MAX_DATA_BYTES, actual: offset },
    );
  }
  return { sections, byteLength: offset };
}

/** Room that the kernels need beside an index in one 4 GiB memory. */
export const MAX_DATA_BYTES = 2 ** 32 - 64 * 2 ** 20;

/** Fields of a level's record in the level table, one u32 each, in this order. */
export const LEVEL_FIELDS = [
  "EDGES",
  "STATES",
  "TOKEN_MIN",
  "TOKEN_COUNT",
  "TOKEN_BITS",
  /** 1 = bitmap */
  "BITMAP",
  "ROW_WORDS",
  /** `tokens` or `bitmap` */
  "TOKENS",
  "TOKENS_RANK",
  "TOKENS_SELECT",
  /** {@linkcode STARTS_KINDS} */
  "STARTS_KIND",
  "STARTS",
  "STARTS_RANK",
  "STARTS_SELECT",
  /** Edges with children. */
  "INNER_EDGES",
  /** 0 where absent */
  "INNER",
  "INNER_RANK",
  "INNER_SELECT",
  /** 0 where absent */
  "END",
  "END_RANK",
  "END_SELECT",
  "ENDS",
  /** Sequences that end on earlier levels. */
  "ENDS_BEFORE",
  "MAX_BRANCH",
] as const;

/** Bytes of one record of the level table. */
export const LEVEL_RECORD_BYTES = LEVEL_FIELDS.length * 4;

/**
 * Kinds of row starts as kernels number them. Unary: every row has one child. Exceptions: a list of the few edges that
 * are not first children. Bitvector: one bit per edge, set for first children.
 */
export const STARTS_KINDS = { UNARY: 0, EXCEPTIONS: 1, BITVECTOR: 2 } as const;

/** The kinds by their names in the file format. */
const KIND_OF: Record<Starts, number> = {
  one: STARTS_KINDS.UNARY,
  list: STARTS_KINDS.EXCEPTIONS,
  bits: STARTS_KINDS.BITVECTOR,
};

/**
 * The level table as kernels read it: one record of {@linkcode LEVEL_FIELDS} per level.
 *
 * @param base Byte address of the data in the memory that the kernel reads; sections that are absent get 0,
 * so it must be positive.
 */
export function levelTable(levels: readonly LevelShape[], base: number): Uint32Array<ArrayBuffer> {
  const { sections } = planSections(levels);
  const addresses = new Map(sections.map(({ name, offset }) => [name, base + offset]));
  const table = new Uint32Array(levels.length * LEVEL_FIELDS.length);
  let endsBefore = 0;
  levels.forEach((level, d) => {
    const at = (part: string) => addresses.get(`level${d}.${part}`) ?? 0;
    const isBitmap = level.encoding === "bitmap";
    const tokens = isBitmap ? "bitmap" : "tokens";
    const record: Record<typeof LEVEL_FIELDS[number], number> = {
      EDGES: level.edges,
      STATES: level.states,
      TOKEN_MIN: level.tokenMin,
      TOKEN_COUNT: level.tokenCount,
      TOKEN_BITS: tokenBits(level),
      BITMAP: Number(isBitmap),
      ROW_WORDS: rowWords(level),
      TOKENS: at(tokens),
      TOKENS_RANK: at(`${tokens}.rank`),
      TOKENS_SELECT: at(`${tokens}.select`),
      STARTS_KIND: KIND_OF[level.starts],
      STARTS: at("starts"),
      STARTS_RANK: at("starts.rank"),
      STARTS_SELECT: at("starts.select"),
      INNER_EDGES: innerEdges(levels, d),
      INNER: at("inner"),
      INNER_RANK: at("inner.rank"),
      INNER_SELECT: at("inner.select"),
      END: at("end"),
      END_RANK: at("end.rank"),
      END_SELECT: at("end.select"),
      ENDS: level.ends,
      ENDS_BEFORE: endsBefore,
      MAX_BRANCH: level.maxBranch,
    };
    table.set(LEVEL_FIELDS.map((field) => record[field]), d * LEVEL_FIELDS.length);
    endsBefore += level.ends;
  });
  return table;
}
