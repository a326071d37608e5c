/** Reordering per-beam rows on the GPU, for models that keep caches. */
import { BackendError, checkOptionNames, rangeError } from "../../errors.ts";

/** Threads of a workgroup. */
const THREADS = 256;

/** What {@linkcode reorderRows} moves. All buffers have usage `STORAGE`. */
export interface RowsToReorder {
  /** [rows] u32 row of the source that each row continues, as a `GpuModel` is given them. */
  parents: GPUBuffer;
  /** As many rows as the step before had. */
  source: GPUBuffer;
  /** [rows], another buffer than the source. */
  target: GPUBuffer;
  /** Rows of the target. */
  rows: number;
  /** Bytes of a row; a multiple of 4. */
  rowBytes: number;
}

/**
 * Makes target[row] = source[parents[row]] on the GPU: KV caches follow their beams, and expand from B to B·M rows
 * at step 1. Submits the work and resolves without waiting for it to run. Cost: one read and one write of the
 * target. Parents beyond the source leave rows undefined.
 *
 * @throws {RangeError} if sizes do not fit. @throws {TypeError} for fields that there are not. @throws {BackendError} if the device refuses the buffers.
 */
export async function reorderRows(
  device: GPUDevice,
  what: RowsToReorder,
): Promise<void> {
  checkOptionNames("reorderRows", what, ["parents", "source", "target", "rows", "rowBytes"]);
  const { parents, source, target, rows, rowBytes } = what;
  const words = rowBytes / 4;
  const most = device.limits.maxStorageBufferBindingSize;
  const fits = Number.isInteger(words) && words >= 1 && Number.isInteger(rows) && rows >= 1 &&
    rows * rowBytes <= Math.min(target.size, most) && rows * 4 <= parents.size &&
    rowBytes <= source.size && source.size <= most && source !== target;
  if (!fits) {
    throw rangeError(
      `Cannot reorder ${rows} rows of ${rowBytes} bytes from ${source.size} to ${target.size} bytes by ${parents.size} bytes of parents: expected whole rows of a multiple of 4 bytes, two different buffers, and at most ${most} bytes in each`,
      { expected: target.size, actual: rows * rowBytes },
    );
  }
  const [{ compileOnce, dispatch, freeBuffer, gridOf, makeBuffer }, { REORDER_KERNEL }] =
    await Promise.all([import("./device.ts"), import("./shaders/reorder.ts")]);
  const reorder = await compileOnce(device, REORDER_KERNEL);
  const { COPY_DST, UNIFORM } = GPUBufferUsage;
  const grid = gridOf(Math.ceil(rows * words / THREADS));
  device.pushErrorScope("validation");
  const shape = makeBuffer(device, "reorder shape", 16, UNIFORM | COPY_DST);
  device.queue.writeBuffer(shape, 0, Uint32Array.of(rows, words, grid[0], 0));
  dispatch(device, "espalier reorder", reorder, [shape, parents, source, target], grid);
  freeBuffer(device, shape);
  const error = await device.popErrorScope();
  if (error) {
    throw new BackendError("validation", `Cannot reorder rows: ${error.message}`, {
      actual: error.message,
    });
  }
}
