/** Index shapes and data that no builder makes. */

import type { IndexShape } from "../../src/index/format/header.ts";
import {
  innerEdges,
  type LevelShape,
  planSections,
  rowWords,
} from "../../src/index/format/layout.ts";
import { signed } from "./corrupt.ts";
import type { Random } from "./models.ts";

/** Bytes of many kinds: noise, ones, small numbers, few bits, nothing. */
export function randomData(byteLength: number, random: Random): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(byteLength / 4);
  const kind = random.below(6);
  const bound = random.pick([2, 16, 600, 2000]);
  for (let i = 0; i < words.length; i++) {
    if (kind === 0) words[i] = random.uint32();
    else if (kind === 1) words[i] = 0xffffffff;
    else if (kind === 2) words[i] = random.below(bound);
    else if (kind === 3) words[i] = random.uint32() & random.uint32() & random.uint32();
    else if (kind === 4) words[i] = random.pick([0, 1, 0x80000000, 0xffffffff, i]);
  }
  return new Uint8Array(words.buffer);
}

/** A shape whose counts agree, and nothing more. */
export function randomShape(random: Random): IndexShape {
  const vocabSize = random.pick([2, 5, 33, 64, 100, 700]);
  const depth = random.between(1, 4);
  const levels: LevelShape[] = [];
  let states = 1;
  let size = 0;
  for (let d = 0; d < depth; d++) {
    const tokenCount = random.between(1, vocabSize);
    const mostEdges = Math.min(states * tokenCount, 2100);
    // Some counts fill bit vectors and tokens to the last byte of their section.
    const full = random.pick([1008, 2015, 2016, 2047, 2048]);
    const edges = full >= states && full <= mostEdges && random.below(2)
      ? full
      : random.between(states, mostEdges);
    const most = Math.min(tokenCount, edges);
    const maxBranch = random.between(Math.ceil(edges / states), most);
    const inner = d + 1 === depth ? 0 : random.pick([edges, random.between(1, edges)]);
    const leaves = edges - inner;
    const ends = random.pick([leaves, random.between(leaves, edges)]);
    const level: LevelShape = {
      edges,
      states,
      encoding: "packed",
      starts: edges === states ? random.pick(["one", "bits"]) : random.pick(["list", "bits"]),
      maxBranch,
      tokenMin: random.below(vocabSize - tokenCount + 1),
      tokenCount,
      inner: inner > 0 && leaves > 0,
      end: ends > leaves,
      ends,
    };
    const isBitmap = states * rowWords(level) < 4000 && random.below(2) === 0;
    levels.push(isBitmap ? { ...level, encoding: "bitmap", starts: "bits" } : level);
    size += ends;
    states = inner;
  }
  return size > 0 ? { size, vocabSize, levels } : randomShape(random);
}

/** A file whose header has been changed in one or two numbers and is signed anew. */
export async function resigned(
  shape: IndexShape,
  data: Uint8Array<ArrayBuffer>,
  random: Random,
): Promise<Uint8Array<ArrayBuffer>> {
  const other: IndexShape = structuredClone(shape);
  const values = [0, 1, 2, -1, 0.5, NaN, 31, 33, 2 ** 20, 2 ** 32 - 2, 2 ** 53, "1", null, true];
  for (let times = random.between(1, 2); times > 0; times--) {
    const level = random.pick(other.levels);
    const target = random.below(5) ? level : other;
    const keys = Object.keys(target).filter((key) => key !== "levels");
    const key = random.pick(keys);
    const value: unknown = Reflect.get(target, key);
    const next = typeof value === "number" && random.below(2)
      ? value + random.pick([-1, 1, 32])
      : typeof value === "boolean"
      ? !value
      : random.pick([...values, "packed", "bitmap", "one", "list", "bits"]);
    Reflect.set(target, key, next);
  }
  // The rest is made to fit where that is possible, so that more gets past the first look.
  if (random.below(2)) {
    other.levels.forEach((level, d) => {
      const inner = innerEdges(other.levels, d);
      level.inner = inner > 0 && inner < level.edges;
      level.end = level.ends > level.edges - inner;
    });
    other.size = other.levels.reduce((sum, { ends }) => sum + ends, 0);
  }
  let byteLength = NaN;
  try {
    byteLength = planSections(other.levels).byteLength;
  } catch {
    // Too large to place.
  }
  // What has no size, or too much of it, keeps the data that was there.
  const fitted = new Uint8Array(byteLength >= 0 && byteLength < 2 ** 22 ? byteLength : data.length);
  fitted.set(data.subarray(0, fitted.length));
  try {
    return await signed(other, fitted);
  } catch {
    return await signed(shape, data, { index: JSON.stringify(other) });
  }
}
