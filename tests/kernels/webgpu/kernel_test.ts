/** The kernel contract, on WebGPU: any adapter, the software one in CI. */
import assert from "node:assert/strict";
import type { ItemFilter } from "../../../mod.ts";
import { buildIndex } from "../../../src/build/mod.ts";
import { filterBitsOf } from "../../../src/index/item_filter.ts";
import { loadedIndexOf } from "../../../src/index/constraint_index.ts";
import { liveBuffers } from "../../../src/kernels/webgpu/device.ts";
import { WebGpuKernel } from "../../../src/kernels/webgpu/kernel.ts";
import { reorderRows } from "../../../src/kernels/webgpu/reorder.ts";
import { conformance } from "../../suites/conformance.ts";
import { withDevice } from "../../support/gpu.ts";
import { runs } from "../../support/long.ts";

await withDevice("the WebGPU kernel", (device) => {
  Deno.test("WebGPU kernel: every step equals exhaustive selection", async () => {
    await conformance(
      (index) => WebGpuKernel.create(loadedIndexOf(index), device),
      runs(200, 1000),
    );
    assert.equal(liveBuffers.get(device), 0, "Buffers that nobody has destroyed");
  });

  Deno.test("A filter is copied to the GPU once, and makes room when it goes", async () => {
    const rows = Array.from({ length: 3000 }, (_, i) => [i % 50, i % 61, i % 7]);
    using index = await buildIndex(rows, { vocabSize: 64 });
    using kernel = await WebGpuKernel.create(loadedIndexOf(index), device);
    const place = (filter: ItemFilter) =>
      kernel.filters.place(filterBitsOf(filter, loadedIndexOf(index)));
    const first = index.filter([1, 2]);
    using second = index.filter([3]);
    const places = [place(first), place(second), place(first)];
    assert.equal(places[0], places[2]);
    assert.notEqual(places[0], places[1]);
    first[Symbol.dispose]();
    const { size } = kernel.filters.buffer;
    for (let i = 0; i < 100; i++) {
      using filter = index.filter([i]);
      assert.equal(place(filter), places[0]);
    }
    assert.equal(kernel.filters.buffer.size, size);
    // Growing keeps what is there.
    using many = new DisposableStack();
    const filters = Array.from({ length: 20 }, (_, i) => many.use(index.filter([i])));
    filters.forEach(place);
    assert.ok(kernel.filters.buffer.size > size);
    const { COPY_DST, MAP_READ } = GPUBufferUsage;
    const staging = device.createBuffer({
      size: kernel.filters.buffer.size,
      usage: COPY_DST | MAP_READ,
    });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(kernel.filters.buffer, 0, staging, 0, staging.size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const there = new Uint8Array(staging.getMappedRange());
    for (const filter of [second, ...filters]) {
      const { address, byteLength, loaded } = filterBitsOf(filter, loadedIndexOf(index));
      const at = place(filter) * 4;
      assert.deepEqual(
        there.slice(at, at + byteLength),
        loaded.heap.u8(address, byteLength).slice(),
      );
    }
    staging.destroy();
  });

  Deno.test("Rows of caches follow their beams", async () => {
    const { STORAGE, COPY_DST, COPY_SRC, MAP_READ } = GPUBufferUsage;
    for (const [rows, words, from] of [[1, 1, 1], [6, 5, 2], [7, 300, 7], [70, 1000, 2]]) {
      const make = (length: number, usage = STORAGE | COPY_DST | COPY_SRC) =>
        device.createBuffer({ size: length * 4, usage });
      const [parents, source, target] = [make(rows), make(from * words), make(rows * words)];
      const staging = make(rows * words, MAP_READ | COPY_DST);
      const parentRows = Uint32Array.from({ length: rows }, (_, row) => (row * 7 + 3) % from);
      const values = Uint32Array.from({ length: from * words }, (_, i) => i * 31 + 1);
      device.queue.writeBuffer(parents, 0, parentRows);
      device.queue.writeBuffer(source, 0, values);
      await reorderRows(device, { parents, source, target, rows, rowBytes: words * 4 });
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(target, 0, staging, 0, rows * words * 4);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ);
      const found = new Uint32Array(staging.getMappedRange().slice(0));
      assert.deepEqual(
        found,
        Uint32Array.from(
          { length: rows * words },
          (_, i) => values[parentRows[Math.floor(i / words)] * words + i % words],
        ),
      );
      for (const buffer of [parents, source, target, staging]) buffer.destroy();
    }
    const buffer = device.createBuffer({ size: 256, usage: STORAGE });
    const sizes = { parents: buffer, source: buffer, target: buffer, rows: 100, rowBytes: 4 };
    await assert.rejects(reorderRows(device, sizes), RangeError);
    await assert.rejects(reorderRows(device, { ...sizes, rows: 1, rowBytes: 6 }), RangeError);
    const misspelt = { ...sizes, row: 100 };
    await assert.rejects(reorderRows(device, misspelt), { name: "TypeError", expected: "rows" });
  });
});
