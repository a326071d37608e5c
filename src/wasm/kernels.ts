/** The WASM module: compiled once per process, instantiated once per memory. */
import { KERNELS_BASE64 } from "./kernels.gen.ts";

/** What the module exports; addresses are bytes in its memory. See asm/kernels for each function. */
export interface WasmExports {
  heapBase(): number;
  /** Where {@linkcode WasmExports.sumBlocks} is looked up when it is called. */
  table: WebAssembly.Table;
  sumBlocksSlot(): number;
  sumBlocks: SumBlocks;
  sampleBits(words: number, bits: number, ranks: number, selects: number): number;
  walk(levels: number, count: number, tokens: number, length: number, out: number): number;
  ordinalOfEdge(level: number, edge: number): number;
  spellEdge(levels: number, depth: number, edge: number, out: number): number;
  spell(levels: number, count: number, ordinal: number, out: number): number;
  children(level: number, state: number, filter: number, out: number): number;
  nextTokens(
    levels: number,
    count: number,
    depth: number,
    edge: number,
    tokens: number,
    length: number,
    filter: number,
    out: number,
  ): number;
  hasToken(level: number, token: number): number;
  combineBits(operation: number, a: number, b: number, out: number, bytes: number): void;
  countBits(at: number, bytes: number): number;
  copyBits(source: number, from: number, target: number, to: number, count: number): void;
  fillBits(target: number, count: number): void;
  spreadBits(
    mask: number,
    inverted: number,
    bits: number,
    source: number,
    sourceBits: number,
    target: number,
  ): void;
  joinBits(starts: number, edges: number, source: number, target: number, states: number): void;
  joinListed(
    list: number,
    count: number,
    edges: number,
    source: number,
    target: number,
    states: number,
  ): void;
  joinRows(source: number, rowWords: number, states: number, target: number): void;
  forbid(levels: number, filter: number, ordinals: number, count: number): void;
  findItem(items: number, out: number): number;
  itemAt(items: number, place: number): number;
  isOrdered(items: number, room: number): number;
  verifyLevel(level: number): number;
  isZero(from: number, to: number): number;
  logSumExp(row: number, n: number): number;
  rowMax(row: number, n: number): number;
  widen(source: number, target: number, n: number): void;
  exclude(
    levels: number,
    depth: number,
    rules: number,
    stride: number,
    ordinals: number,
    count: number,
    out: number,
    room: number,
  ): number;
  followRun(level: number, state: number, rule: number, stride: number, out: number): number;
  scoreToken(search: number, logits: number, form: number, token: number, out: number): number;
  stepRows(search: number, first: number, rows: number, form: number): number;
  scanColumns(rows: number, count: number, length: number, size: number, bounds: number): void;
  countBuckets(
    rows: number,
    count: number,
    length: number,
    size: number,
    columns: number,
    key: number,
    shift: number,
    counts: number,
  ): void;
  dealRows(
    rows: number,
    count: number,
    length: number,
    size: number,
    columns: number,
    key: number,
    shift: number,
    cursors: number,
    ends: number,
    records: number,
    words: number,
    keyWords: number,
    firstRow: number,
  ): number;
  dealHeap(
    heap: number,
    count: number,
    shift: number,
    cursors: number,
    records: number,
    words: number,
    firstRow: number,
  ): number;
  sortRecords(
    records: number,
    count: number,
    words: number,
    keyWords: number,
    room: number,
  ): void;
  splitRecords(
    records: number,
    count: number,
    words: number,
    keyWords: number,
    room: number,
  ): number;
  sortHeap(records: number, count: number, words: number, room: number): void;
}

/** Sum of exp(logit - shift) between two addresses, a multiple of 64 bytes apart. */
export type SumBlocks = (from: number, to: number, shift: number, constants: number) => number;

let compiled: WebAssembly.Module | undefined;
let compiling: Promise<WebAssembly.Module> | undefined;

/**
 * The compiled module, from the bytes that come with this code. Platforms that refuse to compile from bytes
 * (Workers) import `kernels.gen.wasm`, which stands beside this file, and pass it as `wasm`; the bundles of
 * `tools/bundle` do that themselves.
 */
export async function compiledModule(): Promise<WebAssembly.Module> {
  if (compiled) return compiled;
  try {
    compiling ??= WebAssembly.compile(moduleBytes());
    return compiled = await compiling;
  } finally {
    compiling = undefined;
  }
}

/** Bytes of the module, for platforms and tests that compile it themselves. */
export function moduleBytes(): Uint8Array<ArrayBuffer> {
  return fromBase64(KERNELS_BASE64);
}

/** Bytes that a generated file holds as text; a loop decodes them some milliseconds later where the engine cannot. */
export function fromBase64(base64: string): Uint8Array<ArrayBuffer> {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
