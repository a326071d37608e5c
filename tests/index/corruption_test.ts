/** Damaged files: refused where digests are checked, harmless where they are not. */

import assert from "node:assert/strict";
import {
  ConstraintIndex,
  IndexFormatError,
  IndexIntegrityError,
  LimitError,
  type OpenOptions,
} from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { type LevelShape, planSections, type Section } from "../../src/index/format/layout.ts";
import { loadedIndexOf } from "../../src/index/constraint_index.ts";
import { searchShape } from "../../src/decode/options.ts";
import { WasmKernel } from "../../src/kernels/wasm/kernel.ts";
import { verifyStructure } from "../../src/index/verify.ts";
import { Cage, damage, sameBytes, samples, signed, streamOf } from "../support/corrupt.ts";
import { assertConsistent, interrogate } from "../support/interrogate.ts";
import { runs } from "../support/long.ts";
import { Random } from "../support/models.ts";
import { randomData, randomShape, resigned } from "../support/shapes.ts";

const SAMPLES = await samples();

/** What memory outside the index may hold: as numbers huge, as floats NaN, 100, infinity. */
const POISONS = [0xffffffff, 0x42c80000, 0x7f800000];

const isRefusal = (error: unknown) =>
  error instanceof IndexFormatError || error instanceof IndexIntegrityError;

async function assertRefused(
  source: Parameters<typeof ConstraintIndex.open>[0],
  message: string,
  options?: OpenOptions,
): Promise<void> {
  let failure: unknown;
  try {
    using _index = await ConstraintIndex.open(source, options);
  } catch (error) {
    failure = error;
  }
  if (isRefusal(failure)) return;
  assert.fail(`${message}: ${failure === undefined ? "was opened" : Deno.inspect(failure)}`);
}

Deno.test("Samples cover every encoding and are sound", async () => {
  const seen = new Set<string>();
  for (const { bytes, shape, data, name } of SAMPLES) {
    using index = await ConstraintIndex.open(bytes, { verify: true });
    assertConsistent(index);
    assert.deepEqual(await signed(shape, data), bytes, name);
    for (const { encoding, starts, inner, end } of shape.levels) {
      seen.add(encoding).add(starts);
      if (inner) seen.add(end ? "inner and end" : "inner");
      else if (end) seen.add("end");
    }
  }
  const wanted = ["packed", "bitmap", "one", "list", "bits", "inner", "end", "inner and end"];
  assert.deepEqual([...seen].sort(), wanted.sort());
  assert.ok(SAMPLES.some(({ data }) => data.length === 0), "One without data");
});

Deno.test("Every byte of a file counts", async () => {
  for (const { name, bytes, data } of SAMPLES) {
    const random = new Random(bytes.length);
    const copy = bytes.slice();
    const start = bytes.length - data.length;
    // Opening as far as the data takes its time.
    for (let at = 0; at < bytes.length; at += at < start ? 1 : runs(random.between(1, 19), 1)) {
      for (let times = runs(1, 4); times > 0; times--) {
        copy[at] ^= 1 << random.below(8);
        const source = random.below(30) ? copy : streamOf(copy, random);
        if (copy[at] !== bytes[at]) await assertRefused(source, `${name}, byte ${at}`);
        copy[at] = bytes[at];
      }
    }
  }
});

Deno.test("Files that are cut or go on are refused at every length", async () => {
  for (const { name, bytes, data } of SAMPLES) {
    const random = new Random(bytes.length);
    const start = bytes.length - data.length;
    let step = 1;
    for (let length = 0; length < bytes.length; length += step) {
      if (length > start) step = runs(random.between(1, 5), 1);
      const cut = bytes.slice(0, length);
      const source = random.below(30)
        ? cut
        : streamOf(cut, random, random.pick([undefined, "bytes"]));
      await assertRefused(source, `${name}, cut at ${length}`);
    }
    for (const more of [1, 2, 255, 256, 2 ** 20]) {
      const longer = new Uint8Array(bytes.length + more);
      longer.set(bytes);
      await assertRefused(longer, `${name}, ${more} more bytes`);
      await assertRefused(new Response(longer).body!, `${name}, ${more} more bytes, streamed`);
      await assertRefused(longer, `${name}, ${more} more bytes, unverified`, { verify: false });
    }
  }
});

Deno.test("Random damage is refused, however the bytes arrive", async () => {
  const random = new Random(11);
  for (let i = 0; i < runs(3000, 100_000); i++) {
    const { name, bytes } = random.pick(SAMPLES);
    const damaged = damage(bytes, random);
    if (sameBytes(damaged, bytes)) continue;
    const source = random.below(4)
      ? damaged
      : streamOf(damaged, random, random.pick([undefined, "bytes"]));
    await assertRefused(source, `${name}, damage ${i}`);
  }
});

Deno.test("Damage to any chunk of a larger file is refused", async () => {
  const random = new Random(12);
  const data = Uint32Array.from({ length: 1_200_000 }, () => random.below(2 ** 20));
  using index = await buildIndex({ data, rows: 400_000, length: 3 }, { vocabSize: 2 ** 20 });
  const bytes = index.toBytes();
  const { header } = loadedIndexOf(index);
  assert.ok(header.dataByteLength > 2 ** 21, "Several chunks");
  const last = header.dataByteLength - 1;
  const places = [0, 2 ** 20 - 1, 2 ** 20, 2 ** 21 - 1, 2 ** 21, last]
    .map((place) => header.bytes.length + place);
  for (let i = 0; i < runs(6); i++) places.push(random.below(bytes.length));
  for (const at of places) {
    const mask = 1 << random.below(8);
    bytes[at] ^= mask;
    await assertRefused(bytes, `Byte ${at}`);
    await assertRefused(new Blob([bytes]), `Byte ${at} of a blob`);
    await assertRefused(new Response(bytes).body!, `Byte ${at} of a stream`);
    bytes[at] ^= mask;
  }
  using _sound = await ConstraintIndex.open(bytes);
});

/** Whether verification passes; if it does, the index must be that of some set. */
function isSound(cage: Cage, message: string): boolean {
  try {
    verifyStructure(cage.loaded);
  } catch (error) {
    if (error instanceof IndexIntegrityError) return false;
    throw error;
  }
  try {
    assertConsistent(cage.index);
  } catch (cause) {
    throw new Error(`${message}: verified, but its answers do not agree`, { cause });
  }
  return true;
}

/** Swaps two different bits that lie near each other in a section, if it finds some. */
function moveBit(data: Uint8Array, { offset, byteLength }: Section, random: Random): Uint8Array {
  const copy = data.slice();
  const bits = random.pick([64, 512, byteLength * 8]);
  for (let tries = 0; tries < 50; tries++) {
    const [a, b] = [random.pick([0, random.below(bits)]), random.below(bits)];
    const [at, to] = [offset + (a >> 3), offset + (b >> 3)];
    const [one, other] = [copy[at] >> (a & 7) & 1, copy[to] >> (b & 7) & 1];
    if (one === other) continue;
    copy[at] ^= 1 << (a & 7);
    copy[to] ^= 1 << (b & 7);
    break;
  }
  return copy;
}

/** Asks under every poison; answers that differ come from outside the index. */
function assertCaged(cage: Cage, seed: number, message: string): void {
  let expected: unknown;
  for (const poison of POISONS) {
    try {
      const answers = interrogate(cage.index, seed, () => cage.poison(poison));
      assert.deepEqual(answers, expected ??= answers, "Answers depend on memory outside the index");
    } catch (cause) {
      throw new Error(`${message}: read outside the index, or out of bounds`, { cause });
    }
    cage.assertClosed();
  }
}

Deno.test("Verification finds every flipped bit of signed data, or another sound set", async () => {
  let passed = 0;
  let refused = 0;
  for (const { name, shape, data } of SAMPLES) {
    const cage = await Cage.create(shape);
    const random = new Random(data.length);
    cage.fill(data);
    assert.ok(isSound(cage, name));
    for (let bit = 0; bit < data.length * 8; bit += runs(random.between(1, 39), 1)) {
      const at = bit >> 3;
      const copy = data.slice(at, at + 1);
      copy[0] ^= 1 << (bit & 7);
      cage.loaded.heap.u8(cage.loaded.data + at, 1).set(copy);
      if (isSound(cage, `${name}, bit ${bit}`)) passed++;
      else refused++;
      cage.loaded.heap.u8(cage.loaded.data + at, 1)[0] = data[at];
    }
    for (let i = 0; i < runs(100); i++) {
      cage.fill(damage(data, random, true));
      isSound(cage, `${name}, damage ${i}`);
    }
    // A bit that moves within a section keeps counts, and mostly samples as well.
    const { sections } = planSections(shape.levels);
    for (let i = 0; sections.length > 0 && i < runs(800, 30_000); i++) {
      cage.fill(moveBit(data, random.pick(sections), random));
      isSound(cage, `${name}, move ${i}`);
    }
  }
  assert.ok(passed > 10 && refused > 10 * passed, `${passed} passed, ${refused} were refused`);
});

Deno.test("Signed damage is refused by verification, and harmless without", async () => {
  const random = new Random(13);
  for (let i = 0; i < runs(300, 10_000); i++) {
    const { name, bytes, shape, data } = random.pick(SAMPLES);
    const damaged = await signed(shape, damage(data, random, true));
    if (sameBytes(damaged, bytes)) continue;
    using index = await ConstraintIndex.open(damaged);
    interrogate(index, i);
    const verified = await ConstraintIndex.open(damaged, { verify: true }).catch((error) => {
      assert.ok(isRefusal(error), `${name}, damage ${i}: ${error}`);
    });
    if (verified) assertConsistent(verified);
  }
});

Deno.test("Damaged data sends no read outside the index", async () => {
  const random = new Random(14);
  for (const { name, shape, data } of SAMPLES) {
    const cage = await Cage.create(shape);
    for (let i = 0; i < runs(60, 10_000); i++) {
      cage.fill(i === 0 ? data : damage(data, random, true));
      assertCaged(cage, i, `${name}, damage ${i}`);
    }
  }
});

Deno.test("Rows longer than the header says stay within their room", async () => {
  // One row of the second level claims all its edges, or all bits of its bitmap.
  const common = { tokenMin: 0, inner: false, end: false };
  const head = { ...common, edges: 200, states: 1, maxBranch: 200, tokenCount: 200, ends: 0 };
  const tail = { ...common, edges: 800, states: 200, maxBranch: 4, tokenCount: 2000, ends: 800 };
  for (const isBitmap of [false, true]) {
    const levels: LevelShape[] = [
      { ...head, encoding: "bitmap", starts: "bits" },
      { ...tail, encoding: isBitmap ? "bitmap" : "packed", starts: "bits" },
    ];
    const cage = await Cage.create({ size: 800, vocabSize: 2000, levels });
    const { heap, dataByteLength } = cage.loaded;
    const data = new Uint8Array(dataByteLength);
    for (const { name, offset, byteLength } of planSections(levels).sections) {
      if (name.endsWith(".bitmap")) data.fill(0xff, offset, offset + byteLength);
      if (name.endsWith(".tokens")) data.fill(0x11, offset, offset + byteLength);
      // One first child, in the first block.
      if (name.endsWith(".starts")) data[offset] = 1;
      if (name.endsWith(".starts.rank")) data[offset + 4] = 1;
    }
    cage.fill(data);
    for (const normalize of ["allowed", "vocab"] as const) {
      const options = { beamSize: 5, batchSize: 2, normalize };
      using search = new WasmKernel(cage.loaded).begin(searchShape(cage.index, options));
      // The next piece of memory lies right behind the workspace.
      const next = heap.allocate(65536);
      heap.u8(next, 65536).fill(0xa5);
      for (let step = 0; step < 2; step++) {
        search.advance(Float32Array.from({ length: search.rows * 2000 }, (_, i) => -(i % 2000)));
      }
      assert.ok(
        heap.u8(next, 65536).every((byte) => byte === 0xa5),
        "Written behind the workspace",
      );
      assert.ok(search.beams().scores.some(Number.isFinite));
      heap.free(next);
    }
    assertCaged(cage, 1, isBitmap ? "bitmap" : "packed");
  }
});

Deno.test("Any header that is accepted bounds what any data can do", async () => {
  const random = new Random(15);
  for (let i = 0; i < runs(300, 15_000); i++) {
    const shape = randomShape(random);
    const data = randomData(planSections(shape.levels).byteLength, random);
    // That the header is accepted is the point: what follows would be nothing otherwise.
    const file = await signed(shape, data);
    const cage = await Cage.create(shape);
    cage.fill(data);
    assertCaged(cage, i, `Shape ${i}, ${JSON.stringify(shape)}`);
    isSound(cage, `Shape ${i}, ${JSON.stringify(shape)}`);
    if (i % 10 === 0) {
      using index = await ConstraintIndex.open(file);
      assert.equal(index.size, shape.size);
    }
  }
});

Deno.test("Damaged headers are refused, or bound what is read", async () => {
  const random = new Random(16);
  let opened = 0;
  for (let i = 0; i < runs(1500, 50_000); i++) {
    const { name, bytes, shape, data } = random.pick(SAMPLES);
    const isSigned = random.below(2) === 0;
    const start = bytes.length - data.length;
    let damaged: Uint8Array<ArrayBuffer>;
    if (isSigned) {
      damaged = await resigned(shape, data, random);
    } else {
      // Without digests the header is all there is to go by.
      const header = damage(bytes.subarray(8, start), random, true);
      damaged = bytes.slice();
      damaged.set(header, 8);
    }
    const verify = isSigned && random.below(2) === 0;
    try {
      using index = await ConstraintIndex.open(damaged, { verify });
      opened++;
      interrogate(index, i);
      if (verify) assertConsistent(index);
    } catch (cause) {
      if (isRefusal(cause) || cause instanceof LimitError) continue;
      throw new Error(`${name}, damage ${i}, ${isSigned ? "signed" : "unverified"}`, { cause });
    }
  }
  assert.ok(opened > 100, `Only ${opened} were opened`);
});
