/** The kernel contract, on WebGPU: any adapter, the software one in CI. */
import assert from "node:assert/strict";
import { storageOf } from "../src/index/constraint_index.ts";
import { liveBuffers } from "../src/kernels/webgpu/device.ts";
import { WebGpuKernel } from "../src/kernels/webgpu/kernel.ts";
import { reorderRows } from "../src/kernels/webgpu/reorder.ts";
import { conformance } from "./support/conformance.ts";
import { withDevice } from "./support/gpu.ts";
import { runs } from "./support/long.ts";

await withDevice("the WebGPU kernel", (device) => {
  Deno.test("WebGPU kernel: every step equals exhaustive selection", async () => {
    await conformance(async (index) => {
      const kernel = await WebGpuKernel.create(storageOf(index), device);
      return { kernel, place: (words) => kernel.place(words as Uint32Array<ArrayBuffer>) };
    }, runs(200, 1000));
    assert.equal(liveBuffers.get(device), 0, "Buffers that nobody has destroyed");
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
  });
});
