/** The file around an index: what it promises to other readers, and how it is told from other files. */

import assert from "node:assert/strict";
import { ConstraintIndex, IndexFormatError, IndexIntegrityError } from "../../mod.ts";
import { largeFile, samples, signed, streamOf, takeApart } from "../support/corrupt.ts";
import { assertConsistent } from "../support/interrogate.ts";
import { Random } from "../support/models.ts";
import { opens, refuses } from "../support/opening.ts";

const SAMPLES = await samples();
const BYTES = SAMPLES.find(({ name }) => name.startsWith("mixed"))!.bytes;

/** SHA-256, hex, by its own way. */
async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const words = new DataView(await crypto.subtle.digest("SHA-256", bytes));
  let text = "";
  for (let i = 0; i < 8; i++) text += words.getUint32(4 * i).toString(16).padStart(8, "0");
  return text;
}

interface TensorEntry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

Deno.test("A file is valid safetensors, with the digests it promises", async () => {
  for (const bytes of [...SAMPLES.map((sample) => sample.bytes), await largeFile()]) {
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const start = 8 + length;
    assert.equal(start % 256, 0, "Data starts aligned");
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, start));
    assert.match(text, /^\{.*\} *$/s, "Padding is spaces, behind the header");
    const { __metadata__: metadata, ...tensors } = JSON.parse(text) as
      & { __metadata__: Record<string, unknown> }
      & Record<string, TensorEntry>;
    for (const [key, value] of Object.entries(metadata)) assert.equal(typeof value, "string", key);

    const data = bytes.slice(start);
    let end = 0;
    for (const [name, { dtype, shape, data_offsets }] of Object.entries(tensors)) {
      assert.equal(dtype, "U32", name);
      assert.equal(data_offsets[0], end, `${name} leaves a hole, or overlaps`);
      assert.equal(data_offsets[0] % 256, 0, `${name} starts aligned`);
      end = data_offsets[1];
      assert.deepEqual(shape, [(end - data_offsets[0]) / 4], name);
    }
    assert.equal(end, data.length, "Tensors cover the data");

    let chunks = "";
    for (let at = 0; at < data.length; at += 2 ** 20) {
      chunks += await digest(data.slice(at, at + 2 ** 20));
    }
    assert.equal(metadata.chunkSha256, chunks);
    const own = metadata.headerSha256 as string;
    const unsigned = text.replace(own, "0".repeat(64));
    assert.ok(!unsigned.includes(own), "The digest stands in one place");
    const header = new Uint8Array([...bytes.subarray(0, 8), ...new TextEncoder().encode(unsigned)]);
    assert.equal(own, await digest(header));
    using index = await ConstraintIndex.open(bytes);
    assert.equal(index.digest, own);
    assert.equal(index.byteLength, bytes.length);
  }
});

Deno.test("Other files are told from indexes", async () => {
  const text = (words: string) => new TextEncoder().encode(words);
  const npy = new Uint8Array(256);
  npy.set([0x93, ...text("NUMPY"), 1, 0, 118, 0, ...text("{'descr': '<u4'}")]);
  const zipped = new Blob([BYTES]).stream().pipeThrough(new CompressionStream("gzip"));
  await refuses(npy, IndexFormatError, "not-safetensors");
  // Its first bytes might be the length of a header, what follows is no JSON.
  await refuses(zipped, IndexFormatError, "not-safetensors");
  await refuses(text('{"sequences": [[1, 2, 3]]}'), IndexFormatError, "not-safetensors");
  await refuses(
    text("<!doctype html><title>Not found</title>"),
    IndexFormatError,
    "not-safetensors",
  );
  await refuses(new Uint8Array(), IndexIntegrityError, "truncated");
  await refuses(new Uint8Array(7), IndexIntegrityError, "truncated");
  await refuses(new Uint8Array(8), IndexFormatError, "not-safetensors");

  const header = '{"weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}';
  const weights = new Uint8Array(8 + header.length + 8);
  weights[0] = header.length;
  weights.set(text(header), 8);
  await refuses(weights, IndexFormatError, "not-an-index");
});

Deno.test("Other versions and other makers are refused by name", async () => {
  const { shape, data } = takeApart(BYTES);
  const version = await signed(shape, data, { version: "3" });
  await refuses(version, IndexFormatError, "unknown-version");
  await refuses(version, IndexFormatError, "unknown-version", { verify: false });
  await refuses(await signed(shape, data, { format: "pt" }), IndexFormatError, "not-an-index");
  await refuses(await signed(shape, data, { index: "{" }), IndexFormatError, "inconsistent-header");
  assert.deepEqual(await opens(await signed(shape, data)), BYTES);
});

Deno.test("Version 2 is refused by the name of what it requires, and may hold more than is known", async () => {
  const { shape, data } = takeApart(BYTES);
  const requires = JSON.stringify({ ...shape, requires: ["columns"] });
  const source = await signed(shape, data, { version: "2", index: requires });
  await assert.rejects(opens(source), { code: "unknown-section", actual: "columns" });
  const garbled = JSON.stringify({ ...shape, requires: 7 });
  const unread = await signed(shape, data, { version: "2", index: garbled });
  await refuses(unread, IndexFormatError, "unknown-section");
  // Nothing new is used, nothing is required.
  const plain = await signed(shape, data, { version: "2" });
  assert.deepEqual(await opens(plain), plain);
});

Deno.test("Progress rises to the size of the file", async () => {
  for (const { bytes, name, data } of SAMPLES) {
    const told: number[] = [];
    const onProgress = (done: number, total?: number) => {
      assert.equal(total, bytes.length);
      assert.ok(done >= (told.at(-1) ?? 0), name);
      told.push(done);
    };
    await opens(streamOf(bytes, new Random(data.length)), { onProgress });
    assert.equal(told.at(-1), bytes.length, name);
  }
});

Deno.test("Bytes may be had again and again, and disposed of twice", async () => {
  const index = await ConstraintIndex.open(BYTES, { verify: true });
  assertConsistent(index);
  assert.deepEqual(index.toBytes(), BYTES);
  index.toBytes().fill(0);
  const chunks = await Array.fromAsync(index.toStream());
  for (const chunk of chunks) chunk.fill(0);
  assert.deepEqual(await new Response(index.toStream()).bytes(), BYTES);
  assertConsistent(index);
  index[Symbol.dispose]();
  index[Symbol.dispose]();
  assert.throws(() => index.toBytes(), { code: "disposed" });
  assert.throws(() => index.toStream(), { code: "disposed" });
});
