/** `.npy` files, written by hand: what is read, and what is refused. */

import assert from "node:assert/strict";
import { BuildInputError } from "../../../src/errors.ts";
import { openNpy, readNpyBlocks, type SeekableFile } from "../../../src/cli/numpy/read_matrix.ts";
import { encodeNpy } from "../../../src/cli/numpy/write.ts";
import { matrixOf, RowStatistics } from "../../../src/cli/tables/memory_estimate.ts";
import type { SequenceMatrix } from "../../../src/build/row_cursor.ts";

interface Header {
  descr: string;
  shape: string;
  fortran?: boolean;
  version?: number;
}

/** A file with this header and these bytes of data. */
function npy({ descr, shape, fortran = false, version = 1 }: Header, data: Uint8Array): Uint8Array {
  const order = fortran ? "True" : "False";
  const field = descr.startsWith("[") ? descr : `'${descr}'`;
  const text = `{'descr': ${field}, 'fortran_order': ${order}, 'shape': (${shape}), }`;
  const prefix = version === 1 ? 10 : 12;
  const total = Math.ceil((prefix + text.length + 1) / 64) * 64;
  const bytes = new Uint8Array(total + data.length).fill(0x20);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), version, 0]);
  const view = new DataView(bytes.buffer);
  if (version === 1) view.setUint16(8, total - 10, true);
  else view.setUint32(8, total - 12, true);
  bytes.set(new TextEncoder().encode(text), prefix);
  bytes[total - 1] = 0x0a;
  bytes.set(data, total);
  return bytes;
}

/** Values as bytes of a dtype. */
function encode(descr: string, values: readonly bigint[]): Uint8Array {
  const size = Number(descr[2]);
  const bytes = new Uint8Array(size * values.length);
  values.forEach((value, i) => {
    for (let b = 0; b < size; b++) {
      const at = descr[0] === ">" ? size - 1 - b : b;
      bytes[size * i + at] = Number((value >> BigInt(8 * b)) & 0xffn);
    }
  });
  return bytes;
}

/** A file in memory that gives at most `most` bytes at a time. */
function memoryFile(bytes: Uint8Array, most = 5): SeekableFile {
  let at = 0;
  return {
    read(into: Uint8Array): Promise<number | null> {
      const part = bytes.subarray(at, at + Math.min(most, into.length));
      into.set(part);
      at += part.length;
      return Promise.resolve(part.length > 0 ? part.length : null);
    },
    seek: (offset) => Promise.resolve(at = offset),
  };
}

async function read(bytes: Uint8Array, most?: number, blockBytes?: number) {
  return await readNpy(memoryFile(bytes, most), { byteLength: bytes.length }, blockBytes);
}

/** All blocks, as one matrix. */
async function readNpy(
  file: SeekableFile,
  options: { byteLength?: number; signal?: AbortSignal },
  blockBytes?: number,
): Promise<SequenceMatrix> {
  const header = await openNpy(file, "x.npy", options);
  const statistics = new RowStatistics();
  const batches = [];
  for await (const block of readNpyBlocks(file, header, "x.npy", options, blockBytes)) {
    const ends = Uint32Array.from({ length: block.rows }, (_, i) => (i + 1) * block.length);
    statistics.add({ data: block.data, ends }, 0);
    batches.push({ data: block.data, ends });
  }
  return matrixOf(batches, statistics);
}

const DTYPES = ["|u1", "|i1", "<u1"]
  .concat(["u2", "u4", "u8", "i2", "i4", "i8"].flatMap((kind) => [`<${kind}`, `>${kind}`]));

Deno.test("All integer dtypes, both orders and all versions give the same matrix", async () => {
  const expected = [1n, 2n, 3n, 4n, 5n, 127n];
  const columnMajor = [1n, 4n, 2n, 5n, 3n, 127n];
  for (const descr of DTYPES) {
    for (const version of [1, 2, 3]) {
      for (const fortran of [false, true]) {
        const data = encode(descr, fortran ? columnMajor : expected);
        const file = npy({ descr, shape: "2, 3", fortran, version }, data);
        assert.deepEqual(await read(file, 5, 1), await read(file), "In blocks of one row");
        const matrix = await read(file);
        const what = `${descr}, version ${version}, fortran ${fortran}`;
        assert.deepEqual([matrix.rows, matrix.length], [2, 3], what);
        assert.deepEqual(Array.from(matrix.data), expected.map(Number), what);
        const size = Math.min(4, Number(descr[2]));
        assert.equal(matrix.data.BYTES_PER_ELEMENT, size, what);
      }
    }
  }
});

Deno.test("Matrices larger than the conversion buffer arrive whole", async () => {
  const rows = 50_001, length = 3;
  for (const [descr, fortran] of [["<i8", false], ["<i8", true], [">u4", false], [">u4", true]]) {
    const size = Number((descr as string)[2]);
    const data = new Uint8Array(rows * length * size * 2).subarray(0, rows * length * size);
    const view = new DataView(data.buffer);
    for (let i = 0; i < rows * length; i++) {
      const at = fortran ? (i % length) * rows + Math.floor(i / length) : i;
      if (size === 8) view.setBigInt64(8 * at, BigInt(i), true);
      else view.setUint32(4 * at, i);
    }
    const header = { descr: descr as string, shape: `${rows}, ${length}`, fortran: !!fortran };
    const matrix = await read(npy(header, data), 2 ** 30);
    assert.ok(matrix.data.every((value, i) => value === i), `${descr} ${fortran}`);
  }
});

Deno.test("The extremes of the dtypes come through", async () => {
  const top = async (descr: string, value: bigint) =>
    (await read(npy({ descr, shape: "1, 1" }, encode(descr, [value])))).data[0];
  assert.equal(await top("|u1", 255n), 255);
  assert.equal(await top("<u2", 65535n), 65535);
  assert.equal(await top(">u4", 2n ** 32n - 1n), 2 ** 32 - 1);
  assert.equal(await top("<i8", 2n ** 32n - 1n), 2 ** 32 - 1);
  // For the builder to refuse, which knows the vocabulary.
  assert.equal(await top(">i4", -1n), -1);
});

type Facts = Partial<Pick<BuildInputError, "code" | "row" | "column" | "token" | "actual">>;

async function assertRefused(bytes: Uint8Array, facts: Facts, message: RegExp): Promise<void> {
  // With and without the size of the file, as for pipes.
  for (const byteLength of [bytes.length, undefined]) {
    await assert.rejects(
      readNpy(memoryFile(bytes, 2 ** 20), { byteLength }),
      (error: unknown) => {
        assert.ok(error instanceof BuildInputError, String(error));
        for (const [fact, value] of Object.entries(facts)) {
          assert.deepEqual(error[fact as keyof Facts], value, `${fact} of: ${error.message}`);
        }
        assert.equal(error.file, "x.npy");
        assert.match(error.message, message);
        assert.match(error.message, /^x\.npy: .*; /);
        return true;
      },
    );
  }
}

Deno.test("Values that can be no token are refused with row and column", async () => {
  const code = "token-out-of-range";
  for (const descr of ["|i1", "<i2", ">i2", "<i8", ">i8"]) {
    const values = [1n, 2n, 3n, 4n, -7n, 6n];
    const facts = { code, row: 1, column: 1, token: -7 };
    const data = encode(descr, values);
    await assertRefused(npy({ descr, shape: "2, 3" }, data), facts, /token -7 .* JSON lines/);
    const fortran = npy({ descr, shape: "3, 2", fortran: true }, data);
    await assertRefused(
      fortran,
      { code, row: 1, column: 1 },
      /token -7 in row 1 \(counted from 0\), position 1/,
    );
  }
  const large = npy({ descr: "<u8", shape: "1, 2" }, encode("<u8", [1n, 2n ** 63n + 1n]));
  await assertRefused(large, { code, row: 0, column: 1 }, /token 9223372036854775809 /);
});

Deno.test("Other dtypes are refused with a way out", async () => {
  for (
    const descr of ["<f4", "<f8", "<f2", "|b1", "|O", "<U5", "<c8", "<M8[ns]", "[('a', '<i4')]"]
  ) {
    const bytes = npy({ descr, shape: "1, 1" }, new Uint8Array(8));
    await assertRefused(bytes, { code: "npy-dtype" }, /expected integers .*astype\(np\.uint32\)/);
  }
});

Deno.test("Other shapes are refused with a way out", async () => {
  for (const shape of ["", "6,", "1, 2, 3"]) {
    const bytes = npy({ descr: "<u2", shape }, new Uint8Array(12));
    await assertRefused(bytes, { code: "npy-shape" }, /expected a matrix.*reshape/);
  }
  const endless = npy({ descr: "<u2", shape: "999999999999, 999999999999" }, new Uint8Array());
  await assertRefused(endless, { code: "npy-shape" }, /split/);
});

Deno.test("Shapes as Python 2 wrote them are read", async () => {
  const matrix = await read(npy({ descr: "|u1", shape: "2L, 1L" }, Uint8Array.of(4, 5)));
  assert.deepEqual([matrix.rows, matrix.length, ...matrix.data], [2, 1, 4, 5]);
});

Deno.test("Missing and surplus bytes are refused", async () => {
  for (const descr of ["<u2", ">u2", "<i8"]) {
    const size = Number(descr[2]);
    for (const [count, code] of [[6 * size - 1, "truncated"], [0, "truncated"]] as const) {
      const bytes = npy({ descr, shape: "2, 3" }, new Uint8Array(count));
      await assertRefused(bytes, { code, actual: count }, /expected 2 × 3 values/);
    }
    const bytes = npy({ descr, shape: "2, 3" }, new Uint8Array(6 * size + 1));
    await assertRefused(bytes, { code: "trailing-bytes" }, /found more; store one array per file/);
  }
});

Deno.test("A header that promises too much takes no memory where the size of the file is known", async () => {
  const bytes = npy({ descr: "<u4", shape: "99999999999, 8" }, new Uint8Array(8));
  await assert.rejects(read(bytes), { code: "truncated" });
});

Deno.test("Other files are refused by what they are", async () => {
  const text = (value: string) => Uint8Array.from(value, (c) => c.charCodeAt(0));
  const code = "not-npy";
  await assertRefused(new Uint8Array(), { code }, /found an empty file/);
  await assertRefused(text("\x1f\x8b\x08rest of it"), { code }, /found a gzip file/);
  await assertRefused(text("PK\x03\x04rest of it"), { code }, /found a zip archive or \.npz/);
  await assertRefused(text("[1, 2, 3]\n[4, 5, 6]\n"), { code }, /found JSON/);
  await assertRefused(text("PAR1 and so on"), { code }, /found a Parquet file/);
  await assertRefused(text("1 2 3 4 5 6 7 8"), { code }, /found another file/);
});

Deno.test("Cut and unknown headers are refused", async () => {
  const whole = npy({ descr: "<u2", shape: "2, 3" }, new Uint8Array(12));
  await assertRefused(whole.subarray(0, 40), { code: "bad-npy-header" }, /header of 118 bytes/);
  const future = whole.slice();
  future[6] = 4;
  await assertRefused(future, { code: "unknown-version", actual: 4 }, /version 1, 2 or 3/);
  const garbled = whole.slice();
  garbled.fill(0x21, 10, 30);
  await assertRefused(garbled, { code: "bad-npy-header" }, /descr, fortran_order and shape/);
});

Deno.test("A read stops at the signal", async () => {
  const bytes = npy({ descr: "<u2", shape: "2, 3" }, new Uint8Array(12));
  const signal = AbortSignal.abort(new Error("enough"));
  await assert.rejects(readNpy(memoryFile(bytes), { signal }), /enough/);
});

Deno.test("A vector is written as NumPy writes it", () => {
  for (const count of [0, 1, 9_999_999]) {
    const [header] = encodeNpy(new Uint32Array(count));
    const text = Array.from(header, (byte) => String.fromCharCode(byte)).join("");
    assert.equal(header.length % 64, 0);
    assert.equal(new DataView(header.buffer).getUint16(8, true), header.length - 10);
    assert.ok(text.startsWith("\x93NUMPY\x01\x00"));
    const shape = `'shape': (${count},), }`;
    assert.equal(
      text.slice(10).trimEnd(),
      `{'descr': '<u4', 'fortran_order': False, ${shape}`,
    );
    assert.ok(text.endsWith("\n"));
  }
  const values = Uint32Array.of(9, 1, 2, 2 ** 32 - 1).subarray(1);
  const [, data] = encodeNpy(values);
  assert.deepEqual(Array.from(data), [1, 0, 0, 0, 2, 0, 0, 0, 255, 255, 255, 255]);
});
