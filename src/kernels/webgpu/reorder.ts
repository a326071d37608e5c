/** Reordering per-beam rows on the GPU, for models that keep caches. */
import { rangeError } from "../../errors.ts";
import { compilePipelines, freeBuffer, makeBuffer } from "./device.ts";

/** Most workgroups in one dimension, and threads of each. */
const MAX_GRID = 65535;
const THREADS = 256;

/**
 * Encodes target[row] = source[parents[row]] for rows of `rowBytes` bytes: KV caches follow their beams, and
 * expand from B to B·M rows at step 1. Submits, does not wait. Cost: one read and one write of the target.
 *
 * @param parents [rows] u32, as a `GpuModel` is given them.
 * @param source as many rows as the step before had. @param target [rows], another buffer than the source.
 * @param rowBytes a multiple of 4.
 * @throws {RangeError} if sizes do not fit.
 */
export async function reorderRows(
  device: GPUDevice,
  { parents, source, target, rows, rowBytes }: {
    parents: GPUBuffer;
    source: GPUBuffer;
    target: GPUBuffer;
    rows: number;
    rowBytes: number;
  },
): Promise<void> {
  const words = rowBytes / 4;
  if (!Number.isInteger(words) || words < 1 || rows * rowBytes > target.size) {
    throw rangeError(
      `Cannot reorder ${rows} rows of ${rowBytes} bytes: expected a multiple of 4 that fits ${target.size} bytes`,
      { expected: target.size, actual: rows * rowBytes },
    );
  }
  const { reorder } = await compilePipelines(device);
  const { COPY_DST, UNIFORM } = GPUBufferUsage;
  const groups = Math.ceil(rows * words / THREADS);
  const gridX = Math.min(groups, MAX_GRID);
  const shape = makeBuffer(device, "reorder shape", 16, UNIFORM | COPY_DST);
  device.queue.writeBuffer(shape, 0, Uint32Array.of(rows, words, gridX, 0));
  const encoder = device.createCommandEncoder({ label: "espalier reorder" });
  const pass = encoder.beginComputePass({ label: "espalier reorder" });
  pass.setPipeline(reorder.pipeline);
  const entries = [shape, parents, source, target].map((buffer, binding) => ({
    binding,
    resource: { buffer },
  }));
  const group = device.createBindGroup({
    label: "espalier reorder",
    layout: reorder.layout,
    entries,
  });
  pass.setBindGroup(0, group, [0]);
  pass.dispatchWorkgroups(gridX, Math.ceil(groups / gridX));
  pass.end();
  device.queue.submit([encoder.finish()]);
  freeBuffer(device, shape);
}
