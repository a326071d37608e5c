/** Damaged index files: how to make them, and places in which they can do no unseen harm. */

import assert from "node:assert/strict";
import type { ConstraintIndex } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { completeLoading } from "../../src/index/level_loading.ts";
import { indexFrom } from "../../src/index/constraint_index.ts";
import {
  encodeShape,
  type IndexShape,
  partCount,
  planData,
} from "../../src/index/format/header.ts";
import { LEVEL_RECORD_BYTES, levelTable } from "../../src/index/format/layout.ts";
import { type LoadedIndex, scratchByteLength } from "../../src/index/index_memory.ts";
import { digestChunks, encodeHeader, sha256 } from "../../src/storage/safetensors.ts";
import { WasmHeap } from "../../src/wasm/heap.ts";
import { buildAs, type Storing } from "./encodings.ts";
import { Random } from "./models.ts";
import { allRows } from "./sets.ts";

/** A small index, as a file and taken apart. */
export interface Sample {
  name: string;
  bytes: Uint8Array<ArrayBuffer>;
  shape: IndexShape;
  data: Uint8Array<ArrayBuffer>;
}

function some(seed: number, vocabSize: number, length: number, share: number): number[][] {
  const random = new Random(seed);
  return allRows(vocabSize, length).filter(() => random.below(100) < share);
}

function pairs(seed: number, count: number, vocabSize: number): number[][] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => [random.below(vocabSize), random.below(vocabSize)]);
}

const MIXED = [
  ...pairs(3, 30, 11),
  ...pairs(4, 30, 11).map((row) => [...row, row[0]]),
  ...[0, 2, 5, 10].map((token) => [token]),
  [7, 7, 7, 7],
];

const SAMPLES: [string, number[][], number, Storing[]][] = [
  ["bitmaps", some(1, 5, 3, 70), 5, ["bitmap"]],
  ["wide bitmaps", pairs(2, 90, 70), 70, ["bitmap"]],
  ["one child each", pairs(5, 40, 300).map((row, i) => [i, ...row]), 300, ["bitmap", "one", "one"]],
  ["lists", pairs(6, 90, 40), 40, ["list"]],
  ["start bits", pairs(7, 700, 300), 300, ["bits"]],
  ["mixed lengths, packed", MIXED, 11, ["bits", "list"]],
  ["mixed lengths, bitmaps", MIXED, 11, ["bitmap", "bits", "bitmap"]],
  ["inner edges that end", [[0], [0, 1], [1], [1, 0], [2, 2]], 3, ["bitmap", "list"]],
  ["leaves above the last level", [[0], [1, 2], [1, 3], [3]], 4, ["list", "list"]],
  ["a single sequence", [[3, 1, 4]], 5, ["one"]],
];

/** Small indexes with every encoding of tokens, row starts, inner edges and ends. */
export async function samples(): Promise<Sample[]> {
  return await Promise.all(SAMPLES.map(async ([name, rows, vocabSize, storings]) => {
    using index = await buildAs(rows, vocabSize, ...storings);
    return { name, ...takeApart(index.toBytes()) };
  }));
}

/** A file of several chunks. */
export async function largeFile(): Promise<Uint8Array<ArrayBuffer>> {
  const random = new Random(1);
  const data = Uint32Array.from({ length: 900_000 }, () => random.below(2 ** 20));
  using index = await buildIndex({ data, rows: 300_000, length: 3 }, { vocabSize: 2 ** 20 });
  return index.toBytes();
}

/** Splits a sound file. */
export function takeApart(bytes: Uint8Array<ArrayBuffer>): Omit<Sample, "name"> {
  const start = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const { __metadata__ } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  const shape: IndexShape = JSON.parse(__metadata__.index);
  return { bytes, shape, data: bytes.slice(start) };
}

/** A file with every digest right, whatever it holds. */
export async function signed(
  shape: IndexShape,
  data: Uint8Array<ArrayBuffer>,
  metadata: Record<string, string> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { sections } = planData(shape);
  const digests = await digestChunks((at, length) => data.subarray(at, at + length), data.length);
  const own = { ...encodeShape(shape), ...metadata };
  const header = await encodeHeader(sections, own, digests);
  const bytes = new Uint8Array(header.bytes.length + data.length);
  bytes.set(header.bytes);
  bytes.set(data, header.bytes.length);
  return bytes;
}

/** A file with this text as its header, whatever it says; its digest is put in where there is one place for it. */
export async function sealed(
  text: string,
  data: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const header = new TextEncoder().encode(
    text.replaceAll(/"headerSha256":"[0-9a-f]{64}"/g, `"headerSha256":"${"0".repeat(64)}"`),
  );
  const start = Math.ceil((8 + header.length) / 256) * 256;
  const bytes = new Uint8Array(start + data.length).fill(0x20, 0, start);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(start - 8), true);
  bytes.set(header, 8);
  bytes.set(data, start);
  const at = text.search(/"headerSha256":"[0-9a-f]{64}"/);
  if (at >= 0) {
    const digest = await sha256(bytes.slice(0, start));
    const before = new TextEncoder().encode(text.slice(0, at)).length;
    bytes.set(new TextEncoder().encode(digest), 8 + before + '"headerSha256":"'.length);
  }
  return bytes;
}

/** Damages a copy: flips, other bytes and words, regions swapped, inserted or removed. */
export function damage<T extends Uint8Array<ArrayBuffer>>(
  bytes: T,
  random: Random,
  keepsLength = false,
): Uint8Array<ArrayBuffer> {
  let copy: Uint8Array<ArrayBuffer> = bytes.slice();
  for (let times = random.pick([1, 1, 2, 4, 20]); times > 0 && copy.length > 0; times--) {
    const at = random.below(copy.length);
    const length = random.between(1, Math.min(64, copy.length - at));
    const other = random.below(copy.length - length + 1);
    switch (random.below(keepsLength ? 5 : 8)) {
      case 0:
        copy[at] ^= 1 << random.below(8);
        break;
      case 1:
        copy[at] = random.below(256);
        break;
      case 2:
        copy.fill(random.pick([0, 0xff, random.below(256)]), at, at + length);
        break;
      case 3: {
        const region = copy.slice(at, at + length);
        copy.copyWithin(at, other, other + length);
        copy.set(region, other);
        break;
      }
      case 4:
        copy.copyWithin(at, other, other + length);
        break;
      case 5:
        copy = Uint8Array.of(...copy.subarray(0, at), ...copy.subarray(at + length));
        break;
      case 6:
        copy = Uint8Array.of(
          ...copy.subarray(0, at),
          ...copy.subarray(other, other + length),
          ...copy.subarray(at),
        );
        break;
      default:
        copy = copy.slice(0, at);
    }
  }
  return copy;
}

/** Whether two files are the same. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** A stream of the bytes in chunks of random sizes. */
export function streamOf(
  bytes: Uint8Array<ArrayBuffer>,
  random: Random,
  type?: "bytes",
): ReadableStream<Uint8Array> {
  const largest = random.pick([1, 3, 7, 255, 257, 1000, 70_001]);
  let at = 0;
  const take = (least: number, most: number) => {
    const from = at;
    at = Math.min(bytes.length, from + random.between(least, Math.min(largest, most)));
    return bytes.slice(from, at);
  };
  if (!type) {
    return new ReadableStream({
      pull: (controller) => {
        if (at >= bytes.length) controller.close();
        else controller.enqueue(take(0, largest));
      },
    });
  }
  return new ReadableStream({
    type,
    pull: (controller) => {
      const request = controller.byobRequest;
      const view = request?.view;
      if (at >= bytes.length) {
        controller.close();
        request?.respond(0);
      } else if (!view) {
        controller.enqueue(take(1, largest));
      } else {
        const part = take(1, view.byteLength);
        new Uint8Array(view.buffer, view.byteOffset).set(part);
        request.respond(part.length);
      }
    },
  });
}

/** Room in front of a caged index, for whatever a search allocates. */
const ROOM = 2 ** 20;

/**
 * An index at the very end of its memory: reading behind it traps, and what is read in front of it is poison,
 * which shows when answers change with the poison.
 */
export class Cage {
  readonly loaded: LoadedIndex;

  private constructor(loaded: LoadedIndex) {
    this.loaded = loaded;
  }

  /** Another each time: an index remembers where prefixes led, and its bytes change here. */
  get index(): ConstraintIndex {
    return indexFrom(this.loaded);
  }

  static async create(shape: IndexShape): Promise<Cage> {
    const { sections, byteLength } = planData(shape);
    const scratchBytes = scratchByteLength(shape);
    const tableBytes = shape.levels.length * LEVEL_RECORD_BYTES;
    const heap = await WasmHeap.create(ROOM + byteLength + scratchBytes + tableBytes);
    const data = heap.memory.buffer.byteLength - byteLength;
    const table = heap.allocate(tableBytes);
    const scratch = heap.allocate(scratchBytes);
    const records = levelTable(shape.levels, data);
    heap.u32(table, records.length).set(records);
    const header = await encodeHeader(sections, encodeShape(shape), []);
    const arrival = completeLoading(partCount(shape));
    return new Cage({
      heap,
      shape,
      data,
      dataByteLength: byteLength,
      table,
      scratch,
      header,
      loading: arrival,
    });
  }

  /** Puts data in place. */
  fill(data: Uint8Array): void {
    this.loaded.heap.u8(this.loaded.data, data.length).set(data);
  }

  /** Fills everything that is neither index nor level table nor the module's own with a word. */
  poison(word: number): void {
    const { heap, table, data, shape } = this.loaded;
    const first = Math.ceil(heap.exports.heapBase() / 4) * 4;
    const afterTable = table + shape.levels.length * LEVEL_RECORD_BYTES;
    heap.u32(first, (table - first) / 4).fill(word);
    heap.u32(afterTable, (data - afterTable) / 4).fill(word);
  }

  /** Asserts that nothing has grown, which would have opened the cage. */
  assertClosed(): void {
    const { heap, data, dataByteLength } = this.loaded;
    assert.equal(heap.memory.buffer.byteLength, data + dataByteLength, "The memory has grown");
  }
}
