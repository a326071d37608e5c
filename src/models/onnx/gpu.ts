/** ONNX models on the GPU: ids, caches and logits stay there. */
import type { GpuModel } from "../../decode/types.ts";
import { BackendError, LimitError } from "../../errors.ts";
import {
  compileOnce,
  dispatch,
  freeBuffer,
  gridOf,
  makeBuffer,
} from "../../kernels/webgpu/device.ts";
import { reorderRows } from "../../kernels/webgpu/reorder.ts";
import { IDS_KERNEL } from "./ids_kernel.ts";
import { probe } from "./sessions.ts";
import { unsupported } from "./signature.ts";
import { inTurn, type OrtModule, type Tensor } from "./session.ts";
import type { CacheReorder, Move, OnnxSearch, OnnxSessions } from "./decode_steps.ts";

/** A step on the GPU. */
export interface GpuMove extends Move {
  /** [rows] u32 */
  readonly tokens: GPUBuffer;
  /** [rows] u32 */
  readonly parents: GPUBuffer;
}

const BYTES: Record<string, number> = { float32: 4, int32: 4, float16: 2, int64: 8 };

/** Moves rows in GPU memory, without waiting for it. */
export function gpuReorder(ort: OrtModule, device: GPUDevice): CacheReorder<GpuMove> {
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
  return {
    async gather(source, { rows, parents }) {
      const dims = [rows, ...source.dims.slice(1)];
      const target = make(source.type, dims);
      try {
        await reorderRows(device, {
          parents,
          source: source.gpuBuffer as GPUBuffer,
          target: target.gpuBuffer,
          rows,
          rowBytes: dims.slice(1).reduce((a, b) => a * b, BYTES[source.type]),
        });
      } catch (error) {
        target.dispose();
        throw error;
      }
      return target;
    },
    async extend(previous, { rows, parents, tokens }, type) {
      const kernel = await compileOnce(device, IDS_KERNEL);
      const width = (previous?.dims[1] ?? 0) + 1;
      const target = make(type, [rows, width]);
      const { STORAGE, UNIFORM, COPY_DST } = GPUBufferUsage;
      const temporary: GPUBuffer[] = [];
      const upload = (data: ArrayBufferView<ArrayBuffer>, usage: number) => {
        const buffer = makeBuffer(device, "onnx upload", data.byteLength, usage | COPY_DST);
        temporary.push(buffer);
        device.queue.writeBuffer(buffer, 0, data);
        return buffer;
      };
      const grid = gridOf(Math.ceil(rows * width / 256));
      const shape = Uint32Array.of(rows, width, type === "int64" ? 2 : 1, grid[0]);
      // Prompts come from the host; without ids before, any buffer does in their place.
      const before = previous?.location === "cpu"
        ? upload(previous.data as Int32Array<ArrayBuffer>, STORAGE)
        : (previous?.gpuBuffer as GPUBuffer | undefined) ?? upload(new Uint32Array(1), STORAGE);
      device.pushErrorScope("validation");
      const buffers = [upload(shape, UNIFORM), parents, tokens, before, target.gpuBuffer];
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
  search: OnnxSearch<GpuMove>,
  device: GPUDevice,
): Pick<GpuModel, "device" | "step"> {
  return {
    device,
    async step(input) {
      const { tensor, positions, width } = await search.step(input.step, input);
      return {
        buffer: tensor.gpuBuffer as GPUBuffer,
        offset: (positions - 1) * width * BYTES[tensor.type],
        rowStride: positions * width,
        type: tensor.type as "float32" | "float16",
      };
    },
  };
}

/**
 * Tries a model on the GPU, and looks whether it stays there.
 *
 * @throws {BackendError} with code `"unsupported-model"` if a step fails; with code `"reads-back"` if a graph does.
 */
export async function probeGpu(
  sessions: OnnxSessions,
  device: GPUDevice,
): Promise<{ vocabSize: number }> {
  return await inTurn(device, () => watchedProbe(sessions, device));
}

/** Models are tried one at a time on a device: what each maps, and what it does wrong, is its own. */
async function watchedProbe(
  sessions: OnnxSessions,
  device: GPUDevice,
): Promise<{ vocabSize: number }> {
  const { STORAGE, COPY_DST } = GPUBufferUsage;
  // Tokens and parents of two rows: buffers begin as zeros.
  const zeros = makeBuffer(device, "onnx trial", 2 * 4, STORAGE | COPY_DST);
  using readbacks = new Readbacks(device);
  for (const filter of ["internal", "out-of-memory", "validation"] as const) {
    device.pushErrorScope(filter);
  }
  let errors: (GPUError | null)[] = [];
  let facts: { vocabSize: number };
  try {
    const move = (step: number): GpuMove => ({
      rows: step === 0 ? 1 : 2,
      beamSize: 2,
      tokens: zeros,
      parents: zeros,
    });
    facts = await probe(sessions, gpuReorder(sessions.ort, device), move, ({ tensor }) => {
      if (tensor.location === "gpu-buffer" && readbacks.count === 0) return;
      throw new BackendError(
        "reads-back",
        `The ONNX model ${
          readbacks.count > 0
            ? `reads back from the GPU ${readbacks.count} times in a step: some of its nodes run on the CPU`
            : `leaves its logits on the ${tensor.location}`
        }`,
        { expected: 0, actual: readbacks.count },
      );
    });
  } finally {
    freeBuffer(device, zeros);
    // A lost device has no scopes.
    const scopes = Array.from({ length: 3 }, () => device.popErrorScope().catch(() => null));
    errors = await Promise.all(scopes);
  }
  const error = errors.find((error) => error !== null);
  if (error) throw unsupported("model", "", `is refused by the GPU: ${error.message}`);
  return facts;
}

/** Counts what others map of a device while a model is tried. */
class Readbacks implements Disposable {
  count = 0;
  #device: GPUDevice;
  /** Somebody else's stand-in for the method, if there is one. */
  #own: PropertyDescriptor | undefined;

  constructor(device: GPUDevice) {
    const { createBuffer } = device;
    this.#device = device;
    this.#own = Object.getOwnPropertyDescriptor(device, "createBuffer");
    device.createBuffer = (descriptor) => {
      const buffer = createBuffer.call(device, descriptor);
      const isOurs = descriptor.label?.startsWith("espalier ") ?? false;
      if (!isOurs && descriptor.usage & GPUBufferUsage.MAP_READ) {
        const { mapAsync } = buffer;
        buffer.mapAsync = (...args) => {
          this.count++;
          return mapAsync.apply(buffer, args);
        };
      }
      return buffer;
    };
  }

  [Symbol.dispose](): void {
    if (this.#own) Object.defineProperty(this.#device, "createBuffer", this.#own);
    else Reflect.deleteProperty(this.#device, "createBuffer");
  }
}
