/** ONNX models on the GPU: ids, caches and logits stay there. */
import type { GpuLogits, GpuModel, GpuModelInput } from "../../decode/types.ts";
import { BackendError, LimitError } from "../../errors.ts";
import {
  compileOnce,
  dispatch,
  freeBuffer,
  gridOf,
  makeBuffer,
} from "../../kernels/webgpu/device.ts";
import { reorderRows } from "../../kernels/webgpu/reorder.ts";
import type { OnnxSearch } from "./decode_steps.ts";
import { IDS_KERNEL } from "./ids_kernel.ts";
import type { StepLogits } from "./logits.ts";
import type { CacheReorder } from "./rows.ts";
import type { OrtModule, Tensor } from "./session.ts";

const BYTES: Record<string, number> = { float32: 4, int32: 4, float16: 2, int64: 8 };

/** Moves rows in GPU memory, without waiting for it. */
export function gpuReorder(ort: OrtModule, device: GPUDevice): CacheReorder<GPUBuffer> {
  /** A buffer as a tensor that destroys it. */
  const make = (type: string, dims: number[]): Tensor & { gpuBuffer: GPUBuffer } => {
    const bytes = dims.reduce((a, b) => a * b, BYTES[type]);
    const { STORAGE, COPY_DST, COPY_SRC } = GPUBufferUsage;
    const most = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);
    if (bytes > most) {
      throw new LimitError(
        "search-too-large",
        `Cannot search on this GPU: a cache of the ONNX model takes ${bytes} bytes, at most ${most} fit; use fewer beams`,
        { expected: most, actual: bytes },
      );
    }
    const buffer = makeBuffer(device, `onnx ${type}`, bytes, STORAGE | COPY_DST | COPY_SRC);
    return ort.Tensor.fromGpuBuffer(buffer, {
      dataType: type as "float32",
      dims,
      dispose: () => freeBuffer(device, buffer),
    }) as Tensor & { gpuBuffer: GPUBuffer };
  };
  const upload = (data: ArrayBufferView<ArrayBuffer>, usage: number) => {
    const { COPY_DST } = GPUBufferUsage;
    const buffer = makeBuffer(device, "onnx upload", data.byteLength, usage | COPY_DST);
    device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  };
  return {
    async gather(source, rows, parents) {
      const dims = [rows, ...source.dims.slice(1)];
      const target = make(source.type, dims);
      const isUploaded = parents instanceof Uint32Array;
      const from = isUploaded
        ? upload(parents as Uint32Array<ArrayBuffer>, GPUBufferUsage.STORAGE)
        : parents;
      try {
        await reorderRows(device, {
          parents: from,
          source: source.gpuBuffer as GPUBuffer,
          target: target.gpuBuffer,
          rows,
          rowBytes: dims.slice(1).reduce((a, b) => a * b, BYTES[source.type]),
        });
      } catch (error) {
        target.dispose();
        throw error;
      } finally {
        if (isUploaded) freeBuffer(device, from);
      }
      return target;
    },
    async extend(previous, { rows, parents, tokens }, width, type) {
      const kernel = await compileOnce(device, IDS_KERNEL);
      const total = (previous?.dims[1] ?? 0) + width;
      const target = make(type, [rows, total]);
      const { STORAGE, UNIFORM } = GPUBufferUsage;
      const temporary: GPUBuffer[] = [];
      const lend = (data: ArrayBufferView<ArrayBuffer>, usage: number) => {
        const buffer = upload(data, usage);
        temporary.push(buffer);
        return buffer;
      };
      const grid = gridOf(Math.ceil(rows * total / 256));
      const words = type === "int64" ? 2 : 1;
      const shape = Uint32Array.of(rows, total, width, words, grid[0], 0, 0, 0);
      // Prompts come from the host; without ids before, any buffer does in their place.
      const before = previous?.location === "cpu"
        ? lend(previous.data as Int32Array<ArrayBuffer>, STORAGE)
        : (previous?.gpuBuffer as GPUBuffer | undefined) ?? lend(new Uint32Array(1), STORAGE);
      device.pushErrorScope("validation");
      const buffers = [lend(shape, UNIFORM), parents, tokens, before, target.gpuBuffer];
      dispatch(device, "espalier ids", kernel, buffers, grid);
      for (const buffer of temporary) freeBuffer(device, buffer);
      const error = await device.popErrorScope();
      if (!error) return target;
      target.dispose();
      const why = `Cannot make ids on the GPU: ${error.message}`;
      throw new BackendError("validation", why, { actual: error.message });
    },
    settle: () => device.queue.onSubmittedWorkDone().then(() => {}, () => {}),
  };
}

/** A search as a model for the decoder. */
export function gpuModel(
  search: OnnxSearch<GPUBuffer>,
  device: GPUDevice,
  hasRuns: boolean,
): Omit<GpuModel, "cpu"> {
  /** The rows of a call: as many for each batch row. */
  const moveOf = (input: GpuModelInput) => {
    const { step, rows, beamSize, tokens, parents } = input;
    const perBatch = step === 0 ? 1 : beamSize;
    const batch = Uint32Array.from({ length: rows }, (_, row) => Math.floor(row / perBatch));
    return { rows, batch, tokens, parents };
  };
  const model: Omit<GpuModel, "cpu"> = {
    device,
    liveRows: true,
    async step(input) {
      return placeOf(await search.step(input.step, moveOf(input)), 1);
    },
  };
  if (!hasRuns) return model;
  return {
    ...model,
    async scoreRuns(input) {
      const { step, width } = input;
      const logits = await search.scoreRun(step, { ...moveOf(input), width });
      return { ...placeOf(logits, width), positionStride: logits.width };
    },
  };
}

/** Where the last positions of logits are. */
function placeOf({ tensor, positions, width }: StepLogits, count: number): GpuLogits {
  return {
    buffer: tensor.gpuBuffer as GPUBuffer,
    offset: (positions - count) * width * BYTES[tensor.type],
    rowStride: positions * width,
    type: tensor.type as "float32" | "float16",
  };
}
